package oci

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReadState(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     State
	}{
		{
			"runc 1.1 createRuntime",
			`{"ociVersion":"1.0.2-dev","id":"t1","status":"creating","pid":20384,"bundle":"/bundle","annotations":{"net.example/a":"1"}}`,
			State{
				ID: "t1", PID: 20384, Bundle: "/bundle", Status: "creating", Version: "1.0.2-dev",
				Annotations: map[string]string{"net.example/a": "1"},
			},
		},
		{
			"runc 1.5 without annotations",
			`{"ociVersion":"1.3.0","id":"t1","status":"creating","pid":20384,"bundle":"/bundle"}`,
			State{ID: "t1", PID: 20384, Bundle: "/bundle", Status: "creating", Version: "1.3.0"},
		},
		{
			"runc poststop has no pid",
			`{"ociVersion":"1.0.2-dev","id":"t1","status":"stopped","bundle":"/bundle"}`,
			State{ID: "t1", Bundle: "/bundle", Status: "stopped", Version: "1.0.2-dev"},
		},
		{
			"crun 1.8 createRuntime",
			`{"ociVersion":"1.0","id":"t1","pid":25591,"root":"/rootfs","bundle":"/bundle","status":"created","annotations":{"a":"b"}}`,
			State{
				ID: "t1", PID: 25591, Bundle: "/bundle", Status: "created", Version: "1.0",
				Annotations: map[string]string{"a": "b"},
			},
		},
		{
			"crun 1.8 poststop has pid 0",
			`{"ociVersion":"1.0","id":"t1","pid":0,"root":"/rootfs","bundle":"/bundle","status":"stopped"}`,
			State{ID: "t1", Bundle: "/bundle", Status: "stopped", Version: "1.0"},
		},
		{
			"crun with a wrong bundle",
			`{"ociVersion":"1.0","id":"t1","pid":7,"bundle":"/","status":"created"}`,
			State{ID: "t1", PID: 7, Bundle: "/", Status: "created", Version: "1.0"},
		},
		{
			"crun 1.28 pretty, with escaped slashes",
			"{\n  \"ociVersion\": \"1.0\",\n  \"id\": \"t1\",\n  \"pid\": 7,\n  \"bundle\": \"\\/run\\/b\",\n  \"annotations\": {\n    \"a\\/b\": \"c\"\n  }\n}\n",
			State{ID: "t1", PID: 7, Bundle: "/run/b", Version: "1.0", Annotations: map[string]string{"a/b": "c"}},
		},
		{
			"RT-01 unknown fields, and known ones of another type that nobody needs",
			`{"id":"t1","status":7,"ociVersion":{},"bundle":null,"x":[1,{"y":2e400}],"pid":null,"annotations":null}`,
			State{ID: "t1"},
		},
		{"only an id", ` {"id":"t1"} `, State{ID: "t1"}},
		{
			"200 kB of annotations", `{"id":"t1","annotations":{"a":"` + strings.Repeat("x", 200_000) + `"}}`,
			State{ID: "t1", Annotations: map[string]string{"a": strings.Repeat("x", 200_000)}},
		},
		{"longest id", `{"id":"` + strings.Repeat("x", 1024) + `"}`, State{ID: strings.Repeat("x", 1024)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadState(iotest.OneByteReader(strings.NewReader(tt.in)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// What runtimes write is read without encoding/json; all else goes to it.
func TestPlainState(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     bool
	}{
		{"runc", `{"ociVersion":"1.3.0","id":"t1","status":"creating","pid":20384,"bundle":"/b","annotations":{"a":"1","b":"2"}}`, true},
		{"crun", "{\n  \"ociVersion\": \"1.0\",\n  \"pid\": 7,\n  \"root\": \"\\/r\",\n  \"annotations\": {\n  }\n}\n", true},
		{"runc poststop", `{"ociVersion":"1.0.2-dev","id":"t1","status":"stopped","bundle":"/bundle"}`, true},
		{"JSON in an annotation", `{"id":"t1","annotations":{"a":"{\"b\":\"c\\\\d\"}"}}`, true},
		{"nothing in it", `{}`, true},
		{"escape by number", `{"id":"t\u0031"}`, false},
		{"line break", `{"id":"t1","status":"a\nb"}`, false},
		{"not ASCII", `{"id":"t1","bundle":"/ä"}`, false},
		{"twice", `{"id":"t1","id":"t2"}`, false},
		{"upper case", `{"ID":"t1"}`, false},
		{"null", `{"id":"t1","annotations":null}`, false},
		{"nested", `{"id":"t1","x":{}}`, false},
		{"another type", `{"id":"t1","pid":"1"}`, false},
		{"leading zero", `{"id":"t1","pid":01}`, false},
		{"number with a fraction", `{"id":"t1","pid":1.0}`, false},
		{"number too great", `{"id":"t1","pid":99999999999999999999}`, false},
		{"cut off", `{"id":"t1"`, false},
		{"cut off in a text", `{"id":"t1`, false},
		{"cut off in an escape", `{"id":"t1\`, false},
		{"comma at the end", `{"id":"t1",}`, false},
		{"something behind", `{"id":"t1"}x`, false},
		{"empty", ``, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := plainState([]byte(tt.in)); ok != tt.want {
				t.Errorf("plain: %t, want %t: %+v", ok, tt.want, got)
			}
		})
	}
}

func TestReadStateRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"RT-01 empty object", `{}`, "it has no container id"},
		{"RT-01 not JSON", `id=t1`, "it is not JSON: invalid character 'i' looking for beginning of value at byte 1"},
		{"empty", "", "it is empty"},
		{"white space", " \n", "it is empty"},
		{"cut off", `{"id":"t1","pid":12`, "it is cut off after 19 bytes"},
		{"two values", `{"id":"t1"}{}`, "it is not JSON: invalid character '{' after top-level value at byte 12"},
		{"a list", `["t1"]`, "it is JSON, but not an object"},
		{"null", `null`, "it is JSON, but not an object"},
		{"id is a number", `{"id":1}`, `the value of "id" is not a text`},
		{"pid is a text", `{"id":"t1","pid":"1"}`, `the value of "pid" is not a whole number`},
		{"pid is negative", `{"id":"t1","pid":-1}`, "its pid is -1"},
		{"annotations are a list", `{"id":"t1","annotations":[]}`, `the value of "annotations" is not an object`},
		{"id with a slash", `{"id":"../t1"}`, `its container id "../t1" is a path`},
		{"id is a folder", `{"id":".."}`, `its container id ".." is a path`},
		{"id with a line break", `{"id":"a\nb"}`, `its container id "a\nb" has characters that no id has`},
		{"id that is no UTF-8", "{\"id\":\"a\xff\"}", `its container id "a�" has characters that no id has`},
		{"id too long", `{"id":"` + strings.Repeat("x", 1025) + `"}`, "its container id is 1025 bytes long, more than 1024"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadState(strings.NewReader(tt.in))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, %v; want an *Error", got, err)
			}
			if want := "read the container state: " + tt.want; e.Error() != want {
				t.Errorf("error %q\n want %q", e, want)
			}
			if e.Hint() == "" {
				t.Error("no hint")
			}
		})
	}
	t.Run("reader fails", func(t *testing.T) {
		if _, err := ReadState(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v", err)
		}
	})
}

// endless gives spaces for ever and counts them.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.n += len(p)
	return len(p), nil
}

func TestReadStateIsCapped(t *testing.T) {
	e := &endless{}
	_, err := ReadState(e)
	if want := "read the container state: it is longer than 4194304 bytes"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if e.n > 4<<20+1 {
		t.Errorf("%d bytes were read", e.n)
	}
}

func FuzzReadState(f *testing.F) {
	for _, s := range []string{
		`{"ociVersion":"1.0.2-dev","id":"t1","status":"creating","pid":20384,"bundle":"/bundle","annotations":{"a":"1"}}`,
		`{"ociVersion":"1.0","id":"t1","pid":0,"root":"/rootfs","bundle":"/bundle","status":"stopped"}`,
		"{\n \"id\" : \"t1\", \"root\": \"\\/r\", \"annotations\": {\"a\\\\b\": \"c\", \"d\": \"\\\"e\"}, \"x\": 0 }\n",
		`{"id":"a","ID":"b"}`, `{"id":"a","id":"b"}`, `{"Id":"a"}`, `{"id":"a","pid":007}`, `{"id":"a",}`, `{"id":"\u0061","pid":1e1}`,
		`{"id":"../x"}`, `{"id":1}`, `{"id":"a","annotations":{"a\n":1}}`, `[]`, ``, `{"id":`, "{\"id\":\"\u0085\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if plain, ok := plainState(data); ok {
			want, why := decodeState(data)
			if diff := cmp.Diff(want, plain); diff != "" || why != "" {
				t.Errorf("read without encoding/json, which says %q: -want +got\n%s", why, diff)
			}
		}
		s, err := ReadState(strings.NewReader(string(data)))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error is more than one line: %q", err)
			}
			if diff := cmp.Diff(State{}, s); diff != "" {
				t.Errorf("a state came with the error: %s", diff)
			}
			return
		}
		if s.ID == "" || len(s.ID) > maxID || strings.ContainsAny(s.ID, "/\x00\n") || s.PID < 0 {
			t.Errorf("unusable state %+v", s)
		}
	})
}
