package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

const (
	// foreignFor is how long an address that somebody else was found to have is not tried again.
	foreignFor = 10 * time.Minute
	// foreignAtLeast is the same where all others are in use, and whoever has it is no container that may have ended.
	foreignAtLeast = time.Minute
	// dying is how long a container's end may take in the kernel: its namespace answers for its addresses until then.
	dying = 2 * time.Second
	// askAgain is what lies between two questions for one address meanwhile: whoever has it may answer within microseconds.
	askAgain = 100 * time.Millisecond
)

// anewError says that an attach has to begin from the start after its steps were taken back: with another address its link
// would be another one too, as where its MAC address follows from it, or something is in the way that is looked at there.
type anewError struct{ why error }

func (e *anewError) Error() string { return e.why.Error() }

func (e *anewError) Unwrap() error { return e.why }

// conclude carries out what comes after so many steps, and says how many are done in all, as [run] does. Where it turns out that
// somebody on the LAN has an address, another one is chosen, and it goes on from there with the new record.
func (s *Setup) conclude(ctx context.Context, d *draft, k apply.Kernel, done int) (int, error) {
	var last *kernel.TakenError
	asking := time.Now()
	for {
		d.taken = nil // said again if it is still so
		more, err := run(ctx, k, d.rec.Steps[done:])
		done += more
		taken, is := errors.AsType[*kernel.TakenError](err)
		if is {
			done-- // to ask changes nothing
			last = taken
			if !taken.Late && d.awaits(taken) && time.Since(asking) < dying && pause(ctx, askAgain) == nil {
				continue
			}
			err = s.chooseAgain(ctx, d, taken, done)
		}
		cutOff := err != nil && last != nil && context.Cause(ctx) != nil
		switch {
		case cutOff:
			return done, fmt.Errorf("%w; of %d addresses that were tried, the last one: %w", err, len(d.tried), last)
		case is && err == nil:
		case is && !taken.Late && isLast(err) && mayEnd(taken) && time.Since(asking) < dying && pause(ctx, askAgain) == nil:
		default:
			return done, err
		}
	}
}

// chooseAgain gives the interfaces whose addresses others have other ones, and writes the record anew with the plan that
// follows. The first done steps have been carried out, and are the same in that plan. It gives the conflict back where an
// address was asked for, or where the network wants no other; else the error is an [*anewError], or of the store.
func (s *Setup) chooseAgain(ctx context.Context, d *draft, taken *kernel.TakenError, done int) error {
	found, host := make([]store.Foreign, 0, len(taken.Found)), false
	for _, f := range taken.Found {
		i := slices.IndexFunc(d.own, func(a policy.Attachment) bool { return a.IfName == f.If })
		if i < 0 || !replaces(d.own[i], f.Addr) || f.Host && d.own[i].Network.NamesHost() {
			return taken
		}
		host = host || f.Host
		d.tried = append(d.tried, f.Addr)
		d.rivals = d.rivals || f.Asks
		found = append(found, store.Foreign{
			Scope: d.own[i].Network.Scope(d.facts.Wire(d.own[i])), Addr: f.Addr, MAC: plan.MAC(f.MAC), Seen: time.Now(),
		})
	}
	// For itself, so that it stays when the rest does not.
	err := s.Store.Update(ctx, func(tx *store.Tx) error { return tx.PutForeign(found, time.Now().Add(-foreignFor)) })
	if err != nil {
		return err
	}
	if host {
		return &anewError{taken} // others may have chosen it, since the record says so
	}
	before := d.rec
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		_, inErr := stillPending(tx, d.rec)
		if inErr != nil {
			return inErr
		}
		d.rec.Leases = nil
		if inErr = d.plan(tx); inErr != nil {
			return &anewError{inErr}
		}
		if len(d.rec.Steps) < done || !reflect.DeepEqual(d.rec.Steps[:done], before.Steps[:done]) {
			return &anewError{taken}
		}
		return tx.Put(d.rec)
	})
	if err != nil {
		d.rec = before
	}
	return err
}

// isLast says whether a conflict has no other address as a way out.
func isLast(err error) bool {
	_, kept := errors.AsType[*kernel.TakenError](err)
	return kept || isFull(err)
}

// mayEnd says whether those who have addresses may all be containers that are about to end.
func mayEnd(taken *kernel.TakenError) bool {
	return !slices.ContainsFunc(taken.Found, func(f kernel.Taken) bool { return f.Asks || !isLocal(f.MAC) })
}

