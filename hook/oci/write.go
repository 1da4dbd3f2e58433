package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces a file as a whole: readers see the old bytes or the new ones, also after a crash. It keeps the mode
// and the owner of the file that is there; a new one has mode 0644, since podman reads its hooks as any user, and is the
// caller's. What is there and is not a regular file is refused, a symbolic link too: the link would be lost. Errors are
// an [*Error].
func WriteFile(path string, data []byte) error { return replace(path, data, lasting) }

// WriteVolatile is [WriteFile] for a file that nobody reads again after a crash of the machine, such as the config.json
// of a container that is about to start: it does not wait for the disk.
func WriteVolatile(path string, data []byte) error { return replace(path, data, volatile) }

// endurance says whether a file has to survive a crash of the machine.
type endurance uint8

const (
	lasting endurance = iota
	volatile
)

func replace(path string, data []byte, how endurance) error {
	e := &Error{Doing: "write " + path}
	old, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		old = nil
	case err != nil:
		e.Err = cause(err)
		return e
	case !old.Mode().IsRegular():
		e.Why, e.Fix = "it is not a regular file", "write to the file that it stands for"
		return e
	}
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		e.Err = cause(err)
		return e
	}
	err = errors.Join(fill(f, data, old, how), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		e.Err = cause(errors.Join(err, os.Remove(f.Name())))
		return e
	}
	if how == volatile {
		return nil
	}
	if err := syncDir(dir); err != nil {
		e.Err = cause(err)
		return e
	}
	return nil
}

// fill writes data with the mode and owner of old, if there was one.
func fill(f *os.File, data []byte, old fs.FileInfo, how endurance) error {
	if old == nil {
		if err := f.Chmod(0o644); err != nil {
			return err
		}
	} else {
		// The owner first: to change it takes the set-id bits of the mode away.
		if err := keepOwner(f, old); err != nil {
			return err
		}
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
	}
	if _, err := f.Write(data); err != nil || how == volatile {
		return err
	}
	return f.Sync()
}
