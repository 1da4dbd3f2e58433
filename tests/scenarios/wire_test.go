//go:build linux

package scenarios

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/lanhook/lanhook/tests/vm"
)

// claim is what a README says of frames on a wire. It is held against those in which addresses are asked for and
// announced (ARP, and IPv6 of a link), since a router passes none of them on: each whose sender is one of the addresses
// bears the tags and comes from the MAC address, and there is one at least.
type claim struct {
	// trunk is for the wire between the second cards of the hosts; else it is the LAN.
	trunk bool
	// from are the sender's addresses.
	from netip.Prefix
	// tags are the VLANs, the outermost first.
	tags []uint16
	// shared says that the sender has the MAC address of a host's card, else it has one of its own.
	shared bool
	// never says that there is no such frame.
	never bool
}

// claims are those of the scenarios, by name.
func claims() map[string][]claim {
	of := netip.MustParsePrefix
	return map[string][]claim{
		"macvlan-lan": {{from: of("192.168.1.64/26")}, {from: of("192.168.1.128/26")}},
		"statics":     {{from: of("192.168.1.31/32")}, {from: of("192.168.1.33/32")}},
		"vlans-router": {
			{from: of("10.10.0.0/24"), tags: []uint16{10}},
			{from: of("10.20.0.0/24"), tags: []uint16{20}},
		},
		"ipvlan-l2": {{from: of("192.168.1.64/26"), shared: true}, {from: of("192.168.1.128/26"), shared: true}},
		"ipvlan-l3": {{from: of("10.30.0.0/15"), never: true}, {from: of("192.168.1.12/32"), shared: true}},
		"dual-stack-vlan": {
			{from: of("192.168.216.13/32"), tags: []uint16{218}},
			{from: of("192.168.218.0/24"), tags: []uint16{218}},
			{from: of("fd00:218::/64"), tags: []uint16{218}},
		},
		"bridge-vlans": {
			{trunk: true, from: of("10.10.0.11/32"), tags: []uint16{10}},
			{trunk: true, from: of("10.10.0.14/32"), tags: []uint16{10}},
			{trunk: true, from: of("10.20.0.0/24"), tags: []uint16{20}},
			// An address of the office's, in the lab.
			{trunk: true, from: of("10.10.0.13/32"), tags: []uint16{20}},
		},
	}
}

// check holds a claim against what was seen.
func (c claim) check(t *testing.T, seen []vm.Frame) {
	t.Helper()
	found := 0
	for _, f := range seen {
		from, asks := sender(f)
		if !asks || !c.from.Contains(from) {
			continue
		}
		found++
		if !slices.Equal(f.Tags(), c.tags) || isCard(f.Source()) != c.shared {
			t.Errorf("sender %s: tags %v, of a card %v, want %v and %v: %v", from, f.Tags(), isCard(f.Source()), c.tags, c.shared, f)
		}
	}
	if (found == 0) != c.never {
		t.Errorf("%d of %d frames are from %s and ask for an address; none %v", found, len(seen), c.from, c.never)
	}
}

// sender is the address for which a frame asks or announces, and whether it does.
func sender(f vm.Frame) (netip.Addr, bool) {
	const (
		arp, ipv6 = 0x0806, 0x86dd
		// Where the sender's address is in ARP for IPv4 (RFC 826), and in IPv6 (RFC 8200).
		arpSender, ipv6Source = 14, 8
		// Neighbour solicitation and advertisement, the first byte behind the header (RFC 4861).
		nextHeader, header, icmp, solicitation, advertisement = 6, 40, 58, 135, 136
	)
	p := f.Payload()
	switch {
	case f.Type() == arp && len(p) >= arpSender+4:
		return netip.AddrFrom4([4]byte(p[arpSender:])), true
	case f.Type() == ipv6 && len(p) > header && p[nextHeader] == icmp && (p[header] == solicitation || p[header] == advertisement):
		return netip.AddrFrom16([16]byte(p[ipv6Source:])), true
	}
	return netip.Addr{}, false
}

// isCard says whether an address is that of a host's network card.
func isCard(mac net.HardwareAddr) bool {
	for host := range hostNames() {
		for card := range cards {
			if bytes.Equal(mac, cardMAC(host, card)) {
				return true
			}
		}
	}
	return false
}
