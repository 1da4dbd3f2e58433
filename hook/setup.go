package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/lanhook/lanhook/hook/oci"
)

const (
	// runtimeTimeout is the time in seconds after which the runtime kills the hook; the hook itself gives up earlier.
	runtimeTimeout = 30
	// podmanHooks is the one folder in which podman looks without being told (oci-hooks(5)); another one, such as that
	// below /etc, it reads only where containers.conf or --hooks-dir names it. CRI-O reads the same.
	podmanHooks = "/usr/share/containers/oci/hooks.d"
)

// setupFlags are those of all setup commands.
type setupFlags struct {
	binary string
	undo   bool
	print  bool
}

func (a *app) setupCmd() *command {
	return group("setup", "Make a runtime or engine call lanhook", a.setupRuncCmd(), a.setupPodmanCmd())
}

func (f *setupFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.binary, "binary", "", "the hook's `PATH` (default: this program)")
	fs.BoolVar(&f.undo, "undo", false, "take the hooks out again")
	fs.BoolVar(&f.print, "print", false, "print what would be written; write nothing")
}

// hooks are what the runtime is to call. It verifies that the program is there: podman starts a container without its
// network, silently, when it is not.
func (a *app) hooks(f setupFlags) (oci.Hooks, error) {
	path := f.binary
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return oci.Hooks{}, fmt.Errorf("find this program: %w", err)
		}
	}
	if !filepath.IsAbs(path) {
		return oci.Hooks{}, &usageError{
			msg:  fmt.Sprintf("--binary %s is not absolute", path),
			hint: "runtimes do not search PATH for hooks",
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return oci.Hooks{}, fmt.Errorf("the hook's program: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return oci.Hooks{}, fmt.Errorf("the hook's program %s cannot be executed", path)
	}
	var args []string
	if a.policy != "" {
		abs, err := filepath.Abs(a.policy)
		if err != nil {
			return oci.Hooks{}, fmt.Errorf("the policy's path: %w", err)
		}
		args = append(args, "--policy", abs)
	}
	if a.stateDir != defaultStateDir {
		abs, err := filepath.Abs(a.stateDir)
		if err != nil {
			return oci.Hooks{}, fmt.Errorf("the state directory's path: %w", err)
		}
		args = append(args, "--state-dir", abs)
	}
	return oci.Hooks{Path: path, Args: args, Timeout: runtimeTimeout}, nil
}

func (a *app) setupRuncCmd() *command {
	var (
		f      setupFlags
		bundle string
	)
	return &command{
		use:   "runc [--bundle DIR]",
		short: "Add the hooks to a bundle's config.json, for runc, crun or youki",
		long: `Add the hooks to DIR/config.json: createRuntime last, poststop first in its list. The rest of the file stays as it
is. Doing it twice changes nothing.`,
		run: func(context.Context, []string) error {
			return a.setupRunc(f, filepath.Join(bundle, "config.json"))
		},
		flags: func(fs *pflag.FlagSet) {
			f.register(fs)
			fs.StringVar(&bundle, "bundle", ".", "the bundle's `DIR`")
		},
	}
}

func (a *app) setupRunc(f setupFlags, path string) error {
	before, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the bundle: %w", err)
	}
	var (
		after  []byte
		change oci.Change
	)
	if f.undo {
		after, change, err = oci.Remove(before)
	} else {
		h, hooksErr := a.hooks(f)
		if hooksErr != nil {
			return hooksErr
		}
		after, change, err = oci.Edit(before, h)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if f.print {
		_, err := a.stdout.Write(after)
		return err
	}
	if string(before) != string(after) {
		if err := oci.WriteFile(path, after); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.stdout, "%s: hooks %s\n", path, change)
	return nil
}

func (a *app) setupPodmanCmd() *command {
	var (
		f   setupFlags
		dir string
	)
	return &command{
		use:   "podman",
		short: "Write podman's hooks.d files (CRI-O reads the same)",
		long: `Write one file for createRuntime and one for poststop to podman's hooks.d. They are matched by annotations that
begin with io.lanhook., so other containers are not touched.`,
		run: func(context.Context, []string) error {
			return a.setupPodman(f, dir)
		},
		flags: func(fs *pflag.FlagSet) {
			f.register(fs)
			fs.StringVar(&dir, "dir", podmanHooks, "the hooks.d `DIR`")
		},
	}
}

func (a *app) setupPodman(f setupFlags, dir string) error {
	h := oci.Hooks{Path: "/", Timeout: runtimeTimeout}
	if !f.undo {
		var err error
		if h, err = a.hooks(f); err != nil {
			return err
		}
	}
	files := oci.HooksD(h)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if err := a.setupFile(f, path, files[name]); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) setupFile(f setupFlags, path string, data []byte) error {
	switch {
	case f.print:
		fmt.Fprintf(a.stdout, "# %s\n%s", path, data)
		return nil
	case f.undo:
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(a.stdout, "%s: was not there\n", path)
			return nil
		}
		if err != nil {
			return fmt.Errorf("take the hook out: %w", err)
		}
		fmt.Fprintf(a.stdout, "%s: removed\n", path)
		return nil
	}
	if before, err := os.ReadFile(path); err == nil && string(before) == string(data) {
		fmt.Fprintf(a.stdout, "%s: was there already\n", path)
		return nil
	}
	//nolint:gosec // G301: everybody may see which hooks there are; podman reads them as any user
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the folder of hooks: %w", err)
	}
	if err := oci.WriteFile(path, data); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s: written\n", path)
	return nil
}
