// Package oci is the OCI side of lanhook: what a runtime tells a hook comes in, as a [State] and a [Bundle], and the
// hooks that a runtime shall run go out, as an edited config.json or as podman's hooks.d files. It makes no system call
// but to read and write those files.
//
// Runtimes differ in what they tell (runc leaves the pid out of a poststop state, crun gives 0; crun's ociVersion is
// "1.0"; some crun releases give a wrong bundle), so only what is needed is looked at and everything else let be.
package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Error says why a state, a bundle or a configuration cannot be used. Its message is one line.
type Error struct {
	// Doing is what was being done, and to what: "read the container state".
	Doing string
	// Why is the reason, in words.
	Why string
	// Fix is what would help, "" for nothing.
	Fix string
	// Err is the cause, nil for none.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Doing + ": " + e.Why
	case e.Why == "":
		return e.Doing + ": " + e.Err.Error()
	}
	return e.Doing + ": " + e.Why + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what would help, "" for nothing.
func (e *Error) Hint() string { return e.Fix }

// text is a string that is left empty when the JSON value is something else: for what is never relied on.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*t = text(s)
	return nil
}

// object says why data is no JSON object, "" when it is one.
func object(data []byte) string {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) == 0 {
		return "it is empty"
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return reason(err, len(data))
	}
	if trimmed[0] != '{' {
		return "it is JSON, but not an object"
	}
	return ""
}

// reason puts an error of encoding/json into words. size is how many bytes there were.
func reason(err error, size int) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		// The decoder has no error of its own for an end that comes too early, but it stands behind the last byte then.
		if syntax.Offset >= int64(size) && syntax.Error() == "unexpected end of JSON input" {
			return fmt.Sprintf("it is cut off after %d bytes", size)
		}
		return fmt.Sprintf("it is not JSON: %s at byte %d", syntax, syntax.Offset)
	}
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		want := "an object"
		switch kind := mismatch.Type.Kind(); kind {
		case reflect.String:
			want = "a text"
		case reflect.Int:
			want = "a whole number"
		case reflect.Slice:
			want = "a list"
		}
		return fmt.Sprintf("the value of %.80q is not %s", mismatch.Field, want)
	}
	return fmt.Sprintf("%.200q", err)
}
