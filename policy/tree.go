package policy

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is the type of a TOML value.
type kind uint8

const (
	kindString kind = iota + 1
	kindInteger
	kindFloat
	kindBool
	kindTime
	kindArray
	kindTable
)

// String is the type with its article, for messages.
func (k kind) String() string {
	switch k {
	case kindString:
		return "a string"
	case kindInteger:
		return "an integer"
	case kindFloat:
		return "a float"
	case kindBool:
		return "a boolean"
	case kindTime:
		return "a date or time"
	case kindArray:
		return "a list"
	case kindTable:
		return "a table"
	}
	return "nothing"
}

// origin is how a table came to be, which decides who may add to it.
type origin uint8

const (
	// implied by the header of a table below it; one header of its own may follow.
	implied origin = iota + 1
	// headed by its own [header] or [[header]]: complete once the next header begins.
	headed
	// dotted by a key with dots, which only such keys may extend.
	dotted
	// inline between braces: closed.
	inline
)

// node is one TOML value with its place.
type node struct {
	kind kind
	at   mark
	// text is a string as decoded, and of numbers, booleans and dates what was written.
	text  string
	items []*node
	// tables is true for an array that [[header]] makes, which further headers extend.
	tables bool
	// For kindTable:
	from    origin
	entries []*entry
	index   map[string]*entry
}

// entry is one key of a table, with the place of the key.
type entry struct {
	name string
	at   mark
	val  *node
}

func newTable(at mark, from origin) *node {
	return &node{kind: kindTable, at: at, from: from, index: map[string]*entry{}}
}

func (n *node) add(name string, at mark, val *node) {
	e := &entry{name: name, at: at, val: val}
	n.entries = append(n.entries, e)
	n.index[name] = e
}

// parseTree reads one file into a table. The parser knows TOML's grammar; that keys and tables are defined only once
// (toml.io/en/v1.1.0, sections Keys and Table) is kept here, since only this place knows where each was written.
func parseTree(src *source) (*node, []finding) {
	b := &builder{src: src}
	root := newTable(mark{src, 0}, headed)
	if at, ok := badUTF8(src.data); !ok {
		return root, []finding{{mark{src, at}, "the file is not UTF-8", ""}}
	}
	var p unstable.Parser
	p.Reset(src.data)
	current := root
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			current = b.header(root, e, false)
		case unstable.ArrayTable:
			current = b.header(root, e, true)
		case unstable.KeyValue:
			b.keyValue(current, e)
		default:
			// Comments are not kept, and the grammar has nothing else at the top.
		}
	}
	if err := p.Error(); err != nil {
		b.syntax(err)
	}
	return root, b.found
}

func badUTF8(data []byte) (int, bool) {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i, false
		}
		i += size
	}
	return 0, true
}

// builder makes nodes of expressions.
type builder struct {
	src   *source
	found []finding
}

func (b *builder) fail(at mark, format string, args ...any) {
	b.found = append(b.found, finding{at: at, msg: fmt.Sprintf(format, args...)})
}

// syntax notes the parser's error, which ends the reading of the file. The error holds the part of the input that it
// means; where that begins follows from the capacity that is left behind it.
func (b *builder) syntax(err error) {
	at := mark{b.src, len(b.src.data)}
	if perr, ok := errors.AsType[*unstable.ParserError](err); ok {
		if off := cap(b.src.data) - cap(perr.Highlight); off >= 0 && off < at.off {
			at.off = off
		}
	}
	b.fail(at, "not TOML: %s", err)
}

// part is one part of a dotted key.
type part struct {
	name string
	at   mark
	end  int
}

func (b *builder) key(it unstable.Iterator) []part {
	var parts []part
	for it.Next() {
		n := it.Node()
		off := int(n.Raw.Offset)
		parts = append(parts, part{string(n.Data), mark{b.src, off}, off + int(n.Raw.Length)})
	}
	return parts
}

