package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile lies in the state directory, beside the folder of guest files.
const lockFile = "guest.lock"

// maxPause is how long a waiter sleeps between two looks at the lock. It is held for some milliseconds.
const maxPause = 10 * time.Millisecond

// Lock says that the caller is about to change guest files, or hosts files in them: of those who do, one at a time may.
// It waits for others until ctx is done, and is never taken within a transaction of the store, for who holds it may begin
// one. The release may be called more than once.
func (d Dir) Lock(ctx context.Context) (release func(), err error) {
	if err = d.ready(); err != nil {
		return nil, err
	}
	path := filepath.Join(d.state, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the guest files: %w", err)
	}
	for pause := time.Millisecond; ; pause = min(2*pause, maxPause) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil //nolint:errcheck // the lock goes with it, and nothing was written
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = sleep(ctx, pause)
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
	}
}

// sleep waits, or gives the reason why ctx is done.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ready makes the state directory when it is missing, and checks it as [store.Open] does: what lies in it becomes part
// of containers.
func (d Dir) ready() error {
	info, err := os.Lstat(d.state)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(d.state, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make state directory: %w", err)
		}
		info, err = os.Lstat(d.state)
	}
	if err != nil {
		return fmt.Errorf("look at state directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("use state directory %s: it is no directory of this user's that others may not write to", d.state)
	}
	return nil
}
