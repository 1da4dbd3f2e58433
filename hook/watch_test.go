package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds the wait for what happens at once on a machine that is not busy.
const patience = 10 * time.Second

// child starts a process that lives until its standard input is closed.
func child(t *testing.T) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		// Nobody else has waited for it: until here it was a zombie.
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return cmd.Process.Pid, func() {
		if err := stdin.Close(); err != nil {
			t.Error(err)
		}
	}
}

func newWatch(t *testing.T, names map[string]int) *watch {
	t.Helper()
	w := new(watch)
	t.Cleanup(func() {
		for _, fd := range w.fds {
			if err := unix.Close(int(fd.Fd)); err != nil {
				t.Error(err)
			}
		}
	})
	for name, pid := range names {
		if err := w.add(name, pid); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func TestWatch(t *testing.T) {
	runtime, endRuntime := child(t)
	container, endContainer := child(t)
	w := newWatch(t, map[string]int{"the runtime": runtime, "the container": container})
	ctx := newStageContext(time.Hour)
	ctx.follow(w)
	if err := w.check(); err != nil {
		t.Errorf("both live: %v", err)
	}
	if ctx.Err() != nil {
		t.Errorf("both live: %v", context.Cause(ctx))
	}
	endContainer()
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		t.Fatal("the container has died, and the context goes on")
	}
	want := fmt.Sprintf("the container, process %d, has died", container)
	if err := context.Cause(ctx); err == nil || err.Error() != want {
		t.Errorf("cause %v, want %s", err, want)
	}
	if err := w.check(); err == nil || err.Error() != want {
		t.Errorf("check says %v, want %s", err, want)
	}
	endRuntime()
}

func TestWatchNobody(t *testing.T) {
	// No process has a number above 2²² (PID_MAX_LIMIT, include/linux/threads.h).
	err := new(watch).add("the container", 1<<22+1)
	if want := "watch the container, process 4194305: no such process"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A pipe that nobody closes must not hold the hook for longer than its own time.
func TestStateWithoutEnd(t *testing.T) {
	stdin, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer writer.Close()
	for _, stage := range []struct {
		name string
		want int
	}{{"createRuntime", exitFailed}, {"poststop", exitDone}} {
		t.Run(stage.name, func(t *testing.T) {
			var out, errs lines
			code := run([]string{"hook", stage.name, "--timeout", "50ms", "--state-dir", t.TempDir()}, stdin, &out, &errs)
			if code != stage.want {
				t.Errorf("exit code %d, want %d", code, stage.want)
			}
			if want := "lanhook: read the container state: it took longer than 50ms\nhint: an OCI runtime gives it to its hooks on standard input\n"; string(errs) != want {
				t.Errorf("stderr %q, want %q", errs, want)
			}
			if len(out) > 0 {
				t.Errorf("stdout %q", out)
			}
		})
	}
}

// lines is what was written.
type lines []byte

func (l *lines) Write(p []byte) (int, error) {
	*l = append(*l, p...)
	return len(p), nil
}
