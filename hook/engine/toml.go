package engine

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is the type of a TOML value, as far as anybody asks.
type kind uint8

const (
	// word is an integer, a float, a boolean or a date: its text is what was written.
	word kind = iota
	// quoted is a string: its text is what it stands for.
	quoted
	list
	table
)

// value is one TOML value.
type value struct {
	kind  kind
	text  string
	items []*value
	// start and end are where it was written; of a list, the bracket and the end of the last item.
	start, end int
	// keys are a table's in the order in which they came, each with its value.
	keys   []string
	values map[string]*value
	// closed tables are those of one line, {…} or a.b = …, which no header can add to; headed ones had theirs.
	closed, headed bool
}

func newTable() *value { return &value{kind: table, values: map[string]*value{}} }

func (v *value) set(key string, to *value) {
	v.keys = append(v.keys, key)
	v.values[key] = to
}

// at gives the value of a path of keys, nil when there is none or v is nil.
func (v *value) at(path ...string) *value {
	for _, key := range path {
		if v == nil || v.kind != table {
			return nil
		}
		v = v.values[key]
	}
	return v
}

// string gives the text at a path, "" where there is no string.
func (v *value) string(path ...string) string {
	if s := v.at(path...); s != nil && s.kind == quoted {
		return s.text
	}
	return ""
}

// strings gives the texts of the list at a path, nil where there is no list of strings alone.
func (v *value) strings(path ...string) []string {
	l := v.at(path...)
	if l == nil || l.kind != list {
		return nil
	}
	texts := make([]string, 0, len(l.items))
	for _, item := range l.items {
		if item.kind != quoted {
			return nil
		}
		texts = append(texts, item.text)
	}
	return texts
}

// render writes a value anew on one line, "" when it is a table or holds one.
func (v *value) render() string {
	switch v.kind {
	case word:
		return v.text
	case quoted:
		return quote(v.text)
	case list:
		texts := make([]string, len(v.items))
		for i, item := range v.items {
			if texts[i] = item.render(); texts[i] == "" {
				return ""
			}
		}
		return "[" + strings.Join(texts, ", ") + "]"
	case table:
	}
	return ""
}

// quote writes a basic string of TOML.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// parse reads a TOML file. The parser knows the grammar; that nothing is defined twice (toml.io/en/v1.0.0, "Table") is
// kept here: engines refuse such a file, so an edit that makes one is wrong. An error says the line.
func parse(text []byte) (*value, error) {
	root := newTable()
	root.headed = true
	current := root
	var p unstable.Parser
	p.Reset(text)
	r := reader{text: text}
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			current = r.header(root, e)
		case unstable.KeyValue:
			r.keyValue(current, e)
		default: // the grammar has nothing else at the top but comments
		}
		if r.err != nil {
			return nil, r.err
		}
	}
	if err := p.Error(); err != nil {
		at := len(text)
		if e, ok := errors.AsType[*unstable.ParserError](err); ok {
			// The error holds the part of the input that it means, whose place follows from the capacity behind it.
			at = max(0, min(at, cap(text)-cap(e.Highlight)))
		}
		return nil, r.wrong(at, "%s", err)
	}
	return root, nil
}

// reader makes values of expressions. err is the first thing that was wrong.
type reader struct {
	text []byte
	err  error
}

func (r *reader) wrong(at int, format string, args ...any) error {
	line := 1 + bytes.Count(r.text[:at], []byte("\n"))
	return fmt.Errorf("line %d: %s", line, fmt.Sprintf(format, args...))
}

func (r *reader) fail(at int, format string, args ...any) {
	if r.err == nil {
		r.err = r.wrong(at, format, args...)
	}
}

// part is one part of a dotted key.
type part struct {
	name    string
	at, end int
}

func parts(it unstable.Iterator) []part {
	var all []part
	for it.Next() {
		raw := it.Node().Raw
		all = append(all, part{string(it.Node().Data), int(raw.Offset), int(raw.Offset + raw.Length)})
	}
	return all
}

// header finds or makes the table that [a.b] or [[a.b]] opens.
func (r *reader) header(root *value, e *unstable.Node) *value {
	all := parts(e.Key())
	last := all[len(all)-1]
	t := root
	for _, p := range all[:len(all)-1] {
		t = r.open(t, p)
	}
	old := t.values[last.name]
	fresh := newTable()
	fresh.headed = true
	switch {
	case e.Kind == unstable.ArrayTable && old == nil:
		t.set(last.name, &value{kind: list, headed: true, items: []*value{fresh}})
	case e.Kind == unstable.ArrayTable && old.kind == list && old.headed:
		old.items = append(old.items, fresh)
	case e.Kind == unstable.Table && old == nil:
		t.set(last.name, fresh)
	case e.Kind == unstable.Table && old.kind == table && !old.headed && !old.closed:
		old.headed = true
		return old
	default:
		r.fail(last.at, "%s is there already", last.name)
	}
	return fresh
}

// open goes one part of a header down, and makes the table where there is none.
func (r *reader) open(t *value, p part) *value {
	old := t.values[p.name]
	switch {
	case old == nil:
		next := newTable()
		t.set(p.name, next)
		return next
	case old.kind == table && !old.closed:
		return old
	case old.kind == list && old.headed:
		return old.items[len(old.items)-1]
	}
	r.fail(p.at, "%s cannot be added to", p.name)
	return newTable()
}

// keyValue adds "a.b = value" to a table.
func (r *reader) keyValue(t *value, e *unstable.Node) {
	all := parts(e.Key())
	for _, p := range all[:len(all)-1] {
		old := t.values[p.name]
		switch {
		case old == nil:
			next := newTable()
			next.closed = true
			t.set(p.name, next)
			t = next
		case old.kind == table && old.closed:
			t = old
		default:
			r.fail(p.at, "%s is there already", p.name)
			return
		}
	}
	last := all[len(all)-1]
	if t.values[last.name] != nil {
		r.fail(last.at, "%s is set already", last.name)
		return
	}
	t.set(last.name, r.value(e.Value(), last.end))
}

// value copies a value out of the parser, which reuses its memory. after is where the key ends: the parser keeps no
// place for a list.
func (r *reader) value(n *unstable.Node, after int) *value {
	v := &value{text: string(n.Data), start: int(n.Raw.Offset), end: int(n.Raw.Offset + n.Raw.Length)}
	switch n.Kind {
	case unstable.String:
		v.kind = quoted
	case unstable.Array:
		v.kind = list
		v.start = after + bytes.IndexByte(r.text[after:], '[')
		v.end = v.start + 1
		for it := n.Children(); it.Next(); {
			item := r.value(it.Node(), v.end)
			v.items = append(v.items, item)
			v.end = item.end
		}
	case unstable.InlineTable:
		v = newTable()
		v.start, v.end = after, after
		for it := n.Children(); it.Next(); {
			r.keyValue(v, it.Node())
		}
		v.closed = true
	default:
		v.kind = word
	}
	return v
}
