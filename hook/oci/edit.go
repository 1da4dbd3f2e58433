package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Change is what an edit did.
type Change uint8

// The changes.
const (
	// Unchanged means that the bytes are the same.
	Unchanged Change = iota
	// Added means that there were no hooks of ours.
	Added
	// Updated means that there were, but other ones or in another place.
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

// lists are the hook lists of the runtime-spec.
func lists() []string {
	return []string{"prestart", CreateRuntime, "createContainer", "startContainer", "poststart", Poststop}
}

// Edit puts our hooks into a config.json: createRuntime last in its list, behind the hooks of engines that make the
// container's own network, and poststop first, since runc runs no further one after one that fails. Hooks of ours that
// are there already, of another version or path or in another list, are replaced. So Edit of what Edit gave changes
// nothing.
//
// All else keeps its bytes: unknown fields, the text of numbers, order and white space. Only the white space within
// "hooks" may go. config is not written to, and is what comes back when there is no change. An error is an [*Error], for
// what is no JSON object, has hooks that are none, has a key twice, or for an h that is none.
func Edit(config []byte, h Hooks) ([]byte, Change, error) {
	if err := h.check(); err != nil {
		return nil, Unchanged, err
	}
	entry := func(stage string) json.RawMessage { return bytes.TrimSpace(encode(h.hook(stage), "")) }
	return edit(config, entry(CreateRuntime), entry(Poststop))
}

// Remove takes our hooks out of a config.json, whatever their version, and with them the lists and the "hooks" that they
// leave empty. Otherwise it is as [Edit].
func Remove(config []byte) ([]byte, Change, error) { return edit(config, nil, nil) }

// edit takes our hooks out and puts in those that are not nil.
func edit(config []byte, create, stop json.RawMessage) ([]byte, Change, error) {
	bad := func(why string) ([]byte, Change, error) {
		return nil, Unchanged, &Error{Doing: "edit the hooks of the container's config.json", Why: why}
	}
	if len(config) > maxConfig {
		return bad(fmt.Sprintf("it is longer than %d bytes", maxConfig))
	}
	if why := object(config); why != "" {
		return bad(why)
	}
	top, err := members(config)
	if err != nil {
		return bad(err.Error())
	}
	at, found, err := one(top, "hooks")
	if err != nil {
		return bad(err.Error())
	}
	old := json.RawMessage("null")
	if found {
		old = config[at.value:at.end]
	}
	e := editor{create: create, stop: stop}
	hooks, err := e.hooks(old)
	switch {
	case err != nil:
		return bad(err.Error())
	case !e.changed:
		return config, Unchanged, nil
	}
	change := Updated
	switch {
	case e.ours == 0:
		change = Added
	case create == nil:
		change = Removed
	}
	switch {
	case hooks == nil:
		return cut(config, top, at), change, nil
	case found:
		return splice(config, at.value, at.end, hooks), change, nil
	}
	hooks = append([]byte(`"hooks":`), hooks...)
	if len(top) == 0 {
		brace := bytes.IndexByte(config, '{') + 1
		return splice(config, brace, brace, hooks), change, nil
	}
	end := top[len(top)-1].end
	return splice(config, end, end, append([]byte{','}, hooks...)), change, nil
}

// splice is text with text[from:to] replaced, in memory of its own.
func splice(text []byte, from, to int, by []byte) []byte {
	return slices.Concat(text[:from], by, text[to:])
}

// cut is text without the member m, and without the comma that parted it from its neighbour.
func cut(text []byte, all []member, m member) []byte {
	i := slices.Index(all, m)
	switch {
	case i > 0:
		return splice(text, all[i-1].end, m.end, nil)
	case len(all) > 1:
		return splice(text, m.start, all[1].start, nil)
	}
	return splice(text, m.start, m.end, nil)
}

// editor rewrites the value of "hooks".
type editor struct {
	// create and stop are our entries, nil to leave them out.
	create, stop json.RawMessage
	// ours counts the entries of ours that were there.
	ours int
	// changed is set when there is anything to rewrite.
	changed bool
}

// hooks rewrites the value of "hooks"; nil means that nothing is left in it.
func (e *editor) hooks(old json.RawMessage) (json.RawMessage, error) {
	var all []member
	var err error
	switch old[0] {
	case '{':
		all, err = members(old)
	case 'n': // null, as runtimes take it for none
	default:
		err = errors.New("its hooks are no object")
	}
	if err != nil {
		return nil, err
	}
	// Every list is looked up first, so that a key that stands twice is refused before anything is decided.
	at := make(map[int]string)
	missing := make(map[string]bool)
	for _, list := range lists() {
		m, found, err := one(all, list)
		if err != nil {
			return nil, fmt.Errorf("in its hooks %w", err)
		}
		if !found {
			missing[list] = true
			continue
		}
		at[m.start] = list
	}
	var parts [][]byte
	for _, m := range all {
		part := old[m.start:m.end]
		if list, ok := at[m.start]; ok {
			value, err := e.list(list, old[m.value:m.end])
			if err != nil {
				return nil, err
			}
			if value == nil {
				continue
			}
			part = slices.Concat(old[m.start:m.value], value)
		}
		parts = append(parts, part)
	}
	for _, list := range []string{CreateRuntime, Poststop} {
		if entry := e.entry(list); missing[list] && entry != nil {
			e.changed = true
			parts = append(parts, fmt.Appendf(nil, `"%s":[%s]`, list, entry))
		}
	}
	if len(parts) == 0 {
		return nil, nil
	}
	return slices.Concat([]byte{'{'}, bytes.Join(parts, []byte{','}), []byte{'}'}), nil
}

// entry is what goes into a list, nil for nothing.
func (e *editor) entry(list string) json.RawMessage {
	switch list {
	case CreateRuntime:
		return e.create
	case Poststop:
		return e.stop
	}
	return nil
}

// list rewrites one hook list; nil means that it held hooks of ours and nothing else.
func (e *editor) list(name string, old json.RawMessage) (json.RawMessage, error) {
	var was []json.RawMessage
	switch old[0] {
	case '[':
		was = elements(old)
	case 'n': // null, as runtimes take it for none
	default:
		return nil, fmt.Errorf("its hooks.%s is no list", name)
	}
	entry := e.entry(name)
	var others []json.RawMessage
	ours := 0
	for i, hook := range was {
		is, err := isOurs(hook)
		if err != nil {
			return nil, fmt.Errorf("its hooks.%s[%d] is no hook", name, i)
		}
		if !is {
			others = append(others, hook)
			continue
		}
		ours++
		if equal(hook, entry) {
			entry = hook // with its own white space, so that it stays
		}
	}
	e.ours += ours
	now := others
	switch {
	case entry == nil:
	case name == Poststop:
		now = slices.Concat([]json.RawMessage{entry}, others)
	default:
		now = slices.Concat(others, []json.RawMessage{entry})
	}
	if slices.EqualFunc(was, now, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		return old, nil
	}
	e.changed = true
	if len(now) == 0 {
		return nil, nil
	}
	texts := make([][]byte, len(now))
	for i, hook := range now {
		texts[i] = hook
	}
	return slices.Concat([]byte{'['}, bytes.Join(texts, []byte{','}), []byte{']'}), nil
}

// equal says whether an entry is ours but for white space.
func equal(hook, entry json.RawMessage) bool {
	var b bytes.Buffer
	return json.Compact(&b, hook) == nil && bytes.Equal(b.Bytes(), entry)
}
