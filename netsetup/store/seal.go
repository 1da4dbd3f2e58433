package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The seal is one line in the lock file that describes the database as the last transaction left it: inode, size and
// times. While it fits, nobody else has written to the file and it is used as it is. When it does not, a writer was
// killed before it could renew the seal, which is harmless, or something else wrote to the file. bbolt itself trusts
// its file: damage makes it fault, turn in circles, take all memory or lose entries. So the whole file is checked
// then, see [check], before bbolt gets to see it. Checking it every time would make each attach slower with every
// container.
func seal(stat unix.Stat_t) string {
	return fmt.Sprintf("%020d %020d %020d.%09d %020d.%09d\n", stat.Ino, stat.Size,
		stat.Mtim.Sec, stat.Mtim.Nsec, stat.Ctim.Sec, stat.Ctim.Nsec)
}

// maxSeal is more than any seal has.
const maxSeal = 256

// verify checks the database when its seal does not fit. The lock is held.
func (s *Store) verify(lock *lockedFile, stat unix.Stat_t) error {
	buf := make([]byte, maxSeal)
	n, err := unix.Pread(lock.fd, buf, 0)
	if err != nil {
		return fileError("read", lock.path, err)
	}
	if string(buf[:n]) == seal(stat) {
		return nil
	}
	return s.checkFile(stat)
}

// maxFile bounds what is read into memory for a check: it is three hundred thousand records.
const maxFile = 1 << 30

func (s *Store) checkFile(stat unix.Stat_t) error {
	path := s.path(databaseName)
	if stat.Size > maxFile {
		return &DamagedError{File: path, Err: fmt.Errorf("it has %d bytes, more than any that lanhook wrote", stat.Size)}
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fileError("open", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err = first(err, file.Close()); err != nil {
		return fileError("read", path, err)
	}
	if err = check(data, os.Getpagesize()); err != nil {
		return &DamagedError{File: path, Err: err}
	}
	return nil
}

// renewSeal describes the database in the lock file after a commit. It returns an error when the database is no longer
// the file that before was taken of: then the commit went to a file that nobody will find. That the seal could not be
// written is none, for the transaction stands, and the next one only checks more than it had to.
func (s *Store) renewSeal(lock *lockedFile, before unix.Stat_t) error {
	after, err := s.stat()
	if err != nil {
		return err
	}
	if !sameFile(before, after) {
		return &FileError{
			Op: "commit to", Path: s.path(databaseName),
			Err: errors.New("another file has taken its place"), hint: "lanhook must be alone in its state directory",
		}
	}
	unix.Pwrite(lock.fd, []byte(seal(after)), 0) //nolint:errcheck // see above
	return nil
}
