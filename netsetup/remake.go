package netsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// The children of a link end with it: those of a card that is pulled out and put in again, of a VLAN that somebody deletes, of
// a bond that is made anew. The namespaces that had them live on. What is needed to make them anew is in the records.
//
// A detach of a record whose first process has ended, and that nobody has joined, deletes it without a look at what it says by then,
// see [Setup.alone]: a link that was made anew in between would stay. So none is for such a record, even where its namespace lives,
// and that is looked at once more when it is written down.

// repairChildren makes the children of parents anew that are there again, each in the namespace where it was.
func (s *Setup) repairChildren(ctx context.Context, records []store.Record, r *Repaired) error {
	var errs []error
	groups := grouped(records, s.BootID)
	for _, rec := range records {
		if rec.State != store.Attached || !groups[identity(rec)].joinable(rec) {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			errs = append(errs, fmt.Errorf("cut off before the links of container %s and those after it were looked at: %w", rec.Container, err))
			break
		}
		for _, c := range plan.Children(rec.Steps) {
			done, err := s.repairChild(ctx, records, rec, c)
			if err != nil {
				errs = append(errs, fmt.Errorf("make %s of container %s anew: %w", c.IfName, rec.Container, err))
			}
			if done {
				r.Links = append(r.Links, fmt.Sprintf("%s of container %s has ended with %s", c.IfName, rec.Container, c.Parent))
			}
		}
	}
	return errors.Join(errs...)
}

// repairChild makes one child anew if it has ended with its parent, and there is a parent of that name again.
func (s *Setup) repairChild(ctx context.Context, records []store.Record, rec store.Record, c plan.Child) (done bool, err error) {
	parent, lost, err := s.lost(c)
	if err != nil || !lost {
		return false, err
	}
	if lost, err = s.isSelected(ctx, rec, c); err != nil || !lost {
		return false, err
	}
	ns, err := s.open(rec)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // It has ended, and the record is gc's.
	}
	if err != nil {
		return false, err
	}
	defer ns.Close()
	if ns.Identity() != identity(rec) {
		return false, nil
	}
	if _, there, err := ns.LinkAt(c.Index); err != nil || there {
		return false, err
	}
	return s.remake(ctx, ns, beside(records, rec), rec, onto{c, parent})
}

// lost says whether the link on which a child was made is gone while there is one of its name, and gives that. Of a
// sub-interface that the attach itself has made the index was not known: with that, the child's own end has to do for proof.
func (s *Setup) lost(c plan.Child) (parent kernel.State, lost bool, err error) {
	link, there, err := s.Host.Link(c.Parent)
	if err != nil || !there || link.Index == c.ParentIndex {
		return kernel.State{}, false, err
	}
	if c.ParentIndex != 0 {
		// Another link has got its name, and it lives on under another one, with its children.
		_, there, err = s.Host.LinkAt(c.ParentIndex)
		lost = !there
	} else {
		lost = true
	}
	return link, lost && err == nil, err
}

// onto is a child and its new parent.
type onto struct {
	plan.Child
	parent kernel.State
}

// beside are the other records of a record's namespace.
func beside(records []store.Record, rec store.Record) []store.Record {
	var all []store.Record
	for _, o := range records {
		if o.ID != rec.ID && o.State == store.Attached && identity(o) == identity(rec) {
			all = append(all, o)
		}
	}
	return all
}

// remake makes a child anew, with all that ended with it. What an earlier try has left half made goes first. A record that is
// gone by then was detached meanwhile: then the child goes again.
func (s *Setup) remake(
	ctx context.Context, ns *kernel.Namespace, others []store.Record, rec store.Record, o onto,
) (done bool, err error) {
	k := s.Host.Kernel(ns)
	rec.Steps = plan.OnParent(rec.Steps, o.Own, o.parent.Index, o.parent.MAC, 0)
	steps := plan.Remade(rec.Steps, o.Child)
	unmake := func(ctx context.Context) error { return apply.Undo(ctx, k, links(plan.Undo(steps))) }
	if err = unmake(ctx); err == nil {
		err = apply.Run(ctx, k, steps)
	}
	for _, other := range others {
		if err == nil {
			err = s.again(ctx, k, plan.RemadeBeside(other.Steps, o.Child))
		}
	}
	if err == nil {
		err = s.again(ctx, k, looseOf(rec.Steps))
	}
	there := false
	if err == nil {
		there, err = s.keepRemade(ctx, rec, o, k)
	}
	if err != nil || !there {
		late, cancel := background(ctx)
		defer cancel()
		return false, errors.Join(err, unmake(late))
	}
	return true, nil
}

// links are the undoing steps that delete links: a guard stays until it is made anew.
func links(steps plan.Steps) plan.Steps {
	var list plan.Steps
	for _, step := range steps {
		if _, ok := step.(plan.DelLink); ok {
			list = append(list, step)
		}
	}
	return list
}

func looseOf(steps plan.Steps) plan.Steps {
	var list plan.Steps
	for _, step := range steps {
		if plan.Loose(step) {
			list = append(list, step)
		}
	}
	return list
}

// again carries out steps of which some may never have been lost.
func (s *Setup) again(ctx context.Context, k apply.Kernel, steps plan.Steps) error {
	for _, step := range steps {
		if err := k.Apply(ctx, step); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// keepRemade writes down where a child is by now; false when its record is gone, or about to go.
func (s *Setup) keepRemade(ctx context.Context, rec store.Record, o onto, k *kernel.Kernel) (there bool, err error) {
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		now, ok, readErr := tx.Record(rec.Ref())
		if readErr != nil || !ok {
			return readErr
		}
		g, readErr := s.groupOf(tx, now.NetNS)
		if there = now.State == store.Attached && g.joinable(now); readErr != nil || !there {
			return readErr
		}
		now.Steps = plan.OnParent(now.Steps, o.Own, o.parent.Index, o.parent.MAC, k.Index(o.IfName))
		for i := range now.Interfaces {
			if now.Interfaces[i].Name == o.IfName && plan.Inherits(now.Steps, o.Own) {
				now.Interfaces[i].MAC = o.parent.MAC
			}
		}
		return tx.Put(now)
	})
	return there, err
}
