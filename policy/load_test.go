//go:build unix

package policy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const small = "version = 1\n"

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func rule(name string) string { return "[[rule]]\nname = \"" + name + "\"\nmatch = { id = \"x\" }\n" }

func names(p *Policy) []string {
	var out []string
	for _, r := range p.Rules {
		out = append(out, r.Name)
	}
	return out
}

func TestLoad(t *testing.T) {
	t.Run("a file alone", func(t *testing.T) {
		dir := t.TempDir()
		path := put(t, filepath.Join(dir, "policy.toml"), small+rule("a"))
		put(t, filepath.Join(dir, "policy.d", "b.toml"), rule("b"))
		p, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{path}, p.Files); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"a"}, names(p)); diff != "" {
			t.Errorf("rules (-want +got):\n%s", diff)
		}
	})
	t.Run("a folder in the order of names, other files ignored with a warning", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "20-b.toml"), rule("b"))
		put(t, filepath.Join(dir, "10-a.toml"), small+rule("a"))
		put(t, filepath.Join(dir, "100-c.toml"), rule("c"))
		for _, other := range []string{"daemon.json", "10-a.toml~", "10-a.toml.rpmnew", ".hidden.toml", "README"} {
			put(t, filepath.Join(dir, other), "not TOML")
		}
		p, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a", "c", "b"}, names(p)); diff != "" {
			t.Errorf("rules (-want +got):\n%s", diff)
		}
		var ignored []string
		for _, w := range p.Warnings() {
			if strings.Contains(w.Msg, "ignored") {
				ignored = append(ignored, filepath.Base(w.File))
			}
		}
		if diff := cmp.Diff([]string{".hidden.toml", "10-a.toml.rpmnew", "10-a.toml~", "README", "daemon.json"}, ignored); diff != "" {
			t.Errorf("ignored (-want +got):\n%s", diff)
		}
	})
	t.Run("the default, with and without policy.d", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "policy.toml"), small+rule("a"))
		p, err := loadDefault(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a"}, names(p)); diff != "" {
			t.Errorf("rules (-want +got):\n%s", diff)
		}
		put(t, filepath.Join(dir, "policy.d", "b.toml"), rule("b"))
		put(t, filepath.Join(dir, "policy.d", "a.toml"), rule("c"))
		put(t, filepath.Join(dir, "stray.toml"), "not TOML, and not read")
		if p, err = loadDefault(dir); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a", "c", "b"}, names(p)); diff != "" {
			t.Errorf("rules (-want +got):\n%s", diff)
		}
	})
	t.Run("a link to a good file", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "real.toml"), small)
		link := filepath.Join(dir, "policy.toml")
		if err := os.Symlink("real.toml", link); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(link); err != nil {
			t.Error(err)
		}
	})
}

// TestLoadRefuses: without a policy that is whole and trusted there is none.
func TestLoadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		// make gives the path to load.
		make       func(t *testing.T, dir string) string
		want, hint string
	}{
		{"no such file", func(_ *testing.T, dir string) string { return filepath.Join(dir, "x.toml") }, "it is not there", "refused"},
		{"an empty folder", func(_ *testing.T, dir string) string { return dir }, "there is no policy file", ".toml"},
		{"writable by the group", func(t *testing.T, dir string) string {
			return mode(t, put(t, filepath.Join(dir, "p.toml"), small), 0o664)
		}, "others may write it: its mode is 0664", "chmod go-w"},
		{"writable by all", func(t *testing.T, dir string) string {
			return mode(t, put(t, filepath.Join(dir, "p.toml"), small), 0o646)
		}, "others may write it: its mode is 0646", "chmod go-w"},
		{"a folder that others may write", func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "p.toml"), small)
			return mode(t, dir, 0o777)
		}, "others may write it: its mode is 0777", "chmod go-w"},
		{"a file of a folder that others may write", func(t *testing.T, dir string) string {
			mode(t, put(t, filepath.Join(dir, "p.toml"), small), 0o666)
			return dir
		}, "others may write it", "chmod go-w"},
		{"a link to a file that others may write", func(t *testing.T, dir string) string {
			mode(t, put(t, filepath.Join(dir, "real"), small), 0o666)
			link := filepath.Join(dir, "p.toml")
			if err := os.Symlink("real", link); err != nil {
				t.Fatal(err)
			}
			return link
		}, "others may write it", "chmod go-w"},
		{"a file of another user", func(t *testing.T, dir string) string {
			return owned(t, put(t, filepath.Join(dir, "p.toml"), small))
		}, "it belongs to user 12345, not to root", "chown root"},
		{"a folder of another user", func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "p.toml"), small)
			return owned(t, dir)
		}, "it belongs to user 12345, not to root", "chown root"},
		{"a named pipe, without waiting for it", func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "p.toml")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "it is no regular file", ""},
		{"a folder named as a file of a folder", func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "p.toml", "x.toml"), small)
			return dir
		}, "it is no regular file", ""},
		{"a file that is too large", func(t *testing.T, dir string) string {
			return put(t, filepath.Join(dir, "p.toml"), small+strings.Repeat("#", maxFile))
		}, "more than 1048576 bytes", ""},
		{"too many files", func(t *testing.T, dir string) string {
			for i := range maxFiles + 1 {
				put(t, filepath.Join(dir, strings.Repeat("a", i/26+1)+string(rune('a'+i%26))+".toml"), small)
			}
			return dir
		}, "at most 256 files", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Load(tt.make(t, t.TempDir()))
			var ferr *FileError
			if p != nil || !errors.As(err, &ferr) {
				t.Fatalf("Load = %v, %v, want a FileError", p, err)
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q, want one line with %q", err, tt.want)
			}
			if tt.hint == "" && ferr.Hint() != "" || !strings.Contains(ferr.Hint(), tt.hint) {
				t.Errorf("the hint is %q, want %q", ferr.Hint(), tt.hint)
			}
		})
	}
}