// header finds or makes the table that [a.b] or [[a.b]] opens. One that may not be opened gives a table that is thrown
// away, so that the keys below it are read and nothing is said twice.
func (b *builder) header(root *node, e *unstable.Node, array bool) *node {
	parts := b.key(e.Key())
	last := parts[len(parts)-1]
	fresh := newTable(last.at, headed)
	t := root
	for _, p := range parts[:len(parts)-1] {
		if t = b.descend(t, p); t == nil {
			return fresh
		}
	}
	old := t.index[last.name]
	switch {
	case old == nil && array:
		t.add(last.name, last.at, &node{kind: kindArray, at: last.at, tables: true, items: []*node{fresh}})
	case old == nil:
		t.add(last.name, last.at, fresh)
	case array && old.val.tables:
		old.val.items = append(old.val.items, fresh)
	case array:
		b.fail(last.at, "[[%s]] is a list of tables here and something else in line %d", last.name, b.line(old))
	case old.val.kind == kindTable && old.val.from == implied:
		old.val.from, old.val.at, old.at = headed, last.at, last.at
		return old.val
	case old.val.tables:
		b.fail(last.at, "[%s] is one table here and a list of tables, [[%s]], in line %d", last.name, last.name, b.line(old))
	default:
		b.fail(last.at, "%s is already defined in line %d", last.name, b.line(old))
	}
	return fresh
}

// descend goes one part of a header down, and makes the table where there is none.
func (b *builder) descend(t *node, p part) *node {
	old := t.index[p.name]
	switch {
	case old == nil:
		next := newTable(p.at, implied)
		t.add(p.name, p.at, next)
		return next
	case old.val.kind == kindTable && old.val.from != inline:
		return old.val
	case old.val.tables:
		return old.val.items[len(old.val.items)-1]
	}
	b.fail(p.at, "%s is a value in line %d and cannot be extended", p.name, b.line(old))
	return nil
}

// keyValue adds "a.b = value" to a table.
func (b *builder) keyValue(t *node, e *unstable.Node) {
	parts := b.key(e.Key())
	for _, p := range parts[:len(parts)-1] {
		old := t.index[p.name]
		if old == nil {
			next := newTable(p.at, dotted)
			t.add(p.name, p.at, next)
			t = next
			continue
		}
		if old.val.kind != kindTable || old.val.from != dotted {
			b.fail(p.at, "%s is already defined in line %d", p.name, b.line(old))
			return
		}
		t = old.val
	}
	last := parts[len(parts)-1]
	if old := t.index[last.name]; old != nil {
		b.fail(last.at, "%s is already set in line %d", last.name, b.line(old))
		return
	}
	t.add(last.name, last.at, b.value(e.Value(), mark{b.src, b.valueStart(last.end)}))
}

// valueStart is where the value behind a key begins: the parser keeps no place for a list.
func (b *builder) valueStart(off int) int {
	for off < len(b.src.data) && (b.src.data[off] == ' ' || b.src.data[off] == '\t' || b.src.data[off] == '=') {
		off++
	}
	return off
}

// value copies a value out of the parser, which reuses its memory. A list within a list has the place of the outer one.
func (b *builder) value(v *unstable.Node, at mark) *node {
	if v.Raw.Length > 0 {
		at.off = int(v.Raw.Offset)
	}
	n := &node{at: at, text: string(v.Data)}
	switch v.Kind {
	case unstable.String:
		n.kind = kindString
	case unstable.Integer:
		n.kind = kindInteger
	case unstable.Float:
		n.kind = kindFloat
	case unstable.Bool:
		n.kind = kindBool
	case unstable.Array:
		n.kind = kindArray
		for it := v.Children(); it.Next(); {
			n.items = append(n.items, b.value(it.Node(), at))
		}
	case unstable.InlineTable:
		n = newTable(at, inline)
		for it := v.Children(); it.Next(); {
			b.keyValue(n, it.Node())
		}
	default:
		n.kind = kindTime
	}
	return n
}

func (b *builder) line(e *entry) int {
	line, _ := e.at.position()
	return line
}
