package request

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is one mistake in what a container asks for.
type Error struct {
	// Key is the annotation, "" for a value that was parsed by itself, as with [ParseRoute].
	Key string
	// Field is the field of the attachment, or the kind of the value, "" for the whole.
	Field string
	// Value is the offending part as it was written, "" where the reason needs none.
	Value string
	// Reason is what is wrong with it.
	Reason string
	hint   string
}

// Hint says what would help, "" for nothing.
func (e *Error) Hint() string { return e.hint }

// Error is one line, whatever was written: what is foreign in it is quoted and cut to a bearable length.
func (e *Error) Error() string {
	var parts []string
	if e.Key != "" {
		parts = append(parts, "annotation "+word(e.Key))
	}
	switch {
	case e.Field != "" && e.Value != "":
		parts = append(parts, word(e.Field)+" "+quote(e.Value))
	case e.Field != "":
		parts = append(parts, word(e.Field))
	case e.Value != "":
		parts = append(parts, quote(e.Value))
	}
	return strings.Join(append(parts, e.Reason), ": ")
}

// Errors are the single mistakes in an error that Parse returned, in the order in which its text tells them.
func Errors(err error) []*Error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var all []*Error
		for _, one := range joined.Unwrap() {
			all = append(all, Errors(one)...)
		}
		return all
	}
	if one, ok := errors.AsType[*Error](err); ok {
		return []*Error{one}
	}
	return nil
}

// join makes one error of many, in key order and not without end.
func join(all []*Error) error {
	sort.SliceStable(all, func(i, j int) bool { return all[i].Key < all[j].Key })
	errs := make([]error, 0, MaxErrors+1)
	for i, one := range all {
		if i == MaxErrors {
			errs = append(errs, fmt.Errorf("annotations %s*: %d more mistakes", Prefix, len(all)-i))
			break
		}
		errs = append(errs, one)
	}
	return errors.Join(errs...)
}

// longest is how much of a foreign text a message shows, in bytes.
const longest = 64

// quote is a foreign text as a message shows it: one line, printable, not longer than is of use.
func quote(s string) string {
	if len(s) <= longest {
		return strconv.Quote(s)
	}
	cut := longest
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "…"
}

// word is like quote, but leaves a short word of plain characters without the quotes.
func word(s string) string {
	if len(s) <= longest && s != "" && each(s, func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' }) {
		return s
	}
	return quote(s)
}

// each says whether every byte of s is one of a set.
func each(s string, in func(byte) bool) bool {
	for i := range len(s) {
		if !in(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isAlnum(c byte) bool { return isDigit(c) || isLetter(c) }

// number is s when it is written in plain decimal digits, without sign or leading zeros, and lies between low and
// high; ok is false otherwise.
func number(s string, low, high int) (n int, ok bool) {
	if s == "" || !each(s, isDigit) || s[0] == '0' && s != "0" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && low <= n && n <= high
}
