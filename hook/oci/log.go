package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Log is where an engine looks for what a runtime says: the values of the runtime's own --log and --log-format, the same
// for runc and crun. The zero value is none.
type Log struct {
	// Path is a file; crun also takes file:PATH, and syslog: and journald:, which are no files and get nothing here.
	Path string
	// Format is json, or anything else for runc's text.
	Format string
}

// Append writes an error of one line at the end of the log. runc's and crun's entries are the same in JSON; for the rest
// it is runc's.
func (l Log) Append(text string, now time.Time) error {
	path := strings.TrimPrefix(l.Path, "file:")
	if path == "" || strings.HasPrefix(path, "syslog:") || strings.HasPrefix(path, "journald:") {
		return nil
	}
	line := fmt.Appendf(nil, "time=%q level=error msg=%q\n", now.Format(time.RFC3339), text)
	if l.Format == "json" {
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
