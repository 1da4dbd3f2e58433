package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"unicode/utf8"
)

// Edits is everything that one edit of a config.json changes. The zero value changes nothing.
type Edits struct {
	// Hooks are ours, nil to leave all hooks as they are. createRuntime is put last in its list, behind the hooks of
	// engines that make the container's own network, and poststop first, since runc runs no further one after one that
	// fails. Hooks of ours that are there already, of another version or path or in another list, are replaced.
	Hooks *Hooks
	// Annotations are added, each where its key is missing. One that is there stays as it is.
	Annotations map[string]string
	// NetNS is the network namespace that the container shall get, nil for the one it gets already.
	NetNS *NetNS
	// Hostname is the container's host name, "" for the one it gets already. The container must have a UTS namespace.
	Hostname string
	// Mounts are put behind the others, each where nothing is mounted on its destination.
	Mounts []Mount
	// Folder is where the sources of Mounts lie, "" for anywhere. Mounts from below it that an earlier edit of the same
	// file left, and that are not among Mounts, are taken out.
	Folder string
}

// Mount is a file or folder of the host that a container gets to see and cannot change: a bind mount with the options
// ro, nosuid, nodev and noexec. Both paths are absolute.
type Mount struct {
	Destination string
	Source      string
}

// Apply edits a config.json, and gives the text itself back where there is nothing to change. Applied to what it gave, it
// changes nothing.
//
// All else keeps its bytes: unknown fields, the text of numbers, order and white space; only the white space within
// "hooks" may go. config is not written to. An error is an [*Error]: for what is longer than 16 MiB or no JSON object,
// for a part to be changed that is not what the runtime-spec says or that stands twice, and for edits that are none.
func (e Edits) Apply(config []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return apply(config, e.parts())
}

// Remove takes our hooks out of a config.json, whatever their version, and with them the lists and the "hooks" that they
// leave empty. Otherwise it is as [Edits.Apply].
func Remove(config []byte) ([]byte, error) {
	return apply(config, []part{{"hooks", (&editor{}).edit}})
}

// check refuses edits that would make a config.json that no runtime takes, or that a second edit would not know again.
func (e Edits) check() error {
	bad := func(format string, args ...any) error {
		return &Error{Doing: "make the edit of a config.json", Why: fmt.Sprintf(format, args...)}
	}
	if e.Hooks != nil {
		if err := e.Hooks.check(); err != nil {
			return err
		}
	}
	for key, value := range e.Annotations {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return bad("the annotation %.80q is not UTF-8", key)
		}
	}
	if n := e.NetNS; n != nil && (n.Kind == NetNSPath && !absolute(n.Path) || n.Kind != NetNSPath && n.Path != "") {
		return bad("%.80q is no path of a network namespace", n.Path)
	}
	if !utf8.ValidString(e.Hostname) {
		return bad("the host name %.80q is not UTF-8", e.Hostname)
	}
	for _, m := range e.Mounts {
		if !absolute(m.Destination) || !absolute(m.Source) {
			return bad("%.80q cannot be mounted on %.80q", m.Source, m.Destination)
		}
		if e.Folder != "" && !below(e.Folder, m.Source) {
			return bad("%.80q is not below %.80q", m.Source, e.Folder)
		}
	}
	if e.Folder != "" && !absolute(e.Folder) {
		return bad("%.80q is no folder of mounts", e.Folder)
	}
	return nil
}

// absolute says whether p is an absolute path in its shortest form.
func absolute(p string) bool { return path.IsAbs(p) && path.Clean(p) == p && utf8.ValidString(p) }

// part is one member of a config.json that an edit may change.
type part struct {
	name string
	// edit gives the member's new value: the old one itself for no change, nil for no member. old is nil when there is
	// none.
	edit func(old json.RawMessage) (json.RawMessage, error)
}

// parts are those of the edits, in the order in which they are made.
func (e Edits) parts() []part {
	var all []part
	if e.Hooks != nil {
		entry := func(stage string) json.RawMessage { return bytes.TrimSpace(encode(e.Hooks.hook(stage), "")) }
		all = append(all, part{"hooks", (&editor{create: entry(CreateRuntime), stop: entry(Poststop)}).edit})
	}
	if len(e.Annotations) > 0 {
		all = append(all, part{"annotations", e.annotations})
	}
	if e.Hostname != "" {
		all = append(all, part{"hostname", e.hostname})
	}
	if e.NetNS != nil || e.Hostname != "" {
		all = append(all, part{"linux", e.linux})
	}
	if len(e.Mounts) > 0 || e.Folder != "" {
		all = append(all, part{"mounts", e.mounts})
	}
	return all
}

// apply edits the parts of a config.json.
func apply(config []byte, parts []part) ([]byte, error) {
	bad := func(why string) ([]byte, error) {
		return nil, &Error{Doing: "edit the container's config.json", Why: why}
	}
	if len(config) > maxConfig {
		return bad(fmt.Sprintf("it is longer than %d bytes", maxConfig))
	}
	if why := object(config); why != "" {
		return bad(why)
	}
	out := config
	for _, p := range parts {
		all, err := members(out)
		if err != nil {
			return bad(err.Error())
		}
		if out, err = p.apply(out, all); err != nil {
			return bad(err.Error())
		}
	}
	if bytes.Equal(config, out) {
		return config, nil
	}
	return out, nil
}

// apply rewrites the part's member of an object whose members are all.
func (p part) apply(text []byte, all []Member) ([]byte, error) {
	m, found, err := One(all, p.name)
	if err != nil {
		return nil, err
	}
	var old json.RawMessage
	if found {
		old = text[m.Value:m.End]
	}
	value, err := p.edit(old)
	if err != nil {
		return nil, err
	}
	if value == nil && found {
		return cut(text, spansOf(all), slices.Index(all, m)), nil
	}
	return set(text, all, p.name, value), nil
}
