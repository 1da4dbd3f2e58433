package netsetup

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// wholeScope is the scope of leases of host addresses that are a container's as a whole.
const wholeScope = "dnat"

func portScope(protocol request.Protocol, port uint16) string {
	return fmt.Sprintf("port/%s/%d", protocol, port)
}

// portText is a host port as messages have it.
func portText(protocol request.Protocol, addr netip.Addr, port uint16) string {
	return fmt.Sprintf("port %d/%s of %s", port, protocol, addr)
}

// noPortError says that a rule grants no port that is free.
type noPortError struct {
	ifName    string
	container string
	ranges    string
	tried     int
}

func (e *noPortError) Error() string {
	return fmt.Sprintf("%s: publish port %s: no port of the host is free in %s, of which %d were looked at",
		e.ifName, e.container, e.ranges, e.tried)
}

// Hint says what would help.
func (e *noPortError) Hint() string {
	return "ask for a port of the host by its number, or have the rule grant more; lanhook ports shows who has them"
}

// entry is one published entry of one of the container's own attachments.
type entry struct {
	policy.Publish
	attachment policy.Attachment
	port       *uint16
}

// publish takes the host's ports and addresses that the attachments publish. Ports that are asked for by number come
// first, so that no free one that is chosen takes them.
func (d *draft) publish(tx *store.Tx, choices []plan.Choice) error {
	var free [][]entry
	for i, a := range d.own {
		choices[i].Ports = make([]uint16, len(a.Publish))
		for j, p := range a.Publish {
			e := entry{Publish: p, attachment: a, port: &choices[i].Ports[j]}
			if p.Host == 0 {
				free = sameAsked(free, e)
				continue
			}
			if err := d.takePorts(tx, e, p.Host); err != nil {
				return err
			}
		}
		for _, addr := range a.DNAT {
			if err := d.takeWhole(tx, a, addr); err != nil {
				return err
			}
		}
	}
	for _, entries := range free {
		port, err := d.freePort(tx, entries)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := d.takePorts(tx, e, port); err != nil {
				return err
			}
		}
	}
	return nil
}

// sameAsked puts an entry to those of the same place in the request, which get the same port.
func sameAsked(groups [][]entry, e entry) [][]entry {
	for i, g := range groups {
		if g[0].Asked == e.Asked && g[0].Container == e.Container {
			groups[i] = append(g, e)
			return groups
		}
	}
	return append(groups, []entry{e})
}

func (d *draft) takePorts(tx *store.Tx, e entry, port uint16) error {
	*e.port = port
	for n := range e.Count {
		number := port + uint16(n)
		holder, taken, err := portHolder(tx, e.Protocol, e.Addr, number)
		if err != nil {
			return err
		}
		what := portText(e.Protocol, e.Addr, number)
		if taken && holder.Ref() == d.rec.Ref() || d.holds(e, number) {
			return fmt.Errorf("%s: publish %s: the container asks for it twice", e.attachment.IfName, what)
		}
		if taken {
			return tx.InUse(what, holder)
		}
		lease := store.Lease{Scope: portScope(e.Protocol, number), Addr: e.Addr, IfName: e.attachment.IfName}
		if err := d.take(tx, lease); err != nil {
			return err
		}
	}
	return nil
}

// portHolder is the lease that stands against one of a host port: of the same address, or of all of its family, or of
// any when all are wanted.
func portHolder(tx *store.Tx, protocol request.Protocol, addr netip.Addr, port uint16) (store.Lease, bool, error) {
	for lease, err := range tx.Leases(portScope(protocol, port)) {
		if err != nil {
			return store.Lease{}, false, err
		}
		if stands(lease, addr) {
			return lease, true, nil
		}
	}
	return store.Lease{}, false, nil
}

// stands says whether a lease of a port stands against one of the same port of addr.
func stands(lease store.Lease, addr netip.Addr) bool {
	return lease.Addr.Is4() == addr.Is4() &&
		(lease.Addr == addr || lease.Addr.IsUnspecified() || addr.IsUnspecified())
}

func (d *draft) takeWhole(tx *store.Tx, a policy.Attachment, addr netip.Addr) error {
	holder, taken, err := tx.Holder(wholeScope, addr)
	if err != nil {
		return err
	}
	if taken {
		return tx.InUse(fmt.Sprintf("address %s of this host", addr), holder)
	}
	return d.take(tx, store.Lease{Scope: wholeScope, Addr: addr, IfName: a.IfName})
}

// maxBound is how many ports are tried on the kernel at most, when no lease says who has them.
const maxBound = 1000

