package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

func TestOpen(t *testing.T) {
	tests := []struct {
		name string
		// make prepares the directory at path.
		make func(t *testing.T, path string) error
		want string
	}{
		{name: "missing", make: func(*testing.T, string) error { return nil }},
		{name: "there", make: func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }},
		{name: "readable by others", make: func(_ *testing.T, path string) error { return os.Mkdir(path, 0o755) }},
		{
			name: "writable by group",
			make: func(_ *testing.T, path string) error {
				return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o770))
			},
			want: "others may write to it (mode 0770)",
		},
		{
			name: "writable by all",
			make: func(_ *testing.T, path string) error {
				return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o707))
			},
			want: "others may write to it (mode 0707)",
		},
		{
			name: "link to a directory",
			make: func(t *testing.T, path string) error { return os.Symlink(t.TempDir(), path) },
			want: "it is not a directory",
		},
		{
			name: "file",
			make: func(_ *testing.T, path string) error { return os.WriteFile(path, nil, 0o600) },
			want: "it is not a directory",
		},
		{
			name: "of another user",
			make: func(t *testing.T, path string) error {
				if os.Geteuid() != 0 {
					t.Skip("only root can give a directory away")
				}
				return errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 12345, -1))
			},
			want: "it belongs to user 12345, not to user 0",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			if err := test.make(t, path); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if s.Dir() != path {
					t.Errorf("directory %s, want %s", s.Dir(), path)
				}
				fill(t, s, 1)
				return
			}
			got := asError[*FileError](t, err)
			if want := "use state directory " + path + ": " + test.want; got.Error() != want {
				t.Errorf("error %q, want %q", got, want)
			}
			if !strings.Contains(got.Hint(), "--state-dir") {
				t.Errorf("hint %q does not name --state-dir", got.Hint())
			}
		})
	}
	t.Run("nothing above it", func(t *testing.T) {
		_, err := Open(filepath.Join(t.TempDir(), "missing", "state"))
		if got := asError[*FileError](t, err); !errors.Is(got, fs.ErrNotExist) || got.Hint() == "" {
			t.Errorf("error %v with hint %q, want that it does not exist", got, got.Hint())
		}
	})
}

func TestModes(t *testing.T) {
	s := newStore(t)
	fill(t, s, 1)
	release, err := s.LockShared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
	got := map[string]fs.FileMode{}
	for _, name := range []string{databaseName, newName, lockName, sharedLockName} {
		if file, statErr := os.Lstat(filepath.Join(s.Dir(), name)); statErr == nil {
			got[name] = file.Mode()
		}
	}
	if d := diff(map[string]fs.FileMode{databaseName: 0o600, lockName: 0o600, sharedLockName: 0o600}, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	info, err := os.Stat(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("directory has mode %v, want 0700", info.Mode())
	}
}

func TestViewMakesNothing(t *testing.T) {
	s := newStore(t)
	view(t, s, func(tx *Tx) error {
		if _, ok, err := tx.Record(testRecordRef(0)); ok || err != nil {
			t.Errorf("record found %v, error %v in an empty store", ok, err)
		}
		for r, err := range tx.All() {
			t.Errorf("an empty store has record %v, error %v", r, err)
		}
		err := tx.Put(testRecord(0))
		if got := asError[*FileError](t, err); got.Path != filepath.Join(s.Dir(), databaseName) {
			t.Errorf("error %v does not name the database", got)
		}
		return nil
	})
	entries, err := os.ReadDir(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 0 {
		t.Errorf("viewing made %v", entries)
	}
}

func TestViewCannotWrite(t *testing.T) {
	s := newStore(t)
	want := fill(t, s, 1)
	view(t, s, func(tx *Tx) error {
		lease := testRecord(1).Leases[0]
		for name, err := range map[string]error{
			"put": tx.Put(testRecord(1)), "delete": tx.Delete(want[0].Ref()), "take": tx.Take(lease),
		} {
			if _, ok := errors.AsType[*FileError](err); !ok {
				t.Errorf("%s: error %v, want a FileError", name, err)
			}
		}
		return nil
	})
	if d := diff(want, mustAll(t, s)); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
}

func TestUpdateTakesBackOnError(t *testing.T) {
	s := newStore(t)
	want := fill(t, s, 2)
	cause := errors.New("no")
	ctx, cancel := context.WithCancelCause(t.Context())
	tests := []struct {
		name string
		ctx  context.Context
		fn   func() error
	}{
		{name: "error", ctx: t.Context(), fn: func() error { return cause }},
		{name: "context done meanwhile", ctx: ctx, fn: func() error { cancel(cause); return nil }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := s.Update(test.ctx, func(tx *Tx) error {
				if err := errors.Join(tx.Put(testRecord(7)), tx.Delete(want[0].Ref())); err != nil {
					t.Error(err)
				}
				return test.fn()
			})
			if !errors.Is(err, cause) {
				t.Errorf("error %v, want %v", err, cause)
			}
			if d := diff(want, mustAll(t, s)); d != "" {
				t.Errorf("records (-want +got):\n%s", d)
			}
		})
	}
}

func TestPanicOfCaller(t *testing.T) {
	s := newStore(t)
	want := fill(t, s, 1)
	before := openFiles(t)
	for name, run := range map[string]func(context.Context, func(*Tx) error) error{"update": s.Update, "view": s.View} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := recover(); got != "mine" {
					t.Errorf("panic %v, want the caller's", got)
				}
			}()
			err := run(t.Context(), func(*Tx) error { panic("mine") })
			t.Errorf("the panic became error %v", err)
		})
	}
	if d := diff(want, mustAll(t, s)); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files, %d before", after, before)
	}
}

