package netsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lanhook/lanhook/netsetup/store"
)

// ending is why a record is to go.
type ending uint8

const (
	// stopped says that its container has stopped. What others have joined is left to them.
	stopped ending = iota
	// unneeded says that nothing that lives needs it, which is looked at again.
	unneeded
	// unwanted says that it is to go although others have joined it.
	unwanted
)

// departure is what becomes of a record that is to go.
type departure struct {
	// kept is true when it was left to those that joined it.
	kept bool
	// gone are the records that go: it itself, and what nobody but it kept.
	gone []store.Record
	// busy is set while another process undoes the record.
	busy *busyError
}

// leaveWait bounds how long a detach waits for another one of the same record. The kernel needs some milliseconds a link.
const leaveWait = 2 * time.Second

// leave lets a record go, and gives what was undone. A record that is gone already is no error.
func (s *Setup) leave(ctx context.Context, ref store.Ref, why ending) (departure, error) {
	d, err := s.decide(ctx, ref, why)
	if err != nil {
		return departure{}, err
	}
	var (
		gone []store.Record
		errs []error
	)
	for _, rec := range d.gone {
		if isBare(rec) {
			gone = append(gone, rec)
			continue
		}
		err := s.undo(ctx, s.undoer(rec), rec)
		if _, only := errors.AsType[*remainsError](err); err != nil && !only {
			errs = append(errs, err, s.disown(ctx, rec.Ref()))
			continue
		}
		errs = append(errs, err)
		gone = append(gone, rec)
	}
	d.gone = gone
	return d, errors.Join(errs...)
}

// decide marks what goes with a record, and waits for who is at it already.
func (s *Setup) decide(ctx context.Context, ref store.Ref, why ending) (departure, error) {
	deadline := time.Now().Add(leaveWait)
	for {
		var d departure
		err := s.Store.Update(ctx, func(tx *store.Tx) (err error) {
			d, err = s.depart(tx, ref, why)
			return err
		})
		if err != nil || d.busy == nil {
			return d, err
		}
		if time.Now().After(deadline) {
			return departure{}, d.busy
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return departure{}, fmt.Errorf("%w: %w", d.busy, err)
		}
	}
}

// depart decides, within one transaction, what goes with a record: it itself, unless others have joined it; all of the
// pod, when it is the sandbox's; and what it had joined, when that was left to it and nobody else needs it.
func (s *Setup) depart(tx *store.Tx, ref store.Ref, why ending) (departure, error) {
	rec, ok, err := tx.Record(ref)
	if err != nil || !ok {
		return departure{}, err
	}
	if s.isBusy(rec) {
		return departure{busy: &busyError{rec: rec}}, nil
	}
	g, err := s.groupOf(tx, rec.NetNS)
	if err != nil || why == unneeded && !g.unneeded(rec) {
		return departure{}, err
	}
	d := departure{gone: []store.Record{rec}}
	joined := rec.Joined
	switch {
	case why == unwanted:
		var followers []store.Record
		if followers, err = g.abandon(tx, ref); err != nil {
			return departure{}, err
		}
		d.gone = append(d.gone, followers...)
	case rec.Sandbox:
		d.add(slices.DeleteFunc(slices.Clone(g), s.isBusy)...)
	case g.held(ref, ref):
		d.kept, d.gone = true, nil
		rec.Left, rec.Joined = true, nil
		if err := tx.Put(rec); err != nil {
			return departure{}, err
		}
	}
	for _, owner := range g {
		over := owner.Left || why != unneeded && !mayLive(owner.Process)
		if over && owner.State == store.Attached && slices.Contains(joined, owner.Ref()) && !g.held(owner.Ref(), ref) {
			d.add(owner)
		}
	}
	return d, s.claim(tx, d.gone)
}

// unhold undoes what had been left to a container that did not get to use it.
func (s *Setup) unhold(ctx context.Context, rec store.Record) error {
	var errs []error
	for _, ref := range rec.Joined {
		_, err := s.leave(ctx, ref, unneeded)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// isBusy says whether another process undoes a record.
func (s *Setup) isBusy(rec store.Record) bool {
	return rec.State == store.Leaving && rec.Writer != store.Process(s.Self) && alive(rec.Writer)
}

func (d *departure) add(records ...store.Record) {
	for _, rec := range records {
		if !slices.ContainsFunc(d.gone, func(r store.Record) bool { return r.Ref() == rec.Ref() }) {
			d.gone = append(d.gone, rec)
		}
	}
}

// claim says of records that this process undoes them, so that nobody joins them any more. Those of which there is
// nothing to undo it deletes at once.
func (s *Setup) claim(tx *store.Tx, records []store.Record) error {
	for i := range records {
		if isBare(records[i]) {
			if err := tx.Delete(records[i].Ref()); err != nil {
				return err
			}
			continue
		}
		records[i].State, records[i].Writer = store.Leaving, store.Process(s.Self)
		if err := tx.Put(records[i]); err != nil {
			return err
		}
	}
	return nil
}

// disown says of a record that could not be undone that nobody is at it any more, so that gc tries again.
func (s *Setup) disown(ctx context.Context, ref store.Ref) error {
	return s.Store.Update(ctx, func(tx *store.Tx) error {
		rec, ok, err := tx.Record(ref)
		if err != nil || !ok || rec.Writer != store.Process(s.Self) {
			return err
		}
		rec.Writer = store.Process{}
		return tx.Put(rec)
	})
}

// unneeded says whether nothing that lives needs a record, by the records alone: its namespace may well live.
func (g group) unneeded(rec store.Record) bool {
	switch {
	case rec.State != store.Attached:
		return !alive(rec.Writer)
	case rec.Left:
		return !g.held(rec.Ref(), store.Ref{})
	}
	return isMember(rec) && !mayLive(rec.Process)
}

// isBare says whether a record is all that there is of an attach.
func isBare(rec store.Record) bool {
	return len(rec.Steps) == 0 && len(rec.Shared) == 0 && rec.Guest == "" && len(rec.Names) == 0
}

// isMember says whether a record has nothing but what it joined, or files to read.
func isMember(rec store.Record) bool { return len(rec.Interfaces) == 0 }

// abandon takes a record from all that joined it, and gives those that have nothing without it.
func (g group) abandon(tx *store.Tx, ref store.Ref) ([]store.Record, error) {
	var empty []store.Record
	for _, rec := range g {
		if !slices.Contains(rec.Joined, ref) {
			continue
		}
		rec.Joined = slices.DeleteFunc(slices.Clone(rec.Joined), func(r store.Ref) bool { return r == ref })
		if len(rec.Joined) == 0 && len(rec.Interfaces) == 0 {
			empty = append(empty, rec)
			continue
		}
		if err := tx.Put(rec); err != nil {
			return nil, err
		}
	}
	return empty, nil
}
