//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// This is the only file in which a thread is in another network namespace.
//
// A thread goes there for a visit: it opens one socket or writes the settings of one step, some microseconds, and goes
// back before its goroutine may leave it. A thread that lived inside would have to be started, and each call handed over
// to it, which takes longer than all that is done there. The runtime never starts a thread from one that a goroutine
// holds locked (runtime.LockOSThread), so none is born inside.
//
// The visitor may be the main thread, whose namespace /proc/PID/ns/net shows as the process's. Whoever looks in these
// microseconds sees the container's; nobody may conclude from one look that a process is a container's (see
// [Living.Path]).

// threadNamespace is the file of the calling thread's network namespace; /proc/self would be the main thread's.
const threadNamespace = "/proc/thread-self/ns/net"

var (
	errClosed = errors.New("the network namespace is closed")
	errLost   = errors.New("a thread could not leave a container's network namespace before, so nothing more is done")
)

// home is the host's namespace, where threads are between visits.
type home struct {
	file  nsFile
	inode uint64
	// lost is set when a thread could not go back. It stays locked until its goroutine ends, and from then on
	// nothing is done any more: the thread of this goroutine could be the one.
	lost atomic.Bool
}

// visit runs fn on the calling thread inside target and brings the thread back to where it was. fn must not start
// goroutines that count on being inside.
//
// That is the host's namespace as a rule. It is not when the host is a namespace that only the thread was in which
// called [Open], as in tests.
func (h *home) visit(target nsFile, inode uint64, fn func() error) (err error) {
	if h.lost.Load() {
		return errLost
	}
	runtime.LockOSThread()
	stay := false
	defer func() {
		if !stay {
			runtime.UnlockOSThread()
		}
	}()
	now, err := threadInode()
	if err != nil {
		return err
	}
	if now == inode {
		return fn()
	}
	back := h.file
	if now != h.inode {
		if back, err = openNamespace(threadNamespace); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, back.close()) }()
	}
	// Who has rights over the container's namespace but none over the host's could go in and not out again. To go where
	// the thread is already asks for the same rights and changes nothing.
	if err = setns(back); err == nil {
		err = setns(target)
	}
	if err != nil {
		return failed(err, "enter network namespace %s", target.path)
	}
	// fn may panic, or end its goroutine.
	defer func() {
		if backErr := setns(back); backErr != nil {
			stay = true
			h.lost.Store(true)
			err = errors.Join(err, failed(backErr, "leave network namespace %s", target.path))
		}
	}()
	return fn()
}

func setns(f nsFile) error { return unix.Setns(f.fd, unix.CLONE_NEWNET) }

// threadInode is the inode of the calling thread's namespace. To read the link is cheaper than to open the file.
func threadInode() (uint64, error) {
	var buf [64]byte
	n, err := unix.Readlink(threadNamespace, buf[:])
	if err != nil {
		return 0, fmt.Errorf("look at network namespace %s: %w", threadNamespace, err)
	}
	inode, ok := parseNamespace(string(buf[:n]))
	if !ok {
		return 0, fmt.Errorf("look at network namespace %s: %q names none", threadNamespace, buf[:n])
	}
	return inode, nil
}

// dialAlone makes a network namespace and gives a socket of it, which alone holds it: it ends when the socket is closed.
func dialAlone() (*conn, error) {
	var c *conn
	err := alone(func() (err error) {
		c, err = dial()
		return err
	})
	if err == nil {
		c.home = &home{}
	}
	return c, err
}

// alone runs do in a network namespace that it makes, which ends with what do leaves open of it. A thread that cannot go
// back stays locked to its goroutine.
func alone(do func() error) (err error) {
	runtime.LockOSThread()
	back, err := openNamespace(threadNamespace)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { err = errors.Join(err, back.close()) }()
	if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return failed(err, "make a network namespace")
	}
	err = do()
	if backErr := setns(back); backErr != nil {
		return errors.Join(err, failed(backErr, "leave a network namespace"))
	}
	runtime.UnlockOSThread()
	return err
}

// dialHere opens the calling thread's namespace: its file, and a socket of the same one. The thread may change between the
// two, but only for another one of the runtime's, which are all where this one is: whoever is elsewhere, on a visit or in
// a test, is locked to its thread. To lock it here would start a thread that a detach has no other use for.
func dialHere() (nsFile, *conn, error) {
	file, err := openNamespace(threadNamespace)
	if err != nil {
		return nsFile{}, nil, err
	}
	c, err := dial()
	if err != nil {
		return nsFile{}, nil, errors.Join(err, file.close())
	}
	return file, c, nil
}

// nsFile is an open file that holds a network namespace. It is no os.File, which would be handed to the runtime's
// poller, whose thread then wakes up to find nothing.
type nsFile struct {
	fd   int
	path string
}

func (f nsFile) close() error {
	if err := unix.Close(f.fd); err != nil {
		return fmt.Errorf("close network namespace %s: %w", f.path, err)
	}
	return nil
}

func (f nsFile) inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, fmt.Errorf("look at network namespace %s: %w", f.path, err)
	}
	return st.Ino, nil
}

// openNamespace opens a file that holds a network namespace, and refuses any other file. A FIFO does not make it wait.
func openNamespace(path string) (nsFile, error) {
	fail := func(cause string, err error) error {
		return &Error{
			Op: "open network namespace " + path, Cause: cause, Err: err,
			hint: "a network namespace is named by /proc/PID/ns/net or by a file below /run/netns",
		}
	}
	fd, err := openRetry(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			return nsFile{}, fail("there is none, or its process has ended", err)
		}
		return nsFile{}, fail("", err)
	}
	file := nsFile{fd, path}
	var st unix.Statfs_t
	if err = unix.Fstatfs(fd, &st); err != nil {
		return nsFile{}, errors.Join(fail("", err), file.close())
	}
	if st.Type != unix.NSFS_MAGIC {
		return nsFile{}, errors.Join(fail("it is no namespace but an ordinary file", unix.EINVAL), file.close())
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return nsFile{}, errors.Join(fail("", err), file.close())
	}
	if kind != unix.CLONE_NEWNET {
		return nsFile{}, errors.Join(fail("it is a namespace of another kind", unix.EINVAL), file.close())
	}
	return file, nil
}
