package netsetup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/lanhook/lanhook/netsetup/guest"
	"github.com/lanhook/lanhook/netsetup/store"
)

// The hosts files of containers follow the records: each attach and detach writes those of its own container and of all
// that find it by name. Whoever writes holds one lock and reads the records under it, so that the last of several has
// seen what all the others recorded. A process that is killed between its record and the files leaves them as they were
// until the next attach or detach on the network, or gc.

// reader is a container whose hosts file is to be written.
type reader struct {
	// key names its guest files.
	key string
	rec store.Record
	own guest.Entry
	// networks are all on its networks, itself among them. Readers of the same networks have one list together: with a
	// thousand containers, one for each would be a million entries.
	networks []neighbour
}

// neighbour is a record on some networks, and the names and addresses by which it is found there.
type neighbour struct {
	rec   store.Record
	entry guest.Entry
}

// others are all that the container finds by name.
func (r reader) others() []guest.Entry {
	entries := make([]guest.Entry, 0, len(r.networks))
	for i := range r.networks {
		if !sameContainer(&r.networks[i].rec, &r.rec) {
			entries = append(entries, r.networks[i].entry)
		}
	}
	return entries
}

func (s *Setup) guests() guest.Dir { return guest.In(s.Store.Dir(), s.BootID) }

// name writes the hosts files after an attach: of the container itself, whose failure is the attach's, and of the
// others, whose failure is none of its business and comes as the second.
func (s *Setup) name(ctx context.Context, d *draft) (own, others error) {
	if d.rec.Guest == "" && len(d.rec.Names) == 0 && !d.reads {
		return nil, nil
	}
	return s.writeHosts(ctx, []store.Record{d.rec})
}

// unname does after the end of records what their files need: those of the containers themselves go, and those of the
// others lose their names.
func (s *Setup) unname(ctx context.Context, gone ...store.Record) error {
	var errs []error
	for _, rec := range gone {
		if rec.Guest != "" {
			errs = append(errs, s.removeGuest(ctx, rec.Guest))
		}
	}
	gone = slices.DeleteFunc(slices.Clone(gone), func(r store.Record) bool { return len(r.Names) == 0 })
	if len(gone) > 0 {
		own, others := s.writeHosts(ctx, gone)
		errs = append(errs, own, others)
	}
	return errors.Join(errs...)
}

// removeGuest removes guest files that no record names any more.
func (s *Setup) removeGuest(ctx context.Context, key string) error {
	named, err := s.named(ctx, []string{key})
	if err != nil || named[key] {
		return err
	}
	return s.guests().Remove(ctx, key)
}

// named says which keys of guest files records name.
func (s *Setup) named(ctx context.Context, keys []string) (map[string]bool, error) {
	found := map[string]bool{}
	err := s.Store.View(ctx, func(tx *store.Tx) error {
		for _, key := range keys {
			for _, err := range tx.Readers(key) {
				if err != nil {
					return err
				}
				found[key] = true
				break
			}
		}
		return nil
	})
	return found, err
}

// writeHosts writes the hosts files of the records' containers, which come first, and of all on their networks, as many
// as there is time for. The first error is that of the containers themselves.
func (s *Setup) writeHosts(ctx context.Context, of []store.Record) (own, others error) {
	release, err := s.guests().Lock(ctx)
	if err != nil {
		return err, nil
	}
	defer release()
	var readers []reader
	mine := map[string]bool{}
	err = s.Store.View(ctx, func(tx *store.Tx) (err error) {
		readers, err = s.readers(tx, of, mine)
		return err
	})
	if err != nil {
		return err, nil
	}
	return s.rewrite(ctx, readers, mine)
}

// rewrite writes hosts files, as many as there is time for.
func (s *Setup) rewrite(ctx context.Context, readers []reader, mine map[string]bool) (own, others error) {
	for _, r := range readers {
		late := context.Cause(ctx)
		err := late
		if err == nil {
			err = s.guests().Rewrite(r.key, r.own, r.others())
		}
		if mine[r.key] {
			own = errors.Join(own, err)
			continue
		}
		others = errors.Join(others, err)
		if late != nil {
			break
		}
	}
	if own != nil {
		own = fmt.Errorf("write the names of the container: %w", own)
	}
	return own, others
}

// readers are the containers of records and all on their networks, as far as they have guest files. The keys of the
// former are noted in mine.
func (s *Setup) readers(tx *store.Tx, of []store.Record, mine map[string]bool) ([]reader, error) {
	book := names{boot: s.BootID, tx: tx, members: map[string][]store.Record{}, lists: map[string][]neighbour{}}
	all := slices.Clone(of)
	for _, rec := range of {
		for _, network := range rec.Names {
			members, err := book.on(network)
			if err != nil {
				return nil, err
			}
			all = append(all, members...)
		}
	}
	seen := map[string]bool{}
	var out []reader
	for i, rec := range all {
		r, err := book.reader(rec)
		if err != nil {
			return nil, err
		}
		if r.key == "" || seen[r.key] {
			continue
		}
		seen[r.key], mine[r.key] = true, i < len(of)
		out = append(out, r)
	}
	return out, nil
}

