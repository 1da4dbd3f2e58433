package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
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
	if logErr := c.append(text, time.Now()); logErr != nil {
		fmt.Fprintf(stderr, "lanhook-runtime: write %s: %v\n", c.log, logErr)
	}
}

// append writes an error to the log that --log names, in the format of --log-format: runc's and crun's are the same in
// JSON, and for the rest it is runc's. crun also takes file:PATH, and syslog: and journald:, which are no files.
func (c call) append(text string, now time.Time) error {
	path := strings.TrimPrefix(c.log, "file:")
	if path == "" || strings.HasPrefix(path, "syslog:") || strings.HasPrefix(path, "journald:") {
		return nil
	}
	line := fmt.Appendf(nil, "time=%q level=error msg=%q\n", now.Format(time.RFC3339), text)
	if c.format == "json" {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{"error", text, now.Format(time.RFC3339)}); err != nil {
			return err
		}
		line = b.Bytes()
	}
	// As runc opens it, but without waiting for the reader of a FIFO.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o644) //nolint:gosec // G302: as runc
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}
