package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"
)

func recordKey(ref Ref) []byte { return []byte(ref.Container + "\x00" + ref.ID) }

func parseRef(key []byte) (Ref, error) {
	container, id, ok := strings.Cut(string(key), "\x00")
	if !ok || container == "" || !validID(id) {
		return Ref{}, errors.New("not a container and a record")
	}
	return Ref{Container: container, ID: id}, nil
}

func sharedKey(name string, ref Ref) []byte {
	return append([]byte(name+"\x00"), recordKey(ref)...)
}

// namespaceKey is what the keys of all interfaces of a namespace begin with, nil for a namespace without identity.
func namespaceKey(ns NetNS) []byte {
	switch {
	case ns.Cookie != 0:
		return binary.BigEndian.AppendUint64([]byte("c"), ns.Cookie)
	case ns.Inode != 0:
		return binary.BigEndian.AppendUint64([]byte("i"), ns.Inode)
	}
	return nil
}

// interfaceKey is the key of an interface, nil for a namespace without identity.
func interfaceKey(ns NetNS, ifname string) []byte {
	key := namespaceKey(ns)
	if key == nil {
		return nil
	}
	return append(key, ifname...)
}

// Record is one record, false when there is none.
func (t *Tx) Record(ref Ref) (Record, bool, error) {
	key := recordKey(ref)
	value, ok, err := t.get(records, key)
	if !ok || err != nil {
		return Record{}, false, err
	}
	r, err := t.decodeRecord(key, value)
	return r, err == nil, err
}

func (t *Tx) decodeRecord(key, value []byte) (Record, error) {
	r, err := DecodeRecord(value)
	if other, ok := errors.AsType[*VersionError](err); ok {
		other.File, other.Key = t.file, readable(records, key)
		return Record{}, other
	}
	if err == nil && !bytes.Equal(recordKey(r.Ref()), key) {
		err = errors.New("record and key differ")
	}
	if err != nil {
		return Record{}, t.damaged(records, key, err)
	}
	return r, nil
}

// ByContainer are the records of one container, none when it has none. It is one look-up, whatever the number of
// other containers.
func (t *Tx) ByContainer(container string) ([]Record, error) { return t.prefixed(container + "\x00") }

// ByPrefix are the records of all containers whose ids begin with prefix, by container, none when there are none.
func (t *Tx) ByPrefix(prefix string) ([]Record, error) { return t.prefixed(prefix) }

