package plan

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"

	"github.com/lanhook/lanhook/policy"
)

func ipvlanOf(l link) AddIPVLAN {
	return AddIPVLAN{
		Name: l.own, Parent: l.uplink.Name, ParentIndex: l.parentIndex(), Mode: l.Network.Mode, Flag: l.Network.Flag, MTU: l.mtu,
	}
}

// linkLocal is the link-local address of a guarded ipvlan child with IPv6, false for other links. The kernel makes one of the MAC
// address and a number that each child has (net/ipv6/addrconf.c, addrconf_ifid_eui48): that is known to nobody before it is there,
// and the MAC address alone gives the host's own. This one is made of the child's first IPv6 address, which is nobody else's
// on the LAN: FNV-1a in 64 bits.
func (l link) linkLocal() (netip.Prefix, bool) {
	if l.Network.Driver != policy.IPVLAN || !l.Network.SpoofCheck || l.noIPv6 {
		return netip.Prefix{}, false
	}
	for _, p := range l.choice.Addresses {
		if p.Addr().Is4() {
			continue
		}
		h := fnv.New64a()
		h.Write(p.Addr().AsSlice())
		addr := [16]byte{0: 0xfe, 1: 0x80}
		binary.BigEndian.PutUint64(addr[8:], h.Sum64())
		return netip.PrefixFrom(netip.AddrFrom16(addr), 64), true
	}
	return netip.Prefix{}, false
}