// freePort looks for host ports, one after the other, that are free for all entries, from the place on that belongs to
// this host and workload: so a workload gets the same port again as long as it is free.
func (d *draft) freePort(tx *store.Tx, entries []entry) (uint16, error) {
	first := entries[0]
	candidates := d.candidates(first.Publish)
	var total, tried, bound int
	for _, r := range candidates {
		total += max(0, int(r.To)-int(r.From)-first.Count+2)
	}
	if total > 0 {
		place := ipam.Place("port", d.HostID, d.container.Workload, first.Protocol.String(), strconv.Itoa(int(first.Container)))
		start := int(place % uint64(total)) //nolint:gosec // G115: both are at most 65536
		for ; tried < total && bound < maxBound; tried++ {
			port := candidateAt(candidates, first.Count, (start+tried)%total)
			held, err := d.leased(tx, entries, port, tried == 0)
			if err != nil {
				return 0, err
			}
			if held {
				continue
			}
			bound++
			busy, err := d.bound(entries, port)
			if err != nil || !busy {
				return port, err
			}
		}
	}
	var words []string
	for _, r := range candidates {
		words = append(words, fmt.Sprintf("%d-%d/%s", r.From, r.To, first.Protocol))
	}
	asked := request.Port{Container: first.Container, Count: first.Count, Protocol: first.Protocol}
	return 0, &noPortError{
		ifName: first.attachment.IfName, container: asked.String(), ranges: cmp.Or(strings.Join(words, ", "), "nothing"),
		tried: tried,
	}
}

// candidates are the ranges that a free port is chosen from. Where a rule grants all ports it is the range that the host
// chooses from for itself, as Docker does, but for what the administrator keeps out of that.
func (d *draft) candidates(p policy.Publish) []plan.Ports {
	var list []plan.Ports
	for _, r := range p.Free {
		if r.Protocol != p.Protocol {
			continue
		}
		if r.From <= 1 && r.To == math.MaxUint16 {
			return without(d.facts.Ephemeral, d.facts.Reserved)
		}
		list = append(list, plan.Ports{From: r.From, To: r.To})
	}
	return list
}

// without is a range less others.
func without(all plan.Ports, others []plan.Ports) []plan.Ports {
	others = slices.Clone(others)
	sort.Slice(others, func(i, j int) bool { return others[i].From < others[j].From })
	var list []plan.Ports
	from := int(all.From)
	for _, o := range others {
		if int(o.From) > from {
			list = append(list, plan.Ports{From: uint16(from), To: min(o.From-1, all.To)}) //nolint:gosec // G115: below o.From
		}
		from = max(from, int(o.To)+1)
		if from > int(all.To) {
			return list
		}
	}
	return append(list, plan.Ports{From: uint16(from), To: all.To}) //nolint:gosec // G115: at most all.To
}

// candidateAt is the n-th first port of those that leave room for count within their range.
func candidateAt(ranges []plan.Ports, count, n int) uint16 {
	for _, r := range ranges {
		size := max(0, int(r.To)-int(r.From)-count+2)
		if n < size {
			return r.From + uint16(n) //nolint:gosec // G115: within the range
		}
		n -= size
	}
	return 0
}

// leased says whether one of the ports is held by a record, this one's included. first is true for the workload's own
// place, which a dead namesake may hold.
func (d *draft) leased(tx *store.Tx, entries []entry, port uint16, first bool) (bool, error) {
	for _, e := range entries {
		for n := range e.Count {
			holder, taken, err := portHolder(tx, e.Protocol, e.Addr, port+uint16(n))
			if err == nil && taken && first {
				err = d.namesake(tx, holder)
			}
			if err != nil || taken {
				return taken, err
			}
			if d.holds(e, port+uint16(n)) {
				return true, nil
			}
		}
	}
	return false, nil
}

// holds says whether the draft itself has a port, which in a plan that is only shown no transaction knows of.
func (d *draft) holds(e entry, port uint16) bool {
	scope := portScope(e.Protocol, port)
	return slices.ContainsFunc(d.rec.Leases, func(l store.Lease) bool {
		return l.Scope == scope && stands(l, e.Addr)
	})
}

// bound says whether a process of the host has one of the ports.
func (d *draft) bound(entries []entry, port uint16) (bool, error) {
	for _, e := range entries {
		for n := range e.Count {
			taken, err := d.Host.Taken(e.Protocol, e.Addr, port+uint16(n))
			if err != nil || taken {
				return taken, err
			}
		}
	}
	return false, nil
}

// ownReserved are the ports that are kept from the host's own connections, and that a record says lanhook has kept so.
func (d *draft) ownReserved(tx *store.Tx, choices []plan.Choice) ([]uint16, error) {
	var own []uint16
	for i, a := range d.own {
		for j, p := range a.Publish {
			for n := range p.Count {
				port := choices[i].Ports[j] + uint16(n)
				if !within(d.facts.Reserved, port) {
					continue
				}
				idle, err := unused(tx, []string{sharedPortName(port)})
				if err != nil {
					return nil, err
				}
				if len(idle) == 0 {
					own = append(own, port)
				}
			}
		}
	}
	return own, nil
}

// within says whether a port is in one of some ranges.
func within(list []plan.Ports, port uint16) bool {
	return slices.ContainsFunc(list, func(r plan.Ports) bool { return r.Has(port) })
}
