package netsetup

import (
	"bytes"
	"context"
	"errors"
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
	links, unasked := s.lansOf(ctx, addr)
	questions := map[int][]netip.Addr{}
	for index := range links {
		questions[index] = []netip.Addr{addr}
	}
	have, err := s.Host.Ask(ctx, questions)
	unasked = errors.Join(unasked, err)
	for _, index := range slices.Sorted(maps.Keys(links)) {
		mac, answered := have[index][addr]
		if !answered {
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
	return known, unasked
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
// and those on which the host reaches it without a router. The error is why others cannot be asked, and comes along with them.
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
	unasked := s.addLANs(ctx, addr, lans)
	for _, l := range around {
		// The host's link beside containers that has the address itself is on its parent's LAN: to ask there once is enough.
		if l.Group == plan.Group && l.Addresses[0].IsSingleIP() {
			delete(lans, l.Parent)
		}
	}
	return lans, unasked
}

// addLANs adds the links of networks that an address lies in a subnet of.
func (s *Setup) addLANs(ctx context.Context, addr netip.Addr, lans map[int]string) error {
	if s.Policy == nil {
		return nil
	}
	var unasked []error
	for _, name := range slices.Sorted(maps.Keys(s.Policy.Networks)) {
		n := s.Policy.Networks[name]
		if n.Routed() || !hasSubnetOf(n, addr) {
			continue // what is routed answers nobody
		}
		l, err := s.lanOf(ctx, n)
		switch {
		case err != nil:
			unasked = append(unasked, err)
		case l.Index != 0 && !l.Loopback && len(l.MAC) == macLen:
			lans[l.Index] = l.Name
		}
	}
	return errors.Join(unasked...)
}

// lanOf is the host's link on the LAN of a network, or why there is none to ask on; the zero Link for a bridge that leads nowhere and
// is not there while it has no containers.
func (s *Setup) lanOf(ctx context.Context, n *policy.Network) (plan.Link, error) {
	if n.Driver == policy.VLAN || n.Driver == policy.HostDevice {
		return plan.Link{}, fmt.Errorf("this host has no link of its own on network %s", n.Name)
	}
	const key = "eth0"
	q := kernel.Query{IfName: key}
	addLinks(&q, n)
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{q})
	if err != nil {
		return plan.Link{}, err
	}
	l, there := facts.Uplink[key]
	if !there {
		l = facts.PortUplink[key]
	}
	switch {
	case l.Index == 0 && (n.Driver != policy.Bridge || n.HasUplink()):
		uplink, err := s.Uplink(ctx, n)
		return l, errors.Join(fmt.Errorf("the link %s of network %s is not there", uplink.Name, n.Name), err)
	case l.Index != 0 && !l.Up:
		return l, fmt.Errorf("the link %s of network %s is down", l.Name, n.Name)
	case l.Index != 0 && n.Driver == policy.Bridge:
		return s.inVLAN(ctx, n, l)
	}
	return l, nil
}

// inVLAN is the host's link by which those are asked who are where the containers of a bridge network are: l itself, which is its
// bridge or, while that is not there, its uplink, or the host's sub-interface of l in their VLAN. The error is that it has none there;
// of a bridge of lanhook's that leads nowhere it is the zero Link, since whoever is there has a record.
func (s *Setup) inVLAN(ctx context.Context, n *policy.Network, l plan.Link) (plan.Link, error) {
	bridge, vlan := l.Kind == policy.Bridge.String(), n.Untagged()
	if bridge && !l.FiltersVLANs || !bridge && !n.FiltersVLANs() {
		return l, nil
	}
	own, tagged := n.DefaultVLAN && vlan == 1, true
	if bridge {
		if !n.FiltersVLANs() {
			vlan = l.DefaultVLAN
		}
		has, _, err := s.Host.PortVLANs(l.Name)
		if err != nil {
			return l, err
		}
		own, tagged = hostIn(has, vlan)
	}
	if own {
		return l, nil
	}
	if tagged && vlan != 0 {
		const key = "eth0"
		facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{
			IfName: key, Parent: policy.Parent{Name: l.Name}, VLAN: policy.Tags([]int{vlan}, 0),
		}})
		if sub := facts.Uplink[key]; err != nil || sub.Index != 0 && sub.Up {
			return sub, err
		}
	}
	switch {
	case bridge && l.Group == plan.Group && !n.HasUplink():
		return plan.Link{}, nil
	case vlan == 0:
		return l, fmt.Errorf("containers on network %s give what they send VLANs themselves, and this host has no link there", n.Name)
	}
	return l, fmt.Errorf("containers on network %s are in VLAN %d of %s, and this host has no link there", n.Name, vlan, l.Name)
}

// hostIn says whether the host is in a VLAN by a bridge itself, which has some: without a tag, or with one, by a sub-interface.
func hostIn(has []kernel.PortVLAN, vlan int) (own, tagged bool) {
	for _, v := range has {
		if v.Range.Has(vlan) {
			own, tagged = own || v.PVID && v.Untagged, tagged || !v.Untagged
		}
	}
	return own, tagged
}

// macLen is the length of a MAC address of Ethernet: on other links nobody can be asked so.
const macLen = 6

func hasSubnetOf(n *policy.Network, addr netip.Addr) bool {
	return slices.ContainsFunc(n.Subnets, func(s policy.Subnet) bool { return s.Prefix.Contains(addr) })
}
