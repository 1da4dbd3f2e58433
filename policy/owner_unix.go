//go:build unix

package policy

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// checksOwner says whether files have an owner and mode here.
const checksOwner = true

// open opens a file for reading, and does not wait for a writer where it is a named pipe. What it gives is a blocking
// file: any other would set the runtime's poller up, which takes longer than to read a policy, and there is nothing that
// could come later.
func open(path string) (*os.File, error) {
	fail := func(err error) (*os.File, error) { return nil, &fs.PathError{Op: "open", Path: path, Err: err} }
	fd, err := -1, error(syscall.EINTR)
	for errors.Is(err, syscall.EINTR) { // as file systems in user space may answer
		fd, err = syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	}
	if err != nil {
		return fail(err)
	}
	if err = syscall.SetNonblock(fd, false); err != nil {
		return fail(errors.Join(err, syscall.Close(fd)))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// owner is a file's user id, and whether that is root or who we are.
func owner(info fs.FileInfo) (uid int, mine bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, false
	}
	uid = int(st.Uid)
	return uid, uid == 0 || uid == os.Geteuid()
}