func (t *Tx) prefixed(prefix string) ([]Record, error) {
	var found []Record
	for e, err := range t.scan(records, []byte(prefix)) {
		if err != nil {
			return nil, err
		}
		r, err := t.decodeRecord(e.key, e.value)
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, nil
}

// All are all records, by container. A record that cannot be read comes as an error, and the rest after it. Records
// may be put and deleted meanwhile. Its cost grows with the number of records: it is for people and for the collector.
func (t *Tx) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for e, err := range t.scan(records, nil) {
			var r Record
			if err == nil {
				r, err = t.decodeRecord(e.key, e.value)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Len is the number of records. It is one look-up.
func (t *Tx) Len() (n uint64, err error) {
	if t.bolt == nil {
		return 0, t.broken
	}
	defer t.guard(&err)
	b, err := t.bucket(records)
	if err != nil {
		return 0, err
	}
	return b.Sequence(), nil
}

// InterfaceHolder is the record that made an interface of a network namespace, false when none did. Records of an
// earlier boot are to be deleted before it is asked, for cookies and inodes begin anew with every boot.
func (t *Tx) InterfaceHolder(ns NetNS, ifname string) (Ref, bool, error) {
	key := interfaceKey(ns, ifname)
	if key == nil {
		return Ref{}, false, nil
	}
	value, ok, err := t.get(interfaces, key)
	if !ok || err != nil {
		return Ref{}, false, err
	}
	ref, err := parseRef(value)
	if err != nil {
		return Ref{}, false, t.damaged(interfaces, key, err)
	}
	return ref, true, nil
}

// ByNamespace are the records of one network namespace, by container, none when it has none: all that were put with its
// identity, whether they have interfaces or not. It is one look-up, whatever the number of other namespaces. Like
// [Tx.InterfaceHolder], it takes records of an earlier boot for those of this one.
func (t *Tx) ByNamespace(ns NetNS) ([]Record, error) {
	prefix := namespaceKey(ns)
	if prefix == nil {
		return nil, nil
	}
	seen := map[Ref]bool{}
	var found []Record
	for e, err := range t.scan(interfaces, prefix) {
		if err != nil {
			return nil, err
		}
		ref, err := parseRef(e.value)
		if err != nil {
			return nil, t.damaged(interfaces, e.key, err)
		}
		if seen[ref] {
			continue
		}
		seen[ref] = true
		r, ok, err := t.Record(ref)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, t.damaged(interfaces, e.key, fmt.Errorf("there is no record %s", ref))
		}
		found = append(found, r)
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := found[i], found[j]
		return cmp.Or(strings.Compare(a.Container, b.Container), strings.Compare(a.ID, b.ID)) < 0
	})
	return found, nil
}

// Put writes a record, new or in another form, with its leases, shared links and interfaces. What an earlier form had
// and this one has not is given back. The error is an [*InUseError] when a lease or an interface is another record's;
// nothing is written then.
func (t *Tx) Put(r Record) error {
	r.Version = Version
	data, err := r.encode()
	if err != nil {
		return err
	}
	old, _, err := t.Record(r.Ref())
	if err != nil {
		return err
	}
	if err := t.available(&r); err != nil {
		return err
	}
	if err := t.unlink(&old, &r); err != nil {
		return err
	}
	if err := t.link(&r); err != nil {
		return err
	}
	return t.put(records, recordKey(r.Ref()), data)
}

// available returns an error when another record has what r is to have.
func (t *Tx) available(r *Record) error {
	for i := range r.Leases {
		if err := t.free(&r.Leases[i]); err != nil {
			return err
		}
	}
	for i := range r.Interfaces {
		name := r.Interfaces[i].Name
		holder, ok, err := t.InterfaceHolder(r.NetNS, name)
		if err != nil {
			return err
		}
		if ok && holder != r.Ref() {
			what := fmt.Sprintf("interface %s in network namespace %d", name, r.NetNS.Inode)
			return &InUseError{What: what, Holder: holder}
		}
	}
	return nil
}

// link writes what leads to r.
func (t *Tx) link(r *Record) error {
	for i := range r.Leases {
		key := r.Leases[i].key()
		if err := t.putLease(key, &r.Leases[i]); err != nil {
			return err
		}
		delete(t.taken, string(key))
	}
	for key := range keys(r) {
		var value []byte
		if key.bucket == interfaces {
			value = recordKey(r.Ref())
		}
		if err := t.put(key.bucket, key.key, value); err != nil {
			return err
		}
	}
	return nil
}

// unlink removes what leads to old and not to r. Of what it removes each is old's, for [Tx.Put] refuses to take what
// another record has.
func (t *Tx) unlink(old, r *Record) error {
	kept := map[string]bool{}
	for i := range r.Leases {
		kept[leases+string(r.Leases[i].key())] = true
	}
	for key := range keys(r) {
		kept[key.bucket+string(key.key)] = true
	}
	for i := range old.Leases {
		if key := old.Leases[i].key(); !kept[leases+string(key)] {
			if err := t.remove(leases, key); err != nil {
				return err
			}
		}
	}
	for key := range keys(old) {
		if !kept[key.bucket+string(key.key)] {
			if err := t.remove(key.bucket, key.key); err != nil {
				return err
			}
		}
	}
	return nil
}

// withoutInterface begins, in the place of an interface's name, the key of a record that has none.
const withoutInterface = "/"

type indexKey struct {
	bucket string
	key    []byte
}

// keys are the keys that lead to a record, but for those of its leases.
func keys(r *Record) iter.Seq[indexKey] {
	return func(yield func(indexKey) bool) {
		for _, name := range shares(r) {
			if !yield(indexKey{sharedUses, sharedKey(name, r.Ref())}) {
				return
			}
		}
		for i := range r.Interfaces {
			key := interfaceKey(r.NetNS, r.Interfaces[i].Name)
			if key != nil && !yield(indexKey{interfaces, key}) {
				return
			}
		}
		if len(r.Interfaces) > 0 || r.ID == "" {
			return
		}
		if key := interfaceKey(r.NetNS, withoutInterface+string(recordKey(r.Ref()))); key != nil {
			yield(indexKey{interfaces, key})
		}
	}
}

// Delete removes a record with its leases and all that leads to it. A record that is not there is no error.
func (t *Tx) Delete(ref Ref) error {
	r, ok, err := t.Record(ref)
	if !ok || err != nil {
		return err
	}
	if err := t.unlink(&r, &Record{}); err != nil {
		return err
	}
	return t.remove(records, recordKey(ref))
}

// entry is one key of a bucket and what stands behind its checksum.
type entry struct{ key, value []byte }

// scan are the entries whose keys begin with prefix, in their order. Each is looked for anew, so that the bucket may
// change meanwhile. It ends with the first error that is not of a single entry.
func (t *Tx) scan(bucket string, prefix []byte) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		from := prefix
		for {
			e, err := t.next(bucket, from)
			if err != nil && e.key == nil {
				yield(entry{}, err)
				return
			}
			if e.key == nil || !bytes.HasPrefix(e.key, prefix) || !yield(e, err) {
				return
			}
			from = append(slices.Clone(e.key), 0)
		}
	}
}
