//go:build linux

// Package store_test runs the store on file systems that fail: one that is full, and one that cannot be written. They
// are mounted in a mount namespace that ends with the test.
package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lanhook/lanhook/netsetup/store"
)

// have is what a lane sets in which nothing may be skipped for a lack of rights, as in tests/nettest.
const have = "LANHOOK_TEST_HAVE"

// private is set in the process that has a mount namespace of its own.
const private = "LANHOOK_TEST_PRIVATE_MOUNTS"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(private) != "" {
		os.Exit(m.Run())
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// The runtime makes all mounts of the new namespace private, so none of ours is seen outside.
	cmd := exec.CommandContext(context.Background(), exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), private+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	err = cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// mount mounts a tmpfs of the given size, and gives the directory on it that the store is to have.
func mount(t *testing.T, size string) (mountPoint, dir string) {
	t.Helper()
	if os.Getenv(private) == "" {
		if _, stated := os.LookupEnv(have); stated {
			t.Fatal("no right to mount (run as root)")
		}
		t.Skip("SKIPPED, NOT TESTED: no right to mount (run as root)")
	}
	mountPoint = t.TempDir()
	if err := syscall.Mount("tmpfs", mountPoint, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mountPoint, 0); err != nil {
			t.Errorf("something is left open: unmount: %v", err)
		}
	})
	return mountPoint, filepath.Join(mountPoint, "state")
}

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func record(n int) store.Record {
	id, container := store.NewID(), fmt.Sprintf("container-%03d", n)
	return store.Record{
		ID: id, Container: container, State: store.Attached, Workload: strings.Repeat("w", 500),
		Leases: []store.Lease{{
			Scope: "lan", Addr: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), Record: id, Container: container,
			IfName: "eth0",
		}},
	}
}

func put(s *store.Store, r store.Record) error {
	return s.Update(context.Background(), func(tx *store.Tx) error { return tx.Put(r) })
}

// containers are the containers that have a record, in order.
func containers(t *testing.T, s *store.Store) []string {
	t.Helper()
	var list []string
	err := s.View(t.Context(), func(tx *store.Tx) error {
		for r, err := range tx.All() {
			if err != nil {
				return err
			}
			list = append(list, r.Container)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func expectErrno(t *testing.T, err error, want syscall.Errno, hint string) {
	t.Helper()
	got, ok := errors.AsType[*store.FileError](err)
	if !ok || !errors.Is(err, want) {
		t.Fatalf("error %v (%T), want a FileError with %v", err, err, want)
	}
	if !strings.Contains(got.Error(), got.Path+": "+want.Error()) || strings.Contains(got.Error(), "\n") {
		t.Errorf("error %q is not one line that ends with file and cause", got)
	}
	if !strings.Contains(got.Hint(), hint) {
		t.Errorf("hint %q, want one with %q", got.Hint(), hint)
	}
}

func TestFull(t *testing.T) {
	t.Run("while records are put", func(t *testing.T) {
		_, dir := mount(t, "128k")
		s := open(t, dir)
		var want []string
		var full error
		for n := 0; full == nil; n++ {
			r := record(n)
			if full = put(s, r); full == nil {
				want = append(want, r.Container)
			}
			if n > 1000 {
				t.Fatal("128 kB hold more than a thousand records")
			}
		}
		expectErrno(t, full, syscall.ENOSPC, "make room")
		if len(want) < 3 {
			t.Fatalf("only %d records fit", len(want))
		}
		if got := containers(t, s); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("records of %v after the failure, want %v", got, want)
		}
		// It still fails as long as it is full, and harms nothing.
		expectErrno(t, put(s, record(2000)), syscall.ENOSPC, "make room")
		if got := containers(t, s); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("records of %v after the second failure, want %v", got, want)
		}
	})
	t.Run("while the database is made", func(t *testing.T) {
		mountPoint, dir := mount(t, "64k")
		s := open(t, dir)
		fillFile(t, filepath.Join(mountPoint, "other"))
		expectErrno(t, put(s, record(0)), syscall.ENOSPC, "make room")
		if got := containers(t, s); len(got) != 0 {
			t.Errorf("records of %v, want none", got)
		}
		if err := os.Remove(filepath.Join(mountPoint, "other")); err != nil {
			t.Fatal(err)
		}
		if err := put(s, record(0)); err != nil {
			t.Fatalf("put once there is room: %v", err)
		}
		if got := containers(t, s); len(got) != 1 {
			t.Errorf("records of %v, want one", got)
		}
	})
	t.Run("by others", func(t *testing.T) {
		mountPoint, dir := mount(t, "256k")
		s := open(t, dir)
		var records []store.Record
		for n := range 10 {
			records = append(records, record(n))
			if err := put(s, records[n]); err != nil {
				t.Fatal(err)
			}
		}
		fillFile(t, filepath.Join(mountPoint, "other"))
		// Pages that earlier transactions left free are enough to take records back: whoever detaches is not hindered.
		for n := range records {
			err := s.Update(t.Context(), func(tx *store.Tx) error { return tx.Delete(records[n].Ref()) })
			if err != nil {
				t.Fatalf("delete record %d: %v", n, err)
			}
		}
		if got := containers(t, s); len(got) != 0 {
			t.Errorf("records of %v, want none", got)
		}
	})
}

// fillFile writes a file until there is no room.
func fillFile(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReadOnly(t *testing.T) {
	readOnly := func(t *testing.T, mountPoint string) {
		t.Helper()
		if err := syscall.Mount("", mountPoint, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatalf("make the tmpfs read-only: %v", err)
		}
	}
	t.Run("with records", func(t *testing.T) {
		mountPoint, dir := mount(t, "256k")
		s := open(t, dir)
		if err := put(s, record(0)); err != nil {
			t.Fatal(err)
		}
		readOnly(t, mountPoint)
		s = open(t, dir)
		expectErrno(t, put(s, record(1)), syscall.EROFS, "can be written")
		if got := containers(t, s); len(got) != 1 {
			t.Errorf("records of %v, want one", got)
		}
	})
	t.Run("empty", func(t *testing.T) {
		mountPoint, dir := mount(t, "256k")
		s := open(t, dir)
		readOnly(t, mountPoint)
		expectErrno(t, put(s, record(1)), syscall.EROFS, "can be written")
		if got := containers(t, s); len(got) != 0 {
			t.Errorf("records of %v, want none", got)
		}
	})
	t.Run("without the directory", func(t *testing.T) {
		mountPoint, dir := mount(t, "256k")
		readOnly(t, mountPoint)
		_, err := store.Open(dir)
		expectErrno(t, err, syscall.EROFS, "can be written")
	})
}
