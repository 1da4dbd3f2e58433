package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// quote is a text as JSON.
func quote(s string) []byte { return bytes.TrimSpace(encode(s, "")) }

// inObject are the members of an object, and its text; none and {} for a value that is missing or null, as runtimes take
// those.
func inObject(value json.RawMessage, name string) (text []byte, all []Member, err error) {
	switch {
	case value == nil || value[0] == 'n':
		return []byte("{}"), nil, nil
	case value[0] != '{':
		return nil, nil, fmt.Errorf("its %s is no object", name)
	}
	all, err = members(value)
	return value, all, err
}

// inList are the elements of a list, and its text, as with inObject.
func inList(value json.RawMessage, name string) (text []byte, all []span, err error) {
	switch {
	case value == nil || value[0] == 'n':
		return []byte("[]"), nil, nil
	case value[0] != '[':
		return nil, nil, fmt.Errorf("its %s is no list", name)
	}
	return value, elements(value), nil
}

// word is the text in an object's member of that name, "" when it is missing or null.
func word(text []byte, all []Member, name string) (string, error) {
	m, found, err := One(all, name)
	if err != nil || !found {
		return "", err
	}
	var s *string
	if err := json.Unmarshal(text[m.Value:m.End], &s); err != nil {
		return "", fmt.Errorf("its %s is no text", name)
	}
	if s == nil {
		return "", nil
	}
	return *s, nil
}

// annotations adds those that are missing. Annotations differ in upper and lower case, but none stands twice: of two, runc
// and crun need not take the same.
func (e Edits) annotations(old json.RawMessage) (json.RawMessage, error) {
	text, all, err := inObject(old, "annotations")
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool, len(all))
	for _, m := range all {
		if there[m.Key] {
			return nil, fmt.Errorf("it has the annotation %.80q twice", m.Key)
		}
		there[m.Key] = true
	}
	var missing [][]byte
	for _, key := range slices.Sorted(maps.Keys(e.Annotations)) {
		if !there[key] {
			missing = append(missing, slices.Concat(quote(key), []byte{':'}, quote(e.Annotations[key])))
		}
	}
	if len(missing) == 0 {
		return old, nil
	}
	return push(text, spansOf(all), bytes.Join(missing, []byte{','})), nil
}

// hostname sets the host name.
func (e Edits) hostname(old json.RawMessage) (json.RawMessage, error) {
	var now string
	if old != nil && json.Unmarshal(old, &now) == nil && now == e.Hostname {
		return old, nil
	}
	return quote(e.Hostname), nil
}

// mounts adds those whose destination is free.
func (e Edits) mounts(old json.RawMessage) (json.RawMessage, error) {
	old, err := e.withoutEarlier(old)
	if err != nil {
		return nil, err
	}
	text, all, err := inList(old, "mounts")
	if err != nil {
		return nil, err
	}
	taken := make(map[string]bool, len(all))
	for i, s := range all {
		mount, members, err := inObject(text[s.start:s.end], fmt.Sprintf("mounts[%d]", i))
		if err != nil {
			return nil, err
		}
		destination, err := word(mount, members, "destination")
		if err != nil {
			return nil, fmt.Errorf("in its mounts[%d] %w", i, err)
		}
		// A relative one is taken from the root, as runtimes do.
		taken[path.Join("/", destination)] = true
	}
	var missing [][]byte
	for _, m := range e.Mounts {
		if taken[m.Destination] {
			continue
		}
		taken[m.Destination] = true
		missing = append(missing, bytes.TrimSpace(encode(specs.Mount{
			Destination: m.Destination, Type: "bind", Source: m.Source,
			Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"},
		}, "")))
	}
	if len(missing) == 0 {
		return old, nil
	}
	return push(text, all, bytes.Join(missing, []byte{','})), nil
}

