package netsetup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// What a record did is undone in three parts. First what is its own alone, and bears its mark: links, routes, guards.
// Then, under the exclusive lock on what is shared, what is known by the record alone: entries of the firewall and the host's
// routes, which are keyed by addresses that another container has as soon as the record is gone, and reserved ports, which bear
// no mark at all. Still under that lock the record is deleted. So whoever is killed before leaves a record, by which gc does the rest;
// whoever comes later finds none, and leaves alone what may be another's by then. At last goes what nobody shares any
// more: bridges and the firewall's tables bear marks, and gc finds them without a record.
//
// An attach holds that lock shared from before its record until all of this is made. So nobody undoes a record whose
// attach is still at it, and the records show who uses what.

// undoWait bounds how long an undo waits for attaches that are at it.
const undoWait = 10 * time.Second

// undoing is a record that is being undone.
type undoing struct {
	rec    store.Record
	kernel apply.Kernel
	// err is why the record cannot be deleted.
	err error
	// late are what was made after the record had gone.
	late plan.Steps
	// altered are devices that are back but not as they were, which no further try would mend.
	altered []error
}

func (u *undoing) fail(err error) {
	if err != nil {
		u.err = errors.Join(u.err, fmt.Errorf("detach %s: %w", u.rec.Container, err))
	}
}

// undo takes back what the record says and then deletes it, with its leases. The record stays when anything failed, but
// for a [*remainsError].
func (s *Setup) undo(ctx context.Context, k apply.Kernel, rec store.Record) error {
	if s.isElsewhere(rec) {
		return s.undoElsewhere(ctx, rec)
	}
	u := undoOwn(ctx, k, rec)
	remains := s.finish(ctx, u)
	if u.err != nil {
		return u.err
	}
	return remains
}

// undoElsewhere deletes a record that was written in another host's namespace, when that one is gone with all its links.
func (s *Setup) undoElsewhere(ctx context.Context, rec store.Record) error {
	living, err := s.Host.Scan()
	if err != nil {
		return err
	}
	if _, lives := living.Path(kernel.Identity(rec.Host)); lives {
		return fmt.Errorf("container %s was attached from another network namespace than this one; run lanhook there",
			rec.Container)
	}
	if err = s.Store.Update(ctx, func(tx *store.Tx) error { return tx.Delete(rec.Ref()) }); err != nil {
		return err
	}
	return remaining(s.unname(ctx, rec))
}

// undoOwn undoes what is a record's alone.
func undoOwn(ctx context.Context, k apply.Kernel, rec store.Record) *undoing {
	u := &undoing{rec: rec, kernel: k}
	u.fail(apply.Undo(ctx, returning{u}, slices.DeleteFunc(plan.Undo(rec.Steps), func(step plan.Step) bool {
		return isKeyed(step) || len(sharedNames(step)) > 0
	})))
	return u
}

// finish undoes the rest and deletes the records of which nothing failed; why the others stay is in them. It returns
// only what is left without a record: a [*remainsError].
func (s *Setup) finish(ctx context.Context, all ...*undoing) error {
	idle, release := s.finishShared(ctx, all)
	errs := []error{s.releaseUnused(ctx, idle, release != nil)}
	if release != nil {
		release()
	}
	var done []store.Record
	for _, u := range all {
		if u.err == nil {
			done = append(done, u.rec)
			errs = append(errs, u.altered...)
		}
	}
	return remaining(append(errs, s.unname(ctx, done...))...)
}

