package store

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// sample is a database with branch pages and free pages, its path, and what is in it.
func sample(t testing.TB) (s *Store, path string, list []Record) {
	t.Helper()
	s = newStore(t)
	fill(t, s, 12)
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Delete(testRecordRef(3)), tx.Delete(testRecordRef(4))) })
	return s, filepath.Join(s.Dir(), databaseName), mustAll(t, s)
}

// TestFlippedBytes changes bytes all over a database. Either the change is found, or it is where nothing stands, and
// all is as before and goes on to work.
func TestFlippedBytes(t *testing.T) {
	s, path, want := sample(t)
	whole := readFile(t, path)
	found, unused := 0, 0
	for at := 0; at < len(whole); at += 29 {
		data := slices.Clone(whole)
		data[at] ^= byte(1 << (at % 8))
		if check(data, os.Getpagesize()) != nil {
			if found++; found%20 == 0 {
				replace(t, path, data)
				expectDamaged(t, s, path)
			}
			continue
		}
		if unused++; unused%50 != 0 {
			continue
		}
		replace(t, path, data)
		if d := diff(want, mustAll(t, s)); d != "" {
			t.Fatalf("byte %d is changed (-want +got):\n%s", at, d)
		}
		update(t, s, func(tx *Tx) error { return tx.Put(testRecord(900)) })
		// Its container is the last in order.
		if d := diff(append(slices.Clone(want), testRecord(900)), mustAll(t, s)); d != "" {
			t.Fatalf("byte %d is changed, and a record put (-want +got):\n%s", at, d)
		}
	}
	if found < 200 || unused < 200 {
		t.Errorf("%d changes found, %d of bytes that hold nothing: the sample is too small", found, unused)
	}
}

// expectDamaged checks that everything refuses the database and says which it is.
func expectDamaged(t *testing.T, s *Store, path string) {
	t.Helper()
	_, viewErr := all(t.Context(), s)
	updateErr := s.Update(t.Context(), func(tx *Tx) error { return tx.Put(testRecord(900)) })
	for _, err := range []error{viewErr, updateErr} {
		got := asError[*DamagedError](t, err)
		if got.File != path || !strings.HasPrefix(got.Error(), "read "+path+": the database is damaged") || got.Hint() == "" {
			t.Errorf("error %v with hint %q, want one that names %s", got, got.Hint(), path)
		}
		if strings.Contains(got.Error(), "\n") {
			t.Errorf("error %q has more than one line", got)
		}
	}
}

func TestDamagedFile(t *testing.T) {
	s, path, _ := sample(t)
	whole := readFile(t, path)
	pageSize := os.Getpagesize()
	change := func(at int, text string) []byte {
		data := slices.Clone(whole)
		copy(data[at:], text)
		return data
	}
	other := filepath.Join(t.TempDir(), "other.db")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"IP-28 empty", nil, "it has only 0 bytes"},
		{"IP-28 text", []byte("not a database\n"), "it has only 15 bytes"},
		{"zeros", make([]byte, len(whole)), "meta page 0 is not one of bbolt"},
		{"one byte short", whole[:len(whole)-1], "which are not the"},
		{"one page", whole[:pageSize], "it has only"},
		{"two pages", whole[:2*pageSize], "which are not the"},
		{"half", whole[:len(whole)/2], "which are not the"},
		{"first meta page", change(headerLen+20, "\xff"), "checksum of meta page 0"},
		{"second meta page", change(pageSize+headerLen+20, "\xff"), "checksum of meta page 1"},
		{"meta pages swapped in time", slices.Concat(whole[:pageSize], whole[:pageSize], whole[2*pageSize:]), "two transactions in a row"},
		{"database of another program", readFile(t, other), "bucket"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			replace(t, path, test.data)
			expectDamaged(t, s, path)
			if _, err := all(t.Context(), s); !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	for size := 0; size < len(whole); size += 997 {
		replace(t, path, whole[:size])
		expectDamaged(t, s, path)
	}
	t.Run("not a file", func(t *testing.T) {
		if err := errors.Join(os.Remove(path), os.Symlink(other, path)); err != nil {
			t.Fatal(err)
		}
		if _, err := all(t.Context(), s); asError[*FileError](t, err).Path != path {
			t.Errorf("error %v, want one that names %s", err, path)
		}
	})
}

