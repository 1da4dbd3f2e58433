package netsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// maxTries bounds how often an attach begins again after it cleared away what dead containers held. Each try clears at
// least one record, so more than a few mean that somebody makes dead containers faster than they can be cleared.
const maxTries = 5

// Attach gives the container the interfaces that it asks for and that the policy allows. When it fails, the kernel and
// the store are as before, or the error says what could not be taken back and the record stays for gc.
//
// A container that is attached already, in the same namespace and to the same networks, is left alone. An interface that
// another container of the namespace has made, and that is what this one asks for, is shared. ctx bounds it all; its
// cause is the reason why it stopped.
//
// A container that asks for a namespace or for names only has a record too, without steps. Its files are written once its
// addresses are known.
func (s *Setup) Attach(ctx context.Context, c Container) (Result, error) {
	attachments, err := s.Policy.Decide(c.Request, c.Subject)
	if err != nil {
		return Result{}, err
	}
	g, err := s.Policy.DecideGuest(c.Request, c.Subject, attachments)
	if err != nil {
		return Result{}, err
	}
	d := draft{Setup: s, container: c, attachments: attachments, member: g.NetNS == policy.NetNSContainer}
	if d.ns, err = s.namespace(ctx, c, g); err != nil {
		return Result{}, err
	}
	if d.ns != nil {
		defer d.ns.Close()
		if d.nsid, err = d.ns.NSID(); err != nil {
			return Result{}, err
		}
	}
	if c.Guest != "" {
		if err = s.guests().Adopt(ctx, c.Guest, c.Process); err != nil {
			return Result{}, err
		}
	}
	return s.attach(ctx, &d)
}

// attach does what a draft says.
func (s *Setup) attach(ctx context.Context, d *draft) (Result, error) {
	err := s.attachOnce(ctx, d)
	for d.anew && context.Cause(ctx) == nil { // each takes as long as asking the LAN does
		err = s.attachOnce(ctx, d)
	}
	if err != nil {
		return Result{}, err
	}
	own, others := s.name(ctx, d)
	if own != nil {
		if !d.already {
			late, cancel := background(ctx)
			defer cancel()
			own = errors.Join(own, s.Leave(late, d.rec.Ref()))
		}
		return Result{}, own
	}
	if others != nil {
		others = errors.Join(others, s.noteUnnamed(ctx, d.rec.Ref(), others))
	}
	return Result{
		Ref: d.rec.Ref(), Already: d.already, Interfaces: slices.Concat(d.shared, d.rec.Interfaces), Joined: d.rec.Joined,
		Unnamed: errors.Join(d.remains, others), Warnings: d.warnings(),
	}, nil
}

// attachOnce records and carries out. d.anew says then whether another try is to follow.
func (s *Setup) attachOnce(ctx context.Context, d *draft) error {
	d.anew = false
	use, err := s.begin(ctx, d)
	if err != nil {
		return err
	}
	defer use.end()
	if d.rec.State != store.Pending {
		return nil
	}
	if d.crowded {
		s.Host.OwnProc()
	}
	return s.carryOut(ctx, d, use)
}

