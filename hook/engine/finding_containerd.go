package engine

import (
	"bytes"
	"fmt"
	"path"
	"path/filepath"
	"slices"
)

// containerd looks at the runtime handlers of CRI in the configuration and in what it imports.
func (d *Doctor) containerd() (string, error) {
	main, err := readContainerd(d.Files, ContainerdFile)
	if err != nil {
		return "", err
	}
	others, err := imported(d.Files, main)
	if err != nil {
		return "", err
	}
	d.dropIn(main, others)
	good := ContainerdFile + " has no runtime handler of lanhook; ctr and nerdctl need none"
	var last string // of the files that have anything of CRI, the one that counts under containerd 1
	for _, file := range append([]containerdFile{main}, others...) {
		if file.cri() != nil {
			last = file.path
		}
	}
	for _, file := range append([]containerdFile{main}, others...) {
		handlers := file.cri().at("containerd", "runtimes")
		if handlers == nil || handlers.kind != table {
			continue
		}
		for _, name := range handlers.keys {
			if !d.handlerOf(file.path, name, handlers.values[name]) {
				continue
			}
			good = fmt.Sprintf("%s has the runtime handler %s", file.path, name)
			if file.version < 3 && last != file.path {
				d.add(checkContainerd, Warn, fmt.Sprintf("containerd 1 takes nothing of CRI from %s, because %s has CRI as well: there is no runtime %s", file.path, last, name),
					"move the handler there, or under containerd 2 take containerd config migrate")
			}
		}
	}
	return good, nil
}

// dropIn looks whether our own file is read, and by a version that merges it.
func (d *Doctor) dropIn(main containerdFile, others []containerdFile) {
	const again = "lanhook setup containerd"
	file := filepath.Join(filepath.Dir(main.path), dropIn)
	text, err := d.Files.Read(file)
	read := slices.ContainsFunc(others, func(o containerdFile) bool { return o.path == file })
	switch {
	case err == nil && text == nil && slices.Contains(main.root.strings("imports"), file):
		d.fail(checkContainerd, fmt.Sprintf("%s imports %s, which is not there: containerd does not start", main.path, file), again+", with or without --undo")
	case !bytes.HasPrefix(text, []byte(dropInMark)):
	case !read:
		d.fail(checkContainerd, fmt.Sprintf("%s is not imported by %s: its runtime handler is not there", file, main.path), again)
	case main.version < 3:
		d.fail(checkContainerd, fmt.Sprintf("%s is imported by a configuration of version %d: containerd 1 takes all of CRI from it, and nothing from %s", file, main.version, main.path),
			again+" --undo, then "+again)
	}
}

// handlerOf looks at one runtime handler, and says whether it is one that uses lanhook.
func (d *Doctor) handlerOf(file, name string, h *value) bool {
	program, kind := h.string("options", "BinaryName"), h.string("runtime_type")
	switch {
	case kind == shimType && program != "" && !ours(program):
		d.fail(checkContainerd, fmt.Sprintf("the runtime %s of %s names %s, which goes round lanhook's shim: containers start without their network", name, file, program),
			"take BinaryName out, or name lanhook-runtime")
		return true
	case kind == shimType:
		d.program(checkContainerd, file, path.Join(d.Programs, shimProgram), "no container of that runtime starts", "install it")
	case ours(program):
		var e Editor
		if name == Name {
			e = Containerd{Runtime: program}
		}
		d.handled(checkContainerd, file, program, e)
	default:
		return false
	}
	pods, containers := passes(h.strings("pod_annotations")), passes(h.strings("container_annotations"))
	lists := fmt.Sprintf("say pod_annotations and container_annotations = [%q] there", annotations)
	switch {
	case !pods && !containers:
		d.fail(checkContainerd, fmt.Sprintf("the runtime %s of %s lets no annotation of ours through: containers start without their network", name, file), lists)
	case !pods:
		d.add(checkContainerd, Warn, fmt.Sprintf("the runtime %s of %s lets annotations of containers through, but not those of pods", name, file), lists)
	case !containers:
		d.add(checkContainerd, Warn, fmt.Sprintf("the runtime %s of %s lets annotations of pods through, but not those of containers", name, file), lists)
	}
	return true
}
