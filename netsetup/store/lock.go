package store

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// lockMode is the way in which a lock file is locked.
type lockMode int

const (
	// shared opens the file to read, so that it works on a read-only file system, and does not make it.
	shared lockMode = unix.LOCK_SH
	// exclusive makes the file when it is missing.
	exclusive lockMode = unix.LOCK_EX
)

// lockedFile is a lock that is held. The kernel drops it when the process dies. It is a bare descriptor: os.File would
// ask the kernel five times what kind of file it has.
type lockedFile struct {
	// fd is -1 when the lock was released.
	fd   int
	path string
}

// release closes the file, and thereby unlocks it. A second call does nothing.
func (l *lockedFile) release() error {
	if l.fd < 0 {
		return nil
	}
	fd := l.fd
	l.fd = -1
	if err := unix.Close(fd); err != nil {
		return fileError("close", l.path, err)
	}
	return nil
}

// openFile opens a file that is no link, again when a signal came in between.
func openFile(path string, flags int, mode os.FileMode) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(mode.Perm()))
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// lock takes the lock file name, and waits for it until ctx is done.
func (s *Store) lock(ctx context.Context, name string, mode lockMode) (*lockedFile, error) {
	flags := os.O_RDWR | os.O_CREATE
	if mode == shared {
		flags = os.O_RDONLY
	}
	path := s.path(name)
	for {
		fd, err := openFile(path, flags, 0o600)
		if err != nil {
			return nil, fileError("open", path, err)
		}
		if err = flock(ctx, fd, mode); err != nil {
			return nil, fileError("lock", path, err)
		}
		same, err := current(fd, path)
		if same {
			return &lockedFile{fd, path}, nil
		}
		// The directory was emptied or replaced while we waited. The lock of a file that is gone guards nothing, for
		// others make and lock another: begin again with theirs.
		err = first(err, unix.Close(fd))
		if err != nil {
			return nil, fileError("lock", path, err)
		}
	}
}

// current reports whether path still names the open file fd.
func current(fd int, path string) (bool, error) {
	var ours, there unix.Stat_t
	if err := unix.Fstat(fd, &ours); err != nil {
		return false, err
	}
	err := unix.Lstat(path, &there)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && sameFile(ours, there), err
}

func sameFile(a, b unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// lockShared is lock in the shared mode, for a file that may not be there yet.
func (s *Store) lockShared(ctx context.Context, name string) (*lockedFile, error) {
	lock, err := s.lock(ctx, name, shared)
	if !errors.Is(err, fs.ErrNotExist) {
		return lock, err
	}
	path := s.path(name)
	fd, err := openFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fileError("make", path, err)
	}
	if err := unix.Close(fd); err != nil {
		return nil, fileError("close", path, err)
	}
	return s.lock(ctx, name, shared)
}

// flock locks a file. When ctx is done first it returns ctx's error; on each error it closes the file. bbolt has a lock of
// its own, but looks for it only every 50 ms and knows no context, so it is taken only while this one is held.
func flock(ctx context.Context, fd int, mode lockMode) error {
	err := flockRetry(fd, int(mode)|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		if err != nil {
			return first(err, unix.Close(fd))
		}
		return nil
	}
	// flock(2) cannot be told to stop waiting. The goroutine that waits outlives a deadline by as long as the lock is
	// not ours, then gives it back at once.
	done := make(chan error)
	go func() {
		waited := flockRetry(fd, int(mode))
		select {
		case done <- waited:
		case <-ctx.Done():
			unix.Close(fd) //nolint:errcheck // nobody is left to hear of it, and nothing was written
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			return first(err, unix.Close(fd))
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func flockRetry(fd, how int) error {
	for {
		err := unix.Flock(fd, how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
