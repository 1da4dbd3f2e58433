//go:build linux

package firewall

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Drift says what the kernel has that the records do not ask for, and the other way round, nil when all is as it should be.
// A line that is about one record's element names the record's id. all must be the rules of every record.
func (c *Conn) Drift(all []plan.AddRules) ([]string, error) {
	m, err := compile(all)
	if err != nil {
		return nil, err
	}
	d := drift{c: c, m: m, records: map[string]bool{}}
	for _, a := range all {
		d.records[a.Record] = true
	}
	err = c.read(func() error {
		d.lines = nil
		for _, t := range tables() {
			if problem := d.table(t); problem != nil {
				return problem
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("compare the firewall with the records: %w", err)
	}
	return d.lines, nil
}

// drift is a comparison at work.
type drift struct {
	c       *Conn
	m       model
	records map[string]bool
	lines   []string
}

func (d *drift) differs(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// wanted is true for a table that records need. The first is needed by each of them.
func (m model) wanted(t table) bool {
	has := func(e element) bool { return e.family == t.family }
	if t.family == nftables.TableFamilyINet {
		return len(m.elements) > 0
	}
	return slices.ContainsFunc(m.elements, has)
}

// chainsOf are the chains of a table, those of single records included.
func (m model) chainsOf(t table) []chain {
	if t.family == bridgeTable().family {
		return slices.Concat(t.chains, m.chains)
	}
	return t.chains
}

func (d *drift) table(t table) error {
	f, err := d.c.look(t)
	switch {
	case err != nil:
		return err
	case f == nil:
		if d.m.wanted(t) {
			d.differs("%s is missing", t)
		}
		return nil
	case !d.m.wanted(t) && len(d.m.elements) == 0:
		d.unwanted(t, f)
		return nil
	}
	if f.dormant {
		d.differs("%s is dormant, so that none of its rules is in force", t)
	}
	// The second table goes with the first: whether a container that ends was the last one that needed it, its end does
	// not look. Meanwhile it is as empty as it is to be.
	for _, ch := range d.m.chainsOf(t) {
		if err := d.chain(t, f, ch); err != nil {
			return err
		}
	}
	for _, s := range t.sets {
		if err := d.set(t, f, s); err != nil {
			return err
		}
	}
	d.strangers(t, f)
	return nil
}

// unwanted reports a table that no record needs, unless only the administrator's things are left in it.
func (d *drift) unwanted(t table, f *found) {
	for name := range f.chains {
		if !admins(name) {
			d.differs("%s is there, but no record needs it", t)
			return
		}
	}
	for name, s := range f.sets {
		if !admins(name) && !s.anonymous {
			d.differs("%s is there, but no record needs it", t)
			return
		}
	}
}

func (d *drift) chain(t table, f *found, ch chain) error {
	there, ok := f.chains[ch.name]
	switch {
	case !ok:
		d.differs("chain %s of %s is missing", ch.name, t)
		return nil
	case !there.like(ch):
		d.differs("chain %s of %s is on another hook, or of another priority or policy", ch.name, t)
		return nil
	case admins(ch.name):
		return nil
	}
	has, err := d.c.rulesOf(t, ch.name)
	if err != nil {
		return err
	}
	var want []string
	for _, r := range ch.rules {
		text, err := canonical(t, r.exprs)
		if err != nil {
			return err
		}
		want = append(want, text)
	}
	before := len(d.lines)
	for i, w := range want {
		if !slices.Contains(has, w) {
			d.differs("rule %d of chain %s of %s is missing", i+1, ch.name, t)
		}
	}
	for i, h := range has {
		if !slices.Contains(want, h) {
			d.differs("rule %d of chain %s of %s is not lanhook's", i+1, ch.name, t)
		}
	}
	if len(d.lines) == before && !slices.Equal(has, want) {
		d.differs("the rules of chain %s of %s are in another order, or some are there twice", ch.name, t)
	}
	return nil
}

func (d *drift) set(t table, f *found, s set) error {
	there, ok := f.sets[s.name]
	switch {
	case !ok:
		d.differs("%s of %s is missing", s, t)
		return nil
	case !there.like(s):
		d.differs("%s of %s is of another type", s, t)
		return nil
	}
	has, err := d.c.elementsOf(t, s)
	if err != nil {
		return err
	}
	at := map[place]element{}
	for _, e := range has {
		at[e.place()] = e
	}
	for _, want := range d.m.elements {
		if want.family != t.family || want.set != s.name {
			continue
		}
		h, ok := at[want.place()]
		delete(at, want.place())
		switch {
		case !ok:
			d.differs("element %s of %s%s is missing", want.text(s), s, of(want))
		case h.value != want.value || h.chain != want.chain:
			d.differs("element %s of %s%s is %s", want.text(s), s, of(want), h.text(s))
		case h.record != want.record && !d.records[h.record]:
			d.differs("element %s of %s%s bears the id %q", want.text(s), s, of(want), h.record)
		}
	}
	for _, e := range grouped(slices.Collect(maps.Values(at))) {
		d.differs("element %s of %s%s is nobody's", e.text(s), s, of(e))
	}
	return nil
}

// strangers reports chains and sets that are neither lanhook's nor the administrator's.
func (d *drift) strangers(t table, f *found) {
	ours := d.m.chainsOf(t)
	for _, name := range slices.Sorted(maps.Keys(f.chains)) {
		if !admins(name) && !slices.ContainsFunc(ours, func(c chain) bool { return c.name == name }) {
			d.differs("chain %s of %s is not lanhook's", name, t)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.sets)) {
		if !admins(name) && !f.sets[name].anonymous &&
			!slices.ContainsFunc(t.sets, func(s set) bool { return s.name == name }) {
			d.differs("set %s of %s is not lanhook's", name, t)
		}
	}
}

// String is the set as nft(8) names it.
func (s set) String() string {
	if s.isMap() {
		return "map " + s.name
	}
	return "set " + s.name
}

// text is the element as nft(8) shows it.
func (e element) text(s set) string {
	switch {
	case e.chain != "":
		return text(s.key, e.key) + " : goto " + e.chain
	case s.isMap():
		return text(s.key, e.key) + " : " + text(s.data, e.value)
	}
	return text(s.key, e.key)
}

// of names the record of an element that has one.
func of(e element) string {
	if e.record == "" {
		return ""
	}
	return " of record " + e.record
}
