package policy

import (
	"net/netip"
	"slices"
)

// gateway says whether there may be a default route of a family.
func (a Attachment) gateway(family func(netip.Addr) bool) bool {
	if may, known := a.gatewayBy(family); known {
		return may
	}
	return slices.ContainsFunc(a.Gateways, family) || slices.ContainsFunc(a.Network.Subnets, func(s Subnet) bool {
		if a.Network.Routed() {
			return family(s.Prefix.Addr())
		}
		return s.Gateway.IsValid() && family(s.Gateway) && !a.owns(s.Gateway)
	})
}

// owns says whether the container has asked for an address itself. One that has its network's gateway is the router, and
// has no default route to it.
func (a Attachment) owns(addr netip.Addr) bool {
	return slices.ContainsFunc(a.IPs, func(p netip.Prefix) bool { return p.Addr() == addr })
}

// IsGateway says whether the address is the gateway of one of the network's subnets.
func (n *Network) IsGateway(addr netip.Addr) bool {
	return slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Gateway == addr })
}

// Routed says whether the parent's host routes what containers send, without a gateway and without ARP: the modes l3 and
// l3s of ipvlan. A default route is one of the device there.
func (n *Network) Routed() bool { return n.Mode == ModeL3 || n.Mode == ModeL3S }

// rivals says whether two attachments both ask for the default route of a family with one metric, which the kernel
// refuses for IPv4 and takes as a multipath route for IPv6.
func rivals(a, b Attachment) bool {
	if !a.DefaultRoute.Want || !b.DefaultRoute.Want || a.metric() != b.metric() {
		return false
	}
	return a.gateway(netip.Addr.Is4) && b.gateway(netip.Addr.Is4) || a.gateway(netip.Addr.Is6) && b.gateway(netip.Addr.Is6)
}