// TestFaults gives bbolt files that it cannot work with, past the check: what it does then must not end the process.
func TestFaults(t *testing.T) {
	sealed := func(t *testing.T, s *Store, path string, data []byte) {
		t.Helper()
		replace(t, path, data)
		lock, err := s.lock(t.Context(), lockName, exclusive)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.renewSeal(lock, info), lock.release()); err != nil {
			t.Fatal(err)
		}
	}
	s, path, want := sample(t)
	whole := readFile(t, path)
	pageSize := os.Getpagesize()
	before := openFiles(t)
	for name, data := range map[string][]byte{
		"cut after the meta pages":  whole[:2*pageSize],
		"cut within the tree":       whole[:len(whole)/4/pageSize*pageSize],
		"zeros behind the metas":    append(slices.Clone(whole[:2*pageSize]), make([]byte, len(whole)-2*pageSize)...),
		"noise behind the metas":    append(slices.Clone(whole[:2*pageSize]), strings.Repeat("\x5a", len(whole)-2*pageSize)...),
		"trees replaced by a meta ": append(slices.Clone(whole[:2*pageSize]), strings.Repeat(string(whole[:pageSize]), len(whole)/pageSize-2)...),
	} {
		t.Run(name, func(t *testing.T) {
			sealed(t, s, path, data)
			expectDamaged(t, s, path)
		})
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files, %d before", after, before)
	}
	sealed(t, s, path, whole)
	if d := diff(want, mustAll(t, s)); d != "" {
		t.Errorf("records of the whole file (-want +got):\n%s", d)
	}
}

// TestDamagedEntries puts entries that are whole, but not what lanhook writes: each is an error that names the file and
// the key, and the rest can be read.
func TestDamagedEntries(t *testing.T) {
	good, other := testRecord(1), testRecord(2)
	whole, err := good.encode()
	if err != nil {
		t.Fatal(err)
	}
	stray := Lease{Scope: "apps", Addr: netip.MustParseAddr("10.0.0.9"), Record: "aaaaaaaaaa", Container: "a", IfName: "eth0"}
	strayLease, err := plan.Encode(stray.value)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		bucket  string
		key     []byte
		value   string
		read    func(*Tx) error
		want    string
		version bool
	}{
		{
			name: "IP-28 record with white space", bucket: records, key: recordKey(good.Ref()), value: string(whole) + "\n ",
			read: func(tx *Tx) error { return tx.Delete(good.Ref()) },
			want: `: the database is damaged at records "container-1\x00aaaaaaaaab": decode record: `,
		},
		{
			name: "IP-28 record of another version", bucket: records, key: recordKey(good.Ref()), value: "\x05" + string(whole[1:]),
			read: func(tx *Tx) error { return tx.Delete(good.Ref()) }, version: true,
			want: `: records "container-1\x00aaaaaaaaab": record version 5 cannot be read, this lanhook knows version 4`,
		},
		{
			name: "IP-28 record that is none", bucket: records, key: recordKey(good.Ref()), value: "\x04none",
			read: func(tx *Tx) error { return tx.Delete(good.Ref()) },
			want: `: the database is damaged at records "container-1\x00aaaaaaaaab": decode record: `,
		},
		{
			name: "record of another", bucket: records, key: recordKey(good.Ref()), value: strings.ReplaceAll(string(whole), "container-1", "container-7"),
			read: func(tx *Tx) error { _, err := tx.ByContainer(good.Container); return err }, want: "record and key differ",
		},
		{
			name: "lease that is none", bucket: leases, key: good.Leases[0].key(), value: "\x04\x00\x00\x00\x00\x00\x00",
			read: func(tx *Tx) error { _, _, err := tx.Holder("apps", good.Leases[0].Addr); return err },
			want: `damaged at leases "apps\x00a\n\x00\x00\x01": lease: scope is empty`,
		},
		{
			name: "lease of another version", bucket: leases, key: good.Leases[0].key(), value: "\x05" + string(strayLease[1:]),
			read: func(tx *Tx) error { _, _, err := tx.Holder("apps", good.Leases[0].Addr); return err }, version: true,
			want: `: leases "apps\x00a\n\x00\x00\x01": record version 5 cannot be read, this lanhook knows version 4`,
		},
		{
			name: "lease cut short", bucket: leases, key: good.Leases[0].key(), value: string(strayLease[:9]),
			read: func(tx *Tx) error { _, _, err := tx.Holder("apps", good.Leases[0].Addr); return err },
			want: `damaged at leases "apps\x00a\n\x00\x00\x01": near byte 7: `,
		},
		{
			name: "lease of another", bucket: leases, key: good.Leases[0].key(), value: string(strayLease),
			read: func(tx *Tx) error {
				for _, err := range tx.Leases("apps") {
					if err != nil {
						return err
					}
				}
				return nil
			},
			want: "lease and key differ",
		},
		{
			name: "use of nobody", bucket: sharedUses, key: []byte("lh-apps\x00nobody"),
			read: func(tx *Tx) error {
				for _, err := range tx.Users("lh-apps") {
					if err != nil {
						return err
					}
				}
				return nil
			},
			want: `damaged at shared "lh-apps\x00nobody": not a container and a record`,
		},
		{
			name: "interface of nobody", bucket: interfaces, key: interfaceKey(good.NetNS, "eth0"), value: "nobody",
			read: func(tx *Tx) error { _, _, err := tx.InterfaceHolder(good.NetNS, "eth0"); return err },
			want: "not a container and a record",
		},
		{
			name: "interface of nobody, by namespace", bucket: interfaces, key: interfaceKey(good.NetNS, "eth0"), value: "nobody",
			read: func(tx *Tx) error { _, err := tx.ByNamespace(good.NetNS); return err },
			want: "not a container and a record",
		},
		{
			name: "interface of a record that is gone", bucket: interfaces, key: interfaceKey(good.NetNS, "eth1"),
			value: "gone\x00aaaaaaaaaa",
			read:  func(tx *Tx) error { _, err := tx.ByNamespace(good.NetNS); return err },
			want:  "there is no record gone/aaaaaaaaaa",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStore(t)
			update(t, s, func(tx *Tx) error {
				return errors.Join(tx.Put(good), tx.Put(other), tx.put(test.bucket, test.key, []byte(test.value)))
			})
			err := s.Update(t.Context(), test.read)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), s.Dir()) {
				t.Fatalf("error %v, want one with %q that names the file", err, test.want)
			}
			if test.version && asError[*VersionError](t, err).Hint() == "" || !test.version && asError[*DamagedError](t, err).Key == "" {
				t.Errorf("error %#v has no hint or no key", err)
			}
			view(t, s, func(tx *Tx) error {
				got, ok, err := tx.Record(other.Ref())
				if d := diff(other, got); !ok || err != nil || d != "" {
					t.Errorf("the other record: found %v, error %v (-want +got):\n%s", ok, err, d)
				}
				return nil
			})
		})
	}
}

