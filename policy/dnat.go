package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy/request"
)

// checkDNAT gives an attachment host addresses as a whole: those that it asks for, and its network's of the families of
// which it asks for none.
func checkDNAT(k asked, a request.Attachment, at *Attachment) error {
	n := at.Network
	for _, addr := range a.DNAT {
		switch {
		case n.Driver != Bridge:
			return k.deny("take dnat out", "dnat %s: a container on %s %s network has its own LAN address", addr, article(n.Driver), n.Driver)
		case n.OnLAN():
			return k.deny("take dnat out", "dnat %s: %s is a piece of the LAN, where the container has its own address", addr, n.title())
		case !n.Firewall:
			return k.deny("take dnat out", "dnat %s: %s has firewall = false", addr, n.title())
		case n.Closed():
			return k.deny("take dnat out", "dnat %s: %s is %s: nothing comes into it", addr, n.title(), n.shutBy())
		case addr.IsLoopback(), addr.IsUnspecified(), addr.IsMulticast():
			return k.deny("", "dnat %s: the host cannot give this address away", addr)
		case n.subnet(addr) != nil:
			return k.deny("", "dnat %s lies in the network's own subnet %s", addr, n.subnet(addr).Prefix)
		case !at.has(addr):
			return k.deny("", "dnat %s: the container has no %s address on %s", addr, family(addr), n.title())
		}
		if slices.Contains(n.DNAT, addr) {
			continue
		}
		if !slices.ContainsFunc(k.rule.DNAT, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return k.forbid(allowed("dnat", words(k.rule.DNAT)), "the host's address %s to be had as a whole", addr)
		}
	}
	for _, whole := range families() {
		addr := ofFamily(a.DNAT, whole)
		if !addr.IsValid() {
			addr = ofFamily(n.DNAT, whole)
		}
		if addr.IsValid() && at.has(addr) {
			at.DNAT = append(at.DNAT, addr)
		}
	}
	return nil
}

// gatewayOf is the name of the first bridge network, in the order of names, that has the address for a gateway.
func (p *Policy) gatewayOf(addr netip.Addr) (name string, ok bool) {
	for _, n := range p.Networks {
		has := func(s Subnet) bool { return s.Gateway == addr }
		if n.hostGateway() && (!ok || n.Name < name) && slices.ContainsFunc(n.Subnets, has) {
			name, ok = n.Name, true
		}
	}
	return name, ok
}

// ownDNAT leaves each host address to one attachment of a container: a network's goes to the first on it, and one that
// is asked for twice is refused, as is a gateway of containers.
func (p *Policy) ownDNAT(r *Rule, asks []request.Attachment, all []Attachment) error {
	taken := map[netip.Addr]int{}
	for i, a := range asks {
		k := asked{r, whatOf(a)}
		for _, addr := range a.DNAT {
			if name, ok := p.gatewayOf(addr); ok {
				return k.deny("", "dnat %s is the gateway of network %s", addr, name)
			}
			if j, twice := taken[addr]; twice {
				return k.deny("", "dnat %s is asked for twice, also by %s", addr, whatOf(asks[j]))
			}
			taken[addr] = i
		}
	}
	for i := range all {
		all[i].DNAT = slices.DeleteFunc(all[i].DNAT, func(addr netip.Addr) bool {
			j, there := taken[addr]
			if !there {
				taken[addr] = i
			}
			return there && j != i
		})
	}
	return nil
}

// shutBy is what closes a network, as its policy says it.
func (n *Network) shutBy() string {
	if n.Internal {
		return "internal"
	}
	return "in gateway-mode isolated"
}

func joined(addrs []netip.Addr) string { return strings.Join(words(addrs), ", ") }
