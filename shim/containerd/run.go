package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/lanhook/lanhook/shim/config"
)

const (
	// wrapper is the program that stands for runc.
	wrapper = "lanhook-runtime"
	// below is where the folder with runc is, from the folder that holds this program.
	below = "../lib/lanhook/bin"
	// defaultPath is for a containerd that was started without PATH.
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// run becomes containerd's own shim, or at "delete" runs it and detaches. It comes back with the exit code.
func run(args, env []string, stderr io.Writer, file string) int {
	s := shim{call: parse(args), args: args, env: env, stderr: stderr}
	// A mistake in runtime.toml does not stop the shim, as it is there for all containers: the wrapper refuses those that
	// ask for something.
	s.cfg, _ = config.Load(file) //nolint:errcheck // see above
	code, err := s.become()
	if err != nil {
		s.say(err)
		return 1
	}
	return code
}

// shim is one call.
type shim struct {
	call
	args, env []string
	stderr    io.Writer
	cfg       config.Config
	// this is the program's own path, without symbolic links.
	this string
}

// say writes one line to stderr: containerd puts it into its error, or into its log at "delete".
func (s *shim) say(err error) {
	doing := ""
	if s.action != "" {
		doing = s.action + " " + s.id
	}
	fmt.Fprintln(s.stderr, config.Line("containerd-shim-lanhook-v2", doing, err))
}

// become does not come back but for "delete", or with an error.
func (s *shim) become() (int, error) {
	var err error
	if s.this, err = os.Executable(); err != nil {
		return 1, fmt.Errorf("find this program: %w", err)
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return 1, fmt.Errorf("find this program: %w", err)
	}
	real, err := config.FindShim(s.cfg.Shim, s.caller(), self)
	if err != nil {
		return 1, err
	}
	env, err := s.environment()
	if s.action == "delete" {
		if err != nil {
			// What is to be deleted was started; with the runc that PATH has it may still be.
			s.say(err)
		}
		return s.remove(real, env)
	}
	if err != nil {
		return 1, err
	}
	if err := syscall.Exec(real, append([]string{real}, s.args...), env); err != nil { //nolint:gosec // G204: that is what it is for
		return 1, fmt.Errorf("run %s: %w", real, err)
	}
	return 0, nil
}

// caller is the path of the containerd that calls: as it says itself, or, since it does not always, the parent process.
func (s *shim) caller() string {
	if filepath.IsAbs(s.containerd) {
		return s.containerd
	}
	path, err := os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/exe")
	if err != nil {
		return ""
	}
	return path
}

// folderError is a folder without the wrapper in it. Without that, containers would start without their networks, and
// nobody would be told.
type folderError struct{ path, why string }

func (e *folderError) Error() string { return fmt.Sprintf("%s stands for runc, but %s", e.path, e.why) }

// Hint says what would help.
func (e *folderError) Hint() string { return "install lanhook again" }

// environment is the caller's with the folder first in PATH. With an error it is the caller's.
func (s *shim) environment() ([]string, error) {
	folder := filepath.Join(filepath.Dir(s.this), below)
	runc := filepath.Join(folder, "runc")
	target, err := filepath.EvalSymlinks(runc)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.env, &folderError{runc, "it is not there"}
	case err != nil:
		return s.env, fmt.Errorf("find %s: %w", wrapper, err)
	case filepath.Base(target) != wrapper:
		return s.env, &folderError{runc, "it is " + target}
	}
	out := make([]string, 0, len(s.env)+1)
	found := false
	for _, e := range s.env {
		old, ok := strings.CutPrefix(e, "PATH=")
		switch {
		case !ok || found:
		case old == "":
			// With a colon behind it, the working folder would be searched as well.
			found, e = true, "PATH="+folder
		case old == folder || strings.HasPrefix(old, folder+":"):
			found = true
		default:
			found, e = true, "PATH="+folder+":"+old
		}
		out = append(out, e)
	}
	if !found {
		out = append(out, "PATH="+folder+":"+defaultPath)
	}
	return out, nil
}
