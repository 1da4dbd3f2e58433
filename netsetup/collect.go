package netsetup

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// CollectOptions say how gc works. The zero value removes what is dead.
type CollectOptions struct {
	// DryRun finds but removes nothing.
	DryRun bool
}

// Collected is what gc found dead, and removed unless it was a dry run.
type Collected struct {
	Records []store.Record
	// Bridges bore our mark and no record named them.
	Bridges []string
	// VLANs are sub-interfaces that bore our mark, and that no record named.
	VLANs []string
	// HostLinks are links of the host beside containers that bore our mark, and that no record named.
	HostLinks []string
	// Rules is true when there were tables of the firewall that no record needed.
	Rules bool
	// Guests are the keys of guest files that no record named, and whose owner is dead.
	Guests []string
}

// Collect removes what is proved dead, and only that: records of another boot, of a namespace that is gone and whose
// process is another, of an attach or a detach that was cut off, of a container that has stopped and only shared what
// others have, or left to others what none of them needs any more. Then it removes bridges with our mark and tables of the
// firewall that no record names, and guest files that are nobody's. What others on a LAN were found to have long ago is forgotten.
// It goes on past failures and joins them.
func (s *Setup) Collect(ctx context.Context, o CollectOptions) (Collected, error) {
	var (
		result Collected
		all    []store.Record
		old    bool
		errs   []error
	)
	before := time.Now().Add(-foreignFor)
	if err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		var oldErr error
		old, oldErr = tx.HasOldForeign(before)
		errs = append(errs, oldErr)
		all, err = s.all(tx)
		return err
	}); err != nil {
		return result, err
	}
	var failed []error
	result.Records, failed = s.collect(ctx, all, o)
	swept, err := s.sweep(ctx, o)
	errs = slices.Concat(errs, failed, []error{err})
	result.Bridges, result.VLANs, result.HostLinks, result.Rules = swept.bridges, swept.vlans, swept.hostLinks, swept.rules
	result.Guests, err = s.guests().Collect(ctx, func(keys []string) (map[string]bool, error) {
		return s.named(ctx, keys)
	}, o.DryRun)
	if errs = append(errs, err); old && !o.DryRun {
		errs = append(errs, s.Store.Update(ctx, func(tx *store.Tx) error { return tx.ForgetForeign(before) }))
	}
	return result, errors.Join(errs...)
}

// atOnce is how many records are undone under one lock, during which nobody attaches.
const atOnce = 100

// collect undoes the records that are proved dead, and gives them.
func (s *Setup) collect(ctx context.Context, all []store.Record, o CollectOptions) (dead []store.Record, errs []error) {
	var (
		l      liveness
		undone []*undoing
	)
	done := map[store.Ref]bool{}
	groups := grouped(all, s.BootID)
	for _, rec := range all {
		if done[rec.Ref()] {
			continue
		}
		v, err := l.look(s, rec, groups[identity(rec)])
		if err != nil || v == living {
			errs = append(errs, err)
			continue
		}
		gone := []store.Record{rec}
		switch {
		case o.DryRun:
		case v == idle:
			var d departure
			d, err = s.leave(ctx, rec.Ref(), unneeded)
			gone = d.gone
		default:
			undone, gone = append(undone, undoOwn(ctx, s.undoer(rec), rec)), nil
		}
		for _, rec := range gone {
			done[rec.Ref()] = true
		}
		dead, errs = append(dead, gone...), append(errs, err)
	}
	for part := range slices.Chunk(undone, atOnce) {
		errs = append(errs, s.finish(ctx, part...))
		for _, u := range part {
			if errs = append(errs, u.err); u.err == nil {
				dead = append(dead, u.rec)
			}
		}
	}
	return dead, errs
}

// grouped sorts the records of this boot by their namespaces.
func grouped(all []store.Record, bootID string) map[kernel.Identity]group {
	groups := map[kernel.Identity]group{}
	for _, rec := range all {
		if rec.BootID == bootID {
			groups[identity(rec)] = append(groups[identity(rec)], rec)
		}
	}
	return groups
}

// swept is what no record names.
type swept struct {
	bridges, vlans, hostLinks []string
	rules                     bool
}

// sweep removes what bears our mark and no record names: bridges without a port, VLAN sub-interfaces on which nothing hangs, and
// the firewall's tables. A detach was cut off, or the state was lost. What cannot be looked at, or removed, does not keep the rest.
func (s *Setup) sweep(ctx context.Context, o CollectOptions) (swept, error) {
	hostLinks, linksErr := s.sweepHostLinks(ctx, o)
	bridges, bridgesErr := s.Host.IdleBridges()
	vlans, vlansErr := s.Host.VLANs()
	errs := []error{linksErr, bridgesErr, vlansErr}
	all := plan.Steps{plan.ReleaseRules{}}
	for _, name := range bridges {
		all = append(all, plan.ReleaseBridge{Name: name})
	}
	for _, sub := range vlans {
		all = append(all, plan.ReleaseVLAN(sub))
	}
	found := swept{hostLinks: hostLinks}
	all, err := s.stillUnused(ctx, all)
	if err != nil {
		return found, errors.Join(append(errs, err)...)
	}
	var going []string
	if o.DryRun {
		going = hostLinks // else they have gone
	}
	all, err = s.provedIdle(all, going)
	errs = append(errs, err)
	for _, step := range all {
		switch st := step.(type) {
		case plan.ReleaseBridge:
			found.bridges = append(found.bridges, st.Name)
		case plan.ReleaseVLAN:
			found.vlans = append(found.vlans, st.Name)
		case plan.ReleaseRules:
			found.rules = true
		}
	}
	if !o.DryRun {
		errs = append(errs, s.releaseUnused(ctx, inOrder(all), false))
	}
	return found, errors.Join(errs...)
}

