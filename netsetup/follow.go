package netsetup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// A network may select its parent by a MAC address, an alternative name or the default route. When that parent has gone and is there
// again, it may be called otherwise, and another link may have its name. Records know links by their names; so do leases, and what
// records share. So before anything is made anew, the records of links that ended with such a parent get the name that it has by now.

// followParents has records follow the parents of their networks.
func (s *Setup) followParents(ctx context.Context, records []store.Record, r *Repaired) []error {
	var errs []error
	for i, rec := range records {
		moved, names, err := s.rebases(ctx, rec)
		done := false
		if err == nil && len(moved) > 0 {
			records[i], done, err = s.follow(ctx, rec, moved)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("look for the parent of %s of container %s: %w", strings.Join(names, " and "), rec.Container, err))
		}
		if !done {
			continue
		}
		for _, b := range moved {
			r.Links = append(r.Links, fmt.Sprintf("parent %s of %s of container %s is %s by now", b.From, b.IfName, rec.Container, b.To))
		}
	}
	return errs
}

// rebases are what has taken the place of the links on which a record's children were. They are written down together: two of them may
// have changed their names, and children may be on one link in several VLANs. names are of the interfaces that they, or the error, are
// about.
func (s *Setup) rebases(ctx context.Context, rec store.Record) (moved []plan.Rebase, names []string, err error) {
	for _, c := range plan.Children(rec.Steps) {
		b, err := s.rebase(ctx, rec, c)
		if err != nil {
			return nil, []string{c.IfName}, err
		}
		if b.To != b.From {
			moved, names = append(moved, b), append(names, c.IfName)
		}
	}
	return moved, names, nil
}

// rebase says what has taken the place of the link on which a child was; nothing where both are the same, or where the child may live.
func (s *Setup) rebase(ctx context.Context, rec store.Record, c plan.Child) (plan.Rebase, error) {
	base, below, own := plan.Base(rec.Steps, c)
	none := plan.Rebase{From: base, To: base}
	ended, err := s.parentEnded(c)
	if err != nil || !ended || rec.State != store.Attached {
		return none, err
	}
	to, found, err := s.selected(ctx, rec, c)
	if err != nil || !found || to.Name == base {
		return none, err
	}
	wire := policy.Wire(to.Wire(), slices.Concat(below, own))
	b := plan.Rebase{Child: c, From: base, To: to.Name, ToScope: scopeOfWire + wire}
	if len(below) > 0 {
		if b.Subs, err = s.subsOf(ctx, rec, c, below); err != nil || len(b.Subs) != len(below) {
			return none, err
		}
	}
	for _, lease := range rec.Leases {
		if lease.IfName == c.IfName {
			b.FromScope = lease.Scope
		}
	}
	for _, in := range rec.Interfaces {
		if was, ok := strings.CutPrefix(b.FromScope, scopeOfWire); ok && in.Name == c.IfName {
			b.FromHost, b.ToHost = plan.HostLinkName(in.Network, was), plan.HostLinkName(in.Network, wire)
		}
	}
	return b, nil
}

// subsOf are the sub-interfaces of lanhook's, there or to be made, on the parent that the network of a child selects by now: those that
// an attach would use. There are fewer than tags where the administrator has made one.
func (s *Setup) subsOf(ctx context.Context, rec store.Record, c plan.Child, tags []policy.Tag) ([]plan.Sub, error) {
	const key = "eth0"
	parent, _ := selector(rec, c)
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{IfName: key, Parent: parent, VLAN: tags}})
	return facts.Uplink[key].Subs, err
}

// scopeOfWire begins the scopes of networks whose containers have children of a link, see [policy.Network.Scope].
const scopeOfWire = "lan:"

// parentEnded says whether the parent of a child is gone, whatever has its name by now. Where the index of a sub-interface was not known,
// its name has to do.
func (s *Setup) parentEnded(c plan.Child) (bool, error) {
	if c.ParentIndex != 0 {
		_, there, err := s.Host.LinkAt(c.ParentIndex)
		return !there && err == nil, err
	}
	_, there, err := s.Host.Link(c.Parent)
	return !there && err == nil, err
}

// selected is the link to which the network of a child leads by now, below all sub-interfaces that lanhook makes; false where its
// parent has a name in the policy, or is not there. The parent that had the default route is itself the first choice. Where that leads
// to a tunnel meanwhile, or to what else no child can be on, it is waited for: a record that had followed would stay there.
func (s *Setup) selected(ctx context.Context, rec store.Record, c plan.Child) (plan.Link, bool, error) {
	parent, chosen := selector(rec, c)
	if !chosen {
		return plan.Link{}, false, nil
	}
	base, _, _ := plan.Base(rec.Steps, c)
	if parent.DefaultRoute {
		if _, there, err := s.Host.Link(base); err != nil || there {
			return plan.Link{Name: base}, there, err
		}
	}
	const key = "eth0"
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{IfName: key, Parent: parent}})
	to, found := facts.Uplink[key]
	return to, found && to.TakesChildren() && (!to.Wireless || plan.Inherits(rec.Steps, c.Own)), err
}

