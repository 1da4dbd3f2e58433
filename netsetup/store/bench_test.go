package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkUpdate is what an attach pays: open, look up an address, put a record with its leases, commit and close;
// every other time it deletes it, as a detach does. It is to be below 400 µs on a tmpfs, and not to grow by more than
// 15 % from a hundred records to a thousand. Below a hundred it is cheaper still, for then bbolt keeps small buckets in
// the page of the root.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{0, 100, 1000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s := open(b, filepath.Join(tmpfs(b), "state"))
			fill(b, s, n)
			r := testRecord(50000)
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				update(b, s, func(tx *Tx) error {
					if i%2 == 1 {
						return tx.Delete(r.Ref())
					}
					if _, _, err := tx.Holder("apps", r.Leases[0].Addr); err != nil {
						return err
					}
					return tx.Put(r)
				})
			}
		})
	}
}

// BenchmarkView is what a detach of a container without a record pays.
func BenchmarkView(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s := open(b, filepath.Join(tmpfs(b), "state"))
			fill(b, s, n)
			b.ResetTimer()
			for b.Loop() {
				view(b, s, func(tx *Tx) error {
					_, err := tx.ByContainer("container-50000")
					return err
				})
			}
		})
	}
}

// tmpfs is a directory on a tmpfs where the machine has one for everybody, and a temporary one otherwise.
func tmpfs(b *testing.B) string {
	b.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &stat); err != nil || stat.Type != unix.TMPFS_MAGIC {
		b.Log("there is no tmpfs at /dev/shm")
		return b.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "lanhook-store-") //nolint:usetesting // b.TempDir is not on a tmpfs
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	return dir
}

// BenchmarkRecord is what the form of a record with all kinds of steps costs, checks included: some 2 µs to write, 3 µs
// to read.
func BenchmarkRecord(b *testing.B) {
	record := testRecord(1)
	data, err := record.encode()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := record.encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeRecord(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
