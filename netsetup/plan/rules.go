package plan

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/policy"
)

// filtered says whether rules keep the link's bridge apart. Only a network of the policy has a say in that, and only
// over a bridge that is lanhook's: what passes over the administrator's own bridge is not ours to forbid, and what a
// container spells out changes nothing for others.
func (l link) filtered() bool {
	n := l.Network
	return n.Driver == policy.Bridge && n.Firewall && n.Name != "" && (!l.exists || l.uplink.Group == Group)
}

// gate is what may pass between the link's bridge and everything else.
func (l link) gate() Gate {
	switch {
	case !l.filtered():
		return Open
	case l.Network.Closed():
		return Closed
	case l.Network.GatewayMode == policy.GatewayRouted:
		return Routed
	}
	return NAT
}

// rules are the firewall's entries for the link, false when there is nothing to say. A container on the administrator's
// bridge has entries of its own, but none for the bridge.
func (l link) rules(out ways) (Rules, bool) {
	if l.Network.Driver != policy.Bridge {
		return Rules{}, false
	}
	r := Rules{
		Bridge:    l.Network.Bridge,
		Port:      l.own,
		Gate:      l.gate(),
		ICC:       l.Network.ICC,
		Isolate:   l.Network.Isolate,
		Addresses: l.addresses(),
		SNAT:      l.snat(),
		DNAT:      l.dnat(),
		Publish:   l.publish(),
		Spoof:     l.Network.SpoofCheck,
		Out:       l.Rates.Out,
	}
	r.Detour, r.Unbound = l.detours(out)
	for _, addr := range r.Addresses {
		if sub, ok := l.subnet(addr); ok && l.hides(sub) && !sub.SNAT.IsValid() {
			r.Masquerade = append(r.Masquerade, addr)
		}
	}
	if r.Spoof {
		r.MAC = l.mac()
	}
	entries := len(r.Masquerade) + len(r.SNAT) + len(r.DNAT) + len(r.Publish)
	return r, r.Gate != Open || entries > 0 || r.Spoof || r.Out != policy.Rate{}
}

func (l link) addresses() []netip.Addr {
	var all []netip.Addr
	for _, p := range l.choice.Addresses {
		all = append(all, p.Addr())
	}
	return all
}

// subnet is the one that an address of the container is in. One of an attachment that is spelled out may be in none.
func (l link) subnet(addr netip.Addr) (policy.Subnet, bool) {
	i := slices.IndexFunc(l.Network.Subnets, func(s policy.Subnet) bool { return s.Prefix.Contains(addr) })
	if i < 0 {
		return policy.Subnet{}, false
	}
	return l.Network.Subnets[i], true
}

// hides says whether what leaves by a subnet gets another source address.
func (l link) hides(sub policy.Subnet) bool {
	return l.Network.Driver == policy.Bridge && l.Network.Firewall && !l.Network.Closed() &&
		(sub.Masquerade || sub.SNAT.IsValid())
}

// snat are the container's addresses that are hidden behind a certain one.
func (l link) snat() []Translation {
	var all []Translation
	for _, addr := range l.addresses() {
		if sub, ok := l.subnet(addr); ok && l.hides(sub) && sub.SNAT.IsValid() {
			all = append(all, Translation{From: addr, To: sub.SNAT})
		}
	}
	return all
}

// mac is the address of the container's end: in passthru mode, and for ipvlan, its parent's.
func (l link) mac() MAC {
	if l.choice.MAC == nil {
		return l.uplink.MAC
	}
	return l.choice.MAC
}

// rates bound what the host can bound from outside, and what goes out of the container. A bridge port's other bound is
// in its [Rules], which hold; the queue in the container is there so that less is dropped.
func (l link) rates() Steps {
	var steps Steps
	if l.Network.Driver == policy.Bridge && l.Rates.In != (policy.Rate{}) {
		steps = append(steps, SetRate{Side: Host, If: l.own, Rate: l.Rates.In})
	}
	if l.Rates.Out != (policy.Rate{}) {
		steps = append(steps, SetRate{Side: Container, If: l.own, Rate: l.Rates.Out})
	}
	return steps
}

// guard is what a link that the host does not see has in place of rules. It comes once the link has its name.
func (l link) guard() Steps {
	if l.Network.Driver == policy.Bridge || !l.Network.SpoofCheck && l.Rates.In == (policy.Rate{}) {
		return nil
	}
	g := AddGuard{Table: l.own, If: l.IfName, In: l.Rates.In}
	if l.Network.SpoofCheck {
		g.Spoof, g.MAC, g.Addresses = true, l.mac(), l.addresses()
		g.SharedMAC = l.Network.Driver == policy.IPVLAN
	}
	if own, ok := l.linkLocal(); ok {
		g.Addresses = append(g.Addresses, own.Addr())
	}
	return Steps{g}
}

// entries is one step for all links, so that it is one transaction.
func entries(in Input, links []link, o owners) Steps {
	s := AddRules{Record: in.Record}
	out := waysOut(in, links, o)
	for _, l := range links {
		if r, ok := l.rules(out); ok {
			s.Of = append(s.Of, r)
		}
	}
	if len(s.Of) == 0 {
		return nil
	}
	return Steps{s}
}

// forwarding turns on what the host lacks of the families in which a network has a way out.
func forwarding(f Facts, links []link) Steps {
	var s EnsureForwarding
	for _, l := range links {
		if g := l.gate(); g != NAT && g != Routed {
			continue
		}
		for _, p := range bridgeOf(l).Addresses {
			if p.Addr().Is4() {
				s.Links = f.NotForwarding
			} else {
				s.V6 = f.NotForwarding6
			}
		}
	}
	if len(s.Links) == 0 && !s.V6 {
		return nil
	}
	return Steps{s}
}