// isSelected says whether a child's parent, by its name, is what its network selects: another link may have got the name.
func (s *Setup) isSelected(ctx context.Context, rec store.Record, c plan.Child) (bool, error) {
	if _, chosen := selector(rec, c); !chosen {
		return true, nil
	}
	to, found, err := s.selected(ctx, rec, c)
	base, _, _ := plan.Base(rec.Steps, c)
	return found && to.Name == base, err
}

// isBack says whether a child has ended with its parent, and that is there again under whatever name.
func (s *Setup) isBack(ctx context.Context, rec store.Record, c plan.Child) (bool, error) {
	b, err := s.rebase(ctx, rec, c)
	if err != nil || b.To != b.From {
		return err == nil, err
	}
	_, lost, err := s.lost(c)
	if err != nil || !lost {
		return false, err
	}
	return s.isSelected(ctx, rec, c)
}

// selector is how the network of a child selects its parent; false where that is by its name.
func selector(rec store.Record, c plan.Child) (policy.Parent, bool) {
	for _, i := range rec.Interfaces {
		if p := i.Parent; i.Name == c.IfName {
			return p, p.MAC != nil || p.AltName != "" || p.DefaultRoute
		}
	}
	return policy.Parent{}, false
}

// follow writes down that children of a record have other parents. Nothing is written where an address is another's there, or
// where such a parent has children of another kind; what was to be made anew ended then, and stays so. Nor is anything where nothing is
// made anew: others may have got the addresses, and a detach may have read the record and take back what that says.
func (s *Setup) follow(ctx context.Context, rec store.Record, moved []plan.Rebase) (store.Record, bool, error) {
	after, done := rec, false
	err := s.Store.Update(ctx, func(tx *store.Tx) error {
		now, ok, err := tx.Record(rec.Ref())
		if err != nil || !ok || now.State != store.Attached {
			return err
		}
		if g, groupErr := s.groupOf(tx, now.NetNS); groupErr != nil || !g.joinable(now) {
			return groupErr
		}
		now.Steps = plan.Rebased(now.Steps, moved)
		now.Shared = sharedBy(now.Steps)
		for _, b := range moved {
			if err = onlyKind(tx, now.Shared, b.NewParent()); err != nil {
				return err
			}
			if err = rescope(tx, &now, b); err != nil {
				return err
			}
			for i := range now.Interfaces {
				if in := &now.Interfaces[i]; in.Name == b.IfName {
					in.Uplink = b.NewParent() + strings.TrimPrefix(in.Uplink, b.Parent) // which a VLAN of the container's own ends with
				}
			}
		}
		after, done = now, true
		return tx.Put(now)
	})
	if err != nil {
		return rec, false, err
	}
	return after, done, nil
}

// rescope gives a child's leases another scope, and refuses where the host has one of the addresses there, or a container one of the
// host's. Of two containers' the store knows.
func rescope(tx *store.Tx, rec *store.Record, b plan.Rebase) error {
	host, err := hostAddresses(tx, b.ToScope)
	if err != nil {
		return err
	}
	for i := range rec.Leases {
		lease := &rec.Leases[i]
		if lease.IfName != b.IfName || lease.Scope != b.FromScope {
			continue
		}
		lease.Scope = b.ToScope
		if slices.ContainsFunc(host, func(h hostAddress) bool { return h.addr == lease.Addr }) {
			return fmt.Errorf("address %s on %s is this host's own by now", lease.Addr, b.To)
		}
	}
	for _, step := range rec.Steps {
		l, ok := step.(plan.EnsureHostLink)
		if !ok || l.Name != b.ToHost {
			continue
		}
		for _, addr := range l.Addresses {
			holder, taken, err := tx.Holder(b.ToScope, addr)
			if err != nil {
				return err
			}
			if taken && holder.Ref() != rec.Ref() {
				return tx.InUse(fmt.Sprintf("address %s, which is the host's by host-access,", addr), holder)
			}
		}
	}
	return nil
}

// onlyKind refuses children of another kind than those that a parent has, see [childName].
func onlyKind(tx *store.Tx, own []string, parent string) error {
	names, err := tx.SharedNames(sharedChild + parent + "/")
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(own, name) {
			return fmt.Errorf("link %s: another container has %s", parent, childWords(name))
		}
	}
	return nil
}
