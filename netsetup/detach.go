package netsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// Detach takes back what the records of a container id say, as a runtime asks for when the container has stopped. It
// succeeds for an unknown id, and says so. It goes on past every failure; what could not be taken back keeps its record
// for gc.
//
// What belongs to a container that still runs is left alone: a late poststop of an earlier container of the same id must
// not cut off the one that runs now. What other containers of the namespace have joined is left to them, unless the
// container is their pod's sandbox; the last of them takes it back.
func (s *Setup) Detach(ctx context.Context, id string) (Detached, error) {
	result := Detached{Container: id}
	var (
		records []store.Record
		alone   map[store.Ref]bool
	)
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		if records, err = tx.ByContainer(id); err == nil {
			alone, err = s.alone(tx, records)
		}
		return err
	})
	if err != nil {
		return result, err
	}
	var errs []error
	// One deadline for all of that id, of which other engines may have some that run.
	deadline := time.Now().Add(stopGrace)
	for _, rec := range records {
		if rec.BootID == s.BootID && outlives(ctx, rec.Process, deadline) {
			result.Alive = append(result.Alive, rec.Ref())
			continue
		}
		result.Found = true
		d := departure{gone: []store.Record{rec}}
		if alone[rec.Ref()] {
			err = s.undo(ctx, s.undoer(rec), rec)
		} else {
			d, err = s.end(ctx, rec, stopped)
		}
		if d.kept {
			result.Left = append(result.Left, rec.Ref())
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, rec := range d.gone {
			result.Interfaces = append(result.Interfaces, rec.Interfaces...)
		}
	}
	return result, errors.Join(errs...)
}

// alone finds the records that nobody shares, nor ever will: their process is dead, and nobody joins an owner whose
// process is dead unless others have before. They need no mark, and their detach one transaction less.
func (s *Setup) alone(tx *store.Tx, records []store.Record) (map[store.Ref]bool, error) {
	list := map[store.Ref]bool{}
	for _, rec := range records {
		if rec.Left || rec.State == store.Leaving || len(rec.Joined) > 0 || mayLive(rec.Process) {
			continue
		}
		g, err := s.groupOf(tx, rec.NetNS)
		if err != nil {
			return nil, err
		}
		list[rec.Ref()] = len(g) == 1
	}
	return list, nil
}

// end lets a record go, in whatever boot and host it was written.
func (s *Setup) end(ctx context.Context, rec store.Record, why ending) (departure, error) {
	if !s.isHere(rec) {
		return departure{gone: []store.Record{rec}}, s.undo(ctx, s.undoer(rec), rec)
	}
	return s.leave(ctx, rec.Ref(), why)
}

// Release takes back what one record says, whether its container runs or not, and whether others share it or not: they
// lose it. A record that is gone is no error.
func (s *Setup) Release(ctx context.Context, ref store.Ref) error { return s.endOf(ctx, ref, unwanted) }

// Leave takes back what one record says as [Setup.Detach] does, but without a look whether its container runs.
func (s *Setup) Leave(ctx context.Context, ref store.Ref) error { return s.endOf(ctx, ref, stopped) }

func (s *Setup) endOf(ctx context.Context, ref store.Ref, why ending) error {
	rec, ok, err := s.find(ctx, ref)
	if err != nil || !ok {
		return err
	}
	_, err = s.end(ctx, rec, why)
	return err
}

// undoer gives the kernel in which a record is undone. It reaches the container's namespace by the id that the host has
// for it, so a namespace that is dead needs no look for it.
func (s *Setup) undoer(rec store.Record) apply.Kernel {
	if !s.isHere(rec) {
		return gone{}
	}
	return s.Host.KernelByID(rec.NetNS.NSID, func() (*kernel.Namespace, error) {
		return s.open(rec)
	})
}

// gone is the kernel of another boot, or of another host namespace: nothing of it is left, or to be reached from here.
type gone struct{}

func (gone) Apply(context.Context, plan.Step) error { return nil }

// open finds the living namespace of a record, where it was first or else where it is found.
func (s *Setup) open(rec store.Record) (*kernel.Namespace, error) {
	var known []string
	if alive(rec.Process) {
		known = append(known, fmt.Sprintf("/proc/%d/ns/net", rec.Process.PID))
	}
	if rec.NetNS.Path != "" {
		known = append(known, rec.NetNS.Path)
	}
	for _, path := range known {
		ns, err := s.Host.Namespace(path)
		if err == nil && ns.Identity() == identity(rec) {
			return ns, nil
		}
		if err == nil {
			ns.Close()
		}
	}
	living, err := s.Host.Scan()
	if err != nil {
		return nil, err
	}
	path, ok := living.Path(identity(rec))
	if !ok {
		return nil, fmt.Errorf("open the namespace of %s: no process and no mount holds it: %w", rec.Container,
			fs.ErrNotExist)
	}
	return s.Host.Namespace(path)
}

// remainsError is what could not be tidied up after a record had gone with all that it said: a bridge that nobody uses,
// files, or the names in those of others. gc, or the next attach on the network, does it.
type remainsError struct{ err error }

func (e *remainsError) Error() string { return e.err.Error() }

func (e *remainsError) Unwrap() error { return e.err }

func remaining(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return &remainsError{err}
	}
	return nil
}
