package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// ours are the hooks that the tests put in.
func ours() Hooks { return Hooks{Path: "/usr/bin/lanhook", Timeout: 30} }

// edit puts hooks into a config.json, and changes nothing else.
func edit(config []byte, h Hooks) ([]byte, error) { return Edits{Hooks: &h}.Apply(config) }

// TestEditGolden edits each config.json, and takes our hooks out of the one that was given and of the edited one.
func TestEditGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "edit", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config := a.Files[0]
			if config.Name != "config.json" {
				t.Fatalf("the first file is %s", config.Name)
			}
			before := bytes.Clone(config.Data)
			edited, err := edit(config.Data, ours())
			if err != nil {
				t.Fatal(err)
			}
			removed, err := Remove(config.Data)
			if err != nil {
				t.Fatal(err)
			}
			undone, err := Remove(edited)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, config.Data) {
				t.Error("the given bytes were written to")
			}
			got := []txtar.File{
				config,
				{Name: "edited.json", Data: edited},
				{Name: "removed.json", Data: removed},
				{Name: "undone.json", Data: undone},
			}
			if *update {
				out := txtar.Format(&txtar.Archive{Comment: a.Comment, Files: got})
				if err := WriteFile(file, out); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(a.Files, got); diff != "" {
				t.Errorf("-want +got (-update rewrites)\n%s", diff)
			}
		})
	}
}

func TestEditRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "it is empty"},
		{"cut off", `{"hooks":{`, "it is cut off after 10 bytes"},
		{"comma at the end", `{"a":1,}`, "it is not JSON: invalid character '}' looking for beginning of object key string at byte 8"},
		{"a list", `[]`, "it is JSON, but not an object"},
		{"hooks are a list", `{"hooks":[]}`, "its hooks are no object"},
		{"a list is an object", `{"hooks":{"poststop":{}}}`, "its hooks.poststop is no list"},
		{"a hook is a text", `{"hooks":{"prestart":[{},"/bin/a"]}}`, "its hooks.prestart[1] is no hook"},
		{"a path is a number", `{"hooks":{"poststop":[{"path":1}]}}`, "its hooks.poststop[0] is no hook"},
		{"hooks twice", `{"hooks":{},"a":1,"hooks":{}}`, `it has "hooks" beside or instead of "hooks"`},
		{"hooks twice, once escaped", `{"hooks":{},"\u0068ooks":{}}`, `it has "hooks" beside or instead of "hooks"`},
		{"hooks in upper case, as runc takes them", `{"Hooks":{}}`, `it has "Hooks" beside or instead of "hooks"`},
		{"a list twice", `{"hooks":{"poststop":[],"postStop":[]}}`, `in its hooks it has "postStop" beside or instead of "poststop"`},
		{"too long", `{"a":"` + strings.Repeat("x", 16<<20) + `"}`, "it is longer than 16777216 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := "edit the container's config.json: " + tt.want
			for _, f := range []func([]byte) ([]byte, error){
				func(config []byte) ([]byte, error) { return edit(config, ours()) },
				Remove,
			} {
				out, err := f([]byte(tt.in))
				var e *Error
				if !errors.As(err, &e) || e.Error() != want || out != nil {
					t.Errorf("got %.50q, %v\nwant %s", out, err, want)
				}
			}
		})
	}
	for _, tt := range []struct {
		name string
		h    Hooks
		want string
	}{
		{"no path", Hooks{Timeout: 30}, `make the hooks: "" is no absolute path`},
		{"relative path", Hooks{Path: "lanhook", Timeout: 30}, `make the hooks: "lanhook" is no absolute path`},
		{"path with dots", Hooks{Path: "/usr/../lanhook", Timeout: 30}, `make the hooks: "/usr/../lanhook" is no absolute path`},
		{"other program", Hooks{Path: "/bin/sh", Timeout: 30}, `make the hooks: the program "/bin/sh" is not named lanhook`},
		{"no timeout", Hooks{Path: "/usr/bin/lanhook"}, "make the hooks: the timeout is 0 seconds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if out, err := edit([]byte(`{}`), tt.h); err == nil || err.Error() != tt.want {
				t.Errorf("got %s, %v; want %s", out, err, tt.want)
			}
		})
	}
}

