//go:build linux

package kernel

import (
	"errors"

	"golang.org/x/sys/unix"
)

// The files of the kernel are read and written as they are, without os.File: that asks up to five times what kind of
// file it has, and hands some of them to the runtime's poller, whose thread then wakes up to find nothing.

// openRetry opens a file again when a signal came in between; the runtime sends some.
func openRetry(path string, flags int) (int, error) { return openAt(unix.AT_FDCWD, path, flags) }

func openAt(dir int, path string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, path, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
