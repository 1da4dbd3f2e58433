package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// entry is one key of the file, with its whole path: tables are flattened. A table itself is an entry too.
type entry struct {
	path []string
	// at and value are the offsets of the key and of its value.
	at, value int
	kind      kind
	// text is a string as decoded, and of other values what was written.
	text string
}

// name is the path as messages write it.
func (e entry) name() string { return strings.Join(e.path, ".") }

// kind is the type of a value, as far as runtime.toml tells types apart.
type kind uint8

const (
	kindOther kind = iota
	kindString
	kindInteger
	kindTable
)

// origin is how a key came to be, which decides who may add to it (toml.io/en/v1.1.0, sections Keys and Table).
type origin uint8

const (
	// implied by the header of a table below it; one header of its own may follow.
	implied origin = iota + 1
	// dotted by a key with dots, which only such keys of the same table may extend.
	dotted
	// headed by its own [header], below which further headers may open tables.
	headed
	// closed is a value or an inline table.
	closed
)

// flattener collects the entries of a file.
type flattener struct {
	data    []byte
	entries []entry
	found   []finding
	// seen are the paths that there are, parted by NUL, and at is where each stands.
	seen map[string]origin
	at   map[string]int
}

func (f *flattener) fail(at int, hint, format string, args ...any) {
	f.found = append(f.found, finding{at, fmt.Sprintf(format, args...), hint})
}

// flatten reads TOML. The parser knows the grammar; that each key is there only once is kept here.
func flatten(data []byte) ([]entry, []finding) {
	f := &flattener{data: slices.Clip(data), seen: map[string]origin{}, at: map[string]int{}}
	if i := invalid(data); i >= 0 {
		f.fail(i, "", "the file is not UTF-8")
		return nil, f.found
	}
	var p unstable.Parser
	p.Reset(f.data)
	var table []string
	skip := false
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			table, skip = f.header(e)
		case unstable.ArrayTable:
			parts := f.key(e.Key())
			f.fail(parts[0].at, "write it with single brackets", "%s: there are no lists of tables here", name(parts))
			skip = true
		case unstable.KeyValue:
			if !skip {
				f.keyValue(table, e)
			}
		default:
			// Comments are not kept, and the grammar has nothing else at the top.
		}
	}
	if err := p.Error(); err != nil {
		f.syntax(err)
	}
	return f.entries, f.found
}

// invalid is the offset of the first byte that is not UTF-8, -1 when all are.
func invalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return -1
}

// syntax notes the parser's error, which ends the reading. The error holds the part of the input that it means; where that
// begins follows from the capacity behind it.
func (f *flattener) syntax(err error) {
	at := len(f.data)
	if perr, ok := errors.AsType[*unstable.ParserError](err); ok {
		if off := cap(f.data) - cap(perr.Highlight); off >= 0 && off < at {
			at = off
		}
	}
	f.fail(at, "", "not TOML: %s", err)
}

// part is one part of a dotted key.
type part struct {
	name string
	at   int
}

func name(parts []part) string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return strings.Join(names, ".")
}

func (f *flattener) key(it unstable.Iterator) []part {
	var parts []part
	for it.Next() {
		n := it.Node()
		parts = append(parts, part{string(n.Data), int(n.Raw.Offset)})
	}
	return parts
}

// mark notes that a path is there. It is false, with a finding, where it is there already and is none of those that may
// be added to.
func (f *flattener) mark(path []string, at int, now origin, open ...origin) bool {
	id := strings.Join(path, "\x00")
	old, there := f.seen[id]
	switch {
	case !there, slices.Contains(open, old) && now == headed:
		f.seen[id], f.at[id] = now, at
		return true
	case slices.Contains(open, old):
		return true
	}
	line, _ := position(f.data, f.at[id])
	f.fail(at, "", "%.80s is already there in line %d", strings.Join(path, "."), line)
	return false
}

// header opens the table of [a.b]. One that may not be opened is skipped.
func (f *flattener) header(e *unstable.Node) (table []string, skip bool) {
	parts := f.key(e.Key())
	for i, p := range parts {
		table = append(table, p.name)
		if i < len(parts)-1 {
			if !f.mark(table, p.at, implied, implied, dotted, headed) {
				return nil, true
			}
			continue
		}
		if !f.mark(table, p.at, headed, implied) {
			return nil, true
		}
		f.entries = append(f.entries, entry{path: table, at: p.at, value: p.at, kind: kindTable})
	}
	return table, false
}

// keyValue adds "a.b = value" to a table.
func (f *flattener) keyValue(table []string, e *unstable.Node) {
	parts := f.key(e.Key())
	path := slices.Clone(table)
	for i, p := range parts {
		path = append(path, p.name)
		if i < len(parts)-1 {
			if !f.mark(path, p.at, dotted, dotted) {
				return
			}
			continue
		}
		if !f.mark(path, p.at, closed) {
			return
		}
		f.value(path, p.at, e.Value())
	}
}

// value copies a value out of the parser, which reuses its memory.
func (f *flattener) value(path []string, at int, v *unstable.Node) {
	e := entry{path: path, at: at, value: at, text: string(v.Data)}
	if v.Raw.Length > 0 {
		e.value = int(v.Raw.Offset)
	}
	switch v.Kind {
	case unstable.String:
		e.kind = kindString
	case unstable.Integer:
		e.kind = kindInteger
	case unstable.InlineTable:
		e.kind = kindTable
		f.entries = append(f.entries, e)
		for it := v.Children(); it.Next(); {
			f.keyValue(path, it.Node())
		}
		return
	default:
		// Lists, booleans, floats and dates: no key has one.
	}
	f.entries = append(f.entries, e)
}
