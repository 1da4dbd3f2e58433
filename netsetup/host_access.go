package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// With host-access the host has a link of its own beside the containers of a network. The records that need it have it among
// what records share, and so are its addresses: nobody else gets one as long as a record names it, and no container's end gives
// it back to the pool while another's needs it.

// hostAddressName is the name in [store.Record.Shared] of an address that the host has beside containers.
func hostAddressName(scope, link string, addr netip.Addr) string {
	return sharedHostAddress + scope + "/" + link + "/" + addr.String()
}

// hostAddress is an address of the host on a link beside containers.
type hostAddress struct {
	link string
	addr netip.Addr
}

// hostAddresses are the host's addresses beside the containers of a scope, of all networks. Their number is that of the networks.
func hostAddresses(tx *store.Tx, scope string) ([]hostAddress, error) {
	prefix := sharedHostAddress + scope + "/"
	names, err := tx.SharedNames(prefix)
	if err != nil {
		return nil, err
	}
	var all []hostAddress
	for _, name := range names {
		link, text, _ := strings.Cut(strings.TrimPrefix(name, prefix), "/")
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("read what records share: %q names no address of the host: %w", name, err)
		}
		all = append(all, hostAddress{link, addr})
	}
	return all, nil
}

// withHostAddresses adds to what is known of a LAN the addresses that the host has there beside containers, by the records
// and by what was chosen for the attachments before.
func (d *draft) withHostAddresses(tx *store.Tx, l lan, a policy.Attachment) (lan, error) {
	if a.Network.Driver == policy.Bridge {
		return l, nil
	}
	all, err := hostAddresses(tx, l.scope)
	if err != nil {
		return lan{}, err
	}
	l.host = slices.Concat(all, d.host[l.scope])
	for _, h := range l.host {
		l.own = append(l.own, ipam.Range{From: h.addr, To: h.addr})
	}
	return l, nil
}

// hostAccess chooses the host's own addresses on a network with host-access: those that its link has already, or the policy's,
// or one of each subnet that is free. They are new until a container is attached with them: each attach asks the LAN for them
// until then, for the one that chose them may find them taken, and begin again while others have got them from its record.
func (d *draft) hostAccess(tx *store.Tx, l lan, a policy.Attachment) (addrs []netip.Addr, isNew bool, err error) {
	if !a.Network.HostAccess {
		return nil, false, nil
	}
	link := plan.HostLinkName(a.Network.Name, d.facts.Wire(a))
	for _, h := range l.host {
		if h.link == link {
			addrs = append(addrs, h.addr)
		}
	}
	if len(addrs) > 0 {
		sort.Slice(addrs, func(i, j int) bool { return addrs[i].Less(addrs[j]) })
		isNew, err = d.hostIsNew(tx, l, a, addrs)
		return addrs, isNew, err
	}
	for _, sub := range a.Network.Subnets {
		var (
			here lan
			addr netip.Addr
		)
		if here, err = d.hostElsewhere(l, link, sub.Prefix); err == nil {
			addr, err = d.hostAddress(tx, here, a, sub)
		}
		if err != nil {
			return nil, false, err
		}
		if addr.IsValid() {
			addrs = append(addrs, addr)
		}
	}
	sort.Slice(addrs, func(i, j int) bool { return addrs[i].Less(addrs[j]) })
	if d.host == nil {
		d.host = map[string][]hostAddress{}
	}
	for _, addr := range addrs {
		d.host[l.scope] = append(d.host[l.scope], hostAddress{link, addr})
	}
	return addrs, true, nil
}

