package netsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
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
	release, err := s.begin(ctx, d)
	if err != nil {
		return Result{}, err
	}
	defer release()
	if d.rec.State == store.Pending {
		if d.crowded {
			s.Host.OwnProc()
		}
		err = s.carryOut(ctx, d.ns, d.rec, release)
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
	return Result{
		Ref: d.rec.Ref(), Already: d.already, Interfaces: slices.Concat(d.shared, d.rec.Interfaces), Joined: d.rec.Joined,
		Unnamed: errors.Join(d.remains, others),
	}, nil
}

// carryOut does what the record says, gives up the lock on bridges as soon as their ports show who uses them, and makes
// the record final. It takes everything back when something fails.
func (s *Setup) carryOut(ctx context.Context, ns *kernel.Namespace, rec store.Record, release func()) error {
	k := s.Host.Kernel(ns)
	linked := plan.Linked(rec.Steps)
	done, err := run(ctx, k, rec.Steps[:linked])
	release()
	if err == nil {
		done, err = run(ctx, k, rec.Steps[linked:])
		done += linked
	}
	if err == nil {
		rec.Steps = plan.WithIndexes(rec.Steps, k.Index)
		err = s.commit(ctx, rec)
	}
	if err == nil {
		return nil
	}
	// Only what was done, or may have been, is taken back: a route that was refused because it is there already is
	// somebody else's, even if it looks like ours.
	rec.Steps = rec.Steps[:done]
	return errors.Join(err, s.takeBack(ctx, k, rec))
}

// run carries out steps and says how many of them have to be undone: with one that failed, but for one that found its
// place taken (EEXIST) or was not tried, which has not begun.
func run(ctx context.Context, k apply.Kernel, steps plan.Steps) (int, error) {
	err := apply.Run(ctx, k, steps)
	failed, ok := errors.AsType[*apply.StepError](err)
	switch {
	case !ok:
		return len(steps), err
	case !failed.Begun || errors.Is(err, fs.ErrExist):
		return failed.Index, err
	}
	return failed.Index + 1, err
}

// takeBack undoes an attach that failed.
func (s *Setup) takeBack(ctx context.Context, k apply.Kernel, rec store.Record) error {
	ctx, cancel := background(ctx)
	defer cancel()
	err := s.undo(ctx, k, rec)
	if _, only := errors.AsType[*remainsError](err); err == nil || only {
		return errors.Join(err, s.unhold(ctx, rec))
	}
	// What was never begun is nobody's to undo later either. A record that is gone stays so: then only a bridge is left,
	// which gc knows by its mark.
	err = errors.Join(err, s.Store.Update(ctx, func(tx *store.Tx) error {
		_, there, readErr := tx.Record(rec.Ref())
		if readErr != nil || !there {
			return readErr
		}
		return tx.Put(rec)
	}))
	return fmt.Errorf("not all was taken back, lanhook gc will try again: %w", err)
}

// begin looks, chooses, plans and records, the latter three in one transaction. When what it needs is held by containers
// that are proved dead, it clears them away and begins again.
//
// An attach that uses a bridge holds the lock on shared links from before its record until release is called, so that
// nobody takes the bridge for unused meanwhile. While it clears it must not hold that lock: clearing may remove the
// last user's bridge.
func (s *Setup) begin(ctx context.Context, d *draft) (release func(), err error) {
	for tries := 0; tries < maxTries; tries++ {
		if d.facts, err = s.look(ctx, d.ns, d.attachments); err != nil {
			return nil, err
		}
		release = func() {}
		if d.usesBridge() {
			if release, err = s.Store.LockShared(ctx); err != nil {
				return nil, err
			}
		}
		err = s.Store.Update(ctx, d.record)
		if err == nil {
			return release, nil
		}
		release()
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

// isBounded says whether a reason to begin again has a bound of its own: of namesakes there is one a subnet at most, and
// waiting ends by the clock.
func isBounded(reason error) bool {
	switch reason.(type) { //nolint:errorlint // draft.record gives them as they are
	case *namesakeError, *busyError, *staleError:
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
		d.asked[namesake.ref] = true
		rec, ok, err := s.find(ctx, namesake.ref)
		if err != nil || !ok {
			return err
		}
		if err = s.clearDead(ctx, rec, reason); errors.Is(err, reason) {
			return nil // it lives, or cannot be cleared now: another place will do
		}
		return err
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
	if _, full := errors.AsType[*ipam.ExhaustedError](reason); full {
		collected, err := s.Collect(ctx, CollectOptions{})
		if len(collected.Records) == 0 {
			return errors.Join(reason, err)
		}
		return nil
	}
	return reason
}

// clearDead undoes a record that is proved dead, or else gives the reason back.
func (s *Setup) clearDead(ctx context.Context, rec store.Record, reason error) error {
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
	switch v, err := l.look(s, rec, g); {
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

// commit makes the record final. It is refused when a detach took the record away meanwhile, or when the time is over
// or the container gone: nobody would take the container's interfaces back later.
func (s *Setup) commit(ctx context.Context, rec store.Record) error {
	return s.Store.Update(ctx, func(tx *store.Tx) error {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("cut off before the end: %w", err)
		}
		now, ok, err := tx.Record(rec.Ref())
		if err != nil {
			return err
		}
		if !ok || now.State != store.Pending {
			return fmt.Errorf("container %s was detached while it was being attached", rec.Container)
		}
		rec.State = store.Attached
		return tx.Put(rec)
	})
}

// look asks the kernel for what the plan needs, and waits for parents as long as their networks say.
func (s *Setup) look(ctx context.Context, ns *kernel.Namespace, attachments []policy.Attachment) (plan.Facts, error) {
	var (
		queries  []kernel.Query
		deadline time.Time
	)
	now := time.Now()
	for _, a := range attachments {
		queries = append(queries, kernel.Query{
			IfName:        a.IfName,
			Parent:        a.Network.Parent,
			Bridge:        a.Network.Bridge,
			WantAddresses: a.Network.IPAM != policy.IPAMNone,
		})
		if end := now.Add(a.Network.ParentWait); a.Network.Driver != policy.Bridge && end.After(deadline) {
			deadline = end
		}
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		facts, err := s.Host.Facts(ctx, ns, queries)
		if err == nil && ns != nil {
			facts.HasDefault, err = ns.Defaults()
		}
		if err != nil || ready(attachments, facts) || !time.Now().Before(deadline) {
			return facts, err
		}
		if err := pause(ctx, min(wait, time.Until(deadline))); err != nil {
			return plan.Facts{}, fmt.Errorf("wait for the parent: %w", err)
		}
	}
}

func ready(attachments []policy.Attachment, facts plan.Facts) bool {
	for _, a := range attachments {
		if uplink, ok := facts.Uplink[a.IfName]; a.Network.Driver != policy.Bridge && (!ok || !uplink.Up) {
			return false
		}
	}
	return true
}
