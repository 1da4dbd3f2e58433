package engine

import (
	"bytes"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// ContainerdFile is where containerd looks for its configuration without being told.
	ContainerdFile = "/etc/containerd/config.toml"
	// dropIn is our file, in the folder that containerd's own default has named since 2.2, beside the configuration.
	dropIn = "conf.d/lanhook.toml"
	// runcShim is the runtime type of which the options are known here.
	runcShim = "io.containerd.runc.v2"
	// annotations is what of a pod's and a container's annotations is to reach the runtime; without such a list CRI
	// passes none on. (path.Match, whose * ends at a slash: our keys have none.)
	annotations = "io.lanhook.*"

	dropInMark = "# Written by lanhook setup containerd. --undo takes it away; what is written here by hand is lost then.\n"
	importMark = " # by lanhook setup containerd\n"
	blockBegin = "# begin: lanhook setup containerd"
	// blockGlued begins a block before which the last line of the file had to be ended.
	blockGlued = "# begin: lanhook setup containerd (the line before it had no end)"
	blockEnd   = "# end: lanhook setup containerd"
	// newFile begins a configuration where there was none, in the version that containerd 1.3 and all later ones read.
	newFile = "version = 2 # by lanhook setup containerd\n"
)

// Containerd is what a setup of containerd takes.
//
// A configuration of version 3 and later, which only containerd 2 knows, gets a file of its own and its name in
// "imports". One of version 1 and 2 gets its text at the end, between two marks: containerd 1 knows imports, but a file
// that has anything of the plugin CRI takes the place of all that the files before it say of CRI (LoadConfig of 1.6 and
// 1.7; 2.0 merges). Its default runtime goes then, and so does the administrator's sandbox image.
type Containerd struct {
	// Config is the daemon's file, "" for ContainerdFile.
	Config string
	// Runtime is the absolute path of lanhook-runtime.
	Runtime string
}

// criPlugin is where the runtimes of CRI stand in a configuration of this version.
func criPlugin(version int) string {
	switch version {
	case 1:
		return "cri"
	case 2:
		return "io.containerd.grpc.v1.cri"
	}
	return "io.containerd.cri.v1.runtime"
}

// containerdFile is a configuration as it was read.
type containerdFile struct {
	path    string
	text    []byte // nil for no file
	root    *value
	version int
}

// cri is the plugin's table, nil for none.
func (c containerdFile) cri() *value { return c.root.at("plugins", criPlugin(c.version)) }

func (c Containerd) file() string {
	if c.Config == "" {
		return ContainerdFile
	}
	return c.Config
}

// readContainerd reads a file of containerd; one that is not there is empty and of version 2, which all can read.
func readContainerd(f Files, file string) (containerdFile, error) {
	text, err := f.Read(file)
	if err != nil {
		return containerdFile{}, err
	}
	return parseContainerd(file, text)
}

func parseContainerd(file string, text []byte) (containerdFile, error) {
	if text == nil {
		return containerdFile{path: file, root: newTable(), version: 2}, nil
	}
	c := containerdFile{path: file, text: text, version: 1} // a file that says nothing is of version 1
	var err error
	if c.root, err = parse(text); err != nil {
		return c, &HandError{Path: file, Why: "it is not understood: " + err.Error(), Fix: "containerd --config " + file + " config dump says what containerd makes of it"}
	}
	if v := c.root.at("version"); v != nil {
		if c.version, err = strconv.Atoi(v.text); err != nil || v.kind != word || c.version < 1 || c.version > 4 {
			return c, &HandError{Path: file, Why: fmt.Sprintf("its version is %q, and 1 to 4 are known", v.text)}
		}
	}
	return c, nil
}

// Setup adds the runtime handler.
func (c Containerd) Setup(f Files) (Plan, error) {
	main, err := readContainerd(f, c.file())
	if err != nil {
		return Plan{}, err
	}
	clean := main
	if text, had, cutErr := cutBlock(main.text); cutErr != nil {
		return Plan{}, &HandError{Path: main.path, Why: cutErr.Error(), Fix: "take what lies between the marks out by hand"}
	} else if had {
		if clean, err = parseContainerd(main.path, text); err != nil {
			return Plan{}, err
		}
	}
	h, notes := c.handler(clean)
	plan := Plan{Notes: notes, Reload: "systemctl restart containerd"} // running containers stay
	if there := clean.cri().at("containerd", "runtimes", Name); there != nil {
		if why := h.misses(there); why != "" {
			return Plan{}, &HandError{Path: main.path, Why: "its runtime " + Name + " is not by setup, and " + why, Add: h.toml, Fix: "say of it what is above"}
		}
		plan.Changes = []Change{{Path: main.path, Before: main.text, After: main.text}}
		return plan, nil
	}
	if clean.version >= 3 {
		plan.Changes, err = c.dropIn(f, clean, h)
	} else {
		plan.Changes, err = c.block(f, main, clean, h)
	}
	return plan, err
}

