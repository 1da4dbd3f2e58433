// Package store keeps what an attach has done: records and leases go in, and come out again for whoever detaches,
// lists or collects. It is the only package that opens the database.
//
//	/run/lanhook/            0700, of the user lanhook runs as. A tmpfs: state ends with the boot, as namespaces do
//	├── state.db             0600, bbolt, layout below. Open only within a transaction
//	├── state.db.new         a database that was being made when its maker died; the next one writes over it
//	├── lock                 0600, flock(2): one writer, or many readers, of state.db. Holds the seal, see [seal]
//	├── shared.lock          0600, flock(2): users of shared links against the remover of one, see [Store.LockShared]
//	├── turn.lock            0600, flock(2): whoever is next to take shared.lock, see [Store.LockShared]
//	├── guest.lock           0600, flock(2): one writer of what is below guest, see package guest
//	└── guest                0700, the files that containers read, see package guest
//
//	state.db
//	├── records              container \0 id                 → the record, see Record.fields
//	├── leases               scope \0 "a" address            → the lease, see Lease.value; 4 or 16 bytes of address
//	│                        scope \0 "m" address            → the same; 6 bytes of address
//	├── shared               name \0 container \0 id         → nothing; the name is a link's, "names/" and a network's,
//	│                                                           or "guest/" and a key of guest files
//	├── foreign              scope \0 address               → who else on a LAN has it, see Foreign.value; 4 or 16 bytes
//	└── interfaces           "c" netns cookie, interface     → container \0 id; cookie and inode are 8 bytes,
//	                         "i" netns inode, interface        big-endian; by inode where the kernel has no cookies
//	                         …, "/" container \0 id           → the same, for a record without interfaces; no interface
//	                                                           has a slash in its name
//
// Every value begins with four bytes of checksum over key and value, and the sequence number of each bucket counts its
// keys, so that damage is found and never read as data. A transaction takes the lock, opens the database, works,
// commits, closes it and unlocks: a process that is killed anywhere leaves the state before or the state after.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The names within the state directory.
const (
	databaseName   = "state.db"
	newName        = "state.db.new"
	lockName       = "lock"
	sharedLockName = "shared.lock"
	turnLockName   = "turn.lock"
)

// Store is a state directory. It holds nothing open: every method may be called at any time, by any number of
// goroutines and processes. Only a transaction within a transaction would wait for itself.
type Store struct {
	dir string
	// volatile is true when the directory does not outlive the boot.
	volatile bool
}

// Open makes the state directory dir when it is missing, mode 0700, and checks it: it must be a directory, not a link
// to one, of the user lanhook runs as, and not writable by others. The error is a [*FileError]. No database is made
// yet.
func Open(dir string) (*Store, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fileError("make state directory", dir, err)
		}
		info, err = os.Lstat(dir)
	}
	if err != nil {
		return nil, fileError("look at state directory", dir, err)
	}
	if err := checkDir(info); err != nil {
		return nil, &FileError{Op: "use state directory", Path: dir, Err: err, hint: "remove it, or name another with --state-dir"}
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return nil, fileError("look at the file system of", dir, err)
	}
	// The constants are untyped and the field's type differs between architectures; both magics fit in 32 bits.
	magic := uint32(stat.Type) //nolint:gosec // the magics of statfs(2) are 32 bits wide
	return &Store{dir: dir, volatile: magic == unix.TMPFS_MAGIC || magic == unix.RAMFS_MAGIC}, nil
}

func checkDir(info fs.FileInfo) error {
	if !info.IsDir() {
		return errors.New("it is not a directory")
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner is unknown")
	}
	if euid := os.Geteuid(); int(stat.Uid) != euid {
		return fmt.Errorf("it belongs to user %d, not to user %d", stat.Uid, euid)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Errorf("others may write to it (mode %04o)", perm)
	}
	return nil
}

