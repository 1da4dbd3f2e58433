package netsetup

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// answers asks for an address on the LANs on which it would be, and adds who answers to the neighbours that the host knows.
func (s *Setup) answers(ctx context.Context, addr netip.Addr, known []Owner) ([]Owner, error) {
	links, err := s.lansOf(ctx, addr)
	for _, index := range slices.Sorted(maps.Keys(links)) {
		if err != nil {
			break
		}
		var have map[netip.Addr]plan.MAC
		have, err = s.Host.Ask(ctx, index, []netip.Addr{addr})
		mac, answered := have[addr]
		if err != nil || !answered {
			continue
		}
		known = slices.DeleteFunc(known, func(o Owner) bool {
			return o.Kind == OwnerNeighbour && o.Link == links[index] && bytes.Equal(o.MAC, mac)
		})
		known = append(known, Owner{
			Kind: OwnerNeighbour, Link: links[index], MAC: mac, Address: addr, Answers: true,
			What: fmt.Sprintf("%s answers for %s on %s now", mac, addr, links[index]),
		})
	}
	return known, err
}

// remembered are those whom an attach lately found to have an address, but for who is among the known ones: for that time no other
// attach takes it.
func (s *Setup) remembered(ctx context.Context, addr netip.Addr, known []Owner) ([]Owner, error) {
	if s.Policy == nil {
		return nil, nil
	}
	var owners []Owner
	for _, name := range slices.Sorted(maps.Keys(s.Policy.Networks)) {
		n := s.Policy.Networks[name]
		if !n.Resolves() || !hasSubnetOf(n, addr) {
			continue
		}
		uplink, err := s.Uplink(ctx, n)
		if err != nil {
			return nil, err
		}
		var (
			f    store.Foreign
			seen bool
		)
		err = s.Store.View(ctx, func(tx *store.Tx) (err error) {
			f, seen, err = tx.Foreign(n.Scope(uplink.Wire), addr)
			return err
		})
		if err != nil {
			return nil, err
		}
		until := f.Seen.Add(foreignFor)
		same := func(o Owner) bool { return bytes.Equal(o.MAC, f.MAC) }
		if !seen || time.Now().After(until) || slices.ContainsFunc(slices.Concat(known, owners), same) {
			continue
		}
		owners = append(owners, Owner{
			Kind: OwnerNeighbour, Link: uplink.Name, MAC: f.MAC, Address: addr, Network: name, Since: &f.Seen,
			What: fmt.Sprintf("%s had %s on %s at %s, when an attach asked: network %s does not hand it out until %s", f.MAC, addr,
				uplink.Name, f.Seen.Format(time.RFC3339), name, until.Format(time.RFC3339)),
		})
	}
	return owners, nil
}

// lansOf are the names of the links, by their indexes, on which an address would be: those of networks that it lies in a subnet of,
// and those on which the host reaches it without a router.
func (s *Setup) lansOf(ctx context.Context, addr netip.Addr) (map[int]string, error) {
	lans := map[int]string{}
	around, err := s.Host.LinksOverlapping(netip.PrefixFrom(addr, addr.BitLen()))
	if err != nil {
		return nil, err
	}
	for _, l := range around {
		if l.Up && !l.Loopback && len(l.MAC) == macLen {
			lans[l.Index] = l.Name
		}
	}
	if s.Policy == nil {
		return lans, nil
	}
	for _, n := range s.Policy.Networks {
		// What the driver vlan moves is in no namespace but the container's, and what is routed answers nobody.
		if n.Driver == policy.VLAN || n.Driver == policy.HostDevice || n.Routed() || !hasSubnetOf(n, addr) {
			continue
		}
		const key = "eth0"
		q := kernel.Query{IfName: key}
		addLinks(&q, n)
		facts, err := s.Host.Facts(ctx, nil, []kernel.Query{q})
		if err != nil {
			return nil, err
		}
		l, there := facts.Uplink[key]
		if !there {
			l = facts.PortUplink[key]
		}
		if l.Index != 0 && l.Up && !l.Loopback && len(l.MAC) == macLen {
			lans[l.Index] = l.Name
		}
	}
	return lans, nil
}

// macLen is the length of a MAC address of Ethernet: on other links nobody can be asked so.
const macLen = 6

func hasSubnetOf(n *policy.Network, addr netip.Addr) bool {
	return slices.ContainsFunc(n.Subnets, func(s policy.Subnet) bool { return s.Prefix.Contains(addr) })
}