// hostIsNew says whether no container is attached yet with the addresses that the host has on a link. Where one of them was found
// on the LAN since, whoever is being attached with it goes first, so that another can be chosen.
func (d *draft) hostIsNew(tx *store.Tx, l lan, a policy.Attachment, addrs []netip.Addr) (bool, error) {
	var other *store.Record
	for ref, err := range tx.Users(hostAddressName(l.scope, plan.HostLinkName(a.Network.Name, d.facts.Wire(a)), addrs[0])) {
		if err != nil {
			return false, err
		}
		rec, _, err := tx.Record(ref)
		if err != nil || d.isHere(rec) && rec.State != store.Pending {
			return false, err
		}
		if d.isHere(rec) && ref != d.rec.Ref() {
			other = &rec
		}
	}
	for _, addr := range addrs {
		f, found, err := tx.Foreign(l.scope, addr)
		if err != nil {
			return false, err
		}
		switch {
		case !found || other == nil || d.dry || !movesOn(a) || a.Network.NamesHost() || time.Since(f.Seen) >= foreignFor:
		case alive(other.Writer):
			return false, &busyError{rec: *other, host: addr}
		default:
			return false, &earlierError{*other}
		}
	}
	return true, nil
}

// hostElsewhere adds to what is known of a LAN the addresses in a subnet that the host has on any link but this: on another card
// in the same LAN, or wherever else. No container would have to mind them, but the kernel has one route to its own address.
func (d *draft) hostElsewhere(l lan, link string, subnet netip.Prefix) (lan, error) {
	links, err := d.Host.LinksOverlapping(subnet)
	if err != nil {
		return lan{}, err
	}
	l.own = slices.Clone(l.own)
	for _, other := range links {
		for _, p := range other.Addresses {
			if other.Name != link && subnet.Contains(p.Addr()) {
				l.own = append(l.own, ipam.Range{From: p.Addr(), To: p.Addr()})
			}
		}
	}
	return l, nil
}

// hostAddress is the host's own address in a subnet: the policy's, or the one at a place of its own, or the next that is free. It
// is the zero Addr where the policy gives the host none there.
func (d *draft) hostAddress(tx *store.Tx, l lan, a policy.Attachment, sub policy.Subnet) (netip.Addr, error) {
	if sub.HostAddress.IsValid() {
		if contains(l.own, sub.HostAddress) {
			return netip.Addr{}, fmt.Errorf("%s: network %s: host-access: the host has address %s already, and two links would answer for it; "+
				"the policy has to name one that nobody has", a.IfName, a.Network.Name, sub.HostAddress)
		}
		holder, taken, err := tx.Holder(l.scope, sub.HostAddress)
		if err != nil || !taken {
			return sub.HostAddress, err
		}
		return netip.Addr{}, fmt.Errorf("%s: network %s: the host cannot have its address by host-access: %w", a.IfName,
			a.Network.Name, tx.InUse(fmt.Sprintf("address %s", sub.HostAddress), holder))
	}
	if !a.Network.PicksHost() || sub.Prefix.Addr().Is6() && d.facts.NoIPv6 {
		return netip.Addr{}, nil
	}
	p := picking{draft: d, tx: tx, lan: l, foreign: movesOn(a), begun: true}
	addr, err := p.search(l.pool(a, sub), ipam.Place(d.HostID, a.Network.Name, "host-access", ""))
	switch {
	case p.stop != nil:
		return netip.Addr{}, p.stop
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%s: network %s: an address of the host's own, for host-access: %w", a.IfName, a.Network.Name, err)
	}
	return addr, nil
}

// HostLink is the host's own link beside the containers of a network.
type HostLink struct {
	Name string
	// Addresses are those that it has, or that the policy gives it.
	Addresses []netip.Addr
	// Present says whether the host has it: it comes with the first container.
	Present bool
	// Taken are the addresses that the host has beside the containers of all networks of the LAN.
	Taken []netip.Addr
}

