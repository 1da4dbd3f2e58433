//go:build linux

package firewall

import (
	"errors"
	"fmt"

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

// deleteEach deletes one element after the other, past those that cannot be.
func (c *Conn) deleteEach(what string, own []element, m model) error {
	var problems []error
	each := func(build func(b *batch)) {
		if err := c.commit(what, build); err != nil && !goneOrForeign(err) {
			problems = append(problems, err)
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

// DropBridge removes what the rules say of a bridge that is gone. It succeeds when they say nothing.
func (c *Conn) DropBridge(name string) error {
	if len(name) >= nameSize {
		return fmt.Errorf("drop the rules of bridge %q: the name is too long", name)
	}
	var problems []error
	// The value does not matter for a deletion, so whatever the gate was it goes.
	all := bridgeState(name, plan.Rules{Gate: plan.Closed, ICC: true})
	all = append(all, element{family: all[0].family, set: setOpen, key: concat(ifname(name))})
	for _, e := range all {
		e.chain, e.value = "", ""
		err := c.commit("drop the rules of bridge "+name, func(b *batch) { b.remove([]element{e}) })
		if err != nil && !errors.Is(err, unix.ENOENT) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
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
