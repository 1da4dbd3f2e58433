package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// Scope names the layer 2 domain in which an address must be unique. wire is what the link that carries the network turned
// out to send on, as [Wire] writes it: two networks on one wire share a domain, whatever their drivers. A bridge has its own
// name, and a domain for each VLAN.
func (n *Network) Scope(wire string) string {
	if n.Driver != Bridge {
		return "lan:" + wire
	}
	if vlan := n.Untagged(); vlan != 0 {
		return "bridge:" + n.Bridge + ":" + strconv.Itoa(vlan)
	}
	return "bridge:" + n.Bridge
}

// Reserved is what the networks on n's layer 2 keep back, whichever of them an address is asked from: their gateways and
// exclusions. wire is as with [Network.Scope]. n may be one that was spelled out. others are the wires of networks by their
// names, as far as they are known: of a parent that is found in another way than by its name, or that has another name than it
// sends on (see [Policy.Elsewhere]), the policy alone does not tell.
func (p *Policy) Reserved(n *Network, wire string, others map[string]string) []ipam.Range {
	var reserved []ipam.Range
	for _, o := range p.beside(n, wire, others) {
		for _, s := range o.Subnets {
			reserved = slices.Concat(reserved, s.Pool().Exclude)
		}
	}
	return reserved
}

// beside are the networks on n's layer 2, with n, see [Policy.Reserved].
func (p *Policy) beside(n *Network, wire string, others map[string]string) []*Network {
	var all []*Network
	for _, o := range p.Networks {
		same := others[o.Name] != "" && o.Driver != Bridge && n.Driver != Bridge && others[o.Name] == wire
		if same || o.carries(n, wire) {
			all = append(all, o)
		}
	}
	return all
}

// carries says whether the network is on the layer 2 of n, which is on the wire.
func (n *Network) carries(o *Network, wire string) bool {
	if n.Driver == Bridge || o.Driver == Bridge {
		return n.Driver == o.Driver && n.Bridge == o.Bridge && n.Untagged() == o.Untagged()
	}
	return n.Wire() == wire && (n.Parent.Name != "" || n.Device.Name != "") || n.Wire() == o.Wire()
}

// Elsewhere are the networks of which the policy does not tell whether they are on the wire of n, and which would keep back an
// address of n or of ips there: the kernel has to be asked what they send on.
func (p *Policy) Elsewhere(n *Network, wire string, ips []netip.Prefix) []*Network {
	if n.Driver == Bridge {
		return nil
	}
	var all []*Network
	for _, name := range slices.Sorted(maps.Keys(p.Networks)) {
		o := p.Networks[name]
		if o.Driver != Bridge && o.Driver != HostDevice && !o.carries(n, wire) && o.meets(n, ips) {
			all = append(all, o)
		}
	}
	return all
}

// meets says whether a subnet of the network has addresses of another network's, or some of ips.
func (n *Network) meets(o *Network, ips []netip.Prefix) bool {
	return slices.ContainsFunc(n.Subnets, func(s Subnet) bool {
		return slices.ContainsFunc(o.Subnets, func(other Subnet) bool { return s.Prefix.Overlaps(other.Prefix) }) ||
			slices.ContainsFunc(ips, func(ip netip.Prefix) bool { return s.Prefix.Contains(ip.Addr()) })
	})
}
