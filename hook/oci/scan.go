package oci

import (
	"encoding/json"
	"fmt"
	"strings"
)

// member is one "key": value of a JSON object, as offsets into its text.
type member struct {
	key string
	// start is the key's opening quote; the value is text[value:end].
	start, value, end int
}

// members finds the members of a valid JSON object in the order in which they stand. Their texts are not touched, so
// that an edit can leave all bytes but those of one value as they are: numbers, escapes, white space and order.
func members(text []byte) ([]member, error) {
	c := cursor{text: text}
	c.space()
	c.at++ // the brace
	var out []member
	for {
		c.separator()
		if c.text[c.at] == '}' {
			return out, nil
		}
		m := member{start: c.at}
		c.value()
		if err := json.Unmarshal(text[m.start:c.at], &m.key); err != nil {
			return nil, err
		}
		c.space()
		c.at++ // the colon
		c.space()
		m.value = c.at
		c.value()
		m.end = c.at
		out = append(out, m)
	}
}

// elements finds the elements of a valid JSON array.
func elements(text []byte) []json.RawMessage {
	c := cursor{text: text}
	c.space()
	c.at++ // the bracket
	var out []json.RawMessage
	for {
		c.separator()
		if c.text[c.at] == ']' {
			return out
		}
		start := c.at
		c.value()
		out = append(out, text[start:c.at])
	}
}

// one finds the member of that name. It refuses a second one, and one that differs in upper and lower case alone: runc
// would take all of them for one and the same, crun the first, and what they would make of it together is not ours.
func one(all []member, name string) (m member, found bool, err error) {
	for _, this := range all {
		if !strings.EqualFold(this.key, name) {
			continue
		}
		if found || this.key != name {
			return member{}, false, fmt.Errorf("it has %q beside or instead of %q", this.key, name)
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
