package engine

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
)

const (
	// settingsFile is where lanhook-runtime looks for what it cannot know.
	settingsFile = "/etc/lanhook/runtime.toml"
	// mended is what helps against a runtime.toml that is broken.
	mended = "mend it: until then containers that ask for a network are refused, and others pass"
)

// Settings are what runtime.toml says of programs.
type Settings struct {
	// Runtime is the real runtime, Shim containerd's own shim and Lanhook the hook, "" where it names none.
	Runtime, Shim, Lanhook string
	// Usual are the paths at which the real runtime is looked for when Runtime is "", in this order.
	Usual []string
	// Profiles are the real runtimes of the profiles by their names, "" for one that has no runtime of its own.
	Profiles map[string]string
	// Err is why the file is not understood.
	Err error
}

// runtime looks at runtime.toml and at the programs that it names, or that are taken when it names none.
func (d *Doctor) runtime() (string, error) {
	const file = settingsFile
	if d.Settings.Err != nil {
		d.fail(checkRuntime, d.Settings.Err.Error(), mended)
		return "", nil
	}
	wrapper := path.Join(d.Programs, runtimeProgram)
	if d.Files.Program(wrapper) != nil {
		return wrapper + " is not installed", nil
	}
	const none = "no container starts"
	d.program(checkRuntime, wrapper, cmp.Or(d.Settings.Lanhook, path.Join(d.Programs, Name)), "no container that asks for a network starts", "install it, or say lanhook = PATH in "+file)
	for _, name := range slices.Sorted(maps.Keys(d.Settings.Profiles)) {
		if program := d.Settings.Profiles[name]; program != "" {
			d.program(checkRuntime, fmt.Sprintf("%s: [profile.%s]", file, name), program, none+" with it", "say another runtime there")
		}
	}
	if named := d.Settings.Runtime; named != "" {
		d.program(checkRuntime, file, named, none, "say another runtime there")
		return fmt.Sprintf("%s runs %s", wrapper, named), nil
	}
	for _, at := range d.Settings.Usual {
		if d.Files.Program(at) == nil {
			return fmt.Sprintf("%s runs %s", wrapper, at), nil
		}
	}
	d.fail(checkRuntime, "there is neither runc nor crun in the usual places: "+none, "install one, or say runtime = PATH in "+file)
	return "", nil
}
