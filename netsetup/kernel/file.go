//go:build linux

package kernel

import (
	"errors"
	"fmt"

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

// smallFile is more than the kernel writes into any file that [readFile] is for.
const smallFile = 4096

// readFile reads a small file of the kernel's, which comes with one read(2).
func readFile(path string) ([]byte, error) {
	fd, err := openRetry(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // a file that was only read
	buf := make([]byte, smallFile)
	n, err := unix.Read(fd, buf)
	switch {
	case err != nil:
		return nil, err
	case n == len(buf):
		return nil, fmt.Errorf("it has more than %d bytes", n-1)
	}
	return buf[:n], nil
}
