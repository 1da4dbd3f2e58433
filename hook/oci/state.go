package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

const (
	// maxState is how many bytes of a state are read. 200 kB of annotations have been seen to arrive; Linux allows no
	// more than 2 MiB where they came by a command line.
	maxState = 4 << 20
	// maxID is how long a container id may be, in bytes. No runtime has longer ones: they are names of folders.
	maxID = 1024
)

// State is what a runtime tells a hook on standard input (runtime-spec, "State").
type State struct {
	// ID is set, has no slash and no control character, and is at most 1024 bytes long.
	ID string
	// PID is the container's first process, 0 when there is none any more (poststop).
	PID int
	// Bundle is the folder with config.json as the runtime tells it: perhaps "", and "/" with some releases of crun.
	Bundle string
	// Status and Version are for the log alone. Runtimes disagree on both.
	Status  string
	Version string
	// Annotations are the container's, nil for none.
	Annotations map[string]string
}

// ReadState reads a state to the end of r. Of more than 4 MiB only that much is read. Unknown fields, ociVersion and
// status are not looked at; errors are an [*Error], for what is no JSON object, is too long, or has no usable id.
func ReadState(r io.Reader) (State, error) {
	bad := func(why string, err error) (State, error) {
		return State{}, &Error{
			Doing: "read the container state", Why: why, Err: err,
			Fix: "an OCI runtime gives it to its hooks on standard input",
		}
	}
	data, err := io.ReadAll(io.LimitReader(r, maxState+1))
	if err != nil {
		return bad("", err)
	}
	if len(data) > maxState {
		return bad(fmt.Sprintf("it is longer than %d bytes", maxState), nil)
	}
	s, ok := plainState(data)
	if !ok {
		var why string
		if s, why = decodeState(data); why != "" {
			return bad(why, nil)
		}
	}
	if why := badID(s.ID); why != "" {
		return bad(why, nil)
	}
	if s.PID < 0 {
		return bad(fmt.Sprintf("its pid is %d", s.PID), nil)
	}
	return s, nil
}

// decodeState reads a state of any form, or says why it is none.
func decodeState(data []byte) (s State, why string) {
	if why := object(data); why != "" {
		return State{}, why
	}
	var j struct {
		ID          string            `json:"id"`
		PID         int               `json:"pid"`
		Bundle      text              `json:"bundle"`
		Status      text              `json:"status"`
		Version     text              `json:"ociVersion"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return State{}, reason(err, len(data))
	}
	return State{j.ID, j.PID, string(j.Bundle), string(j.Status), string(j.Version), j.Annotations}, ""
}

// badID says why id cannot be a container's. The replacement character stands for bytes that were not UTF-8: two ids
// that differ in those alone would become one.
func badID(id string) string {
	switch {
	case id == "":
		return "it has no container id"
	case len(id) > maxID:
		return fmt.Sprintf("its container id is %d bytes long, more than %d", len(id), maxID)
	case id == "." || id == ".." || strings.Contains(id, "/"):
		return fmt.Sprintf("its container id %.80q is a path", id)
	case strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' || r == unicode.ReplacementChar }):
		return fmt.Sprintf("its container id %.80q has characters that no id has", id)
	}
	return ""
}