func TestLoadDefaultRefuses(t *testing.T) {
	t.Run("policy.toml is missing, policy.d alone is no policy", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "policy.d", "a.toml"), small)
		p, err := loadDefault(dir)
		if p != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("loadDefault = %v, %v, want that policy.toml does not exist", p, err)
		}
	})
	t.Run("policy.d is another user's", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "policy.toml"), small)
		put(t, filepath.Join(dir, "policy.d", "a.toml"), small)
		owned(t, filepath.Join(dir, "policy.d"))
		if p, err := loadDefault(dir); err == nil {
			t.Errorf("loadDefault = %v", p.Files)
		}
	})
	t.Run("the folder of all can be written by others", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "policy.toml"), small)
		mode(t, dir, 0o775)
		if p, err := loadDefault(dir); err == nil {
			t.Errorf("loadDefault = %v", p.Files)
		}
	})
	t.Run("policy.d is a file", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "policy.toml"), small)
		put(t, filepath.Join(dir, "policy.d"), small)
		if p, err := loadDefault(dir); err == nil {
			t.Errorf("loadDefault = %v", p.Files)
		}
	})
}

func mode(t *testing.T, path string, m fs.FileMode) string {
	t.Helper()
	if err := os.Chmod(path, m); err != nil {
		t.Fatal(err)
	}
	return path
}

// owned gives a file to a user who is neither root nor us, which only root can do.
func owned(t *testing.T, path string) string {
	t.Helper()
	if err := os.Chown(path, 12345, -1); errors.Is(err, fs.ErrPermission) {
		t.Skip("only root gives files away")
	} else if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDecodeWithoutFiles(t *testing.T) {
	p, err := Decode(nil)
	if p != nil || err == nil || !strings.Contains(err.Error(), "there is no policy file") {
		t.Errorf("Decode = %v, %v", p, err)
	}
	if all, ok := errors.AsType[Errors](err); ok {
		t.Error(all, "an error about no file is one about a place in a file")
	}
	files := slices.Repeat([]File{{"a", []byte(small)}}, maxFiles+1)
	if p, err = Decode(files); p != nil || err == nil {
		t.Errorf("Decode of too many files = %v, %v", p, err)
	}
	long := []File{{"a", []byte(small + strings.Repeat("#", maxFile))}}
	p, err = Decode(long)
	all, ok := errors.AsType[Errors](err)
	if p != nil || !ok || len(all) != 1 || all[0].Line != 0 || all[0].Error() != "a: the file has 1048588 bytes, 1048576 are the most" {
		t.Errorf("Decode of a long file = %v, %v", p, err)
	}
}

func TestErrors(t *testing.T) {
	one := &Error{File: "a", Line: 1, Col: 2, Msg: "m", Hint: "h"}
	two := &Error{File: "b", Line: 3, Col: 4, Msg: "n"}
	for _, tt := range []struct {
		errs       Errors
		text, hint string
	}{
		{Errors{one}, "a:1:2: m", "h"},
		{Errors{one, two}, "a:1:2: m (and 1 more error)", "h"},
		{Errors{two, one, one}, "b:3:4: n (and 2 more errors)", "lanhook policy check shows all of them"},
	} {
		if got := tt.errs.Error(); got != tt.text {
			t.Errorf("Error = %q, want %q", got, tt.text)
		}
		if got := tt.errs.Hint(); got != tt.hint {
			t.Errorf("Hint = %q, want %q", got, tt.hint)
		}
		var first *Error
		if !errors.As(tt.errs, &first) || first != tt.errs[0] {
			t.Errorf("errors.As gives %v", first)
		}
	}
}
