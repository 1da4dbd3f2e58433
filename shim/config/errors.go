package config

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one thing that is wrong with runtime.toml.
type Error struct {
	File string
	// Line and Col count from 1, Col in characters. Line is 0 where the file as a whole is meant.
	Line, Col int
	// Msg says what is wrong with what, on one line.
	Msg string
	// Hint is what would help, "" for nothing.
	Hint string
}

// Error is "FILE:12:3: message".
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
}

// Errors is everything that is wrong with the file, in the order of the file. It is never empty as an error.
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

// Hint is that of the first error.
func (e Errors) Hint() string {
	if len(e) == 0 {
		return ""
	}
	return e[0].Hint
}

// finding is an error whose place is still a byte offset, negative for the whole file.
type finding struct {
	at        int
	msg, hint string
}

// errorsOf puts findings in the order of the file and says where they are. It is nil for none.
func errorsOf(file string, data []byte, found []finding) error {
	if len(found) == 0 {
		return nil
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].at < found[j].at })
	out := make(Errors, 0, len(found))
	for _, f := range found {
		e := &Error{File: file, Msg: oneLine(f.msg), Hint: oneLine(f.hint)}
		if f.at >= 0 {
			e.Line, e.Col = position(data, f.at)
		}
		out = append(out, e)
	}
	return out
}

// position is line and column from 1.
func position(data []byte, at int) (line, col int) {
	before := string(data[:min(at, len(data))])
	begin := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[begin:]) + 1
}

// Line is an error as a program says it: one line with its hint, since engines show one line and hide the others. doing
// is what the program was called for, "" when that is not known.
func Line(program, doing string, err error) string {
	text := program + ": "
	if doing != "" {
		text += doing + ": "
	}
	text += strings.ReplaceAll(err.Error(), "\n", "; ")
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		text += " (" + h.Hint() + ")"
	}
	return oneLine(text)
}

// oneLine keeps a message with a foreign text in it on one line, and a terminal from harm.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
