//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
)

// filter uses the host's socket to nftables. Its errors say what was being done.
func (h *Host) filter(use func(*firewall.Conn) error) error {
	if h.home.lost.Load() {
		return errLost
	}
	c, err := h.rules.get(func() (c *firewall.Conn, err error) {
		err = h.do(func() error {
			c, err = firewall.Dial()
			return err
		})
		return c, err
	})
	if err != nil {
		return err
	}
	return use(c)
}

// RenewRules writes the host's whole ruleset anew, in one transaction, so that it is that of all records and nothing
// else of lanhook's, and forgets what went by the lack of it. Of records that say different things of one bridge, the
// later ones win.
func (h *Host) RenewRules(all []plan.AddRules) error {
	if err := h.filter(func(c *firewall.Conn) error { return c.Renew(all) }); err != nil {
		return err
	}
	var rules []plan.Rules
	for _, s := range all {
		rules = append(rules, s.Of...)
	}
	return h.forgetUntranslated(rules)
}

// RuleDrift says in words where the host's ruleset is not that of all records, with the id of the record that lacks
// something; nothing when it is.
func (h *Host) RuleDrift(all []plan.AddRules) (words []string, err error) {
	err = h.filter(func(c *firewall.Conn) error {
		words, err = c.Drift(all)
		return err
	})
	return words, err
}

// maxRenews bounds how often an attach renews the ruleset: whoever flushes it once may do so again right after.
const maxRenews = 5

// addRules adds a record's entries to the ruleset. Where that is not as it was left, it is renewed, and the entries are
// added again, which does nothing when they are there.
func (k *Kernel) addRules(ctx context.Context, s plan.AddRules) error {
	add := func() error { return k.host.filter(func(c *firewall.Conn) error { return c.Add(s) }) }
	err := add()
	for range maxRenews {
		if _, stale := errors.AsType[*firewall.StaleError](err); !stale || k.Renew == nil {
			break
		}
		if err = k.Renew(ctx); err != nil {
			return fmt.Errorf("renew the ruleset: %w", err)
		}
		err = add()
	}
	if err != nil {
		return err
	}
	return k.host.forgetUntranslated(s.Of)
}

// delRules removes a record's entries, and then the connections that went by them. Where either fails the record stays, and
// with it the address: no other container gets it while connections lead there.
func (k *Kernel) delRules(s plan.DelRules) error {
	err := k.host.filter(func(c *firewall.Conn) error { return c.Delete(s) })
	return errors.Join(err, k.host.forgetHolder(s.Of))
}

func (h *Host) releaseRules() error {
	return h.filter((*firewall.Conn).Release)
}

func (h *Host) dropBridge(name string) error {
	return h.filter(func(c *firewall.Conn) error { return c.DropBridge(name) })
}

// addGuard makes the guard's table inside the container's namespace, by a socket of its own.
func (k *Kernel) addGuard(s plan.AddGuard) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	return ns.filter(func(c *firewall.Conn) error { return c.Guard(s) })
}

// delGuard removes the guard's table, which ends with the namespace if nobody removes it.
func (k *Kernel) delGuard(s plan.DelGuard) error {
	return k.inside("remove guard "+s.Table, func(ns *Namespace) error {
		return ns.filter(func(c *firewall.Conn) error { return c.Unguard(s) })
	})
}

// filter opens nftables inside the namespace for one use.
func (n *Namespace) filter(use func(*firewall.Conn) error) error {
	var c *firewall.Conn
	err := n.Do(func() error {
		var err error
		c, err = firewall.Dial()
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(use(c), c.Close())
}

// inside runs an undo in the container's namespace, and does nothing when that has ended.
func (k *Kernel) inside(what string, undo func(*Namespace) error) error {
	if gone, err := k.gone(); err != nil || gone {
		return err
	}
	if k.ns != nil {
		return failed(undo(k.ns), "%s", what)
	}
	if k.open == nil {
		return fmt.Errorf("%s: nothing tells where the container's network namespace is", what)
	}
	ns, err := k.open()
	if err != nil {
		if gone, goneErr := k.gone(); goneErr == nil && gone {
			return nil
		}
		if !OwnNSID(int(k.nsid)) && errors.Is(err, fs.ErrNotExist) {
			return nil // another namespace has the number by now
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	return errors.Join(failed(undo(ns), "%s", what), ns.Close())
}

// ForwardDrop lists chains of others on the host that drop what is forwarded unless a rule of theirs lets it pass. What
// could be found is returned along with an error, if some could not be read.
func (h *Host) ForwardDrop() ([]string, error) {
	var list, old []string
	err := h.filter(func(c *firewall.Conn) (err error) {
		list, err = c.ForwardDrop()
		return err
	})
	oldErr := h.do(func() (err error) {
		old, err = firewall.LegacyForwardDrop()
		return err
	})
	return append(list, old...), errors.Join(err, oldErr)
}
