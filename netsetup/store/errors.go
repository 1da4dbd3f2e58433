package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"
)

// FileError says which file or directory of the state could not be used, and why. It unwraps to the cause, such as
// syscall.ENOSPC or context.DeadlineExceeded.
type FileError struct {
	// Op is what was being done, such as "open".
	Op   string
	Path string
	Err  error

	hint string
}

func (e *FileError) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err) }

// Unwrap is the cause.
func (e *FileError) Unwrap() error { return e.Err }

// Hint says what would help, "" for nothing.
func (e *FileError) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	switch {
	case errors.Is(e.Err, syscall.ENOSPC), errors.Is(e.Err, syscall.EDQUOT):
		return "make room on the file system of the state directory, or name another with --state-dir"
	case errors.Is(e.Err, syscall.EROFS):
		return "name a state directory on a file system that can be written with --state-dir"
	case errors.Is(e.Err, syscall.EACCES), errors.Is(e.Err, syscall.EPERM):
		return "lanhook works as root, or with a state directory of its own user given with --state-dir"
	case errors.Is(e.Err, fs.ErrNotExist):
		return "the state directory was removed meanwhile, or the directory above it is missing"
	case errors.Is(e.Err, context.DeadlineExceeded):
		return "another lanhook holds the lock; /proc/locks tells its process id"
	case errors.Is(e.Err, bolterrors.ErrTimeout):
		return "another program has the database open"
	}
	return ""
}

// fileError makes a [*FileError] of an error about path. What os says of the call and the path is left out, for both
// stand in the message already.
func fileError(op, path string, err error) error {
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = inner.Err
	}
	return &FileError{Op: op, Path: path, Err: err}
}

// DamagedError says that the database is not what lanhook wrote.
type DamagedError struct {
	// File is the database.
	File string
	// Key is the entry that is damaged, "" when it is not a single one.
	Key string
	Err error
}

func (e *DamagedError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("read %s: the database is damaged: %v", e.File, e.Err)
	}
	return fmt.Sprintf("read %s: the database is damaged at %s: %v", e.File, e.Key, e.Err)
}

// Unwrap is the cause.
func (e *DamagedError) Unwrap() error { return e.Err }

// Hint says what would help.
func (e *DamagedError) Hint() string {
	return "stop the containers that use lanhook, move the file away, and start them again"
}

// VersionError says that a record was written by another version of lanhook, and cannot be undone by this one.
type VersionError struct {
	// File and Key say where the record stands; both are "" when it was not read from a database.
	File, Key string
	// Got is the record's version, Want is [Version].
	Got, Want int
}

func (e *VersionError) Error() string {
	text := fmt.Sprintf("record version %d cannot be read, this lanhook knows version %d", e.Got, e.Want)
	if e.Key == "" {
		return text
	}
	return fmt.Sprintf("read %s: %s: %s", e.File, e.Key, text)
}

// Hint says which lanhook can read the record.
func (e *VersionError) Hint() string {
	if e.Got > e.Want {
		return "a newer lanhook wrote it: use that one until the container has been stopped"
	}
	return "an older lanhook wrote it: use that one until the container has been stopped"
}

// InUseError says that an address or an interface belongs to another record.
type InUseError struct {
	// What is the thing, such as "address 192.0.2.7 of lan".
	What string
	// Holder is the record that has it.
	Holder Ref
	// Name is the holder's workload, "" when that is not known or is the container's id.
	Name string
	// IfName is the holder's interface, "" when unknown.
	IfName string
}

func (e *InUseError) Error() string {
	holder := "container " + e.Holder.Container
	if e.Name != "" {
		holder += " (" + e.Name + ")"
	}
	if e.IfName != "" {
		holder = "interface " + e.IfName + " of " + holder
	}
	return e.What + " is in use by " + holder
}

// Hint says what would help.
func (e *InUseError) Hint() string {
	return "stop that container, or run lanhook gc if it is no longer there"
}
