// Package engine knows the configuration of container engines: what comes in is the text of their files, and what goes
// out is the text that makes them use lanhook, or that is as it was before ([Plan]), and what in them keeps containers
// from their networks ([Finding]). It reads files and writes none.
//
// An edit adds text of its own and leaves every other byte alone, comments and white space included, so that it can be
// taken out again without a trace. What it does not understand it does not touch: then a [*HandError] says what to add.
package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile is how many bytes a configuration file may have. The largest default, of containerd 2, has some 15 kB.
const maxFile = 4 << 20

// Name is what lanhook's runtime is called in the engines.
const Name = "lanhook"

// Files reads the files of a host.
type Files struct {
	// Root is put before every path, "" for nothing: another host's files, mounted or unpacked. Symbolic links are
	// followed as this host sees them.
	Root string
}

// Path is where a file of the host is for this process.
func (f Files) Path(path string) string {
	if f.Root == "" {
		return path
	}
	return filepath.Join(f.Root, path)
}

// Read gives a file's bytes, nil when it is not there. It refuses what is no regular file or longer than 4 MiB.
func (f Files) Read(path string) ([]byte, error) {
	at := f.Path(path)
	// Asked first: to open a FIFO would wait for a writer.
	info, err := os.Stat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read the configuration: %s is not a regular file", at)
	}
	file, err := os.Open(at)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read the configuration: %s is longer than %d bytes", at, maxFile)
	}
	return append([]byte{}, data...), nil // never nil: an empty file is there
}

// Glob gives the host's files that match, in the order of their names.
func (f Files) Glob(pattern string) ([]string, error) {
	found, err := filepath.Glob(f.Path(pattern))
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", pattern, err)
	}
	if f.Root == "" {
		return found, nil
	}
	for i, path := range found {
		found[i] = filepath.Join("/", strings.TrimPrefix(path, f.Path("/")))
	}
	return found, nil
}

// Program says why nothing can be run at path, nil when it can.
func (f Files) Program(path string) error {
	info, err := os.Stat(f.Path(path))
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s cannot be executed", f.Path(path))
	}
	return nil
}

// Change is what becomes of one file.
type Change struct {
	// Path is the file's on its host, without [Files.Root].
	Path string
	// Before and After are its bytes, nil where there is no file.
	Before, After []byte
}

// None says that the file stays as it is.
func (c Change) None() bool {
	return bytes.Equal(c.Before, c.After) && (c.Before == nil) == (c.After == nil)
}

// Plan is what a setup does to an engine's files. The changes are to be made in their order: the engine can be started
// after each of them.
type Plan struct {
	Changes []Change
	// Notes are for the administrator: what else to know or do, one sentence each.
	Notes []string
	// Reload is the command by which the engine takes notice.
	Reload string
}

// None says that nothing changes.
func (p Plan) None() bool {
	for _, c := range p.Changes {
		if !c.None() {
			return false
		}
	}
	return true
}

// Editor is the setup of one engine.
type Editor interface {
	// Setup is what makes the engine use lanhook, Undo what takes that out again.
	Setup(f Files) (Plan, error)
	Undo(f Files) (Plan, error)
}

// HandError is a file that is not to be edited by a program.
type HandError struct {
	// Path is the file's on its host.
	Path string
	// Why says what about it is not understood, or not ours.
	Why string
	// Add is the text that the administrator may add, "" where that is not what helps.
	Add string
	// Fix is what helps instead, "" for nothing more than Add.
	Fix string
}

// Error implements error.
func (e *HandError) Error() string { return fmt.Sprintf("%s is left as it is: %s", e.Path, e.Why) }

// Hint says what to do.
func (e *HandError) Hint() string {
	switch {
	case e.Fix != "":
		return e.Fix
	case e.Add != "":
		return "add the lines above by hand"
	}
	return ""
}
