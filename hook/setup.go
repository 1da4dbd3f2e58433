package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/lanhook/lanhook/hook/engine"
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
	undo   bool
	dryRun bool
	// root is put before the paths of all files that are read or written, "" for nothing.
	root string
}

func (a *app) setupCmd() *command {
	return group("setup", "Make a runtime or engine call lanhook",
		a.setupRuncCmd(), a.setupPodmanCmd(), a.setupContainerdCmd(), a.setupDockerCmd(), a.setupCRIOCmd())
}

func (f *setupFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&f.undo, "undo", false, "take out again what setup put in")
	fs.BoolVar(&f.dryRun, "dry-run", false, "show what would change; write nothing")
	fs.StringVar(&f.root, "root", "", "work on the files below `DIR`, another host's")
}

func (f *setupFlags) files() engine.Files { return engine.Files{Root: f.root} }

// program is the absolute path of one of our programs on the host that is set up: flag's, or else that which lies beside
// this program, which is itself for the name lanhook. It verifies that it is there: podman starts a container without
// its network, silently, when it is not, and other engines start none.
func (f *setupFlags) program(flag, path, name string) (string, error) {
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find this program: %w", err)
		}
		if path = self; filepath.Base(self) != name && name != "lanhook" {
			path = filepath.Join(filepath.Dir(self), name)
		}
	}
	if !filepath.IsAbs(path) {
		return "", &usageError{
			msg:  fmt.Sprintf("--%s %s is not absolute", flag, path),
			hint: "engines and runtimes do not search PATH",
		}
	}
	if err := f.files().Program(path); err != nil {
		return "", fmt.Errorf("the program of --%s: %w", flag, err)
	}
	return path, nil
}

// hooks are what the runtime is to call.
func (a *app) hooks(f setupFlags, binary string) (oci.Hooks, error) {
	path, err := f.program("binary", binary, "lanhook")
	if err != nil {
		return oci.Hooks{}, err
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
		binary string
	)
	return &command{
		use:   "runc [--bundle DIR]",
		short: "Add the hooks to a bundle's config.json, for runc, crun or youki",
		long: `Add the hooks to DIR/config.json: createRuntime last, poststop first in its list. The rest of the file stays as it
is. Doing it twice changes nothing.`,
		run: func(context.Context, []string) error {
			plan, err := a.planRunc(f, filepath.Join(bundle, "config.json"), binary)
			return a.setup(f, plan, err)
		},
		flags: func(fs *pflag.FlagSet) {
			f.register(fs)
			fs.StringVar(&bundle, "bundle", ".", "the bundle's `DIR`")
			fs.StringVar(&binary, "binary", "", "the hook's `PATH` (default: this program)")
		},
	}
}

func (a *app) planRunc(f setupFlags, path, binary string) (engine.Plan, error) {
	before, err := os.ReadFile(f.files().Path(path))
	if err != nil {
		return engine.Plan{}, fmt.Errorf("read the bundle: %w", err)
	}
	var after []byte
	if f.undo {
		after, err = oci.Remove(before)
	} else {
		h, hooksErr := a.hooks(f, binary)
		if hooksErr != nil {
			return engine.Plan{}, hooksErr
		}
		after, err = oci.Edits{Hooks: &h}.Apply(before)
	}
	if err != nil {
		return engine.Plan{}, fmt.Errorf("%s: %w", path, err)
	}
	plan := engine.Plan{Changes: []engine.Change{{Path: path, Before: before, After: after}}}
	if by := oci.HooksBy(before); by != "" && by != oci.BySetup {
		plan.Notes = []string{fmt.Sprintf("the hooks that were there had been put in by %s, which does so again when it creates the container", by)}
	}
	return plan, nil
}

func (a *app) setupPodmanCmd() *command {
	var (
		f      setupFlags
		dir    string
		binary string
	)
	return &command{
		use:   "podman",
		short: "Write podman's hooks.d files",
		long: `Write one file for createRuntime and one for poststop to podman's hooks.d. They are matched by annotations that
begin with io.lanhook., so other containers are not touched.`,
		run: func(context.Context, []string) error {
			plan, err := a.planPodman(f, dir, binary)
			return a.setup(f, plan, err)
		},
		flags: func(fs *pflag.FlagSet) {
			f.register(fs)
			fs.StringVar(&dir, "dir", podmanHooks, "the hooks.d `DIR`")
			fs.StringVar(&binary, "binary", "", "the hook's `PATH` (default: this program)")
		},
	}
}

func (a *app) planPodman(f setupFlags, dir, binary string) (engine.Plan, error) {
	h := oci.Hooks{Path: "/", Timeout: runtimeTimeout}
	if !f.undo {
		var err error
		if h, err = a.hooks(f, binary); err != nil {
			return engine.Plan{}, err
		}
	}
	plan := engine.Plan{Notes: []string{"containers get it with podman run --network none --annotation io.lanhook.network=NETWORK"}}
	if f.undo {
		plan.Notes = nil
	}
	files := oci.HooksD(h)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		c := engine.Change{Path: filepath.Join(dir, name), After: files[name]}
		if f.undo {
			c.After = nil
		}
		var err error
		if c.Before, err = f.files().Read(c.Path); err != nil {
			return engine.Plan{}, err
		}
		plan.Changes = append(plan.Changes, c)
	}
	return plan, nil
}
