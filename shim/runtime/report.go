package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// hinter is an error that says what would help.
type hinter interface {
	error
	Hint() string
}

// message is an error on one line, with its hint: engines show one line, and hide the others.
func (c call) message(err error) string {
	text := "lanhook-runtime: "
	if c.command != "" {
		text += c.command + ": "
	}
	text += strings.ReplaceAll(err.Error(), "\n", "; ")
	if h, ok := errors.AsType[hinter](err); ok && h.Hint() != "" {
		text += " (" + h.Hint() + ")"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// report says what is wrong on stderr, and in the runtime's log, where engines look for it.
func (c call) report(stderr io.Writer, err error) {
	text := c.message(err)
	fmt.Fprintln(stderr, text)
	if logErr := c.log.Append(text, time.Now()); logErr != nil {
		fmt.Fprintf(stderr, "lanhook-runtime: write %s: %v\n", c.log.Path, logErr)
	}
}
