package netsetup

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
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
