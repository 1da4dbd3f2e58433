package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/shim/config"
)

// engineFlags are those of the engines that run lanhook-runtime.
type engineFlags struct {
	setupFlags
	runtime string
	// place is the file or folder of the engine's configuration.
	place string
}

func (f *engineFlags) register(fs *pflag.FlagSet, place, standard, usage string) {
	f.setupFlags.register(fs)
	fs.StringVar(&f.runtime, "runtime", "", "the `PATH` of lanhook-runtime (default: beside this program)")
	fs.StringVar(&f.place, place, standard, usage)
}

// resolve makes the paths absolute ones of the host, and finds the runtime, which an undo does not need.
func (f *engineFlags) resolve() error {
	if f.root != "" {
		f.place = filepath.Join("/", f.place)
	}
	place, err := filepath.Abs(f.place)
	if err != nil {
		return fmt.Errorf("the path of the configuration: %w", err)
	}
	f.place = place
	if f.undo {
		return nil
	}
	f.runtime, err = f.program("runtime", f.runtime, "lanhook-runtime")
	return err
}

// setupEngine does what the flags say with one engine.
func (a *app) setupEngine(f *engineFlags, with func() engine.Editor) error {
	if err := f.resolve(); err != nil {
		return err
	}
	do := with().Setup
	if f.undo {
		do = with().Undo
	}
	plan, err := do(f.files())
	if !f.undo && (a.policy != "" || a.stateDir != defaultStateDir) {
		plan.Notes = append(plan.Notes,
			"--policy and --state-dir are not passed on: lanhook-runtime takes policy and state-dir from "+config.Path)
	}
	return a.setup(f.setupFlags, plan, err)
}

func (a *app) setupContainerdCmd() *command {
	var f engineFlags
	return &command{
		use:   "containerd",
		short: "Add a runtime handler to containerd's CRI, with its allow-list of annotations",
		long: `Add the runtime handler lanhook to containerd's CRI: it runs lanhook-runtime, has the options of the default
runtime and lets annotations that begin with io.lanhook. through. A configuration of version 3 gets a file conf.d/lanhook.toml
and its name in imports, one of version 1 or 2 a marked part at its end. ctr and nerdctl need no configuration.`,
		run: func(context.Context, []string) error {
			return a.setupEngine(&f, func() engine.Editor { return engine.Containerd{Config: f.place, Runtime: f.runtime} })
		},
		flags: func(fs *pflag.FlagSet) {
			f.register(fs, "config", engine.ContainerdFile, "containerd's `FILE`")
		},
	}
}

func (a *app) setupDockerCmd() *command {
	var (
		f       engineFlags
		profile string
	)
	return &command{
		use:   "docker",
		short: "Add a runtime to Docker's daemon.json",
		long: `Add the runtime lanhook, which is lanhook-runtime, to the runtimes of daemon.json; all else in the file stays as it
is. With --profile the runtime is called lanhook-NAME and gives containers the annotations of [profile.NAME] in
/etc/lanhook/runtime.toml, for Docker before 24, which knows no annotations.`,
		run: func(context.Context, []string) error {
			if strings.ContainsFunc(profile, func(r rune) bool { return !strings.ContainsRune(profileRunes, r) }) {
				return &usageError{msg: fmt.Sprintf("--profile %q is no name", profile), hint: "use a-z, A-Z, 0-9, _ and -"}
			}
			return a.setupEngine(&f, func() engine.Editor {
				return engine.Docker{Config: f.place, Runtime: f.runtime, Profile: profile}
			})
		},
		flags: func(fs *pflag.FlagSet) {
			f.register(fs, "config", engine.DockerFile, "dockerd's `FILE`")
			fs.StringVar(&profile, "profile", "", "choose the profile `NAME` of runtime.toml")
		},
	}
}

// profileRunes are what the names of Docker's runtimes and TOML's bare keys have in common.
const profileRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

