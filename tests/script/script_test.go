//go:build linux

package script

import (
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lanhook/lanhook/tests/nettest"
)

var update = flag.Bool("update", false, "write what is printed into the scripts")

// TestScript runs testdata/*.txtar. A script begins in a folder with its files, with an empty state directory "state",
// which is a file system of its own, and on a host with the parent p0. At its end the host must be what it was, unless
// the script has said «remember», and no container may have a record. Beside testscript's own commands there are
//
//	container NAME KEY=VALUE…       make a container: a namespace NAME with a process, and its state JSON NAME.json,
//	                                with these annotations; $NAME is the process's id
//	state NAME PID KEY=VALUE…       write a state JSON with any process id; $HOST is one in the host's namespace
//	end NAME                        end the container's process, and its namespace with it
//	exits CODE PROGRAM ARG…         run a program on the host; it must end with this exit code
//	in NAME PROGRAM ARG…            run a program that must succeed in the namespace of a container, "host" or "neighbour"
//	hook CODE STAGE NAME FLAG…      lanhook hook STAGE with NAME.json on its standard input
//	lanhook CODE ARG…               lanhook's command line
//	begin JOB hook STAGE NAME FLAG… the same as hook, in the background
//	begin JOB runtime STAGE …       the same, called by a program that can be killed
//	watched JOB                     wait until the job's lanhook watches its parent and the container
//	murder JOB                      kill the job with SIGKILL; of a runtime, not its hook
//	finish JOB CODE…                wait for a job, which must end with one of these exit codes
//	listen NETWORK ADDRESS          have a port of the host, such as "tcp 0.0.0.0:80"
//	unlisten                        have none any more
//	until PATTERN PROGRAM ARG…      run a program on the host again and again until its stdout matches
//	mask                            print the last stdout, with words in place of what is another each time
//	same                            the host must be what it was, now
//	remember                        from now on the host must be what it is now
//	nobody                          no container has a record
//	fs OPTION…                      mount the state directory anew with other options, "size=64k" or "ro"
//	version N                       give all records the version N
//	otherboot                       give all records the id of another boot
//	chown USER FILE…                give files away
func TestScript(t *testing.T) {
	nettest.Need(t, nettest.Bridge, nettest.Macvlan)
	for _, name := range []string{"dd", "flock", "ip", "nft", "nsenter", "ping", "setpriv"} {
		_, err := exec.LookPath(name)
		switch _, stated := os.LookupEnv(nettest.Have); {
		case err != nil && stated:
			t.Fatal(err)
		case err != nil:
			t.Skipf("SKIPPED, NOT TESTED: %v", err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		UpdateScripts:      *update,
		RequireUniqueNames: true,
		Setup:              setup,
		Condition: func(cond string) (bool, error) {
			return false, errors.New("unknown condition")
		},
		Cmds: commands(),
	})
}

// world is one script's host with all that is on it.
type world struct {
	t      testing.TB
	net    *nettest.Net
	spaces map[string]*nettest.Space
	jobs   map[string]*job
	state  string
	// listeners have ports of the host.
	listeners []net.Listener
}

// key finds the world of a script.
type key struct{}

func setup(e *testscript.Env) error {
	t, ok := e.T().(testing.TB)
	if !ok {
		return errors.New("the scripts are not run by go test")
	}
	// Some scripts run lanhook as another user, who must be able to come here.
	if err := os.Chmod(filepath.Dir(e.WorkDir), 0o755); err != nil {
		return err
	}
	w := &world{t: t, spaces: map[string]*nettest.Space{}, jobs: map[string]*job{}, state: filepath.Join(e.WorkDir, "state")}
	if err := os.Mkdir(w.state, 0o700); err != nil {
		return err
	}
	if err := mountNew(w.state, "mode=0700"); err != nil {
		return err
	}
	e.Defer(func() {
		for _, l := range w.listeners {
			l.Close()
		}
		for _, j := range w.jobs {
			j.end()
		}
		w.left()
		// The lanhook of a runtime that was killed may still have the folder open.
		if err := syscall.Unmount(w.state, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w.net = nettest.New(t)
	w.spaces["host"], w.spaces["neighbour"] = w.net.Host, w.net.Neighbour
	e.Values[key{}] = w
	e.Setenv("HOST", strconv.Itoa(w.net.Host.PID))
	e.Setenv("PATH", filepath.Dir(program)+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	return nil
}

// left fails the test when a container has a record, and with it a lease.
func (w *world) left() {
	out, err := exec.Command(program, "--state-dir", w.state, "ls", "--json").CombinedOutput()
	if err != nil || string(out) != "[]\n" {
		w.t.Errorf("the script has left records behind: %v\n%s", err, out)
	}
}

func of(ts *testscript.TestScript) *world {
	w, ok := ts.Value(key{}).(*world)
	if !ok {
		ts.Fatalf("the script has no host")
	}
	return w
}

// run runs a program in a namespace with nothing on its standard input, and gives its exit code.
func (w *world) run(ts *testscript.TestScript, space, name string, args ...string) int {
	s := w.space(ts, space)
	var err error
	s.Do(w.t, func() { err = ts.Exec(name, args...) })
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}