// HostLink looks for the host's own link beside the containers of a network that sends on wire, see [Setup.Uplink].
func (s *Setup) HostLink(ctx context.Context, n *policy.Network, wire string) (HostLink, error) {
	l := HostLink{Name: plan.HostLinkName(n.Name, wire)}
	if n.Driver == policy.Bridge {
		return l, nil
	}
	var all []hostAddress
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		all, err = hostAddresses(tx, n.Scope(wire))
		return err
	})
	if err != nil {
		return HostLink{}, err
	}
	for _, h := range all {
		l.Taken = append(l.Taken, h.addr)
		if h.link == l.Name {
			l.Addresses = append(l.Addresses, h.addr)
		}
	}
	if len(l.Addresses) == 0 {
		for _, sub := range n.Subnets {
			if sub.HostAddress.IsValid() {
				l.Addresses = append(l.Addresses, sub.HostAddress)
			}
		}
	}
	if n.HostAccess {
		_, l.Present, err = s.Host.Link(l.Name)
	}
	return l, err
}

// checkHostLink compares a link of the host beside containers with what a step made.
func (s *Setup) checkHostLink(l plan.EnsureHostLink) ([]Drift, error) {
	link, ok, err := s.Host.Link(l.Name)
	if err != nil {
		return nil, err
	}
	parent, there, err := s.Host.Link(l.Parent)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return []Drift{{What: fmt.Sprintf("the host's link %s is gone", l.Name), Repair: there && parent.Up, Waits: !there || !parent.Up}}, nil
	case link.Group != plan.Group || link.Kind != l.Driver.String():
		return []Drift{{What: fmt.Sprintf("link %s is not the host's %s on %s", l.Name, l.Driver, l.Parent)}}, nil
	case !there || link.Parent != parent.Index:
		return []Drift{{What: fmt.Sprintf("link %s, on which the host's %s is, is gone or has another name", l.Parent, l.Name)}}, nil
	}
	var drift []Drift
	if !link.Up {
		drift = append(drift, Drift{What: fmt.Sprintf("the host's link %s is down", l.Name), Repair: true})
	}
	for _, a := range l.Addresses {
		if !slices.Contains(link.Addresses, netip.PrefixFrom(a, a.BitLen())) {
			drift = append(drift, Drift{What: fmt.Sprintf("address %s of the host's link %s is gone", a, l.Name), Repair: true})
		}
	}
	return drift, nil
}

// checkHostRoute looks for the host's route to a container's address.
func (s *Setup) checkHostRoute(r plan.AddHostRoute) ([]Drift, error) {
	link, ok, err := s.Host.Link(r.Link)
	if err != nil || !ok {
		return nil, err // that it is gone the step of the link says
	}
	for _, route := range link.Routes {
		// Of a route whose source has gone from the link, IPv6 leaves the rest (net/ipv6/route.c, fib6_remove_prefsrc).
		if route.Dst == netip.PrefixFrom(r.To, r.To.BitLen()) && route.Src == r.From {
			return nil, nil
		}
	}
	return []Drift{{What: fmt.Sprintf("the host's route to %s by %s is gone", r.To, r.Link), Repair: true}}, nil
}

// repairHostLinks makes links of the host beside containers anew that are gone, brings up what is down, and adds addresses
// and routes that they have lost.
func (s *Setup) repairHostLinks(ctx context.Context, records []store.Record, r *Repaired) error {
	var errs []error
	k := s.Host.KernelByID(-1, nil)
	for _, rec := range records {
		for _, step := range rec.Steps {
			var (
				drift []Drift
				err   error
			)
			switch st := step.(type) {
			case plan.EnsureHostLink:
				// Nor is the host to have an address that an attach still asks the LAN for.
				if rec.State == store.Pending {
					continue
				}
				if drift, err = s.checkHostLink(st); err == nil && len(drift) > 0 && drift[0].Repair {
					err = s.Host.RenewHostLink(st)
				}
			case plan.AddHostRoute:
				// An attach makes its routes last, without the lock, and may choose another address before.
				if rec.State == store.Pending {
					continue
				}
				if drift, err = s.checkHostRoute(st); err == nil && len(drift) > 0 {
					err = k.Apply(ctx, st)
				}
			default:
				continue
			}
			if errs = append(errs, err); err != nil {
				continue
			}
			for _, d := range drift {
				if d.Repair {
					r.Links = append(r.Links, d.What)
				}
			}
		}
	}
	return errors.Join(errs...)
}
