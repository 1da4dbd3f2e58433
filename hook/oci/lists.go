package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// lists are the hook lists of the runtime-spec.
func lists() []string {
	return []string{"prestart", CreateRuntime, "createContainer", "startContainer", "poststart", Poststop}
}

// editor rewrites the value of "hooks".
type editor struct {
	// create and stop are our entries, nil to leave them out.
	create, stop json.RawMessage
	// changed is set when there is anything to rewrite.
	changed bool
}

// edit rewrites the value of "hooks", which is nil where there is none.
func (e *editor) edit(old json.RawMessage) (json.RawMessage, error) {
	if old == nil && e.create == nil {
		return nil, nil
	}
	value := old
	if old == nil {
		value = json.RawMessage("null")
	}
	now, err := e.hooks(value)
	if err != nil || !e.changed {
		return old, err
	}
	return now, nil
}

// hooks rewrites the value of "hooks"; nil means that nothing is left in it.
func (e *editor) hooks(old json.RawMessage) (json.RawMessage, error) {
	var all []Member
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
		m, found, err := One(all, list)
		if err != nil {
			return nil, fmt.Errorf("in its hooks %w", err)
		}
		if !found {
			missing[list] = true
			continue
		}
		at[m.Start] = list
	}
	var parts [][]byte
	for _, m := range all {
		part := old[m.Start:m.End]
		if list, ok := at[m.Start]; ok {
			value, err := e.list(list, old[m.Value:m.End])
			if err != nil {
				return nil, err
			}
			if value == nil {
				continue
			}
			part = slices.Concat(old[m.Start:m.Value], value)
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
		for _, s := range elements(old) {
			was = append(was, old[s.start:s.end])
		}
	case 'n': // null, as runtimes take it for none
	default:
		return nil, fmt.Errorf("its hooks.%s is no list", name)
	}
	entry := e.entry(name)
	var others []json.RawMessage
	for i, hook := range was {
		is, err := isOurs(hook)
		if err != nil {
			return nil, fmt.Errorf("its hooks.%s[%d] is no hook", name, i)
		}
		if !is {
			others = append(others, hook)
			continue
		}
		if equal(hook, entry) {
			entry = hook // with its own white space, so that it stays
		}
	}
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