// withoutEarlier takes out the mounts that an earlier edit left and this one does not want.
func (e Edits) withoutEarlier(old json.RawMessage) (json.RawMessage, error) {
	if e.Folder == "" || old == nil {
		return old, nil
	}
	text, all, err := inList(old, "mounts")
	if err != nil {
		return nil, err
	}
	var kept []byte
	count := 0
	for i, s := range all {
		mount, members, err := inObject(text[s.start:s.end], fmt.Sprintf("mounts[%d]", i))
		if err != nil {
			return nil, err
		}
		var m Mount
		if m.Source, err = word(mount, members, "source"); err == nil {
			m.Destination, err = word(mount, members, "destination")
		}
		if err != nil {
			return nil, fmt.Errorf("in its mounts[%d] %w", i, err)
		}
		m.Destination = path.Join("/", m.Destination)
		switch {
		case below(e.Folder, m.Source) && !slices.Contains(e.Mounts, m):
			continue
		case count == 0:
			kept = slices.Concat(text[:all[0].start], text[s.start:s.end])
		default:
			kept = append(kept, text[all[i-1].end:s.end]...)
		}
		count++
	}
	switch {
	case count == len(all):
		return old, nil
	case count == 0:
		kept = text[:all[0].start:all[0].start]
	}
	return append(kept, text[all[len(all)-1].end:]...), nil
}

// below says whether a path lies below a folder.
func below(folder, file string) bool {
	return strings.HasPrefix(file, strings.TrimSuffix(folder, "/")+"/")
}

// linux edits linux.namespaces.
func (e Edits) linux(old json.RawMessage) (json.RawMessage, error) {
	text, all, err := inObject(old, "linux")
	if err != nil {
		return nil, err
	}
	m, found, err := One(all, "namespaces")
	if err != nil {
		return nil, fmt.Errorf("in its linux %w", err)
	}
	var was json.RawMessage
	if found {
		was = text[m.Value:m.End]
	}
	now, err := e.namespaces(was)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(was, now) {
		return old, nil
	}
	return set(text, all, "namespaces", now), nil
}

// namespaces edits the network entry, and verifies that a host name can be set.
func (e Edits) namespaces(old json.RawMessage) (json.RawMessage, error) {
	text, all, err := inList(old, "linux.namespaces")
	if err != nil {
		return nil, err
	}
	network, uts := -1, false
	for i, s := range all {
		entry, members, err := inObject(text[s.start:s.end], fmt.Sprintf("linux.namespaces[%d]", i))
		if err != nil {
			return nil, err
		}
		kind, err := word(entry, members, "type")
		if err != nil {
			return nil, fmt.Errorf("in its linux.namespaces[%d] %w", i, err)
		}
		switch {
		case kind == string(specs.UTSNamespace):
			uts = true
		case kind == string(specs.NetworkNamespace) && network >= 0:
			return nil, errors.New("it has two network namespaces")
		case kind == string(specs.NetworkNamespace):
			network = i
		}
	}
	if e.Hostname != "" && !uts {
		return nil, errors.New("it has no UTS namespace, and thus no host name of its own")
	}
	if e.NetNS == nil {
		return old, nil
	}
	return e.NetNS.entry(old, text, all, network)
}

// entry makes the network entry of linux.namespaces what n says. i is the one that is there, -1 for none.
func (n NetNS) entry(old json.RawMessage, text []byte, all []span, i int) (json.RawMessage, error) {
	switch {
	case n.Kind == NetNSShared && i < 0:
		return old, nil
	case n.Kind == NetNSShared:
		return cut(text, all, i), nil
	case i < 0:
		return push(text, all, bytes.TrimSpace(encode(specs.LinuxNamespace{
			Type: specs.NetworkNamespace, Path: n.Path,
		}, ""))), nil
	}
	entry := text[all[i].start:all[i].end]
	members, err := members(entry)
	if err != nil {
		return nil, err
	}
	now, err := word(entry, members, "path")
	if err != nil {
		return nil, fmt.Errorf("in its linux.namespaces[%d] %w", i, err)
	}
	switch {
	case now == n.Path:
		return old, nil
	case n.Path == "":
		entry = cut(entry, spansOf(members), slices.IndexFunc(members, func(m Member) bool { return m.Key == "path" }))
	default:
		entry = set(entry, members, "path", quote(n.Path))
	}
	return splice(text, all[i].start, all[i].end, entry), nil
}
