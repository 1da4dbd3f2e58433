package policy

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one thing that is wrong in one place of a policy file.
type Error struct {
	// File is the file's name as it was given.
	File string
	// Line and Col count from 1, Col in characters. Line is 0 where the file as a whole is meant.
	Line, Col int
	// Msg names the object and what is wrong with it, on one line.
	Msg string
	// Hint is the nearest right thing, "" when none is known.
	Hint string
}

// Error is "policy.toml:12:3: message".
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// Errors is everything that is wrong with a policy, by file in the order of reading, then by line and column. It is
// never empty as an error.
type Errors []*Error

// Error is the first error, and how many more there are.
func (e Errors) Error() string {
	switch len(e) {
	case 0:
		return "no error"
	case 1:
		return e[0].Error()
	case 2:
		return e[0].Error() + " (and 1 more error)"
	}
	return fmt.Sprintf("%s (and %d more errors)", e[0].Error(), len(e)-1)
}

// Hint is that of the first error, or where to see the rest.
func (e Errors) Hint() string {
	switch {
	case len(e) > 0 && e[0].Hint != "":
		return e[0].Hint
	case len(e) > 1:
		return "lanhook policy check shows all of them"
	}
	return ""
}

// Unwrap gives each error to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// Warning is something in a valid policy that is probably not what was meant.
type Warning struct {
	// File is the file's name as it was given.
	File string `json:"file"`
	// Line and Col count from 1, Col in characters. Line is 0 where the file as a whole is meant.
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
	Msg  string `json:"message"`
}

// String is "policy.toml:12:3: message".
func (w Warning) String() string {
	return (&Error{File: w.File, Line: w.Line, Col: w.Col, Msg: w.Msg}).Error()
}

// oneLine makes a message out of one that has a foreign text in it: whatever that holds, it stays on one line and does
// nothing to a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// source is one file that is being decoded.
type source struct {
	name string
	// order is its place among the files.
	order int
	data  []byte
	// lines are the offsets at which lines begin.
	lines []int
}

func newSource(order int, f File) *source {
	s := &source{name: f.Name, order: order, data: slices.Clip(f.Data), lines: []int{0}}
	for i, c := range s.data {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// mark is a place in a file, as a byte offset. The whole file is meant when off is negative.
type mark struct {
	src *source
	off int
}

// position is line and column from 1, zeros for a whole file.
func (m mark) position() (line, col int) {
	if m.off < 0 {
		return 0, 0
	}
	off := min(m.off, len(m.src.data))
	line = sort.SearchInts(m.src.lines, off+1)
	return line, utf8.RuneCount(m.src.data[m.src.lines[line-1]:off]) + 1
}

func (m mark) String() string {
	line, _ := m.position()
	return fmt.Sprintf("%s:%d", m.src.name, line)
}

// compare orders marks by file and place.
func (m mark) compare(o mark) int {
	return cmp.Or(cmp.Compare(m.src.order, o.src.order), cmp.Compare(m.off, o.off))
}

// finding is an error or a warning whose place is still a mark.
type finding struct {
	at        mark
	msg, hint string
}

func sortFindings(all []finding) {
	sort.SliceStable(all, func(i, j int) bool { return all[i].at.compare(all[j].at) < 0 })
}

func asErrors(all []finding) Errors {
	sortFindings(all)
	out := make(Errors, 0, len(all))
	for _, f := range all {
		line, col := f.at.position()
		out = append(out, &Error{File: f.at.src.name, Line: line, Col: col, Msg: oneLine(f.msg), Hint: oneLine(f.hint)})
	}
	return out
}

func asWarnings(all []finding) []Warning {
	sortFindings(all)
	out := make([]Warning, 0, len(all))
	for _, f := range all {
		line, col := f.at.position()
		out = append(out, Warning{File: f.at.src.name, Line: line, Col: col, Msg: oneLine(f.msg)})
	}
	return out
}