func (a *app) setupCRIOCmd() *command {
	var f engineFlags
	return &command{
		use:   "crio",
		short: "Write a runtime handler for CRI-O",
		long: `Write 50-lanhook.conf with the runtime handler lanhook: it runs lanhook-runtime and has the options of the default
runtime. CRI-O passes all annotations on.`,
		run: func(context.Context, []string) error {
			return a.setupEngine(&f, func() engine.Editor { return engine.CRIO{Dir: f.place, Runtime: f.runtime} })
		},
		flags: func(fs *pflag.FlagSet) {
			f.register(fs, "dir", engine.CRIOFolder, "CRI-O's `DIR` of further files")
		},
	}
}

// setupView is what a setup did, for programs.
type setupView struct {
	DryRun  bool         `json:"dry_run"`
	Changes []changeView `json:"changes"`
	Notes   []string     `json:"notes"`
	Reload  string       `json:"reload,omitempty"`
}

type changeView struct {
	Path string `json:"path"`
	// Done is written, removed or unchanged.
	Done string `json:"done"`
	Diff string `json:"diff,omitempty"`
}

// setup shows the difference that a plan makes, then makes it. err is why there is no plan.
func (a *app) setup(f setupFlags, plan engine.Plan, err error) error {
	if byHand, ok := errors.AsType[*engine.HandError](err); ok && byHand.Add != "" && !a.json {
		if _, writeErr := io.WriteString(a.stdout, byHand.Add); writeErr != nil {
			return writeErr
		}
	}
	if err != nil {
		return err
	}
	v := setupView{DryRun: f.dryRun, Changes: []changeView{}, Notes: []string{}, Reload: plan.Reload}
	for _, c := range plan.Changes {
		v.Changes = append(v.Changes, changeView{Path: c.Path, Done: done(c), Diff: engine.Diff(c)})
	}
	v.Notes = append(v.Notes, plan.Notes...)
	if plan.None() {
		v.Reload = ""
	}
	if !a.json {
		for _, c := range v.Changes {
			if _, err := io.WriteString(a.stdout, c.Diff); err != nil {
				return err
			}
		}
	}
	if !f.dryRun {
		if err := write(f.files(), plan.Changes); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(v)
	}
	a.tell(v, plan.None() && !f.undo)
	return nil
}

// done is what becomes of a file, in a word.
func done(c engine.Change) string {
	switch {
	case c.None():
		return "unchanged"
	case c.After == nil:
		return "removed"
	}
	return "written"
}

// tell says to people what was done and what is left for them to do. Who repeats a setup has read its notes.
func (a *app) tell(v setupView, repeated bool) {
	switch changed := slices.ContainsFunc(v.Changes, func(c changeView) bool { return c.Done != "unchanged" }); {
	case !changed:
		fmt.Fprintln(a.stdout, "nothing to do")
	case v.DryRun:
		fmt.Fprintln(a.stdout, "nothing was written")
	default:
		for _, c := range v.Changes {
			if c.Done != "unchanged" {
				fmt.Fprintf(a.stdout, "%s: %s\n", c.Path, c.Done)
			}
		}
		if v.Reload != "" {
			fmt.Fprintf(a.stdout, "now do: %s\n", v.Reload)
		}
	}
	if repeated {
		return
	}
	for _, note := range v.Notes {
		fmt.Fprintf(a.stdout, "note: %s\n", note)
	}
}

// write makes changes. That every file is one that may be replaced is looked at before the first is written.
func write(files engine.Files, changes []engine.Change) error {
	for _, c := range changes {
		info, err := os.Lstat(files.Path(c.Path))
		if err == nil && !c.None() && !info.Mode().IsRegular() {
			return &oci.Error{
				Doing: "write " + c.Path, Why: "it is not a regular file", Fix: "write to the file that it stands for",
			}
		}
	}
	for _, c := range changes {
		if c.None() {
			continue
		}
		path := files.Path(c.Path)
		if c.After == nil {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("take out what setup put in: %w", err)
			}
			continue
		}
		//nolint:gosec // G301: everybody may see how engines are configured; podman reads its hooks as any user
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make the folder: %w", err)
		}
		if err := oci.WriteFile(path, c.After); err != nil {
			return err
		}
	}
	return nil
}