// Dir is the state directory.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Update runs fn within a transaction that may write. It waits for other transactions until ctx is done. When fn
// returns an error, or ctx is done by then, nothing has changed; fn's error is returned as it is. Other errors are
// [*FileError] and [*DamagedError].
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) (err error) {
	lock, err := s.lock(ctx, lockName, exclusive)
	if err != nil {
		return err
	}
	defer func() { err = first(err, lock.release()) }()
	info, err := s.ready(lock)
	if err != nil {
		return err
	}
	if err := s.transact(ctx, writable, fn); err != nil {
		return err
	}
	return s.renewSeal(lock, info)
}

// ready makes the database when there is none, and checks it otherwise. The lock is held.
func (s *Store) ready(lock *lockedFile) (unix.Stat_t, error) {
	stat, err := s.stat()
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.create(); err != nil {
			return unix.Stat_t{}, err
		}
		return s.stat()
	}
	if err != nil {
		return unix.Stat_t{}, err
	}
	return stat, s.verify(lock, stat)
}

// View runs fn within a transaction that may only read. It waits for writers until ctx is done. Without a database the
// transaction sees an empty one, and none is made. Errors are those of [Store.Update].
func (s *Store) View(ctx context.Context, fn func(*Tx) error) (err error) {
	empty := &Tx{ctx: ctx, file: s.path(databaseName)}
	if _, err = s.stat(); errors.Is(err, fs.ErrNotExist) {
		return fn(empty)
	}
	lock, err := s.lockShared(ctx, lockName)
	if err != nil {
		return err
	}
	defer func() { err = first(err, lock.release()) }()
	info, err := s.stat()
	if errors.Is(err, fs.ErrNotExist) {
		return fn(empty)
	}
	if err != nil {
		return err
	}
	if err := s.verify(lock, info); err != nil {
		return err
	}
	return s.transact(ctx, readOnly, fn)
}

// first is the first error. What follows one is of no use to anybody, and messages have one line.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) stat() (unix.Stat_t, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(s.path(databaseName), &stat); err != nil {
		return unix.Stat_t{}, fileError("look at", s.path(databaseName), err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.Stat_t{}, &FileError{Op: "open", Path: s.path(databaseName), Err: errors.New("it is not a file")}
	}
	return stat, nil
}

// LockShared says that the caller is about to use shared links that others may use too. It is held from the moment
// before the record is written until the link is in use, for as long as which the kernel does not yet show the use.
// It waits for a holder of [Store.LockExclusive] until ctx is done. The release may be called more than once.
//
// Whoever holds this lock, either way, waits for no other one of the directory but that of a transaction, within which
// nobody waits for this; nor for this one a second time, which flock(2) would not know for the same holder's. To have it
// alone it is given up first, and what was true before is looked at again.
func (s *Store) LockShared(ctx context.Context) (release func(), err error) {
	return s.inTurn(ctx, s.lockShared)
}

// LockExclusive says that the caller is about to remove something shared that it was the last to use, or needs to know
// that nobody else changes what records share. It waits for all holders of [Store.LockShared] until ctx is done; who
// wants a lock after it waits for it. The release may be called more than once.
func (s *Store) LockExclusive(ctx context.Context) (release func(), err error) {
	return s.inTurn(ctx, func(ctx context.Context, name string) (*lockedFile, error) {
		return s.lock(ctx, name, exclusive)
	})
}

// inTurn takes the lock on shared links when it is the caller's turn, for which it has a lock of its own. flock(2) lets
// whoever shares a lock in before one who waits to have it alone: many attaches, one after the other, would keep a detach
// out for as long as they come.
func (s *Store) inTurn(ctx context.Context, take func(context.Context, string) (*lockedFile, error)) (func(), error) {
	turn, err := s.lock(ctx, turnLockName, exclusive)
	if err != nil {
		return nil, err
	}
	lock, err := take(ctx, sharedLockName)
	if err = first(err, turn.release()); err != nil {
		if lock != nil {
			lock.release() //nolint:errcheck // the other error is the one to tell
		}
		return nil, err
	}
	return func() {
		lock.release() //nolint:errcheck // the lock goes whether or not close has an error, and nothing was written
	}, nil
}