// sweepHostLinks removes links of the host beside containers that no record names, and beside which no container is left of
// which a record was lost: it would be cut off from its host. They go first: on what they hang may be idle then.
func (s *Setup) sweepHostLinks(ctx context.Context, o CollectOptions) ([]string, error) {
	names, err := s.Host.HostLinks()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var all plan.Steps
	for _, name := range names {
		all = append(all, plan.ReleaseHostLink{Name: name, Proved: true})
	}
	if all, err = s.stillUnused(ctx, all); err != nil || len(all) == 0 {
		return nil, err
	}
	known, err := s.marks(ctx)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, step := range all {
		if st, ok := step.(plan.ReleaseHostLink); ok {
			found = append(found, st.Name)
		}
	}
	if found, err = s.Host.IdleHostLinks(found, known); err != nil || o.DryRun {
		return found, err
	}
	all = slices.DeleteFunc(all, func(step plan.Step) bool {
		st, ok := step.(plan.ReleaseHostLink)
		return ok && !slices.Contains(found, st.Name)
	})
	return found, s.releaseUnused(ctx, all, false)
}

// marks are the ids of all records, which the links of their containers bear.
func (s *Setup) marks(ctx context.Context) (map[string]bool, error) {
	known := map[string]bool{}
	err := s.Store.View(ctx, func(tx *store.Tx) error {
		all, err := s.all(tx)
		for _, rec := range all {
			known[rec.ID] = true
		}
		return err
	})
	return known, err
}

// provedIdle are the removals of what no record names and of which the kernel shows that nobody uses it. gone are links that
// would have gone before.
func (s *Setup) provedIdle(all plan.Steps, gone []string) (plan.Steps, error) {
	var (
		vlans []plan.Sub
		left  plan.Steps
		errs  []error
	)
	for _, step := range all {
		switch st := step.(type) {
		case plan.ReleaseBridge:
			gone, left = append(gone, st.Name), append(left, st)
		case plan.ReleaseVLAN:
			vlans = append(vlans, plan.Sub(st))
		case plan.ReleaseRules:
			there, err := s.hasRules()
			if errs = append(errs, err); there {
				left = append(left, st)
			}
		}
	}
	vlans, err := s.Host.IdleVLANs(vlans, gone)
	for _, sub := range vlans {
		left = append(left, plan.ReleaseVLAN(sub))
	}
	return left, errors.Join(append(errs, err)...)
}

// hasRules says whether there are tables of the firewall, when no record needs one. A kernel without nftables has none.
func (s *Setup) hasRules() (bool, error) {
	drift, err := s.Host.RuleDrift(nil)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPROTONOSUPPORT) || errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	return err == nil && len(drift) > 0, err
}

// liveness proves that records are dead. It scans the machine's namespaces at most once, and only when nothing cheaper
// decides.
type liveness struct {
	scanned bool
	living  kernel.Living
}

// verdict is what is known of a record's container.
type verdict uint8

const (
	// living is also what cannot be proved dead.
	living verdict = iota
	// idle is a record that nothing living needs, in a namespace that may live.
	idle
	// over is proved dead.
	over
)

// look says whether a record's container is proved dead; what cannot be proved lives. g is the records of its namespace.
func (l *liveness) look(s *Setup, rec store.Record, g group) (verdict, error) {
	working := rec.State != store.Attached && alive(rec.Writer)
	switch {
	case rec.BootID != s.BootID:
		return over, nil
	case working, rec.State == store.Attached && !rec.Left && alive(rec.Process):
		return living, nil
	case rec.Host != s.hostNetNS():
		// Its number for the namespace is no number of ours. With its host, its links are gone.
		lives, err := l.lives(s, kernel.Identity(rec.Host))
		return verdictOf(lives), err
	case rec.State != store.Attached:
		return over, nil
	case g.unneeded(rec):
		return idle, nil
	}
	used, err := s.Host.Alive(rec.NetNS.NSID)
	if err != nil || !used || kernel.OwnNSID(rec.NetNS.NSID) {
		return verdictOf(used), err
	}
	// Somebody else had given the namespace a number before, such as ip-netns(8): one of those that the kernel gives
	// again. It is the container's namespace still, without its first process, or another one by now.
	lives, err := l.lives(s, identity(rec))
	return verdictOf(lives), err
}

func verdictOf(lives bool) verdict {
	if lives {
		return living
	}
	return over
}

// lives says whether a namespace is found among those of all threads and mounts.
func (l *liveness) lives(s *Setup, id kernel.Identity) (bool, error) {
	if !l.scanned {
		living, err := s.Host.Scan()
		if err != nil {
			return false, err
		}
		l.living, l.scanned = living, true
	}
	_, ok := l.living.Path(id)
	return ok, nil
}

// all reads all records. One that cannot be read stops the collection: what it holds is not known.
func (s *Setup) all(tx *store.Tx) ([]store.Record, error) {
	var all []store.Record
	for rec, err := range tx.All() {
		if err != nil {
			return nil, err
		}
		all = append(all, rec)
	}
	return all, nil
}
