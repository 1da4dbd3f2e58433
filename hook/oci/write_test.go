package oci

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFile(t *testing.T) {
	// only says that the folder holds one file, so that no temporary one was left.
	only := func(t *testing.T, dir, name, content string, mode os.FileMode) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != name {
			t.Errorf("the folder holds %v, %v; want %s alone", entries, err, name)
		}
		file := filepath.Join(dir, name)
		info, err := os.Lstat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("mode %s, want %s", info.Mode(), mode)
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != content {
			t.Errorf("content %q, %v; want %q", data, err, content)
		}
	}
	t.Run("new", func(t *testing.T) {
		dir := t.TempDir()
		if err := WriteFile(filepath.Join(dir, "config.json"), []byte("new")); err != nil {
			t.Fatal(err)
		}
		only(t, dir, "config.json", "new", 0o644)
	})
	t.Run("keeps the mode, and readers of the old file their bytes", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.json")
		if err := WriteFile(file, []byte("old text")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o640); err != nil {
			t.Fatal(err)
		}
		reader, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := reader.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := WriteFile(file, []byte("new")); err != nil {
			t.Fatal(err)
		}
		only(t, dir, "config.json", "new", 0o640)
		if old, err := io.ReadAll(reader); err != nil || string(old) != "old text" {
			t.Errorf("the reader got %q, %v", old, err)
		}
	})
	t.Run("volatile", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.json")
		for _, text := range []string{"old text", "new"} {
			if err := WriteVolatile(file, []byte(text)); err != nil {
				t.Fatal(err)
			}
			only(t, dir, "config.json", text, 0o644)
		}
	})
	t.Run("in the working folder", func(t *testing.T) {
		dir := t.TempDir()
		t.Chdir(dir)
		if err := WriteFile("config.json", []byte("new")); err != nil {
			t.Fatal(err)
		}
		only(t, dir, "config.json", "new", 0o644)
	})
	t.Run("symbolic link is refused", func(t *testing.T) {
		dir := t.TempDir()
		link := filepath.Join(dir, "config.json")
		if err := os.Symlink("elsewhere", link); err != nil {
			t.Fatal(err)
		}
		err := WriteFile(link, []byte("new"))
		if want := "write " + link + ": it is not a regular file"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if target, err := os.Readlink(link); err != nil || target != "elsewhere" {
			t.Errorf("the link is %q now, %v", target, err)
		}
	})
	t.Run("no folder", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "no", "config.json")
		err := WriteFile(file, []byte("new"))
		want := "write " + file + ": no such file or directory"
		if !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}
