package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// defaultDir holds the policy when no other is named.
	defaultDir = "/etc/lanhook"
	// mainFile must be there, and the files of dropInDir, which need not be, come after it.
	mainFile  = "policy.toml"
	dropInDir = "policy.d"
	suffix    = ".toml"
)

var errNoFiles = errors.New("there is no policy file")

// FileError is a policy file that cannot be used as a file.
type FileError struct {
	// Path is the file or folder, "" where there is none.
	Path string
	Err  error
	// Help says what would help, "" for nothing.
	Help string
}

// Error is "read policy PATH: reason".
func (e *FileError) Error() string {
	if e.Path == "" {
		return "read policy: " + e.Err.Error()
	}
	return fmt.Sprintf("read policy %s: %s", e.Path, e.Err)
}

// Unwrap is the reason, such as [fs.ErrNotExist].
func (e *FileError) Unwrap() error { return e.Err }

// Hint says what would help.
func (e *FileError) Hint() string { return e.Help }

// Load reads a policy from a file, or from all *.toml of a folder in the order of their names. "" means
// /etc/lanhook/policy.toml, which must be there, and then those of /etc/lanhook/policy.d.
//
// Files and folders must belong to root, or to the user that the program runs as, and must not be writable by others;
// what counts is the file that a symbolic link leads to. A file has 1 MiB at most, and a policy 256 files. The error is
// a [*FileError], or [Errors] when the files could be read and are wrong.
func Load(path string) (*Policy, error) {
	if path == "" {
		return LoadBelow("/")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.IsDir() {
		return load([]string{path}, nil)
	}
	files, ignored, err := list(path)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, &FileError{Path: path, Err: errNoFiles, Help: "its name must end in " + suffix}
	}
	return load(files, ignored)
}

// LoadBelow is [Load] of the default places of another host, whose files lie below root.
func LoadBelow(root string) (*Policy, error) { return loadDefault(filepath.Join(root, defaultDir)) }

func loadDefault(dir string) (*Policy, error) {
	drop := filepath.Join(dir, dropInDir)
	files, ignored, err := list(drop)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// A folder that is not there has no policy either, which the reading of the file tells.
	if info, err := os.Stat(dir); err == nil {
		if err = trusted(dir, info); err != nil {
			return nil, err
		}
	}
	return load(append([]string{filepath.Join(dir, mainFile)}, files...), ignored)
}

// list gives the policy files of a folder in the order of their names, and what else lies there.
func list(dir string) (files, ignored []string, err error) {
	f, err := open(dir)
	if err != nil {
		return nil, nil, fileError(dir, err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fileError(dir, err)
	}
	if err = trusted(dir, info); err != nil {
		return nil, nil, err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, fileError(dir, err)
	}
	files, ignored = split(dir, names)
	return files, ignored, nil
}

func load(paths, ignored []string) (*Policy, error) {
	var files []File
	for _, path := range paths {
		if len(files) == maxFiles {
			return nil, &FileError{Path: path, Err: fmt.Errorf("a policy has at most %d files", maxFiles)}
		}
		data, err := read(path)
		if err != nil {
			return nil, err
		}
		files = append(files, File{path, data})
	}
	p, err := Decode(files)
	if err != nil {
		return nil, err
	}
	for _, path := range ignored {
		p.warnings = append(p.warnings, Warning{
			File: path, Msg: "it is ignored: only names that end in " + suffix + " are read",
		})
	}
	return p, nil
}

// read reads one file. All that is checked is asked of the open file, so that nobody can put another in its place
// between the check and the reading.
func read(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &FileError{Path: path, Err: errors.New("it is no regular file")}
	}
	if err = trusted(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if len(data) > maxFile {
		return nil, &FileError{Path: path, Err: fmt.Errorf("the file has more than %d bytes", maxFile)}
	}
	return data, nil
}

// trusted refuses what somebody else could have written.
func trusted(path string, info fs.FileInfo) error {
	if owner, mine := owner(info); !mine {
		return &FileError{
			Path: path, Err: fmt.Errorf("it belongs to user %d, not to root", owner), Help: "chown root " + path,
		}
	}
	// Windows has no such bits, and Go makes 0666 of what is there.
	if perm := info.Mode().Perm(); checksOwner && perm&0o022 != 0 {
		return &FileError{
			Path: path, Err: fmt.Errorf("others may write it: its mode is %#o", perm), Help: "chmod go-w " + path,
		}
	}
	return nil
}

// missingError is [fs.ErrNotExist].
type missingError struct{}

func (missingError) Error() string { return "it is not there" }

func (missingError) Is(target error) bool { return target == fs.ErrNotExist }

// fileError takes the operation and the path off an error of package os, since the message names both.
func fileError(path string, err error) error {
	e := &FileError{Path: path, Err: err}
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		e.Err = perr.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Not in errno's words: podman takes those for its own runtime's absence, and shows nothing else.
		e.Err = missingError{}
		e.Help = "without a policy every request is refused: write one, or name another with --policy"
	}
	return e
}

// split parts names into policy files in order and the rest. Editors and package managers leave files such as
// policy.toml~ or policy.toml.rpmnew behind, which must not grant anything; neither does a hidden one.
func split(dir string, names []string) (files, ignored []string) {
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".") {
			files = append(files, path)
			continue
		}
		ignored = append(ignored, path)
	}
	return files, ignored
}
