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
	for i := range records {
		for _, c := range plan.Children(records[i].Steps) {
			b, err := s.rebase(ctx, records[i], c)
			if err == nil && b.To != b.From {
				records[i], err = s.follow(ctx, records[i], c, b)
			}
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("look for the parent of %s of container %s: %w", c.IfName, records[i].Container, err))
			case b.To != b.From:
				r.Links = append(r.Links, fmt.Sprintf("parent %s of %s of container %s is %s by now", b.From, c.IfName, records[i].Container, b.To))
			}
		}
	}
	return errs
}

// rebase says what has taken the place of the link on which a child was; nothing where both are the same, or where the child may live.
func (s *Setup) rebase(ctx context.Context, rec store.Record, c plan.Child) (plan.Rebase, error) {
	base, tags := plan.Base(rec.Steps, c)
	none := plan.Rebase{From: base, To: base}
	ended, err := s.parentEnded(c)
	if err != nil || !ended || rec.State != store.Attached {
		return none, err
	}
	to, found, err := s.selected(ctx, rec, c)
	if err != nil || !found || to.Name == base {
		return none, err
	}
	b := plan.Rebase{From: base, To: to.Name, ToScope: "lan:" + policy.Wire(to.Wire(), tags)}
	for _, lease := range rec.Leases {
		if lease.IfName == c.IfName {
			b.FromScope = lease.Scope
		}
	}
	return b, nil
}

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
// parent has a name in the policy, or is not there. The parent that had the default route is itself the first choice, and
// a wireless one is none for a child with a MAC address of its own.
func (s *Setup) selected(ctx context.Context, rec store.Record, c plan.Child) (plan.Link, bool, error) {
	parent, chosen := selector(rec, c)
	if !chosen {
		return plan.Link{}, false, nil
	}
	base, _ := plan.Base(rec.Steps, c)
	if parent.DefaultRoute {
		if _, there, err := s.Host.Link(base); err != nil || there {
			return plan.Link{Name: base}, there, err
		}
	}
	const key = "eth0"
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{IfName: key, Parent: parent}})
	to, found := facts.Uplink[key]
	return to, found && (!to.Wireless || plan.Inherits(rec.Steps, c.Own)), err
}

// isSelected says whether a child's parent, by its name, is what its network selects: another link may have got the name.
func (s *Setup) isSelected(ctx context.Context, rec store.Record, c plan.Child) (bool, error) {
	if _, chosen := selector(rec, c); !chosen {
		return true, nil
	}
	to, found, err := s.selected(ctx, rec, c)
	base, _ := plan.Base(rec.Steps, c)
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

// follow writes down that the children of a record have another parent. Nothing is written where a lease is another's there, or
// where that parent has children of another kind; what was to be made anew ended then, and stays so.
func (s *Setup) follow(ctx context.Context, rec store.Record, c plan.Child, b plan.Rebase) (store.Record, error) {
	moved := rec
	err := s.Store.Update(ctx, func(tx *store.Tx) error {
		now, ok, err := tx.Record(rec.Ref())
		if err != nil || !ok || now.State != store.Attached {
			return err
		}
		now.Steps = b.On(now.Steps)
		now.Shared = sharedBy(now.Steps)
		if err = onlyKind(tx, now.Shared, b.To); err != nil {
			return err
		}
		for i, lease := range now.Leases {
			if lease.Scope == b.FromScope {
				now.Leases[i].Scope = b.ToScope
			}
		}
		for i := range now.Interfaces {
			if in := &now.Interfaces[i]; in.Name == c.IfName && c.Parent == b.From {
				in.Uplink = b.To + strings.TrimPrefix(in.Uplink, b.From) // which a VLAN of the container's own ends with
			}
		}
		moved = now
		return tx.Put(now)
	})
	if err != nil {
		return rec, err
	}
	return moved, nil
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
