package policy

import (
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
// exclusions. wire is as with [Network.Scope]. n may be one that was spelled out. A parent that the policy finds in another
// way is not known here by name: its networks reserve for those only that find it in the same way.
func (p *Policy) Reserved(n *Network, wire string) []ipam.Range {
	var reserved []ipam.Range
	for _, o := range p.Networks {
		if !o.carries(n, wire) {
			continue
		}
		for _, s := range o.Subnets {
			reserved = slices.Concat(reserved, s.Pool().Exclude)
		}
	}
	return reserved
}

// carries says whether the network is on the layer 2 of n, which is on the wire.
func (n *Network) carries(o *Network, wire string) bool {
	if n.Driver == Bridge || o.Driver == Bridge {
		return n.Driver == o.Driver && n.Bridge == o.Bridge && n.Untagged() == o.Untagged()
	}
	return n.Wire() == wire && (n.Parent.Name != "" || n.Device.Name != "") || n.Wire() == o.Wire()
}