// finishShared deletes the records, and before what is known by them alone. It gives what no record names any more, and,
// when it has taken the exclusive lock for that, its release.
func (s *Setup) finishShared(ctx context.Context, all []*undoing) (idle plan.Steps, release func()) {
	failAll := func(err error) {
		for _, u := range all {
			u.fail(err)
		}
	}
	if slices.ContainsFunc(all, func(u *undoing) bool { return s.isHere(u.rec) && slices.ContainsFunc(u.rec.Steps, byRecord) }) {
		wait, cancel := context.WithTimeout(ctx, undoWait)
		defer cancel()
		var err error
		if release, err = s.Store.LockExclusive(wait); err == nil {
			err = s.undoByRecord(ctx, all)
		}
		if err != nil {
			failAll(err)
			return nil, release
		}
	}
	err := s.Store.Update(ctx, func(tx *store.Tx) error {
		var gone []store.Record
		for _, u := range all {
			if u.err != nil {
				continue
			}
			if err := tx.Delete(u.rec.Ref()); err != nil {
				return err
			}
			if s.isHere(u.rec) {
				gone = append(gone, u.rec)
			}
		}
		var err error
		idle, err = unusedBy(tx, gone)
		return err
	})
	if err != nil {
		failAll(err)
		return nil, release
	}
	return idle, release
}

// isKeyed says whether a step takes back what is known by a container's addresses alone, which another has as soon as the record
// is gone.
func isKeyed(step plan.Step) bool {
	switch step.(type) {
	case plan.DelRules, plan.DelHostRoute:
		return true
	default:
		return false
	}
}

// isHere says whether a record is of this boot and this host's namespace, so that what it says is to be found here.
func (s *Setup) isHere(rec store.Record) bool {
	return rec.BootID == s.BootID && rec.Host == s.hostNetNS()
}

// isElsewhere says whether a record is of this boot and another host's namespace, whose links are others.
func (s *Setup) isElsewhere(rec store.Record) bool {
	return rec.BootID == s.BootID && rec.Host != s.hostNetNS()
}

