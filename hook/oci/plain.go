package oci

import (
	"strconv"
	"strings"
)

// plainState reads a state of the form that runtimes write: one object whose values are texts, whole numbers, and one
// object of texts for the annotations. false is no error: it is JSON of another form, such as with \u or a key twice,
// or none, and for encoding/json to say. What is read here, encoding/json reads as the same (see the fuzz test), but
// takes 0.1 ms to prepare for six fields, while a container waits.
func plainState(data []byte) (State, bool) {
	p := plain{text: string(data)}
	var (
		s    State
		keys = stateKeys()
		seen [len(keys)]bool
	)
	p.object(func(key string) {
		n := known(key)
		if n < 0 {
			p.skip()
			return
		}
		// Of a key that is there twice, or not in lower case, encoding/json knows what to make.
		p.odd = p.odd || seen[n] || key != keys[n]
		seen[n] = true
		switch key {
		case "id":
			s.ID = p.quoted()
		case "pid":
			s.PID = p.number()
		case "bundle":
			s.Bundle = p.quoted()
		case "status":
			s.Status = p.quoted()
		case "ociVersion":
			s.Version = p.quoted()
		case "annotations":
			s.Annotations = map[string]string{}
			p.object(func(key string) { s.Annotations[key] = p.quoted() })
		}
	})
	p.space()
	return s, !p.odd && p.at == len(p.text)
}

// stateKeys are the fields of a state that are looked at.
func stateKeys() [6]string {
	return [...]string{"id", "pid", "bundle", "status", "ociVersion", "annotations"}
}

// known is the field that encoding/json takes a key for, upper and lower case being the same to it; -1 for none.
func known(key string) int {
	for i, name := range stateKeys() {
		if strings.EqualFold(key, name) {
			return i
		}
	}
	return -1
}

// plain walks over JSON text of the plain form. Once it has met anything else, odd is set, and it stands still.
type plain struct {
	text string
	at   int
	odd  bool
}

func (p *plain) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// next is the byte behind white space, 0 at the end.
func (p *plain) next() byte {
	p.space()
	if p.odd || p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

// take goes behind one byte, which must be there.
func (p *plain) take(b byte) {
	if p.next() != b {
		p.odd = true
		return
	}
	p.at++
}

// object calls value for each member, which reads its value.
func (p *plain) object(value func(key string)) {
	p.take('{')
	if p.next() == '}' {
		p.at++
		return
	}
	for !p.odd {
		key := p.quoted()
		p.take(':')
		value(key)
		if p.next() == '}' {
			p.at++
			return
		}
		p.take(',')
	}
}

// quoted reads a text of printable ASCII without escapes, but for those of one character.
func (p *plain) quoted() string {
	p.take('"')
	start, escaped := p.at, false
	for ; p.at < len(p.text) && !p.odd; p.at++ {
		switch b := p.text[p.at]; {
		case b == '"':
			s := p.text[start:p.at]
			p.at++
			if escaped {
				s = unescape(s)
			}
			return s
		case b == '\\' && p.at+1 < len(p.text) && strings.IndexByte(`"\/`, p.text[p.at+1]) >= 0:
			escaped = true
			p.at++
		case b < ' ' || b >= 0x7f || b == '\\':
			p.odd = true
		}
	}
	p.odd = true
	return ""
}

// unescape takes the backslashes out that stand before another character.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// number reads a whole number without a sign.
func (p *plain) number() int {
	p.next()
	start := p.at
	for p.at < len(p.text) && '0' <= p.text[p.at] && p.text[p.at] <= '9' {
		p.at++
	}
	digits := p.text[start:p.at]
	n, err := strconv.Atoi(digits)
	// JSON has no numbers such as 007.
	p.odd = p.odd || err != nil || len(digits) > 1 && digits[0] == '0'
	return n
}

// skip reads a value that nobody needs.
func (p *plain) skip() {
	if p.next() == '"' {
		p.quoted()
		return
	}
	p.number()
}
