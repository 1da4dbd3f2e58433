package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	shimName    = "containerd-shim-runc-v2"
	lanhookName = "lanhook"
)

// folders are those in which programs are looked for, in this order. PATH is not: podman calls its runtime without one,
// and whoever sets it would choose what runs as root.
func folders() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// places are the folders for the reference.
func places() string { return "`" + strings.Join(folders(), "`, `") + "`" }

// programError is a program that cannot be run.
type programError struct {
	// What it is: "the real runtime".
	What string
	// Path is where it should be, "" when none was named and none was found.
	Path string
	// Why it cannot be run, in words.
	Why string
	// Key is the key of runtime.toml that names it.
	Key string
}

// Error is one line. It is not in errno's words: podman takes "no such file" for its runtime's absence.
func (e *programError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %s", e.What, e.Why)
	}
	return fmt.Sprintf("%s %s: %s", e.What, e.Path, e.Why)
}

// Hint names the key.
func (e *programError) Hint() string {
	return fmt.Sprintf("name another as %s in %s", e.Key, Path)
}

// Runtimes are the paths at which the real runtime is looked for when the file names none, in this order.
func Runtimes() []string { return in(folders(), "runc", "crun") }

// FindRuntime gives the real runtime's absolute path: named, or if that is "", the first of runc and crun in the usual
// folders that is not the program self itself. The error says what it is that cannot be run, and why.
func FindRuntime(named string, self fs.FileInfo) (string, error) {
	const what, key = "the real runtime", "runtime"
	if named != "" {
		return check(what, key, named, self)
	}
	if path := first(Runtimes(), self); path != "" {
		return path, nil
	}
	return "", &programError{What: what, Key: key, Why: "neither runc nor crun is in " + strings.Join(folders(), ", ")}
}

// FindShim gives the absolute path of containerd's own shim: named, or if that is "", the one beside the containerd that
// calls, or in the usual folders. containerd is its absolute path, "" when it is not known.
func FindShim(named, containerd string, self fs.FileInfo) (string, error) {
	const what, key = "containerd's own shim", "shim"
	if named != "" {
		return check(what, key, named, self)
	}
	dirs := folders()
	if filepath.IsAbs(containerd) {
		dirs = append([]string{filepath.Dir(containerd)}, dirs...)
	}
	if path := first(in(dirs, shimName), self); path != "" {
		return path, nil
	}
	return "", &programError{What: what, Key: key, Why: shimName + " is not in " + strings.Join(dirs, ", ")}
}

// FindLanhook gives the hook's absolute path: named, or if that is "", the one beside the program at, whose path has no
// symbolic link in it.
func FindLanhook(named, at string) (string, error) {
	if named == "" {
		named = filepath.Join(filepath.Dir(at), lanhookName)
	}
	return check("the hook", "lanhook", named, nil)
}

// in are the paths that a program of one of these names may have in folders, the first name's first.
func in(folders []string, names ...string) []string {
	var paths []string
	for _, name := range names {
		for _, dir := range folders {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// first is the first program of these paths, "" for none.
func first(paths []string, self fs.FileInfo) string {
	for _, path := range paths {
		if _, err := check("", "", path, self); err == nil {
			return path
		}
	}
	return ""
}

// check refuses what cannot be executed, and self.
func check(what, key, path string, self fs.FileInfo) (string, error) {
	bad := func(why string) (string, error) { return "", &programError{What: what, Path: path, Why: why, Key: key} }
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad("it is not there")
	case err != nil:
		return bad(cause(err).Error())
	case info.IsDir():
		return bad("it is a folder")
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return bad("it cannot be executed")
	case self != nil && os.SameFile(info, self):
		return bad("that is this very program, which would call itself for ever")
	}
	return path, nil
}