// undoByRecord takes back what is known by the records alone. Of a record that is gone it leaves that alone: whoever
// deleted it has taken it back. Only routes may have been made since, see [lateRoutes].
func (s *Setup) undoByRecord(ctx context.Context, all []*undoing) error {
	there := map[store.Ref]bool{}
	users := map[string][]store.Ref{}
	err := s.Store.View(ctx, func(tx *store.Tx) error {
		for _, u := range all {
			now, ok, err := tx.Record(u.rec.Ref())
			if err == nil && !ok && s.isHere(u.rec) {
				u.late, err = lateRoutes(tx, u.rec)
			}
			if err != nil {
				return err
			}
			u.rec.Steps = withRules(u.rec.Steps, now.Steps)
			there[u.rec.Ref()] = ok && s.isHere(u.rec)
			if err = usersOfUnmarked(tx, u.rec, len(all)+1, users); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	goes := map[store.Ref]bool{}
	for _, u := range all {
		if !there[u.rec.Ref()] {
			u.fail(apply.Undo(ctx, u.kernel, u.late))
			continue
		}
		u.fail(apply.Undo(ctx, u.kernel, slices.DeleteFunc(plan.Undo(u.rec.Steps), func(step plan.Step) bool {
			return !isKeyed(step)
		})))
		goes[u.rec.Ref()] = u.err == nil
	}
	idle := func(name string) bool {
		return !slices.ContainsFunc(users[name], func(ref store.Ref) bool { return !goes[ref] })
	}
	for _, u := range all {
		if !goes[u.rec.Ref()] {
			continue
		}
		for _, step := range unmarked(u.rec.Steps) {
			var (
				part plan.Step
				some bool
			)
			if up, ok := step.(plan.ReleaseUplink); ok {
				part, some = idleVLANs(up, slices.Collect(maps.Keys(users)), idle)
			} else {
				part, some = idleOf(step, idle)
			}
			if some {
				u.fail(u.kernel.Apply(ctx, part))
			}
		}
	}
	return nil
}

// lateRoutes remove the host's routes of an attach whose record was deleted meanwhile, but for those that lead to another container by
// now: an attach makes them last, when it has given up the lock, and may have been a moment too late.
func lateRoutes(tx *store.Tx, rec store.Record) (plan.Steps, error) {
	var late plan.Steps
	for _, step := range plan.Undo(rec.Steps) {
		del, ok := step.(plan.DelHostRoute)
		if !ok {
			continue
		}
		refs, err := usersOf(tx, sharedHostLink+del.Link, 0)
		if err != nil {
			return nil, err
		}
		used := false
		for _, ref := range refs {
			other, _, err := tx.Record(ref)
			if err != nil {
				return nil, err
			}
			used = used || slices.Contains(plan.Undo(other.Steps), step)
		}
		if !used {
			late = append(late, del)
		}
	}
	return late, nil
}

// usersOfUnmarked adds who uses what the record shares without a mark. Of each as many as are undone, and one more, are enough
// to know whether somebody stays.
func usersOfUnmarked(tx *store.Tx, rec store.Record, most int, users map[string][]store.Ref) error {
	for _, step := range unmarked(rec.Steps) {
		names := sharedNames(step)
		if up, ok := step.(plan.ReleaseUplink); ok {
			var err error
			if names, err = uplinkNames(tx, up.Bridge); err != nil {
				return err
			}
		}
		for _, name := range names {
			if _, known := users[name]; known {
				continue
			}
			var err error
			if users[name], err = usersOf(tx, name, most); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmarked are the removals of what a record shares and what bears no mark: records alone say that it is lanhook's.
func unmarked(steps plan.Steps) plan.Steps {
	return slices.DeleteFunc(removals(steps), isMarked)
}

// isMarked says whether what a removal removes bears lanhook's mark.
func isMarked(step plan.Step) bool {
	switch step.(type) {
	case plan.ReleasePorts, plan.ReleaseUplink:
		return false
	default:
		return true
	}
}

// reserved are the ports that a record keeps from the host's own connections.
func reserved(rec store.Record) []uint16 {
	var ports []uint16
	for _, step := range rec.Steps {
		if s, ok := step.(plan.ReservePorts); ok {
			ports = append(ports, s.Ports...)
		}
	}
	return ports
}

// unusedBy are the steps that remove what records shared and no other names.
func unusedBy(tx *store.Tx, gone []store.Record) (plan.Steps, error) {
	var all plan.Steps
	seen := map[string]bool{}
	add := func(step plan.Step) {
		if name := sharedNames(step)[0]; !seen[name] {
			seen[name], all = true, append(all, step)
		}
	}
	for _, rec := range gone {
		if slices.Contains(rec.Shared, sharedRules) {
			add(plan.ReleaseRules{})
		}
		for _, step := range removals(rec.Steps) {
			if isMarked(step) {
				add(step)
			}
		}
	}
	return unusedOf(tx, inOrder(all))
}

// sharedWait bounds how long a detach waits for attaches that may be about to use what is shared. What it leaves has a
// user again, or is gc's.
const sharedWait = 2 * time.Second

// releaseUnused removes what no record named a moment ago, or names now when the caller has the exclusive lock. An attach
// holds that lock shared from its record to the moment when the kernel shows what it uses, so under the exclusive one what
// no record names has no user on its way either. Who is killed before that leaves what gc knows by its mark.
func (s *Setup) releaseUnused(ctx context.Context, idle plan.Steps, locked bool) error {
	if len(idle) == 0 {
		return nil
	}
	if !locked {
		wait, cancel := context.WithTimeout(ctx, sharedWait)
		defer cancel()
		release, err := s.Store.LockExclusive(wait)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil // somebody is about to use one
		}
		if err != nil {
			return err
		}
		defer release()
		if idle, err = s.stillUnused(ctx, idle); err != nil {
			return err
		}
	}
	return apply.Undo(ctx, s.Host.KernelByID(-1, nil), idle)
}

// stillUnused are the removals of what no record names now.
func (s *Setup) stillUnused(ctx context.Context, idle plan.Steps) (plan.Steps, error) {
	var still plan.Steps
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		still, err = unusedOf(tx, idle)
		return err
	})
	return still, err
}