// names is what the records say about names, each network read once, and each list of networks made once.
type names struct {
	boot    string
	tx      *store.Tx
	members map[string][]store.Record
	lists   map[string][]neighbour
}

// on are the records on a network, the oldest first: of two containers of one name the older one has it.
func (n *names) on(network string) ([]store.Record, error) {
	if list, ok := n.members[network]; ok {
		return list, nil
	}
	var list []store.Record
	for ref, err := range n.tx.Named(network) {
		if err != nil {
			return nil, err
		}
		rec, ok, err := n.tx.Record(ref)
		if err != nil {
			return nil, err
		}
		if ok && rec.BootID == n.boot && rec.State == store.Attached {
			list = append(list, rec)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Container, b.Container), cmp.Compare(a.ID, b.ID)) < 0
	})
	n.members[network] = list
	return list, nil
}

// reader is what the hosts file of a record's container is to say; without a key when it has none.
func (n *names) reader(rec store.Record) (reader, error) {
	all, err := siblings(n.tx, rec)
	r := reader{key: guestOf(all), rec: rec}
	if err != nil || r.key == "" {
		return r, err
	}
	r.own.Names = guest.Names(rec.Workload, rec.Container)
	var networks []string
	for _, own := range all {
		addrs, ownErr := n.addresses(own, nil)
		if ownErr != nil {
			return r, ownErr
		}
		r.own.Addrs = append(r.own.Addrs, addrs...)
		for _, network := range own.Names {
			if !slices.Contains(networks, network) {
				networks = append(networks, network)
			}
		}
	}
	byAddress(r.own.Addrs)
	r.networks, err = n.neighbours(networks)
	return r, err
}

// neighbours are all on networks, each with its addresses there.
func (n *names) neighbours(networks []string) ([]neighbour, error) {
	key := strings.Join(networks, "\x00")
	if list, ok := n.lists[key]; ok {
		return list, nil
	}
	var list []neighbour
	seen := map[store.Ref]bool{}
	for _, network := range networks {
		members, err := n.on(network)
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			if seen[m.Ref()] {
				continue
			}
			seen[m.Ref()] = true
			addrs, err := n.addresses(m, networks)
			if err != nil {
				return nil, err
			}
			byAddress(addrs)
			list = append(list, neighbour{m, guest.Entry{Addrs: addrs, Names: guest.Names(m.Workload, m.Container)}})
		}
	}
	n.lists[key] = list
	return list, nil
}

// addresses are those of a record, and those that it shares with others of its namespace. With networks only those on
// networks on which the record is found by name are given.
func (n *names) addresses(rec store.Record, networks []string) ([]netip.Addr, error) {
	interfaces := slices.Clone(rec.Interfaces)
	for _, ref := range rec.Joined {
		owner, ok, err := n.tx.Record(ref)
		if err != nil {
			return nil, err
		}
		if ok {
			interfaces = append(interfaces, owner.Interfaces...)
		}
	}
	var out []netip.Addr
	for _, i := range interfaces {
		if networks != nil && (!slices.Contains(networks, i.Network) || !slices.Contains(rec.Names, i.Network)) {
			continue
		}
		for _, p := range slices.Concat(i.Addresses, i.Learned) {
			out = append(out, p.Addr())
		}
	}
	return out, nil
}

// siblings are all records of a record's container, which may have been attached several times, in the order in which
// that was done.
func siblings(tx *store.Tx, rec store.Record) ([]store.Record, error) {
	all, err := tx.ByContainer(rec.Container)
	all = slices.DeleteFunc(all, func(o store.Record) bool { return !sameContainer(&o, &rec) })
	first := func(r store.Record) string {
		if len(r.Interfaces) == 0 {
			return ""
		}
		return r.Interfaces[0].Name
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(first(a), first(b))) < 0
	})
	return all, err
}

// sameContainer compares by id and namespace, since an id is one engine's only.
func sameContainer(a, b *store.Record) bool {
	return a.Container == b.Container && a.BootID == b.BootID && a.NetNS.Cookie == b.NetNS.Cookie &&
		a.NetNS.Inode == b.NetNS.Inode
}

// guestOf is the key of a container's guest files, "" for none.
func guestOf(all []store.Record) string {
	for _, rec := range all {
		if rec.Guest != "" {
			return rec.Guest
		}
	}
	return ""
}

// byAddress puts IPv4 first, as resolvers of old take the first line, and leaves the order as it is otherwise.
func byAddress(addrs []netip.Addr) {
	sort.SliceStable(addrs, func(i, j int) bool { return addrs[i].BitLen() < addrs[j].BitLen() })
}
