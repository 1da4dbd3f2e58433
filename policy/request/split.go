package request

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxFields bounds the work that one value can make; an attachment with all that it may have needs fewer.
const maxFields = 128

// pair is one field of an attachment as it was written.
type pair struct {
	name, value string
	// list is true for an element of a JSON list.
	list bool
}

// splitFields takes an attachment apart into its fields, in the order in which they were written.
func splitFields(value string) ([]pair, []*Error) {
	var pairs []pair
	var errs []*Error
	if strings.HasPrefix(strings.TrimSpace(value), "{") {
		pairs, errs = splitJSON(value)
	} else {
		pairs, errs = splitCSV(value)
	}
	if len(pairs) > maxFields {
		return nil, []*Error{{Reason: fmt.Sprintf("an attachment has at most %d fields, this has %d", maxFields, len(pairs))}}
	}
	return pairs, errs
}

// splitCSV reads the form of Docker's long --network option: one CSV record (RFC 4180) of key=value, the first field
// perhaps a bare network name.
func splitCSV(value string) ([]pair, []*Error) {
	if i := strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return nil, []*Error{{
			Value: value, Reason: "the value has a line break or another control character", hint: "write it on one line",
		}}
	}
	r := csv.NewReader(strings.NewReader(value))
	r.TrimLeadingSpace = true
	record, err := r.Read()
	if err != nil {
		e := &Error{Value: value, Reason: err.Error(), hint: `quote the whole field: lan,"sysctl=KEY=a,b"`}
		if syntax, ok := errors.AsType[*csv.ParseError](err); ok {
			e.Reason = fmt.Sprintf("column %d: %v", syntax.Column, syntax.Err)
		}
		return nil, []*Error{e}
	}
	pairs := make([]pair, 0, len(record))
	var errs []*Error
	for i, f := range record {
		name, v, ok := strings.Cut(f, "=")
		name, v = strings.TrimSpace(name), strings.TrimSpace(v)
		switch {
		case ok:
			pairs = append(pairs, pair{name: name, value: v})
		case name == "":
			errs = append(errs, &Error{Reason: fmt.Sprintf("field %d is empty", i+1), hint: "is there a comma too many?"})
		case i == 0:
			pairs = append(pairs, pair{name: "name", value: name})
		default:
			errs = append(errs, &Error{
				Value: name, Reason: "this is not key=value; only the first field may be a bare network name",
			})
		}
	}
	return pairs, errs
}

// splitJSON reads an object with the same fields, where a field that may be given several times can have a list.
func splitJSON(value string) ([]pair, []*Error) {
	dec := json.NewDecoder(strings.NewReader(value))
	var pairs []pair
	var errs []*Error
	seen := map[string]bool{}
	if _, err := dec.Token(); err != nil {
		return nil, []*Error{badJSON(err)}
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, []*Error{badJSON(err)}
		}
		name, ok := token.(string)
		if !ok {
			return nil, []*Error{{Reason: "not JSON: the name of a field is not a string"}}
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, []*Error{badJSON(err)}
		}
		if seen[name] {
			errs = append(errs, &Error{Field: name, Reason: "the JSON object has this field twice"})
			continue
		}
		seen[name] = true
		more, e := jsonPairs(name, raw)
		if e != nil {
			errs = append(errs, e)
			continue
		}
		pairs = append(pairs, more...)
	}
	if _, err := dec.Token(); err != nil {
		return nil, []*Error{badJSON(err)}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, []*Error{{Reason: "something comes behind the closing } of the JSON object"}}
	}
	return pairs, errs
}

func badJSON(err error) *Error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{Reason: "not JSON: the value ends too early"}
	}
	return &Error{Reason: "not JSON: " + err.Error(), hint: "a value that begins with { is read as JSON"}
}

// jsonPairs are the fields that one member of the object stands for.
func jsonPairs(name string, raw json.RawMessage) ([]pair, *Error) {
	if !bytes.HasPrefix(raw, []byte("[")) {
		text, ok := jsonText(raw)
		if !ok {
			return nil, &Error{Field: name, Value: string(raw), Reason: "this is not a string, number, boolean or list"}
		}
		return []pair{{name: name, value: text}}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, badJSON(err)
	}
	if len(list) == 0 {
		return nil, &Error{Field: name, Reason: "the list is empty", hint: "leave the field out to ask for nothing"}
	}
	pairs := make([]pair, 0, len(list))
	for _, item := range list {
		text, ok := jsonText(item)
		if !ok {
			return nil, &Error{Field: name, Value: string(item), Reason: "this is not a string, number or boolean"}
		}
		pairs = append(pairs, pair{name: name, value: text, list: true})
	}
	return pairs, nil
}

// jsonText is a string, number or boolean as CSV would have it.
func jsonText(raw json.RawMessage) (string, bool) {
	switch raw[0] {
	case '{', '[', 'n':
		return "", false
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return strings.TrimSpace(s), err == nil
	}
	return string(raw), true
}
