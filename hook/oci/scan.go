package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Member is one "key": value of a JSON object, as offsets into its text.
type Member struct {
	Key string
	// Start is the key's opening quote; the value is text[Value:End].
	Start, Value, End int
}

// span is a member of a JSON object or an element of a JSON array, as offsets into its text.
type span struct{ start, end int }

// spansOf are the spans of members.
func spansOf(all []Member) []span {
	spans := make([]span, len(all))
	for i, m := range all {
		spans[i] = span{m.Start, m.End}
	}
	return spans
}

// Members finds the members of a JSON object in the order in which they stand, for who edits one of them and leaves all
// other bytes as they are: numbers, escapes, white space and order. It refuses what is no object.
func Members(text []byte) ([]Member, error) {
	if why := object(text); why != "" {
		return nil, errors.New(why)
	}
	return members(text)
}

// members is [Members] of text that is known to be an object.
func members(text []byte) ([]Member, error) {
	c := cursor{text: text}
	c.space()
	c.at++ // the brace
	var out []Member
	for {
		c.separator()
		if c.text[c.at] == '}' {
			return out, nil
		}
		m := Member{Start: c.at}
		c.value()
		if err := json.Unmarshal(text[m.Start:c.at], &m.Key); err != nil {
			return nil, err
		}
		c.space()
		c.at++ // the colon
		c.space()
		m.Value = c.at
		c.value()
		m.End = c.at
		out = append(out, m)
	}
}

// elements finds the elements of a valid JSON array.
func elements(text []byte) []span {
	c := cursor{text: text}
	c.space()
	c.at++ // the bracket
	var out []span
	for {
		c.separator()
		if c.text[c.at] == ']' {
			return out
		}
		start := c.at
		c.value()
		out = append(out, span{start, c.at})
	}
}

// splice is text with text[from:to] replaced, in memory of its own.
func splice(text []byte, from, to int, by []byte) []byte {
	return slices.Concat(text[:from], by, text[to:])
}

// cut is the text of an object or array without its i-th span, and without the comma that parted it from its neighbour.
func cut(text []byte, all []span, i int) []byte {
	switch {
	case i > 0:
		return splice(text, all[i-1].end, all[i].end, nil)
	case len(all) > 1:
		return splice(text, all[0].start, all[1].start, nil)
	}
	return splice(text, all[0].start, all[0].end, nil)
}

// push is the text of an object or array with more behind its spans: members or elements, with commas between them.
func push(text []byte, all []span, more []byte) []byte {
	if len(all) > 0 {
		end := all[len(all)-1].end
		return splice(text, end, end, slices.Concat([]byte{','}, more))
	}
	begin := bytes.IndexAny(text, "{[") + 1
	return splice(text, begin, begin, more)
}

// set is the text of an object with a member of that name and value: the one that is there, or a new one behind the
// others. A value of nil leaves out a new one. Names are ours, and need no escapes.
func set(text []byte, all []Member, name string, value []byte) []byte {
	for _, m := range all {
		if m.Key == name {
			if bytes.Equal(text[m.Value:m.End], value) {
				return text
			}
			return splice(text, m.Value, m.End, value)
		}
	}
	if value == nil {
		return text
	}
	return push(text, spansOf(all), slices.Concat([]byte(`"`+name+`":`), value))
}

// One finds the member of that name. It refuses a second one, and one that differs in upper and lower case alone: runc
// would take all of them for one and the same, crun the first, and what they would make of it together is not ours.
func One(all []Member, name string) (m Member, found bool, err error) {
	for _, this := range all {
		if !strings.EqualFold(this.Key, name) {
			continue
		}
		if found || this.Key != name {
			return Member{}, false, fmt.Errorf("it has %q beside or instead of %q", this.Key, name)
		}
		m, found = this, true
	}
	return m, found, nil
}

// cursor walks over JSON text that is known to be valid, so it looks for no errors and no end.
type cursor struct {
	text []byte
	at   int
}

func (c *cursor) space() {
	for c.at < len(c.text) && strings.IndexByte(" \t\r\n", c.text[c.at]) >= 0 {
		c.at++
	}
}

// separator skips what stands between two members or elements, or before the first.
func (c *cursor) separator() {
	c.space()
	if c.text[c.at] == ',' {
		c.at++
		c.space()
	}
}

// value skips one value. Within an object or array only strings can hold brackets that do not count.
func (c *cursor) value() {
	depth := 0
	for c.at < len(c.text) {
		switch c.text[c.at] {
		case '"':
			c.quoted()
		case '{', '[':
			depth++
			c.at++
		case '}', ']':
			depth--
			c.at++
		case ',', ':', ' ', '\t', '\r', '\n':
			c.at++
			continue
		default:
			c.word()
		}
		if depth == 0 {
			return
		}
	}
}

func (c *cursor) quoted() {
	for c.at++; c.text[c.at] != '"'; c.at++ {
		if c.text[c.at] == '\\' {
			c.at++
		}
	}
	c.at++
}

// word skips a number, true, false or null.
func (c *cursor) word() {
	for c.at < len(c.text) && strings.IndexByte(",:]} \t\r\n", c.text[c.at]) < 0 {
		c.at++
	}
}
