//go:build linux

package script

import (
	"bytes"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	bolt "go.etcd.io/bbolt" //nolint:depguard // to write what another version of lanhook would have
)

// version gives all records another version, a number of one byte, which they begin with.
func (w *world) version(ts *testscript.TestScript, args []string) {
	n, err := strconv.ParseUint(args[0], 10, 7)
	ts.Check(err)
	w.database(ts, func(record []byte) []byte { return append([]byte{byte(n)}, record[1:]...) })
}

// otherBoot gives all records the id of another boot, of the same length.
func (w *world) otherBoot(ts *testscript.TestScript, _ []string) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	ts.Check(err)
	id = bytes.TrimSpace(id)
	other := bytes.Repeat([]byte("0"), len(id))
	w.database(ts, func(record []byte) []byte { return bytes.ReplaceAll(record, id, other) })
}

// database changes all records, with checksums that fit. The layout is drawn in package store: four bytes of FNV-1a over
// key and value, then the record.
func (w *world) database(ts *testscript.TestScript, change func(record []byte) []byte) {
	const sumLen = 4
	db, err := bolt.Open(filepath.Join(w.state, "state.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType})
	ts.Check(err)
	changed := 0
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("records"))
		records := map[string][]byte{}
		if err := b.ForEach(func(key, value []byte) error {
			records[string(key)] = change(value[sumLen:])
			if !bytes.Equal(records[string(key)], value[sumLen:]) {
				changed++
			}
			return nil
		}); err != nil {
			return err
		}
		for key, value := range records {
			sum := fnv.New32a()
			_, _ = sum.Write(append([]byte(key), value...)) // a hash never fails
			if err := b.Put([]byte(key), append(sum.Sum(nil), value...)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := db.Close(); err != nil {
		ts.Fatalf("close the database: %v", err)
	}
	ts.Check(err)
	if changed == 0 {
		ts.Fatalf("there was nothing to change")
	}
}
