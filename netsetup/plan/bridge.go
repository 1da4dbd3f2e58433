package plan

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/policy"
)

// bridges are the bridges of all links, each once, with what any of its links needs.
func bridges(links []link) Steps {
	var all []EnsureBridge
	for _, l := range links {
		if l.Network.Driver != policy.Bridge {
			continue
		}
		s := bridgeOf(l)
		if i := slices.IndexFunc(all, func(b EnsureBridge) bool { return b.Name == s.Name }); i < 0 {
			all = append(all, s)
		} else {
			all[i] = merge(all[i], s)
		}
	}
	var steps Steps
	for _, s := range all {
		steps = append(steps, s)
	}
	return steps
}

// merge is one bridge of two attachments. What a network of the policy says counts, where the other is spelled out; two
// networks of one bridge say the same, but for the ports that each publishes.
func merge(a, b EnsureBridge) EnsureBridge {
	if a.AsIs {
		a, b = b, a
	}
	a.Localnet = a.Localnet || b.Localnet
	return a
}

// bridgeOf is the bridge of a network: with an address of its own, where a bridge that the kernel chooses one for takes
// that of its lowest port and changes it as containers come and go, which makes neighbours' caches stale.
func bridgeOf(l link) EnsureBridge {
	s := EnsureBridge{
		Name: l.Network.Bridge,
		MAC:  MAC(ipam.MAC(l.host, "bridge", l.Network.Bridge)),
		MTU:  l.bridgeMTU,
		AsIs: l.Network.Name == "",
		// Without rules, a container could send to 127.0.0.0/8 of the host by a bridge with route_localnet.
		Localnet: l.filtered() && l.localnet(),
		Filtered: l.filtered(),
		VLANs:    l.Network.FiltersVLANs(),
		VRF:      l.Network.VRF,
		Uplink:   l.portUplink.Name,
	}
	if l.Network.OnLAN() {
		return s // its gateways are routers there
	}
	for _, sub := range l.Network.Subnets {
		if sub.Gateway.IsValid() && l.Network.GatewayMode != policy.GatewayIsolated {
			s.Addresses = append(s.Addresses, netip.PrefixFrom(sub.Gateway, sub.Prefix.Bits()))
		}
		if l.Network.GatewayMode == policy.GatewayIsolated && l.Network.Name != "" && l.uplink.Group == Group {
			s.Without = append(s.Without, addressesIn(l.uplink, sub.Prefix)...)
		}
	}
	s.Forward = len(s.Addresses) > 0 && !l.Network.Internal
	return s
}

// addressesIn are those of a link that are in a subnet: what a bridge has of a time when its network was not isolated.
func addressesIn(uplink Link, subnet netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, a := range uplink.Addresses {
		if subnet.Contains(a) {
			all = append(all, netip.PrefixFrom(a, subnet.Bits()))
		}
	}
	return all
}

func vethOf(l link) AddVeth {
	return AddVeth{
		Name:   l.own,
		MAC:    MAC(ipam.MAC(l.record, "host end", l.own)),
		Bridge: l.Network.Bridge,
		// What the container sends to a port of the host that is its own comes back by the port on which it came.
		Hairpin:  l.Network.Hairpin || l.published(),
		Isolated: l.Network.Firewall && !l.Network.ICC,
		MTU:      l.bridgeMTU,
		VLANs:    portVLANs(l.Network),
		Peer:     l.own,
		PeerMAC:  l.choice.MAC,
		PeerMTU:  l.mtu,
	}
}