// Undo takes the handler out again, in whichever way it was added.
func (c Containerd) Undo(f Files) (Plan, error) {
	main, err := f.Read(c.file())
	if err != nil {
		return Plan{}, err
	}
	text, _, err := cutBlock(main)
	if err != nil {
		return Plan{}, &HandError{Path: c.file(), Why: err.Error(), Fix: "take what lies between the marks out by hand"}
	}
	ours := filepath.Join(filepath.Dir(c.file()), dropIn)
	if text, err = cutImport(c.file(), text, ours); err != nil {
		return Plan{}, err
	}
	changes := []Change{{Path: c.file(), Before: main, After: text}}
	before, err := f.Read(ours)
	if err != nil {
		return Plan{}, err
	}
	if bytes.HasPrefix(before, []byte(dropInMark)) {
		changes = append(changes, Change{Path: ours, Before: before})
	}
	return Plan{Changes: changes, Reload: "systemctl restart containerd"}, nil
}

// handler is the runtime handler as TOML, with what it holds.
type handler struct {
	toml string
	// program is its BinaryName.
	program string
}

// handler makes the handler of the options that containers have now. notes are what to say about them.
func (c Containerd) handler(main containerdFile) (h handler, notes []string) {
	name, old := defaultRuntime(main)
	key := fmt.Sprintf("plugins.%s.containerd.runtimes.", tomlKey(criPlugin(main.version)))
	var b strings.Builder
	if old == nil && main.version < 3 {
		// containerd 1 has its default runtime only while the file names none.
		fmt.Fprintf(&b, "[%srunc]\nruntime_type = %q\n\n", key, runcShim)
	}
	fmt.Fprintf(&b, "[%s%s]\nruntime_type = %q\n", key, Name, runcShim)
	if old.string("runtime_type") != runcShim {
		if old != nil {
			notes = append(notes, fmt.Sprintf("the options of the runtime %s are not for %s and were not copied", name, runcShim))
		}
		old = newTable()
	}
	for _, list := range []string{"pod_annotations", "container_annotations"} {
		all := old.strings(list)
		if !slices.Contains(all, annotations) {
			all = append(all, annotations)
		}
		for i := range all {
			all[i] = quote(all[i])
		}
		fmt.Fprintf(&b, "%s = [%s]\n", list, strings.Join(all, ", "))
	}
	own := []string{"runtime_type", "runtime_path", "runtime_engine", "pod_annotations", "container_annotations"}
	notes = append(notes, copyKeys(&b, old, "the runtime "+name, own)...)
	fmt.Fprintf(&b, "\n[%s%s.options]\nBinaryName = %s\n", key, Name, quote(c.Runtime))
	h.program = c.Runtime
	if options := old.at("options"); options != nil && options.kind == table {
		notes = append(notes, copyKeys(&b, options, "the options of the runtime "+name, []string{"BinaryName"})...)
		if program := options.string("BinaryName"); program != "" {
			notes = append(notes, sameRuntime(name, program))
		}
	}
	if main.version == 1 {
		notes = append(notes, "containerd 2 reads little of a configuration without version; containerd config migrate gives it one")
	}
	h.toml = b.String()
	return h, append(notes,
		podNote,
		"ctr and nerdctl need no configuration: ctr run --runtime io.containerd.lanhook.v2, with containerd-shim-lanhook-v2 in containerd's PATH")
}

// podNote says how pods get a runtime handler of ours.
const podNote = "pods get it with a RuntimeClass whose handler is " + Name

// sameRuntime says how ours comes to run the program of the default runtime.
func sameRuntime(name, program string) string {
	return fmt.Sprintf("the runtime %s runs %s; for the same here, say runtime = %q in %s", name, program, program, settingsFile)
}

// defaultRuntime is the runtime that pods get which ask for none, nil when the file does not have it.
func defaultRuntime(main containerdFile) (name string, runtime *value) {
	all := main.cri().at("containerd")
	if name = all.string("default_runtime_name"); name == "" {
		name = "runc"
	}
	if runtime = all.at("runtimes", name); runtime == nil || runtime.kind != table {
		return name, nil
	}
	if runc := all.at("runtimes", "runc"); runtime.string("runtime_type") != runcShim && runc.string("runtime_type") == runcShim {
		return "runc", runc
	}
	return name, runtime
}

// copyKeys writes the values of a table that are of one line, but for some keys, and says which it did not.
func copyKeys(b *strings.Builder, from *value, what string, but []string) (notes []string) {
	for _, key := range from.keys {
		if slices.Contains(but, key) || key == "options" {
			continue
		}
		text := from.values[key].render()
		if text == "" {
			notes = append(notes, fmt.Sprintf("%s of %s is a table and was not copied", key, what))
			continue
		}
		fmt.Fprintf(b, "%s = %s\n", tomlKey(key), text)
	}
	return notes
}

// tomlKey writes a key, quoted where it has to be.
func tomlKey(key string) string {
	for _, r := range key {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return quote(key)
		}
	}
	if key == "" {
		return `""`
	}
	return key
}

// misses says what a handler that stands in the file lacks.
func (h handler) misses(there *value) string {
	switch {
	case there.string("runtime_type") != runcShim:
		return "its runtime_type is not " + runcShim
	case path.Clean(there.string("options", "BinaryName")) != h.program:
		return fmt.Sprintf("its BinaryName is not %s", h.program)
	case !slices.Contains(there.strings("pod_annotations"), annotations):
		return "its pod_annotations lack " + annotations
	case !slices.Contains(there.strings("container_annotations"), annotations):
		return "its container_annotations lack " + annotations
	}
	return ""
}
