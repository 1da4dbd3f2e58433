package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestDoctor looks at the hosts of testdata/doctor. The first line of a file names the programs and links that are there; "report"
// is what was found, but for checks where all is well.
func TestDoctor(t *testing.T) {
	files, err := filepath.Glob("testdata/doctor/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			first, _, _ := strings.Cut(string(archive.Comment), "\n")
			for program := range strings.FieldsSeq(first) {
				if link, to, ok := strings.Cut(program, "->"); ok {
					if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(root, link)), 0o755), os.Symlink(to, filepath.Join(root, link))); err != nil {
						t.Fatal(err)
					}
					continue
				}
				put(t, root, []Change{{Path: program, After: []byte("#!/bin/sh\n")}})
				if err := os.Chmod(filepath.Join(root, program), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			want, at := "", len(archive.Files)
			for i, f := range archive.Files {
				if f.Name == "report" {
					want, at = string(f.Data), i
					continue
				}
				put(t, root, []Change{{Path: f.Name, After: append([]byte{}, f.Data...)}})
			}
			before := tree(t, root)
			d := Doctor{Files: Files{Root: root}, Programs: "/usr/local/bin", Settings: settingsOf(t, root)}
			var b strings.Builder
			for _, f := range d.Look() {
				if f.Level != OK {
					fmt.Fprintf(&b, "%s %s: %s\n    do: %s\n", f.Level, f.Check, strings.ReplaceAll(f.Means, root, "ROOT"), f.Do)
				}
			}
			if *update {
				archive.Files = append(archive.Files[:at:at], txtar.File{Name: "report", Data: []byte(b.String())})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(want, b.String()); diff != "" {
				t.Errorf("the findings differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tree(t, root)); diff != "" {
				t.Errorf("looking changed the host:\n%s", diff)
			}
		})
	}
}

// settingsOf reads what these tests need of runtime.toml, which is read strictly elsewhere.
func settingsOf(t *testing.T, root string) Settings {
	t.Helper()
	s := Settings{Profiles: map[string]string{}, Usual: []string{"/usr/sbin/runc", "/usr/bin/crun"}}
	text, err := Files{Root: root}.Read(settingsFile)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parse(text)
	if err != nil {
		return Settings{Err: fmt.Errorf("%s: %w", settingsFile, err)}
	}
	s.Runtime, s.Shim, s.Lanhook = file.string("runtime"), file.string("shim"), file.string("lanhook")
	if profiles := file.at("profile"); profiles != nil {
		for _, name := range profiles.keys {
			s.Profiles[name] = profiles.string(name, "runtime")
		}
	}
	return s
}

// TestDoctorAfterSetup looks at what every setup writes: there is nothing to say, and something to see.
func TestDoctorAfterSetup(t *testing.T) {
	for name, text := range map[string]string{
		"none": "", "1": "oom_score = 0\n", "2": "version = 2\n", "3": "version = 3\n", "4": "version = 4\n",
	} {
		t.Run("containerd "+name, func(t *testing.T) {
			root := t.TempDir()
			if text != "" {
				put(t, root, []Change{{Path: ContainerdFile, After: []byte(text)}})
			}
			for _, program := range []string{testRuntime, "/usr/local/bin/lanhook", "/usr/sbin/runc"} {
				put(t, root, []Change{{Path: program, After: []byte("#!/bin/sh\n")}})
				if err := os.Chmod(filepath.Join(root, program), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			host := Files{Root: root}
			seen := map[string]string{checkContainerd: Name, checkDocker: runtimeProgram, checkCRIO: runtimeProgram}
			for _, e := range []Editor{Containerd{Runtime: testRuntime}, Docker{Runtime: testRuntime}, CRIO{Runtime: testRuntime}} {
				plan, err := e.Setup(host)
				if err != nil {
					t.Fatal(err)
				}
				put(t, root, plan.Changes)
			}
			d := Doctor{Files: host, Programs: "/usr/local/bin", Settings: settingsOf(t, root)}
			for _, f := range d.Look() {
				if f.Level != OK {
					t.Errorf("%s %s: %s", f.Level, f.Check, f.Means)
				}
				if word, ok := seen[f.Check]; ok && (!strings.Contains(f.Means, word) || strings.Contains(f.Means, " no ")) {
					t.Errorf("%s does not see what setup did: %s", f.Check, f.Means)
				}
			}
		})
	}
}
