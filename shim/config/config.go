// Package config reads runtime.toml, with which an administrator tells lanhook-runtime and containerd-shim-lanhook-v2
// what they cannot know: a file comes in, a [Config] goes out. It also finds the programs that the file does not name.
//
// The file is as strict as the policy: what is not understood is an error with its place. But these two programs are
// called for every container of an engine, also for those that have nothing to do with lanhook, so an error comes with
// what could be understood: the caller passes such containers on, and refuses those that ask for something.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lanhook/lanhook/policy/request"
)

const (
	// Path is where the file lies. It need not be there.
	Path = "/etc/lanhook/runtime.toml"
	// defaultTimeout is after how long the runtime kills the hook, when the file does not say.
	defaultTimeout = 30 * time.Second
	// maxFile is far above any real file.
	maxFile = 1 << 20
)

// Config is what runtime.toml says. Paths are absolute and in their shortest form.
type Config struct {
	// Runtime is the real OCI runtime, "" for the one that [FindRuntime] finds.
	Runtime string
	// Shim is containerd's own shim, "" for the one that [FindShim] finds.
	Shim string
	// Lanhook is the hook's program, "" for the one that [FindLanhook] finds.
	Lanhook string
	// Policy and StateDir are the hook's --policy and --state-dir, "" for its defaults.
	Policy   string
	StateDir string
	// Timeout is after how long the runtime kills the hook, in whole seconds.
	Timeout time.Duration
	// Annotations are for containers without any of their own.
	Annotations map[string]string
	// Profiles are by name.
	Profiles map[string]Profile
}

// Profile is what the wrapper's flag --lanhook-profile=NAME chooses.
type Profile struct {
	// Runtime stands in the place of [Config.Runtime], unless it is "".
	Runtime string
	// Annotations stand in the place of [Config.Annotations], unless they are nil.
	Annotations map[string]string
}

// Choose is the configuration as a profile has it: its values in the place of the general ones. "" chooses no profile.
// When there is none of that name, the general configuration comes with the error.
func (c Config) Choose(profile string) (Config, error) {
	if profile == "" {
		return c, nil
	}
	p, ok := c.Profiles[profile]
	if !ok {
		var names []string
		for name := range c.Profiles {
			names = append(names, name)
		}
		slices.Sort(names)
		return c, &profileError{Name: profile, Known: names}
	}
	if p.Runtime != "" {
		c.Runtime = p.Runtime
	}
	if p.Annotations != nil {
		c.Annotations = p.Annotations
	}
	return c, nil
}

// profileError is a profile that runtime.toml does not have.
type profileError struct {
	Name string
	// Known are the names that there are.
	Known []string
}

func (e *profileError) Error() string {
	return fmt.Sprintf("profile %.80q: %s has none of that name", e.Name, Path)
}

// Hint is the nearest name that there is.
func (e *profileError) Hint() string {
	if len(e.Known) == 0 {
		return "it has no profile at all: write [profile.NAME]"
	}
	return nearest(e.Name, e.Known)
}

// Load reads runtime.toml. A file that is missing says nothing, and is no error.
//
// The file must belong to root, or to the user that the program runs as, and must not be writable by others; what counts
// is the file that a symbolic link leads to. It has 1 MiB at most. The error is [Errors]. With an error comes what could
// be understood all the same: of a file that was read, each value that is right by itself; otherwise the defaults.
func Load(path string) (Config, error) {
	data, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return defaults(), nil
	case err != nil:
		return defaults(), err
	}
	return Decode(path, data)
}

func defaults() Config { return Config{Timeout: defaultTimeout} }

// read reads the file. All that is checked is asked of the open file, so that nobody can put another in its place between
// the check and the reading.
func read(path string) ([]byte, error) {
	bad := func(hint, format string, args ...any) error {
		return Errors{{File: path, Msg: fmt.Sprintf(format, args...), Hint: hint}}
	}
	// A named pipe is not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, bad("", "%s", cause(err))
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, bad("", "%s", cause(err))
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return nil, bad("", "it is not a regular file")
	case !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return nil, bad("chown root "+path, "it belongs to user %d, not to root", st.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return nil, bad("chmod go-w "+path, "others may write it: its mode is %#o", info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, bad("", "%s", cause(err))
	}
	return data, nil
}

// cause is an error without its path, which the message names already.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// nearest is the hint behind a word that is not known.
func nearest(word string, names []string) string {
	if near, ok := request.Nearest(word, names); ok {
		return "did you mean " + near + "?"
	}
	return "known are " + strings.Join(names, ", ")
}