// awaits says whether a workload rather asks again than takes another address: one is reserved for it, or whoever has it may be an
// earlier container of its name, whose record is gone already and whose namespace the kernel is still taking apart.
func (d *draft) awaits(taken *kernel.TakenError) bool {
	return mayEnd(taken) && (len(d.asked) > 0 || slices.ContainsFunc(taken.Found, func(f kernel.Taken) bool {
		return slices.ContainsFunc(d.own, func(a policy.Attachment) bool { return a.IfName == f.If && isReserved(a, f.Addr) })
	}))
}

// isLocal says whether a MAC address is locally administered (IEEE 802), as those of containers are and those of cards are not.
func isLocal(mac []byte) bool { return mac[0]&0x02 != 0 }

// replaces says whether another address will do for one of an attachment.
func replaces(a policy.Attachment, addr netip.Addr) bool {
	asked := slices.ContainsFunc(a.IPs, func(p netip.Prefix) bool { return p.Addr() == addr })
	return !asked && movesOn(a)
}

// movesOn says whether an attachment takes the next address when somebody has one.
func movesOn(a policy.Attachment) bool {
	return a.Network.Conflict == policy.ConflictNext || a.Network.Conflict == policy.ConflictRFC
}

// pick takes a free address of the subnet, from the place that belongs to this host, network and workload on. What others on
// the LAN were found to have is tried again, when it is not too recent, where nothing else is free.
func (d *draft) pick(tx *store.Tx, l lan, a policy.Attachment, sub policy.Subnet) (netip.Addr, error) {
	p := picking{draft: d, tx: tx, lan: l, foreign: movesOn(a)}
	pool, start := l.pool(a, sub), d.place(a)
	if d.rivals {
		// Whoever asked for the same one at the same time would go on to the next with it.
		start = ipam.Place(d.HostID, a.Network.Name, d.rec.ID, a.IfName)
	}
	addr, err := p.search(pool, start)
	switch {
	case p.stop != nil:
		return netip.Addr{}, p.stop
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%s: network %s: %w", a.IfName, a.Network.Name, err)
	}
	return addr, d.take(tx, store.Lease{Scope: l.scope, Addr: addr, IfName: a.IfName})
}

// picking is one search for a free address.
type picking struct {
	*draft
	tx  *store.Tx
	lan lan
	// foreign says that what others on the LAN have counts.
	foreign bool
	// scarce says that no other address is free but those that may be tried again; older is true when one was met.
	scarce, older bool
	// begun says that the workload's own place was looked at.
	begun bool
	// stop is why the search has no use.
	stop error
}

// search looks for a free address from a place on. Where it has no use to go on, p.stop says why.
func (p *picking) search(pool ipam.Pool, start uint64) (netip.Addr, error) {
	addr, err := ipam.Pick(pool, start, p.used)
	if err != nil && p.stop == nil && p.older {
		p.scarce = true
		addr, err = ipam.Pick(pool, start, p.used)
	}
	return addr, err
}

// used says by whom an address is in use.
func (p *picking) used(addr netip.Addr) (holder string, taken bool) {
	if holder, taken = p.lan.has(addr); taken {
		return holder, true // the next one is the workload's place then
	}
	if p.sibling(p.lan.scope, addr) != "" {
		return p.rec.Container, true
	}
	lease, taken, err := p.tx.Holder(p.lan.scope, addr)
	taken = taken && lease.Ref() != p.rec.Ref() // it keeps what it has when it chooses again
	if err == nil && taken && !p.begun {
		err = p.namesake(p.tx, lease)
	}
	p.begun = true
	if err == nil && !taken && p.foreign {
		var f store.Foreign
		if f, taken, err = p.tx.Foreign(p.lan.scope, addr); taken {
			taken = p.counts(f)
			lease.Container = fmt.Sprintf("%s of the LAN", f.MAC)
		}
	}
	if err != nil {
		p.stop = err
		return "", false
	}
	return lease.Container, taken
}

// sibling is the interface of this container that has got an address of a scope before, or asks for it; "" for none.
func (d *draft) sibling(scope string, addr netip.Addr) string {
	for _, l := range d.rec.Leases {
		if l.Scope == scope && l.Addr == addr {
			return l.IfName
		}
	}
	for _, a := range d.own {
		if slices.ContainsFunc(a.IPs, func(p netip.Prefix) bool { return p.Addr() == addr }) {
			return a.IfName
		}
	}
	return ""
}

// counts says whether an address that others were found to have is not to be tried. None is tried twice for one attach.
func (p *picking) counts(f store.Foreign) bool {
	age := time.Since(f.Seen)
	if age < 0 {
		age = foreignFor // the clock was set back, and nobody knows how old it is
	}
	again := (isLocal(f.MAC) || age >= foreignAtLeast) && !slices.Contains(p.tried, f.Addr)
	p.older = p.older || again && age < foreignFor
	return age < foreignFor && (!again || !p.scarce)
}
