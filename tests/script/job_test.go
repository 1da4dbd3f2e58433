//go:build linux

package script

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// job is a program in the background.
type job struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	done           chan struct{}
	err            error
	// runtime says that lanhook is a child of the program.
	runtime bool
}

func (w *world) begin(ts *testscript.TestScript, args []string) {
	how := map[string]string{
		"hook": `exec "$@"`,
		// With something left to do the shell stays, and is lanhook's parent.
		"runtime": `"$@"; exit $?`,
	}[args[1]]
	if how == "" || w.jobs[args[0]] != nil {
		ts.Fatalf("begin JOB hook|runtime STAGE NAME flag…, each JOB once")
	}
	words := hook(how, args[2:])
	j := &job{cmd: exec.Command(words[0], words[1:]...), done: make(chan struct{}), runtime: args[1] == "runtime"}
	j.cmd.Dir, j.cmd.Stdout, j.cmd.Stderr = ts.MkAbs("."), &j.stdout, &j.stderr
	var err error
	w.net.Host.Do(w.t, func() { err = j.cmd.Start() })
	ts.Check(err)
	w.jobs[args[0]] = j
	go func() {
		j.err = j.cmd.Wait()
		close(j.done)
	}()
}

func (w *world) job(ts *testscript.TestScript, name string) *job {
	j := w.jobs[name]
	if j == nil {
		ts.Fatalf("there is no job %s", name)
	}
	return j
}

// end kills a job that a script left behind.
func (j *job) end() {
	select {
	case <-j.done:
	default:
		j.cmd.Process.Kill() //nolint:errcheck // it may have ended meanwhile
		<-j.done
	}
}

func (w *world) murder(ts *testscript.TestScript, args []string) {
	ts.Check(w.job(ts, args[0]).cmd.Process.Kill())
}

func (w *world) finish(ts *testscript.TestScript, args []string) {
	j := w.job(ts, args[0])
	select {
	case <-j.done:
	case <-time.After(2 * patience):
		ts.Fatalf("the job does not end")
	}
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](j.err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(j.err)
	}
	_, err := ts.Stdout().Write(j.stdout.Bytes())
	ts.Check(err)
	_, err = ts.Stderr().Write(j.stderr.Bytes())
	ts.Check(err)
	if !slices.Contains(args[1:], strconv.Itoa(code)) {
		ts.Fatalf("exit code %d", code)
	}
}

// watched waits until the job's lanhook has a pidfd of its parent and one of the container.
func (w *world) watched(ts *testscript.TestScript, args []string) {
	j := w.job(ts, args[0])
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		for _, pid := range j.lanhooks() {
			fds, err := filepath.Glob("/proc/" + pid + "/fd/*")
			ts.Check(err)
			watches := 0
			for _, fd := range fds {
				// A descriptor may be closed at any time.
				if what, err := os.Readlink(fd); err == nil && what == "anon_inode:[pidfd]" || pidfs(what) {
					watches++
				}
			}
			if watches >= 2 {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %s", patience)
		}
	}
}

// pidfs is how newer kernels show a pidfd.
func pidfs(what string) bool { return strings.HasPrefix(what, "pidfd:[") }

// lanhooks are the processes that may be the job's lanhook.
func (j *job) lanhooks() []string {
	pid := strconv.Itoa(j.cmd.Process.Pid)
	if !j.runtime {
		return []string{pid}
	}
	// Without a child yet, or without the file in this kernel, there is none.
	children, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	return strings.Fields(string(children))
}
