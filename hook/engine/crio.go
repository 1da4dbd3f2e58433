package engine

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

const (
	// CRIOFolder is where CRI-O looks for further files of its configuration, which it reads in the order of their
	// names, behind crio.conf; what a later one says of a key counts.
	CRIOFolder = "/etc/crio/crio.conf.d"
	crioFile   = "/etc/crio/crio.conf"
	crioName   = "50-lanhook.conf"

	crioMark = "# Written by lanhook setup crio. --undo takes it away; what is written here by hand is lost then.\n"
)

// CRIO is what a setup of CRI-O takes.
type CRIO struct {
	// Dir is the folder of further files, "" for CRIOFolder.
	Dir string
	// Runtime is the absolute path of lanhook-runtime.
	Runtime string
}

func (c CRIO) file() string {
	if c.Dir == "" {
		return path.Join(CRIOFolder, crioName)
	}
	return path.Join(c.Dir, crioName)
}

// Setup writes a file with a runtime handler.
//
// It has no allow-list for our annotations: CRI-O passes all of a pod's and a container's on, and does not start when
// allowed_annotations has one that it does not know itself. Nor hooks_dir: the runtime brings the hooks, for the
// sandbox too, which hooks.d never reaches, and a second list would take the place of the administrator's.
func (c CRIO) Setup(f Files) (Plan, error) {
	before, err := f.Read(c.file())
	if err != nil {
		return Plan{}, err
	}
	if before != nil && !bytes.HasPrefix(before, []byte(crioMark)) {
		return Plan{}, &HandError{Path: c.file(), Why: "it is not by setup", Fix: "move it away"}
	}
	name, old, err := c.defaultRuntime(f)
	if err != nil {
		return Plan{}, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s[crio.runtime.runtimes.%s]\nruntime_path = %s\nruntime_type = \"oci\"\n", crioMark, Name, quote(c.Runtime))
	var notes []string
	if kind := old.string("runtime_type"); kind != "" && kind != "oci" {
		notes = append(notes, fmt.Sprintf("what is said of the runtime %s is for the type %s and was not copied", name, kind))
		old = newTable()
	}
	if old.at("runtime_root") == nil {
		fmt.Fprintf(&b, "runtime_root = \"/run/%s\"\n", name) // as CRI-O's own handlers have it
	}
	own := []string{"runtime_path", "runtime_type", "inherit_default_runtime", "platform_runtime_paths"}
	notes = append(notes, copyKeys(&b, old, "the runtime "+name, own)...)
	if program := old.string("runtime_path"); program != "" {
		notes = append(notes, sameRuntime(name, program))
	}
	notes = append(notes, podNote)
	return Plan{
		Changes: []Change{{Path: c.file(), Before: before, After: []byte(b.String())}},
		Notes:   notes,
		Reload:  "systemctl restart crio",
	}, nil
}

// Undo takes the file away.
func (c CRIO) Undo(f Files) (Plan, error) {
	before, err := f.Read(c.file())
	if err != nil {
		return Plan{}, err
	}
	after := before
	if bytes.HasPrefix(before, []byte(crioMark)) {
		after = nil
	}
	return Plan{Changes: []Change{{Path: c.file(), Before: before, After: after}}, Reload: "systemctl restart crio"}, nil
}

// defaultRuntime is the handler that pods get which ask for none, empty when no file has it.
func (c CRIO) defaultRuntime(f Files) (name string, runtime *value, err error) {
	files, err := f.Glob(path.Join(path.Dir(c.file()), "*.conf"))
	if err != nil {
		return "", nil, err
	}
	name = "crun" // CRI-O's since 1.31; before, runc, which its packages name in a file
	handlers := map[string]*value{}
	for _, file := range append([]string{crioFile}, files...) {
		text, err := f.Read(file)
		if err != nil {
			return "", nil, err
		}
		root, err := parse(text)
		if err != nil {
			return "", nil, &HandError{Path: file, Why: "it is not understood: " + err.Error()}
		}
		runtime := root.at("crio", "runtime")
		if said := runtime.string("default_runtime"); said != "" {
			name = said
		}
		all := runtime.at("runtimes")
		if all == nil || all.kind != table {
			continue
		}
		for _, key := range all.keys {
			handlers[key] = all.values[key]
		}
	}
	if handlers[name] == nil || handlers[name].kind != table {
		return name, newTable(), nil
	}
	return name, handlers[name], nil
}
