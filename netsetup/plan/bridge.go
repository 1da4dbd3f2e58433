package plan

import (
	"net/netip"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// bridgeOf is the bridge of a network: with an address of its own, where a bridge that the kernel chooses one for takes
// that of its lowest port and changes it as containers come and go, which makes neighbours' caches stale.
func bridgeOf(l link) EnsureBridge {
	s := EnsureBridge{
		Name: l.Network.Bridge,
		MAC:  MAC(ipam.MAC(l.host, "bridge", l.Network.Bridge)),
		MTU:  l.bridgeMTU,
		AsIs: l.Network.Name == "",
	}
	for _, sub := range l.Network.Subnets {
		if sub.Gateway.IsValid() {
			s.Addresses = append(s.Addresses, netip.PrefixFrom(sub.Gateway, sub.Prefix.Bits()))
		}
	}
	s.Forward = len(s.Addresses) > 0 && !l.Network.Internal
	return s
}

func vethOf(l link) AddVeth {
	return AddVeth{
		Name:    l.own,
		MAC:     MAC(ipam.MAC(l.record, "host end", l.own)),
		Bridge:  l.Network.Bridge,
		Hairpin: l.Network.Hairpin,
		MTU:     l.bridgeMTU,
		Peer:    l.own,
		PeerMAC: l.choice.MAC,
		PeerMTU: l.mtu,
	}
}