func TestLeavesNothingOpen(t *testing.T) {
	s := newStore(t)
	before := openFiles(t)
	fill(t, s, 3)
	mustAll(t, s)
	if after := openFiles(t); after != before {
		t.Errorf("%d open files, %d before", after, before)
	}
	if debug.SetPanicOnFault(false) {
		t.Error("faults are still made panics")
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestDirectoryRemoved(t *testing.T) {
	tests := []struct {
		name string
		run  func(s *Store) error
	}{
		{name: "before", run: func(s *Store) error {
			if err := os.RemoveAll(s.Dir()); err != nil {
				return err
			}
			return s.Update(context.Background(), func(tx *Tx) error { return tx.Put(testRecord(1)) })
		}},
		{name: "midway", run: func(s *Store) error {
			return s.Update(context.Background(), func(tx *Tx) error {
				return errors.Join(tx.Put(testRecord(1)), os.RemoveAll(s.Dir()))
			})
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			fill(t, s, 1)
			err := test.run(s)
			if got := asError[*FileError](t, err); !errors.Is(got, syscall.ENOENT) || !strings.HasPrefix(got.Path, s.Dir()) ||
				!strings.Contains(got.Hint(), "removed") {
				t.Errorf("error %v with hint %q, want one that says that it was removed", got, got.Hint())
			}
			if list := mustAll(t, s); len(list) != 0 {
				t.Errorf("%d records in a directory that is gone", len(list))
			}
			// Whoever comes next begins anew.
			fill(t, open(t, s.Dir()), 1)
		})
	}
	t.Run("replaced midway", func(t *testing.T) {
		s := newStore(t)
		fill(t, s, 1)
		path := filepath.Join(s.Dir(), databaseName)
		data := readFile(t, path)
		err := s.Update(t.Context(), func(tx *Tx) error {
			replace(t, path, data)
			return tx.Put(testRecord(1))
		})
		if got := asError[*FileError](t, err); !strings.Contains(got.Error(), "taken its place") {
			t.Errorf("error %v, want that another file has taken its place", got)
		}
	})
}

func TestNotWritable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere; tests/store has a read-only file system for it")
	}
	s := newStore(t)
	want := fill(t, s, 1)
	for _, name := range []string{databaseName, lockName} {
		if err := os.Chmod(filepath.Join(s.Dir(), name), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Update(t.Context(), func(tx *Tx) error { return tx.Put(testRecord(1)) })
	if got := asError[*FileError](t, err); !errors.Is(got, syscall.EACCES) || got.Hint() == "" {
		t.Errorf("error %v with hint %q, want that it may not be written", got, got.Hint())
	}
	if d := diff(want, mustAll(t, s)); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
}
