package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// watch tells when one of the processes that an attach is for has died. When a runtime is killed while its hook works, the
// hook lives on, the container does not, and no poststop is ever called: so the hook itself must notice and take
// everything back.
type watch struct {
	fds   []unix.PollFd
	names []string
}

// add begins to watch a process. A process that is gone already is an error.
func (w *watch) add(what string, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("watch %s, process %d: %w", what, pid, err)
	}
	w.fds = append(w.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) //nolint:gosec // G115: a descriptor is small
	w.names = append(w.names, fmt.Sprintf("%s, process %d,", what, pid))
	return nil
}

// check says whether all watched processes live right now.
func (w *watch) check() error { return w.poll(0) }

// poll waits at most timeout milliseconds, -1 for ever, for a watched process to die.
func (w *watch) poll(timeout int) error {
	fds := append([]unix.PollFd(nil), w.fds...)
	for {
		n, err := unix.Poll(fds, timeout)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("watch the container: %w", err)
		}
		if n == 0 {
			return nil
		}
		for i, fd := range fds {
			if fd.Revents != 0 {
				return fmt.Errorf("%s has died", w.names[i])
			}
		}
	}
}
