//go:build linux

package firewall

import (
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Renew makes the tables anew from all records, in one transaction: packets see either what was there or what is to be.
// Where records differ on what they say of a bridge the later ones win. A table that no record needs is released.
func (c *Conn) Renew(all []plan.AddRules) error {
	m, err := compile(all)
	if err != nil {
		return err
	}
	return c.remake("renew the firewall's tables", m)
}

// Release removes the tables, but for what the administrator has put there: every chain and set whose name begins with
// admin, unless the chain admin is all there is, and empty. It succeeds when there is nothing.
func (c *Conn) Release() error { return c.remake("remove the firewall's tables", model{}) }

// mending is what becomes of one table.
type mending struct {
	table
	// there is what the kernel has of it, nil for none.
	there  *found
	wanted bool
	// admins is true when the administrator has put something there.
	admins bool
}

// remake makes the tables what the model says. What somebody has put there, and something of the administrator's uses, is
// left in peace at the second try: Drift tells of it. A table that should go, but has sets which the administrator's
// rules use, then stays as a whole: to an attach that finds its sets, the rules must be there too.
func (c *Conn) remake(what string, m model) error {
	var err error
	for _, keep := range []bool{false, true} {
		var all []mending
		if err = c.read(func() error { all, err = c.survey(m); return err }); err != nil {
			return failed(err, "%s", what)
		}
		if err = c.awake(what, all); err == nil {
			err = c.commit(what, func(b *batch) { b.remake(all, m, keep) })
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return err
}

// awake takes the flag dormant from tables that are needed. It is a transaction of its own: in one that registers hooks or
// takes them away, the kernel may refuse it (net/netfilter/nf_tables_api.c, nf_tables_updtable).
func (c *Conn) awake(what string, all []mending) error {
	asleep := slices.DeleteFunc(slices.Clone(all), func(r mending) bool {
		return !r.wanted || r.there == nil || !r.there.dormant
	})
	if len(asleep) == 0 {
		return nil
	}
	return c.commit(what, func(b *batch) {
		for _, r := range asleep {
			b.table(r.table)
		}
	})
}

// survey reads what there is of each table.
func (c *Conn) survey(m model) ([]mending, error) {
	var all []mending
	for _, t := range tables() {
		f, err := c.look(t)
		if err != nil {
			return nil, err
		}
		r := mending{table: t, there: f, wanted: m.wanted(t)}
		if f != nil {
			if r.admins, err = c.hasAdmins(t, f); err != nil {
				return nil, err
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// hasAdmins is true when there is more of the administrator's in a table than an empty chain.
func (c *Conn) hasAdmins(t table, f *found) (bool, error) {
	for name := range f.chains {
		if admins(name) && name != chainAdmin {
			return true, nil
		}
	}
	for name := range f.sets {
		if admins(name) {
			return true, nil
		}
	}
	if _, ok := f.chains[chainAdmin]; !ok {
		return false, nil
	}
	n, err := c.ruleCount(t, chainAdmin)
	return n > 0, err
}

func (b *batch) remake(all []mending, m model, keep bool) {
	for _, r := range all {
		r.wanted = r.wanted || keep && r.admins
		switch {
		case r.there != nil && !r.wanted && !r.admins:
			b.nft.DelTable(r.ref())
			continue
		case r.there != nil:
			b.clear(r, m, keep)
		case r.wanted:
			b.table(r.table)
		}
		if r.wanted {
			b.fill(r.table)
		}
	}
	if m.wanted(bridgeTable()) {
		b.own(m)
	}
	b.add(m.elements)
}

// clear empties what is lanhook's in a table, and removes what has no place in it as it is.
func (b *batch) clear(r mending, m model, keep bool) {
	chains, sets := map[string]chain{}, map[string]set{}
	if r.wanted {
		for _, ch := range m.chainsOf(r.table) {
			chains[ch.name] = ch
		}
		for _, s := range r.sets {
			sets[s.name] = s
		}
	}
	// Rules and elements first: they use chains and sets.
	var oldChains, oldSets []string
	for _, name := range slices.Sorted(maps.Keys(r.there.chains)) {
		if admins(name) {
			continue
		}
		b.nft.FlushChain(r.chainRef(chain{name: name}))
		ch, known := chains[name]
		if known && !r.there.chains[name].like(ch) || !known && !keep {
			oldChains = append(oldChains, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.there.sets)) {
		if admins(name) || r.there.sets[name].anonymous {
			continue
		}
		b.nft.FlushSet(r.setRef(set{name: name}))
		s, known := sets[name]
		if known && !r.there.sets[name].like(s) || !known && !keep {
			oldSets = append(oldSets, name)
		}
	}
	for _, name := range oldChains {
		b.nft.DelChain(r.chainRef(chain{name: name}))
	}
	for _, name := range oldSets {
		b.nft.DelSet(r.setRef(set{name: name}))
	}
}

// fill makes what is missing of a table, and the rules of chains that are empty.
func (b *batch) fill(t table) {
	for _, s := range t.sets {
		b.set(t, s)
	}
	for _, ch := range t.chains {
		b.nft.AddChain(t.chainRef(ch))
	}
	for _, ch := range t.chains {
		b.rules(t, ch)
	}
}
