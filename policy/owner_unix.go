//go:build unix

package policy

import (
	"io/fs"
	"os"
	"syscall"
)

// checksOwner says whether files have an owner and mode here.
const checksOwner = true

// open opens a file for reading, and does not wait for a writer where it is a named pipe.
func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // #nosec G304 -- the administrator names it
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
