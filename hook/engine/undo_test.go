package engine

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testRuntime = "/usr/local/bin/lanhook-runtime"

// TestUndoAfterEdits undoes a setup after somebody else added to the file: what they added stays.
func TestUndoAfterEdits(t *testing.T) {
	const cri = `[plugins."io.containerd.cri.v1.runtime"]` + "\n"
	for _, c := range []struct {
		name, file   string
		before, want string
		editor       Editor
		edit         func(text string) string
	}{
		{
			name: "docker, a runtime more", file: DockerFile, before: `{}`, want: `{"runtimes": { "x": {"path": "x"} }}`,
			editor: Docker{Runtime: testRuntime},
			edit:   func(s string) string { return strings.Replace(s, `"lanhook"`, `"x": {"path": "x"}, "lanhook"`, 1) },
		},
		{
			name: "docker, an argument by hand", file: DockerFile, before: `{"runtimes": {}}`, want: `{"runtimes": {}}`,
			editor: Docker{Runtime: testRuntime},
			edit:   func(s string) string { return strings.Replace(s, `"}`, `", "runtimeArgs": ["--debug"]}`, 1) },
		},
		{
			name: "docker, new file with a key more", file: DockerFile, want: "{\n  \"runtimes\": {\n    \n  },\n \"mtu\": 1450}\n",
			editor: Docker{Runtime: testRuntime},
			edit:   func(s string) string { return strings.Replace(s, "\n}\n", ",\n \"mtu\": 1450}\n", 1) },
		},
		{
			name: "containerd 2, tables behind the block", file: ContainerdFile,
			before: "version = 2\n", want: "version = 2\n[debug]\n",
			editor: Containerd{Runtime: testRuntime},
			edit:   func(s string) string { return s + "[debug]\n" },
		},
		{
			name: "containerd 2, new file with a table more", file: ContainerdFile,
			want:   newFile + "[debug]\n",
			editor: Containerd{Runtime: testRuntime},
			edit:   func(s string) string { return s + "[debug]\n" },
		},
		{
			name: "containerd 2, behind a last line without end", file: ContainerdFile,
			before: "version = 2", want: "version = 2\n[debug]\n",
			editor: Containerd{Runtime: testRuntime},
			edit:   func(s string) string { return s + "[debug]\n" },
		},
		{
			name: "containerd 3, an import more", file: ContainerdFile,
			before: "version = 3\n" + cri, want: "version = 3\nimports = [\"x.toml\"] # by lanhook setup containerd\n" + cri,
			editor: Containerd{Runtime: testRuntime},
			edit:   func(s string) string { return strings.Replace(s, `lanhook.toml"]`, `lanhook.toml", "x.toml"]`, 1) },
		},
		{
			name: "containerd 3, migrated without comments", file: ContainerdFile,
			before: "version = 3\n" + cri, want: "version = 3\nimports = []\n" + cri,
			editor: Containerd{Runtime: testRuntime},
			edit:   func(s string) string { return strings.Replace(s, importMark, "\n", 1) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if c.before != "" {
				put(t, root, []Change{{Path: c.file, After: []byte(c.before)}})
			}
			setup, err := c.editor.Setup(Files{Root: root})
			if err != nil {
				t.Fatal(err)
			}
			put(t, root, setup.Changes)
			at := filepath.Join(root, c.file)
			was, err := os.ReadFile(at)
			if err != nil {
				t.Fatal(err)
			}
			edited := c.edit(string(was))
			if edited == string(was) {
				t.Fatalf("the edit changed nothing in\n%s", was)
			}
			put(t, root, []Change{{Path: c.file, After: []byte(edited)}})
			undo, err := c.editor.Undo(Files{Root: root})
			if err != nil {
				t.Fatal(err)
			}
			put(t, root, undo.Changes)
			if diff := cmp.Diff(map[string]string{c.file: c.want}, tree(t, root)); diff != "" {
				t.Errorf("after undo (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRuntimeMoved sets up again after the program moved: there is one handler, with the new place.
func TestRuntimeMoved(t *testing.T) {
	for _, c := range []struct {
		name     string
		path     string
		before   string
		old, new Editor
	}{
		{"docker", DockerFile, `{"mtu": 1}`, Docker{Runtime: testRuntime}, Docker{Runtime: "/opt/lanhook-runtime"}},
		{"containerd 2", ContainerdFile, "version = 2\n", Containerd{Runtime: testRuntime}, Containerd{Runtime: "/opt/lanhook-runtime"}},
		{"containerd 3", ContainerdFile, "version = 3\n", Containerd{Runtime: testRuntime}, Containerd{Runtime: "/opt/lanhook-runtime"}},
		{"crio", crioFile, "", CRIO{Runtime: testRuntime}, CRIO{Runtime: "/opt/lanhook-runtime"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			moved, fresh := t.TempDir(), t.TempDir()
			for root, editors := range map[string][]Editor{moved: {c.old, c.new}, fresh: {c.new}} {
				put(t, root, []Change{{Path: c.path, After: []byte(c.before)}})
				for _, e := range editors {
					plan, err := e.Setup(Files{Root: root})
					if err != nil {
						t.Fatal(err)
					}
					put(t, root, plan.Changes)
				}
			}
			if diff := cmp.Diff(tree(t, fresh), tree(t, moved)); diff != "" {
				t.Errorf("differs from a setup with the new path (-fresh +moved):\n%s", diff)
			}
		})
	}
}

// FuzzDocker holds that undo gives back every byte of any daemon.json, and that twice is once.
func FuzzDocker(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{ }`, "{\n}\n", `{"runtimes":{}}`, `{"runtimes": {"a": {}}, "b": 1}`, "{\n  \"runtimes\": {\n    \n  }\n}\n",
		`{"a":1}`, "{\n\t\"a\": [1, {\"runtimes\": 2}]\n}", `{"runtimes":{"lanhook-x":{"path":"lanhook-runtime"}}}`, "{\"\\u0072untimes\":{\n}}",
	} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), "lan")
	}
	f.Fuzz(func(t *testing.T, text []byte, profile string) {
		if strings.ContainsFunc(profile, func(r rune) bool { return r < '0' || r > 'z' }) {
			t.Skip("no name of a profile")
		}
		d := Docker{Runtime: testRuntime, Profile: profile}
		text = append([]byte{}, text...)
		if was, err := d.cut(text); err != nil || !bytes.Equal(was, text) {
			t.Skip("it has a runtime of ours, or is not understood")
		}
		added, err := d.add(text)
		if err != nil {
			t.Skip("it is not understood")
		}
		if again, err := d.add(added); err != nil || !bytes.Equal(again, added) {
			t.Fatalf("twice is not once: %v\n%s\n%s", err, added, again)
		}
		back, err := d.cut(added)
		if err != nil || !bytes.Equal(back, text) || back == nil {
			t.Fatalf("undo gives %v\n%q of\n%q for\n%q", err, back, added, text)
		}
	})
}

// FuzzContainerd holds the same of any config.toml.
func FuzzContainerd(f *testing.F) {
	for _, seed := range []string{
		"", "version = 2", "version = 2\n", "version = 3", "version = 3 # x\n[a]", "imports = []\nversion = 3",
		"version = 3\nimports = [\"a\"]", "version = 3\nimports = [\n\"conf.d/*\",]", "[plugins.cri.containerd.runtimes.runc]\na = [[1, 'x'], []]",
		"version = 2\r\n[plugins]\r\n", "plugins.cri.a = 1", "[[plugins]]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("lanhook setup")) {
			t.Skip("it has marks of ours")
		}
		root := t.TempDir()
		put(t, root, []Change{{Path: ContainerdFile, After: append([]byte{}, text...)}})
		before := tree(t, root)
		host, c := Files{Root: root}, Containerd{Runtime: testRuntime}
		plan, err := c.Setup(host)
		if err != nil {
			t.Skip("it is not understood")
		}
		put(t, root, plan.Changes)
		if again, err := c.Setup(host); err != nil || !again.None() {
			t.Fatalf("twice is not once:\n%s", report(again, err))
		}
		undo, err := c.Undo(host)
		if err != nil {
			t.Fatal(err)
		}
		put(t, root, undo.Changes)
		if diff := cmp.Diff(before, tree(t, root)); diff != "" {
			t.Fatalf("undo does not give back what was there (-want +got):\n%s", diff)
		}
	})
}

// TestUndoDockerOthers: what an undo leaves there is said, with the command that takes it out.
func TestUndoDockerOthers(t *testing.T) {
	root := t.TempDir()
	host := Files{Root: root}
	for _, profile := range []string{"", "lan", "web"} {
		plan, err := Docker{Runtime: testRuntime, Profile: profile}.Setup(host)
		if err != nil {
			t.Fatal(err)
		}
		put(t, root, plan.Changes)
	}
	plan, err := Docker{Profile: "lan"}.Undo(host)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"the runtime lanhook stays; lanhook setup docker --undo takes it out",
		"the runtime lanhook-web stays; lanhook setup docker --undo --profile web takes it out",
	}
	if diff := cmp.Diff(want, plan.Notes); diff != "" {
		t.Errorf("the notes differ (-want +got):\n%s", diff)
	}
}