// begin looks, chooses, plans and records, the latter three in one transaction. When what it needs is held by containers
// that are proved dead, it clears them away and begins again.
//
// An attach that uses a bridge or a sub-interface holds the lock on what is shared from before its record until use ends,
// so that nobody takes these, the rules or a reserved port for unused meanwhile. While it clears it must not hold that
// lock: clearing may remove what was the last user's.
func (s *Setup) begin(ctx context.Context, d *draft) (use *sharing, err error) {
	for tries := 0; tries < maxTries; tries++ {
		if d.facts, err = s.look(ctx, d.ns, d.attachments); err != nil {
			return nil, err
		}
		use = &sharing{store: s.Store}
		if d.usesShared() {
			if err = use.begin(ctx); err != nil {
				return nil, err
			}
		}
		if err = s.lookAtPorts(ctx, d); err == nil {
			err = s.Store.Update(ctx, d.record)
		}
		if err == nil {
			return use, nil
		}
		use.end()
		if isBounded(err) {
			tries--
		}
		err = s.clear(ctx, d, err)
		if _, only := errors.AsType[*remainsError](err); only {
			// What was in the way is gone.
			d.remains, err = errors.Join(d.remains, err), nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("attach %s: dead containers still held what it needs after %d tries", d.container.ID, maxTries)
}

// isBounded says whether a reason to begin again has a bound of its own: of namesakes there is one a subnet at most, of the
// users of a parent each is asked about once, and waiting ends by the clock.
func isBounded(reason error) bool {
	switch reason.(type) { //nolint:errorlint // draft.record gives them as they are
	case *namesakeError, *parentUsedError, *busyError, *staleError:
		return true
	}
	return false
}

// clear looks at why a transaction was refused. When the reason is a record of a dead container, it undoes that one;
// otherwise it gives the reason back.
func (s *Setup) clear(ctx context.Context, d *draft, reason error) error {
	if busy, ok := errors.AsType[*busyError](reason); ok {
		return s.await(ctx, d, busy)
	}
	if _, ok := errors.AsType[*staleError](reason); ok {
		d.relooked = true
		return nil
	}
	if earlier, ok := errors.AsType[*earlierError](reason); ok {
		// A poststop would take it back too, though something else may still hold its namespace.
		if earlier.rec.Process.PID != 0 && !alive(earlier.rec.Process) {
			_, err := s.end(ctx, earlier.rec, stopped)
			return err
		}
		return s.clearDead(ctx, earlier.rec, reason)
	}
	if namesake, ok := errors.AsType[*namesakeError](reason); ok {
		return s.clearAsked(ctx, d, namesake.ref, reason) // if it lives, another place will do
	}
	if used, ok := errors.AsType[*parentUsedError](reason); ok {
		return s.clearAsked(ctx, d, used.ref, reason) // if it lives, the plan says so
	}
	if inUse, ok := errors.AsType[*store.InUseError](reason); ok {
		rec, ok, err := s.find(ctx, inUse.Holder)
		if err != nil {
			return errors.Join(reason, err)
		}
		if !ok {
			return nil // it was given back in between
		}
		return s.clearDead(ctx, rec, reason)
	}
	if isFull(reason) {
		collected, err := s.Collect(ctx, CollectOptions{})
		if len(collected.Records) == 0 {
			return errors.Join(reason, err)
		}
		return nil
	}
	return reason
}

// clearAsked undoes a record that is proved dead. One that lives, or cannot be cleared now, is not asked about again.
func (s *Setup) clearAsked(ctx context.Context, d *draft, ref store.Ref, reason error) error {
	d.asked[ref] = true
	rec, ok, err := s.find(ctx, ref)
	if err != nil || !ok {
		return err
	}
	if err = s.clearDead(ctx, rec, reason); errors.Is(err, reason) {
		return nil
	}
	return err
}

// isFull says whether a pool of addresses, or all ports that a rule grants, are in use.
func isFull(reason error) bool {
	_, addresses := errors.AsType[*ipam.ExhaustedError](reason)
	_, ports := errors.AsType[*noPortError](reason)
	return addresses || ports
}

// clearDead undoes a record that is proved dead, or else gives the reason back.
func (s *Setup) clearDead(ctx context.Context, rec store.Record, reason error) error {
	if gone, err := s.awaitLeaving(ctx, rec); gone || err != nil {
		return err
	}
	var (
		l liveness
		g group
	)
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		g, err = s.groupOf(tx, rec.NetNS)
		return err
	})
	if err != nil {
		return errors.Join(reason, err)
	}
	v, err := l.look(s, rec, g)
	if err == nil && v == living {
		reason, v, err = s.awaitEnd(ctx, rec, reason)
	}
	switch {
	case err != nil:
		return errors.Join(reason, err)
	case v == living:
		return reason
	case v == idle:
		if _, err = s.leave(ctx, rec.Ref(), unneeded); err != nil {
			return errors.Join(reason, err)
		}
		return nil
	}
	if err := s.undo(ctx, s.undoer(rec), rec); err != nil {
		return errors.Join(reason, err)
	}
	return nil
}

func (s *Setup) find(ctx context.Context, ref store.Ref) (store.Record, bool, error) {
	var (
		rec store.Record
		ok  bool
	)
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		rec, ok, err = tx.Record(ref)
		return err
	})
	return rec, ok, err
}
