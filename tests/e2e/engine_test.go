//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests whose names begin with TestEngine are the lane check-engines: containerd and Docker, in the versions of
// .ci/engines.txt, start containers with lanhook as it is installed. They share the private host with the other tests
// of this package, which is why they are in it.

// site is the private host as engines see it: lanhook is in /usr/local, and /etc, /opt and /var/lib are the host's own. The
// engines have their files where they have them on every machine, since lanhook knows them by that.
type site struct {
	*host
	// image is a tar of the one image there is.
	image string
}

// newSite makes the host's folders and takes them away again, with all that an engine has left in them.
func newSite(t *testing.T) *site {
	t.Helper()
	h := newHost(t, "runc", "crun")
	if !strings.HasSuffix(h.bin, "/usr/local/bin/lanhook") {
		missing(t, "needs lanhook as it is installed (make check-engines)")
	}
	s := &site{host: h, image: filepath.Join(h.dir, "image.tar")}
	before := names(t, "/run")
	layer := filepath.Join(h.dir, "etc")
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	if err := makeDirs(upper, work); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(upper, 0o755); err != nil {
		t.Fatal(err)
	}
	s.mount(t, "overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work)
	s.mount(t, "tmpfs", "/var/lib", "tmpfs", 0, "mode=755")
	s.mount(t, "tmpfs", "/opt", "tmpfs", 0, "mode=755")
	s.mount(t, filepath.Dir(filepath.Dir(h.bin)), "/usr/local", "", syscall.MS_BIND, "")
	t.Cleanup(func() {
		s.clear(t)
		for _, name := range names(t, "/run") {
			if !slices.Contains(before, name) {
				if err := os.RemoveAll(filepath.Join("/run", name)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if err := makeDirs("/etc/lanhook"); err != nil {
		t.Fatal(err)
	}
	writeImage(t, s.image)
	return s
}

func (s *site) mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s on %s: %v", source, target, err)
	}
	t.Cleanup(func() { unmount(t, target) })
}

// names are the entries of a folder.
func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.Name()
	}
	return list
}

// clear ends what a failed test has left, so that it does not disturb the next one. After a test that has passed there
// is nothing but mounts that engines keep for themselves, such as Docker's of the host's namespace.
func (s *site) clear(t *testing.T) {
	t.Helper()
	if t.Failed() {
		endAll(t)
	}
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	slices.Reverse(lines)
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		for _, engine := range []string{"/run/containerd/", "/run/docker/", "/run/netns/cni-", "/var/lib/"} {
			if strings.HasPrefix(fields[1], engine) {
				unmount(t, fields[1])
			}
		}
	}
}

// endAll kills every process of the private host but its first one and the tests.
func endAll(t *testing.T) {
	t.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil || !private() || pid == 1 || pid == os.Getpid() {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("kill what is left: %v", err)
		}
	}
	eventually(func() bool {
		paths, _ = filepath.Glob("/proc/[0-9]*")
		return len(paths) <= 2
	})
}

// runtime writes runtime.toml: which runtime lanhook-runtime stands for, and where policy and state are.
func (s *site) runtime(t *testing.T, path string) {
	t.Helper()
	text := fmt.Sprintf("version = 1\nruntime = %q\npolicy = %q\nstate-dir = %q\n%s", path, s.policy, s.state, profileText())
	write(t, "/etc/lanhook/runtime.toml", text)
}

// unchanged compares the host before and after a test that shares its engine with others. The containers of one that
// failed are removed, or they would fail the others too.
func (s *site) unchanged(t *testing.T, c contender, names ...string) {
	t.Helper()
	before := s.snapshot(t)
	t.Cleanup(func() {
		if !t.Failed() {
			s.same(t, before)
			return
		}
		for _, name := range names {
			c.remove(t, name)
		}
		s.lanhook(t, "gc")
	})
}

// runtimePath is the runtime that an engine is tested with. Those of Debian do not know what newer engines ask for.
func (s *site) runtimePath(t *testing.T, e engine, program string) string {
	t.Helper()
	if !e.old() {
		return newEngine(t, program, "").program(program)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// engine is one version of one engine.
type engine struct {
	name, version, dir string
}

// newEngine finds the engine of .ci/engines.txt whose version begins so.
func newEngine(t *testing.T, name, prefix string) engine {
	t.Helper()
	data, err := os.ReadFile("../../.ci/engines.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] != name || !strings.HasPrefix(fields[1], prefix) {
			continue
		}
		dir, err := filepath.Abs("../../bin/engines/" + name + "-" + fields[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); err != nil {
			missing(t, "needs %s %s (make engines): %v", name, fields[1], err)
		}
		return engine{name: name, version: fields[1], dir: dir}
	}
	t.Fatalf(".ci/engines.txt has no %s %s", name, prefix)
	return engine{}
}

// old says that the engine is of the age of Debian's runtimes.
func (e engine) old() bool { return e.version == "1.6.20" || e.version == "20.10.24" }

// program is the path of one of the engine's programs.
func (e engine) program(name string) string { return filepath.Join(e.dir, name) }

// daemon is a running engine.
type daemon struct {
	command *exec.Cmd
	args    []string
	path    string
	log     string
	ended   chan error
	ready   func() error
}

// start starts an engine with its own programs first in PATH, and waits until it answers.
func (s *site) start(t *testing.T, e engine, program string, ready func() error, args ...string) *daemon {
	t.Helper()
	d := &daemon{
		args: append([]string{e.program(program)}, args...), ready: ready,
		path: e.dir + ":" + os.Getenv("PATH"), log: filepath.Join(s.dir, program+".log"),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", d.args[0], tail(d.log))
		}
	})
	d.begin(t)
	t.Cleanup(func() { d.stop(t) })
	return d
}

func (d *daemon) begin(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.command = exec.Command(d.args[0], d.args[1:]...)
	d.command.Env = append(os.Environ(), "PATH="+d.path)
	d.command.Stdout, d.command.Stderr = log, log
	if err := d.command.Start(); err != nil {
		t.Fatalf("start %s: %v", d.args[0], err)
	}
	d.ended = make(chan error, 1)
	go func(c *exec.Cmd, ended chan<- error) { ended <- c.Wait() }(d.command, d.ended)
	var answer error
	if !eventually(func() bool {
		select {
		case end := <-d.ended:
			t.Fatalf("%s has ended: %v\n%s", d.args[0], end, tail(d.log))
		default:
		}
		answer = d.ready()
		return answer == nil
	}) {
		t.Fatalf("%s does not answer: %v", d.args[0], answer)
	}
}

// stop ends the engine as an administrator does.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if err := d.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case <-d.ended:
	case <-time.After(patience):
		t.Errorf("%s does not stop", d.args[0])
		d.kill9(t)
	}
}

// kill9 ends the engine as the kernel does when memory is short.
func (d *daemon) kill9(t *testing.T) {
	t.Helper()
	if err := d.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.ended
}

// tail is the end of a file.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const enough = 6000
	return string(data[max(0, len(data)-enough):])
}
