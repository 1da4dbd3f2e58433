//go:build unix

package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWriteFileKeepsOwner(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := WriteFile(file, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 12, 34); errors.Is(err, fs.ErrPermission) {
		t.Skip("only root gives files away")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(file, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid != 12 || s.Gid != 34 {
		t.Errorf("the owner is %+v, want 12:34", info.Sys())
	}
}

func TestReadConfig(t *testing.T) {
	dir := bundleOf(t, `{"a":1}`)
	file := filepath.Join(dir, "config.json")
	if data, err := ReadConfig(file); err != nil || string(data) != `{"a":1}` {
		t.Errorf("got %s, %v", data, err)
	}
	for _, tt := range []struct {
		name string
		make func(file string) error
		want string
	}{
		{"missing", func(string) error { return nil }, "no such file or directory"},
		{"a folder", func(file string) error { return os.Mkdir(file, 0o700) }, "it is not a regular file"},
		// To open it as a file would wait for a writer.
		{"a FIFO", func(file string) error { return syscall.Mkfifo(file, 0o600) }, "it is not a regular file"},
		{"a link", func(link string) error { return os.Symlink(file, link) }, "it is not a regular file"},
		{
			"too long", func(file string) error { return os.WriteFile(file, make([]byte, 16<<20+1), 0o600) },
			"it is longer than 16777216 bytes",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "config.json")
			if err := tt.make(config); err != nil {
				t.Fatal(err)
			}
			_, err := ReadConfig(config)
			if want := "read the bundle's " + config + ": " + tt.want; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}
