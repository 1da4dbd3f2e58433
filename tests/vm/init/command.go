//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

// Exit statuses of a command that could not be started, as shells have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// command runs the one command that the guest was started for, and tells the host how it ended.
func (p ports) command(told spec.Run) error {
	attr := &syscall.ProcAttr{Dir: told.Dir, Env: told.Env, Sys: &syscall.SysProcAttr{Setsid: true}}
	var streams []*stream
	if told.Mode == spec.Shell {
		terminal, err := openTerminal(told)
		if err != nil {
			return err
		}
		attr.Files = []uintptr{terminal, terminal, terminal}
		attr.Sys.Setctty = true
	} else {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer null.Close()
		attr.Files = []uintptr{null.Fd()}
		for _, port := range []*os.File{p.out, p.err} {
			s, err := newStream(port)
			if err != nil {
				return err
			}
			streams = append(streams, s)
			attr.Files = append(attr.Files, s.write.Fd())
		}
	}
	if err := p.say(spec.WordStart); err != nil {
		return err
	}
	pid, err := start(told.Args, attr)
	if err != nil {
		if p.err != nil {
			fmt.Fprintf(p.err, "%s: %v\n", told.Args[0], err)
		}
		return p.say("%s %d", spec.WordExit, exitOf(err))
	}
	for _, s := range streams {
		_ = s.write.Close()
	}
	if told.Timeout > 0 {
		time.AfterFunc(told.Timeout, func() {
			if err := p.say(spec.WordTimeout); err != nil {
				fmt.Fprintln(os.Stderr, "init:", err)
			}
			signal(pid, unix.SIGQUIT)
			time.AfterFunc(spec.Grace, func() { signal(pid, unix.SIGKILL) })
		})
	}
	status, err := await(pid)
	if err != nil {
		return err
	}
	for _, s := range streams {
		s.finish()
	}
	return p.say("%s %d", spec.WordExit, exitStatus(status))
}

// signal sends a signal to a command's process group. One that has ended needs none.
func signal(pid int, number unix.Signal) {
	if err := unix.Kill(-pid, number); err != nil && !errors.Is(err, unix.ESRCH) {
		fmt.Fprintf(os.Stderr, "init: send %s to %d: %v\n", number, pid, err)
	}
}

// await waits for the end of a process.
func await(pid int) (unix.WaitStatus, error) {
	// As the first process it also reaps those that have lost their parent.
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return status, fmt.Errorf("wait for the command: %w", err)
		}
		if ended == pid {
			return status, nil
		}
	}
}

// start starts a command that PATH leads to.
func start(args []string, attr *syscall.ProcAttr) (int, error) {
	if attr.Dir != "" {
		// What fails for want of the folder would else look like a missing program.
		if err := os.Chdir(attr.Dir); err != nil {
			return 0, err
		}
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return 0, err
	}
	return syscall.ForkExec(program, args, attr)
}

func exitOf(err error) int {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return exitNotFound
	}
	return exitNotExecutable
}

func exitStatus(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// openTerminal opens the virtio console, which the host's terminal is connected to, and gives it that one's size.
func openTerminal(told spec.Run) (uintptr, error) {
	fd, err := unix.Open("/dev/hvc0", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open the terminal: %w", err)
	}
	size := &unix.Winsize{Row: told.Rows, Col: told.Columns}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size); err != nil {
		return 0, fmt.Errorf("set the terminal's size: %w", err)
	}
	return uintptr(fd), nil
}
