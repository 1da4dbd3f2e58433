package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/policy/request"
)

// maxEntries is how long a list may be. It bounds the work of the checks that compare entries with each other.
const maxEntries = 1024

// field is one key of a table: how it is read and what docs/policy.md says of it.
type field[T any] struct {
	name string
	// typ, def and doc are for the reference: the type in TOML, the default ("" for none), and the meaning.
	typ, def, doc string
	// drivers that have the key; all when empty.
	drivers  []Driver
	required bool
	set      func(d *decoder, out *T, v value)
}

// later is a key of a later version.
type later struct{ name, what string }

// value is a node with the name that messages call it by, such as "network lan: mtu".
type value struct {
	*node
	name string
}

// decoder collects what is wrong.
type decoder struct {
	found []finding
	// keys are those of a network, nil until the first one is read.
	keys []field[networkDraft]
}

func (d *decoder) fail(at mark, hint, format string, args ...any) {
	d.found = append(d.found, finding{at, fmt.Sprintf(format, args...), hint})
}

// hinter is an error that says what would help.
type hinter interface {
	error
	Hint() string
}

// wrong notes an error that another package found in a value.
func (d *decoder) wrong(v value, err error) {
	hint := ""
	if e, ok := errors.AsType[hinter](err); ok {
		hint = e.Hint()
	}
	d.fail(v.at, hint, "%s: %s", v.name, err)
}

// decode reads the keys of a table by its schema, in the order of the file, and says where each known key stands.
func decode[T any](d *decoder, v value, schema []field[T], laters []later, out *T) map[string]mark {
	if !v.isTable(d) {
		return nil
	}
	seen, names := make(map[string]mark, len(v.entries)), known(schema)
	for _, e := range v.entries {
		i := slices.Index(names, e.name)
		if i < 0 {
			d.unknown(v, e, names, laters)
			continue
		}
		seen[e.name] = e.at
		schema[i].set(d, out, value{e.val, v.name + ": " + e.name})
	}
	for i := range schema {
		if _, ok := seen[schema[i].name]; schema[i].required && !ok {
			d.fail(v.at, "", "%s: %s is missing: %s", v.name, schema[i].name, plain(schema[i].doc))
		}
	}
	return seen
}

func known[T any](schema []field[T]) []string {
	names := make([]string, len(schema))
	for i := range schema {
		names[i] = schema[i].name
	}
	return names
}

func (d *decoder) unknown(v value, e *entry, names []string, laters []later) {
	for _, l := range laters {
		if l.name == e.name {
			d.fail(e.at, "take the key out", "%s: %s: %s", v.name, e.name, notYet(l.what))
			return
		}
	}
	hint := nearest(e.name, names)
	if other := keyOf(e.name); other != "" {
		if _, near := request.Nearest(e.name, names); near {
			other = hint + " " + other
		}
		hint = other
	}
	d.fail(e.at, hint, "%s: unknown key %s", v.name, quoted(e.name))
}

// keyOf is the hint that a key is one of another table, "" when none has it.
func keyOf(name string) string {
	var places []string
	if slices.Contains(known(networkSchema()), name) {
		places = append(places, "[network.NAME]")
	}
	if slices.Contains(known(subnetSchema()), name) {
		places = append(places, "[[network.NAME.subnet]]")
	}
	if slices.Contains(known(ruleSchema()), name) {
		places = append(places, "[[rule]]")
	}
	if slices.Contains(known(spellOutSchema()), name) {
		places = append(places, "spell-out in [[rule]]")
	}
	if len(places) == 0 {
		return ""
	}
	return name + " is a key of " + strings.Join(places, " and ")
}

func notYet(what string) string { return what + " not in this version" }

// nearest is the hint behind a word that is not known.
func nearest(word string, names []string) string {
	if near, ok := request.Nearest(word, names); ok {
		return "did you mean " + near + "?"
	}
	if len(names) == 0 {
		return ""
	}
	return "known are " + strings.Join(names, ", ")
}

