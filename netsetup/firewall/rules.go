//go:build linux

package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Add adds what a record needs, in one transaction. What is there already stays. It is a [StaleError] when the tables must
// be renewed, and then nothing was added.
func (c *Conn) Add(s plan.AddRules) error {
	m, err := compile([]plan.AddRules{s})
	if err != nil {
		return err
	}
	// The first record finds no tables. A transaction that fails would take 10 ms to be told that: the kernel waits for all its
	// processors before it forgets one (nf_tables_abort).
	for _, t := range tableNames() {
		if !m.wanted(t) {
			continue
		}
		var there bool
		if there, err = c.has(t); err != nil {
			return err
		}
		if !there {
			return &StaleError{Err: unix.ENOENT}
		}
	}
	err = c.commit("add rules of "+s.Record, func(b *batch) {
		b.own(m)
		b.add(m.elements)
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) {
		return &StaleError{Err: err}
	}
	return err
}

// Delete takes back what Add added for the record itself; what it said of bridges stays, see [Conn.DropBridge]. What is
// not there, or was made by somebody else by now, is left alone.
func (c *Conn) Delete(s plan.DelRules) error {
	m, err := compile([]plan.AddRules{plan.AddRules(s)})
	if err != nil {
		return err
	}
	var own []element
	for _, e := range m.elements {
		if e.record != "" {
			own = append(own, e)
		}
	}
	what := "delete rules of " + s.Record
	err = c.commit(what, func(b *batch) {
		b.discard(own)
		b.disown(m)
	})
	if !goneOrForeign(err) {
		return err
	}
	return c.deleteEach(what, own, m)
}

// goneOrForeign tells the errors about something that is not there, or is there with another value.
func goneOrForeign(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) }

// deleteEach deletes one element after the other, past those that cannot be. In a table that is not there, nothing can.
func (c *Conn) deleteEach(what string, own []element, m model) error {
	var problems []error
	each := func(build func(b *batch)) {
		if err := c.commit(what, build); err != nil && !goneOrForeign(err) {
			problems = append(problems, err)
		}
	}
	for _, t := range tableNames() {
		there, err := c.has(t)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		own = slices.DeleteFunc(own, func(e element) bool { return e.family == t.family })
		if t.family == nftables.TableFamilyBridge {
			m.chains = nil
		}
	}
	for i := range own {
		each(func(b *batch) { b.discard(own[i : i+1]) })
	}
	for i := range m.chains {
		each(func(b *batch) { b.disown(model{chains: m.chains[i : i+1]}) })
	}
	return errors.Join(problems...)
}

// DropBridge removes what the rules say of a bridge that is gone, whatever that is. It succeeds when they say nothing.
func (c *Conn) DropBridge(name string) error {
	what := "drop the rules of bridge " + name
	if len(name) >= nameSize {
		return fmt.Errorf("%s: the name is too long", what)
	}
	var said []element
	err := c.read(func() (err error) {
		said, err = c.saidOf(name)
		return err
	})
	if err != nil || len(said) == 0 {
		return failed(err, "%s", what)
	}
	err = c.commit(what, func(b *batch) { b.remove(said) })
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// saidOf are the elements that speak of a bridge as a whole.
func (c *Conn) saidOf(name string) ([]element, error) {
	t := inetTable()
	_, there, err := c.flagsOf(t)
	if err != nil || !there {
		return nil, err
	}
	places := map[place]bool{}
	sets := map[string]bool{}
	for _, gate := range []plan.Gate{plan.Closed, plan.NAT} {
		for _, e := range bridgeState(name, plan.Rules{Gate: gate, ICC: true}) {
			places[e.place()], sets[e.set] = true, true
		}
	}
	var said []element
	for _, s := range t.sets {
		if !sets[s.name] {
			continue
		}
		there, err := c.elementsOf(t, s)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		for _, e := range there {
			if places[e.place()] {
				said = append(said, e)
			}
		}
	}
	return said, nil
}

// own makes the chains of single records.
func (b *batch) own(m model) {
	for _, made := range m.chains {
		b.chain(bridgeTable(), made)
		b.rules(bridgeTable(), made)
	}
}

// disown removes the chains of single records, whether they are there or not.
func (b *batch) disown(m model) {
	for _, made := range m.chains {
		ref := bridgeTable().chainRef(made)
		b.nft.AddChain(ref)
		b.nft.FlushChain(ref)
		b.nft.DelChain(ref)
	}
}