func TestEditArguments(t *testing.T) {
	h := Hooks{Path: "/opt/a&b/lanhook", Args: []string{"--policy", "/etc/<x>"}, Timeout: 7}
	got, err := edit([]byte(`{}`), h)
	want := `{"hooks":{"createRuntime":[{"path":"/opt/a&b/lanhook",` +
		`"args":["lanhook","hook","createRuntime","--policy","/etc/<x>"],"env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin","GOMAXPROCS=1"],"timeout":7}],` +
		`"poststop":[{"path":"/opt/a&b/lanhook",` +
		`"args":["lanhook","hook","poststop","--policy","/etc/<x>"],"env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin","GOMAXPROCS=1"],"timeout":7}]}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

func TestHooksD(t *testing.T) {
	want := func(stage string) string {
		return `{
  "version": "1.0.0",
  "hook": {
    "path": "/usr/bin/lanhook",
    "args": [
      "lanhook",
      "hook",
      "` + stage + `"
    ],
    "env": [
      "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
      "GOMAXPROCS=1"
    ],
    "timeout": 30
  },
  "when": {
    "annotations": {
      "^\"?io\\.lanhook\\.": ".*"
    }
  },
  "stages": [
    "` + stage + `"
  ]
}
`
	}
	got := make(map[string]string)
	for name, data := range HooksD(Hooks{Path: "/usr/bin/lanhook", Timeout: 30}) {
		got[name] = string(data)
	}
	if diff := cmp.Diff(map[string]string{
		"00-lanhook-createruntime.json": want("createRuntime"),
		"00-lanhook-poststop.json":      want("poststop"),
	}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// foreign is what an edit must not touch: all members, and of the hooks all that are not ours.
func foreign(t *testing.T, config []byte) (rest map[string]json.RawMessage, hooks map[string][]string) {
	t.Helper()
	if err := json.Unmarshal(config, &rest); err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	var all map[string]json.RawMessage
	if raw, ok := rest["hooks"]; ok {
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
	}
	delete(rest, "hooks")
	hooks = make(map[string][]string)
	for name, raw := range all {
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			hooks[name] = []string{string(raw)}
			continue
		}
		for _, hook := range list {
			if is, err := isOurs(hook); err != nil || !is {
				hooks[name] = append(hooks[name], string(hook))
			}
		}
	}
	maps.DeleteFunc(hooks, func(_ string, list []string) bool { return len(list) == 0 })
	return rest, hooks
}

func FuzzEdit(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "edit", "*.txtar"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Add([]byte(`{"hooks":{"createRuntime":[1e5 , "]"]} }`))
	f.Add([]byte(`{"a":-0.0e-1 ,"hooks" : { "prestart":[ ]}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		once, err := edit(config, ours())
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error is more than one line: %q", err)
			}
			return
		}
		twice, err := edit(once, ours())
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("a second edit: %v\nfirst  %s\nsecond %s", err, once, twice)
		}
		undone, err := Remove(once)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Remove(undone)
		if err != nil || !bytes.Equal(undone, again) {
			t.Fatalf("a second removal: %v\nfirst  %s\nsecond %s", err, undone, again)
		}
		wantRest, wantHooks := foreign(t, config)
		for _, out := range [][]byte{once, undone} {
			rest, hooks := foreign(t, out)
			if diff := cmp.Diff(wantRest, rest); diff != "" {
				t.Errorf("other members changed: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(wantHooks, hooks); diff != "" {
				t.Errorf("other hooks changed: -want +got\n%s", diff)
			}
		}
	})
}