// quoted is a word in quotes, cut where somebody wrote a novel.
func quoted(s string) string { return fmt.Sprintf("%.80q", s) }

func (v value) is(d *decoder, want kind, hint string) bool {
	if v.kind == want {
		return true
	}
	d.fail(v.at, hint, "%s must be %s, not %s", v.name, want, v.kind)
	return false
}

func (v value) isTable(d *decoder) bool { return v.is(d, kindTable, "") }

// str reads a string that is not empty.
func (v value) str(d *decoder) (string, bool) {
	hint := ""
	if v.kind == kindInteger {
		hint = fmt.Sprintf("write it in quotes: %q", v.text)
	}
	if !v.is(d, kindString, hint) {
		return "", false
	}
	if v.text == "" {
		d.fail(v.at, "", "%s is empty", v.name)
		return "", false
	}
	return v.text, true
}

func (v value) boolean(d *decoder) (bool, bool) {
	hint := ""
	if v.kind == kindString && (v.text == "true" || v.text == "false") {
		hint = "write it without quotes: " + v.text
	}
	if !v.is(d, kindBool, hint) {
		return false, false
	}
	return v.text == "true", true
}

// integer reads a number from lowest to highest, 0 when it is none.
func (v value) integer(d *decoder, lowest, highest int) int {
	hint := ""
	if v.kind == kindString {
		hint = fmt.Sprintf("write a number without quotes, from %d to %d", lowest, highest)
	}
	if !v.is(d, kindInteger, hint) {
		return 0
	}
	n, err := strconv.ParseInt(v.text, 0, 64)
	if err != nil || n < int64(lowest) || n > int64(highest) {
		d.fail(v.at, "", "%s is %.40s, but must be from %d to %d", v.name, v.text, lowest, highest)
		return 0
	}
	return int(n)
}

// list reads a list of strings. A string alone is a list of one.
func (v value) list(d *decoder) []value {
	if v.kind == kindString {
		if _, ok := v.str(d); !ok {
			return nil
		}
		return []value{v}
	}
	if !v.is(d, kindArray, "") {
		return nil
	}
	if len(v.items) > maxEntries {
		d.fail(v.at, "", "%s has %d entries, %d are the most", v.name, len(v.items), maxEntries)
		return nil
	}
	var out []value
	for _, item := range v.items {
		one := value{item, v.name}
		if _, ok := one.str(d); ok {
			out = append(out, one)
		}
	}
	return out
}

// filled is [value.list] for a list that must have an entry.
func (v value) filled(d *decoder, hint string) []value {
	if v.kind == kindArray && len(v.items) == 0 {
		d.fail(v.at, hint, "%s is empty", v.name)
	}
	return v.list(d)
}

// texts are the texts of a list.
func texts(list []value) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		out = append(out, v.text)
	}
	return out
}

// word reads one of the names of an enum. What later versions know is named as such.
func word[T enum](d *decoder, v value, names []string, laters []later, out *T) {
	s, ok := v.str(d)
	if !ok {
		return
	}
	for i, name := range names {
		if name == s {
			*out = T(i) // #nosec G115 -- the lists have at most six names
			return
		}
	}
	for _, l := range laters {
		if l.name == s {
			d.fail(v.at, "known are "+strings.Join(names[1:], ", "), "%s = %q: %s", v.name, s, notYet(l.what))
			return
		}
	}
	hint := "known are " + strings.Join(names[1:], ", ")
	if near, ok := request.Nearest(s, names[1:]); ok {
		hint = "did you mean " + near + "? " + hint
	}
	d.fail(v.at, hint, "%s: there is no %s", v.name, quoted(s))
}

// plain takes the marks of Markdown off a text of a schema.
func plain(doc string) string { return strings.ReplaceAll(doc, "`", "") }
