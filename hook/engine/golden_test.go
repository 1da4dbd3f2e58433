package engine

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what the setups give into the golden files")

// editorOf reads the first line of a golden file: the engine, and key=value for what the setup takes.
func editorOf(t *testing.T, line string) Editor {
	t.Helper()
	words := strings.Fields(line)
	runtime, profile := "/usr/local/bin/lanhook-runtime", ""
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "runtime":
			runtime = value
		case "profile":
			profile = value
		default:
			t.Fatalf("unknown word %q in the first line", word)
		}
	}
	switch words[0] {
	case "containerd":
		return Containerd{Runtime: runtime}
	case "docker":
		return Docker{Runtime: runtime, Profile: profile}
	case "crio":
		return CRIO{Runtime: runtime}
	}
	t.Fatalf("unknown engine %q", words[0])
	return nil
}

// put makes changes below a root.
func put(t *testing.T, root string, changes []Change) {
	t.Helper()
	for _, c := range changes {
		path := filepath.Join(root, c.Path)
		if c.After == nil {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, c.After, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// tree reads all files below a root.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	host := os.DirFS(root)
	err := fs.WalkDir(host, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(host, path)
		all["/"+path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// report is what a setup says, and the difference it makes.
func report(plan Plan, err error) string {
	var b strings.Builder
	if err != nil {
		fmt.Fprintf(&b, "error: %s\n", err)
		if byHand, ok := errors.AsType[*HandError](err); ok {
			fmt.Fprintf(&b, "hint: %s\n%s", byHand.Hint(), byHand.Add)
		}
		return b.String()
	}
	for _, c := range plan.Changes {
		b.WriteString(Diff(c))
	}
	for _, note := range plan.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	fmt.Fprintf(&b, "reload: %s\n", plan.Reload)
	return b.String()
}

// TestGolden makes the setup of each file of testdata, whose entries are the files before it and "report". What came
// out is set up again, which must change nothing, and undone, which must give back every byte.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(archive.Comment), "\n")
	root := t.TempDir()
	want, at := "", -1
	for i, f := range archive.Files {
		if f.Name == "report" {
			want, at = string(f.Data), i
			continue
		}
		// A file that is to have no last line end says so in its name; txtar cannot.
		name, cut := strings.CutSuffix(f.Name, " without end")
		if cut {
			f.Data = bytes.TrimSuffix(f.Data, []byte("\n"))
		}
		put(t, root, []Change{{Path: name, After: append([]byte{}, f.Data...)}})
	}
	before := tree(t, root)
	e, host := editorOf(t, first), Files{Root: root}
	plan, err := e.Setup(host)
	got := report(plan, err)
	if *update {
		entry := txtar.File{Name: "report", Data: []byte(got)}
		if at < 0 {
			archive.Files = append(archive.Files, entry)
		} else {
			archive.Files[at] = entry
		}
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the report differs (-want +got):\n%s", diff)
	}
	if err != nil {
		return
	}
	put(t, root, plan.Changes)
	again, err := e.Setup(host)
	if err != nil || !again.None() {
		t.Fatalf("a second setup is not nothing:\n%s", report(again, err))
	}
	undo, err := e.Undo(host)
	if err != nil {
		t.Fatalf("undo: %v", err)
	}
	put(t, root, undo.Changes)
	if diff := cmp.Diff(before, tree(t, root)); diff != "" {
		t.Errorf("undo does not give back what was there (-want +got):\n%s", diff)
	}
	if twice, err := e.Undo(host); err != nil || !twice.None() {
		t.Errorf("a second undo is not nothing:\n%s", report(twice, err))
	}
}
