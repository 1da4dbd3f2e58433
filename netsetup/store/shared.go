package store

import (
	"errors"
	"iter"
	"slices"
	"strings"
)

// shares are the names under which a record stands in the bucket of shared things.
func shares(r *Record) []string {
	all := slices.Clone(r.Shared)
	for _, network := range r.Names {
		all = append(all, namesOf+network)
	}
	if r.Guest != "" {
		all = append(all, guestOf+r.Guest)
	}
	return all
}

// What stands before a network and before a key of guest files in the bucket of shared things. No link has a slash in
// its name.
const (
	namesOf = "names/"
	guestOf = "guest/"
)

// Users are the records that use a shared link. Who asks only whether there are others stops at the first.
func (t *Tx) Users(link string) iter.Seq2[Ref, error] { return t.users(link) }

// SharedNames are the names that begin with prefix of what records use, each once. It takes a look-up for each of them, however
// many records use it.
func (t *Tx) SharedNames(prefix string) ([]string, error) {
	var names []string
	from := []byte(prefix)
	for {
		e, err := t.next(sharedUses, from)
		if err != nil {
			return nil, err
		}
		name, _, ok := strings.Cut(string(e.key), "\x00")
		if e.key == nil || !strings.HasPrefix(name, prefix) {
			return names, nil
		}
		if !ok {
			return nil, t.damaged(sharedUses, e.key, errors.New("not a name and a record"))
		}
		names = append(names, name)
		// What is behind all of its records, and before every other name.
		from = []byte(name + "\x01")
	}
}

// Named are the records whose containers are found by name on a network.
func (t *Tx) Named(network string) iter.Seq2[Ref, error] { return t.users(namesOf + network) }

// Readers are the records of the containers that read guest files. As a rule there is one.
func (t *Tx) Readers(guest string) iter.Seq2[Ref, error] { return t.users(guestOf + guest) }

func (t *Tx) users(name string) iter.Seq2[Ref, error] {
	prefix := []byte(name + "\x00")
	return func(yield func(Ref, error) bool) {
		for e, err := range t.scan(sharedUses, prefix) {
			var ref Ref
			if err == nil {
				if ref, err = parseRef(e.key[len(prefix):]); err != nil {
					err = t.damaged(sharedUses, e.key, err)
				}
			}
			if !yield(ref, err) {
				return
			}
		}
	}
}
