package netsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// carryOut does what the record says, gives up the lock on what is shared as soon as the kernel shows who uses it, and
// makes the record final. It takes everything back when something fails.
func (s *Setup) carryOut(ctx context.Context, d *draft, use *sharing) error {
	k := s.Host.Kernel(d.ns)
	defer k.Close()
	k.Renew = func(ctx context.Context) error { return s.renewFor(ctx, d.rec, use) }
	k.Warn = func(err error) { d.taken = append(d.taken, err) }
	done, err := run(ctx, k, d.rec.Steps[:plan.Linked(d.rec.Steps)])
	use.end()
	if err == nil {
		done, err = s.conclude(ctx, d, k, done)
	}
	rec := d.rec
	if err == nil {
		rec.Steps = plan.WithIndexes(rec.Steps, k.Index)
		rec.Interfaces, d.silent = withLearned(rec.Interfaces, rec.Steps, func(name string) ([]netip.Prefix, kernel.Doubted) {
			return k.Learned(name), k.Doubted(name)
		})
		d.rec.Interfaces = rec.Interfaces
		rec.Warnings = lines(d.warnings())
		err = s.commit(ctx, rec)
	}
	if err == nil {
		return nil
	}
	rec.Steps = begun(rec.Steps, done)
	remains := s.takeBack(ctx, k, rec)
	d.anew = begins(err, remains)
	if remains != nil {
		return errors.Join(err, remains)
	}
	return err
}

// begins says whether an attach that failed for a reason begins again: where that is what it asks for, and nothing remains of what
// was done.
func begins(reason, remains error) bool {
	_, anew := errors.AsType[*anewError](reason)
	return anew && remains == nil
}

// begun is the journal of an attach that failed after so many steps. Only what was done, or may have been, is taken back:
// a route that was refused because it is there already is somebody else's, even if it looks like ours. What records alone
// say whose it is may have been done by whoever renewed the rules meanwhile. What is shared goes with its last user, and
// while the record named it, others may have left it to this one.
func begun(steps plan.Steps, done int) plan.Steps {
	list := slices.Clone(steps[:done])
	for _, step := range steps[done:] {
		if byRecord(step) || isShared(step) {
			list = append(list, step)
		}
	}
	return list
}

// byRecord says whether what a step makes bears no mark but that a record names it.
func byRecord(step plan.Step) bool {
	switch step.(type) {
	case plan.AddRules, plan.ReservePorts, plan.EnsureUplink, plan.AddHostRoute:
		return true
	default:
		return false
	}
}

// isShared says whether a step makes what containers share.
func isShared(step plan.Step) bool {
	switch step.(type) {
	case plan.EnsureBridge, plan.EnsureVLAN, plan.EnsureUplink, plan.EnsureHostLink:
		return true
	default:
		return false
	}
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
		now, there, readErr := tx.Record(rec.Ref())
		if readErr != nil || !there {
			return readErr
		}
		rec.Steps = withRules(rec.Steps, now.Steps)
		return tx.Put(rec)
	}))
	return fmt.Errorf("not all was taken back, lanhook gc will try again: %w", err)
}

// commit makes the record final. It is refused when a detach took the record away meanwhile, or when the time is over
// or the container gone: nobody would take the container's interfaces back later.
func (s *Setup) commit(ctx context.Context, rec store.Record) error {
	return s.Store.Update(ctx, func(tx *store.Tx) error {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("cut off before the end: %w", err)
		}
		now, err := stillPending(tx, rec)
		if err != nil {
			return err
		}
		rec.State, rec.Steps = store.Attached, withRules(rec.Steps, now.Steps)
		return tx.Put(rec)
	})
}

// stillPending is the record as it is stored, or the error that a detach took it away meanwhile.
func stillPending(tx *store.Tx, rec store.Record) (store.Record, error) {
	now, ok, err := tx.Record(rec.Ref())
	if err == nil && (!ok || now.State != store.Pending) {
		err = fmt.Errorf("container %s was detached while it was being attached", rec.Container)
	}
	return now, err
}
