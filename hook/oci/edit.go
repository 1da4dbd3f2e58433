package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"unicode/utf8"
)

// Change is what an edit did.
type Change uint8

// The changes.
const (
	// Unchanged means that the bytes are the same.
	Unchanged Change = iota
	// Added means that there were no hooks of ours.
	Added
	// Updated means that there were, but other ones or in another place, or that something else changed.
	Updated
	// Removed means that there were and are no more.
	Removed
)

// String is the change as a word.
func (c Change) String() string {
	switch c {
	case Unchanged:
		return "unchanged"
	case Added:
		return "added"
	case Updated:
		return "updated"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("change %d", uint8(c))
}

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

// Edited is a config.json after an edit.
type Edited struct {
	// Config is the new text, or the given one itself where there was nothing to change.
	Config []byte
	Change Change
	// By is who had put hooks of ours there before, "" when there were none: what their --by says, or [BySetup].
	By string
}

// Apply edits a config.json. Applied to what it gave, it changes nothing.
//
// All else keeps its bytes: unknown fields, the text of numbers, order and white space; only the white space within
// "hooks" may go. config is not written to. An error is an [*Error]: for what is longer than 16 MiB or no JSON object,
// for a part to be changed that is not what the runtime-spec says or that stands twice, and for edits that are none.
func (e Edits) Apply(config []byte) (Edited, error) {
	if err := e.check(); err != nil {
		return Edited{}, err
	}
	if e.Hooks == nil {
		return apply(config, nil, e.parts())
	}
	entry := func(stage string) json.RawMessage { return bytes.TrimSpace(encode(e.Hooks.hook(stage), "")) }
	return apply(config, &editor{create: entry(CreateRuntime), stop: entry(Poststop)}, e.parts())
}

// Edit puts our hooks into a config.json and changes nothing else. Otherwise it is as [Edits.Apply].
func Edit(config []byte, h Hooks) ([]byte, Change, error) {
	edited, err := Edits{Hooks: &h}.Apply(config)
	return edited.Config, edited.Change, err
}

// Remove takes our hooks out of a config.json, whatever their version, and with them the lists and the "hooks" that they
// leave empty. Otherwise it is as [Edit].
func Remove(config []byte) ([]byte, Change, error) {
	edited, err := apply(config, &editor{}, nil)
	return edited.Config, edited.Change, err
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

// parts are those of everything but the hooks.
func (e Edits) parts() []part {
	var all []part
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

// apply edits a config.json: the hooks, unless h is nil, and then the other parts.
func apply(config []byte, h *editor, parts []part) (Edited, error) {
	bad := func(why string) (Edited, error) {
		return Edited{}, &Error{Doing: "edit the container's config.json", Why: why}
	}
	if len(config) > maxConfig {
		return bad(fmt.Sprintf("it is longer than %d bytes", maxConfig))
	}
	if why := object(config); why != "" {
		return bad(why)
	}
	if h != nil {
		parts = append([]part{{"hooks", h.edit}}, parts...)
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
	edited := Edited{Config: out}
	if h != nil {
		edited.By = h.by
	}
	switch {
	case bytes.Equal(config, out):
		edited.Config = config
	case h == nil || h.ours > 0 && h.create != nil:
		edited.Change = Updated
	case h.create == nil:
		edited.Change = Removed
	default:
		edited.Change = Added
	}
	return edited, nil
}

// apply rewrites the part's member of an object whose members are all.
func (p part) apply(text []byte, all []member) ([]byte, error) {
	m, found, err := one(all, p.name)
	if err != nil {
		return nil, err
	}
	var old json.RawMessage
	if found {
		old = text[m.value:m.end]
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