// TestAllGoesOn has one record that cannot be read among others.
func TestAllGoesOn(t *testing.T) {
	s := newStore(t)
	fill(t, s, 3)
	update(t, s, func(tx *Tx) error { return tx.put(records, recordKey(testRecordRef(1)), []byte("\x04none")) })
	var got []Record
	damaged := 0
	view(t, s, func(tx *Tx) error {
		for r, err := range tx.All() {
			if err == nil {
				got = append(got, r)
				continue
			}
			if asError[*DamagedError](t, err).Key != "" {
				damaged++
			}
		}
		return nil
	})
	if d := diff([]Record{testRecord(0), testRecord(2)}, got); d != "" || damaged != 1 {
		t.Errorf("%d damaged, records (-want +got):\n%s", damaged, d)
	}
}

func TestHints(t *testing.T) {
	for _, test := range []struct {
		errno syscall.Errno
		want  string
	}{
		{syscall.ENOSPC, "make room"},
		{syscall.EDQUOT, "make room"},
		{syscall.EROFS, "file system that can be written"},
		{syscall.EACCES, "works as root"},
		{syscall.EPERM, "works as root"},
		{syscall.ENOENT, "was removed"},
		{syscall.EIO, ""},
	} {
		err := fileError("write", "state.db", &fs.PathError{Op: "pwrite64", Path: "state.db", Err: test.errno})
		if want := "write state.db: " + test.errno.Error(); err.Error() != want || !errors.Is(err, test.errno) {
			t.Errorf("error %q, want %q", err, want)
		}
		if got := asError[*FileError](t, err).Hint(); !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
			t.Errorf("%v: hint %q, want %q", test.errno, got, test.want)
		}
	}
}

// FuzzCheck gives the check anything: it must come to an end, and what passes must be read by bbolt without a fault.
func FuzzCheck(f *testing.F) {
	_, path, _ := sample(f)
	whole := readFile(f, path)
	f.Add(whole)
	f.Add(whole[:8*os.Getpagesize()])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if check(data, os.Getpagesize()) != nil {
			return
		}
		s := newStore(t)
		replace(t, filepath.Join(s.Dir(), databaseName), data)
		if _, err := all(t.Context(), s); err != nil {
			if _, ok := errors.AsType[*VersionError](err); !ok && asError[*DamagedError](t, err).Key == "" {
				t.Errorf("error %v in a file that passed the check", err)
			}
		}
	})
}
