//go:build linux

package firewall_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// attempt is a frame that a container sends, and whether a guard lets it pass.
type attempt struct {
	name   string
	frame  []byte
	passes bool
}

// sender is a container as a guard knows it, among others on its network.
type sender struct {
	mac       plan.MAC
	own4      netip.Addr
	own6      netip.Addr
	linkLocal netip.Addr
	// to is the receiver's MAC address, other a MAC address of somebody else.
	to, other plan.MAC
}

// The others of each test's network.
func theirs4() netip.Addr { return addr("172.30.0.77") }

func theirs6() netip.Addr { return addr("fd30::77") }

func gateway4() netip.Addr { return addr("172.30.0.1") }

func routers() netip.Addr { return addr("fe80::1") }

func none4() netip.Addr { return netip.IPv4Unspecified() }

func none6() netip.Addr { return netip.IPv6Unspecified() }

func everyone6() netip.Addr { return netip.IPv6LinkLocalAllNodes() }

// frame is one of the sender's own, if nothing else is said.
func (s sender) frame(kind uint16, payload []byte) []byte {
	return ethernet(s.to, s.mac, kind, payload)
}

func (s sender) ip4(from netip.Addr) []byte {
	return s.frame(typeIPv4, ip4(from, gateway4(), udp(4000, 4000, mark("frame"))))
}

func (s sender) ip6(from netip.Addr) []byte {
	return s.frame(typeIPv6, ip6(from, theirs6(), protoUDP, udp(4000, 4000, mark("frame"))))
}

func (s sender) icmp6(from netip.Addr, kind byte, body []byte) []byte {
	return s.frame(typeIPv6, ip6(from, everyone6(), protoICMP6, icmp6(from, everyone6(), kind, append(body, mark("frame")...))))
}

// about is the body of a neighbour solicitation or advertisement.
func about(target netip.Addr) []byte { return append(make([]byte, 4), target.AsSlice()...) }

// marker is a frame that always passes.
func (s sender) marker(addressed bool) []byte {
	from := s.own4
	if !addressed {
		from = none4()
	}
	return s.frame(typeIPv4, ip4(from, gateway4(), udp(4000, 4000, mark("marker"))))
}

// attempts are what a container with addresses may send, and may not.
func (s sender) attempts() []attempt {
	return slices.Concat(s.link(), s.arp(), s.sources(), s.neighbours(), s.extensions())
}

func (s sender) link() []attempt {
	own := ip4(s.own4, gateway4(), udp(4000, 4000, mark("frame")))
	return []attempt{
		{"own MAC", s.frame(typeIPv4, own), true},
		{"MAC of another", ethernet(s.to, s.other, typeIPv4, own), false},
		{"tagged for a VLAN", s.frame(typeVLAN, slices.Concat([]byte{0, 10, 8, 0}, own)), false},
		{"tagged for VLAN 0", s.frame(typeVLAN, slices.Concat([]byte{0, 0, 8, 0}, own)), false},
		{"tagged twice", s.frame(0x88a8, slices.Concat([]byte{0, 10, 0x81, 0, 0, 10, 8, 0}, own)), false},
		{"protocol of its own", s.frame(0x88b5, mark("frame")), false},
		{"PPPoE", s.frame(0x8863, mark("frame")), false},
		{"802.2", s.frame(60, mark("frame")), false},
		{"IPv4 in 802.2", s.frame(60, slices.Concat([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, own)), false},
		{"IPv4 cut short", s.frame(typeIPv4, own)[:28], false},
	}
}

func (s sender) arp() []attempt {
	pad := func(b []byte) []byte { return s.frame(typeARP, b) }
	long := arp(1, s.mac, s.own4, gateway4())
	long[4] = 8
	return []attempt{
		{"ARP request", pad(arp(1, s.mac, s.own4, gateway4())), true},
		{"ARP reply", pad(arp(2, s.mac, s.own4, gateway4())), true},
		{"ARP announcement", pad(arp(1, s.mac, s.own4, s.own4)), true},
		{"ARP probe", pad(arp(1, s.mac, none4(), s.own4)), true},
		{"ARP request from the gateway's address", pad(arp(1, s.mac, gateway4(), theirs4())), false},
		{"ARP reply from the gateway's address", pad(arp(2, s.mac, gateway4(), theirs4())), false},
		{"ARP reply from no address", pad(arp(2, s.mac, none4(), theirs4())), false},
		{"ARP request from the MAC of another", pad(arp(1, s.other, s.own4, gateway4())), false},
		{"ARP probe from the MAC of another", pad(arp(1, s.other, none4(), gateway4())), false},
		{"ARP with a long address", pad(long), false},
	}
}

func (s sender) sources() []attempt {
	return []attempt{
		{"own IPv4 address", s.ip4(s.own4), true},
		{"IPv4 address of another", s.ip4(theirs4()), false},
		{"IPv4 address of the gateway", s.ip4(gateway4()), false},
		{"loopback address", s.ip4(addr("127.0.0.1")), false},
		{"no IPv4 address", s.ip4(none4()), false},
		{"own IPv6 address", s.ip6(s.own6), true},
		{"own link-local address", s.ip6(s.linkLocal), true},
		{"IPv6 address of another", s.ip6(theirs6()), false},
		{"link-local address of a router", s.ip6(routers()), false},
		{"no IPv6 address", s.ip6(none6()), false},
		{"mapped address", s.ip6(addr("::ffff:172.30.0.77")), false},
		{"IPv6 that says it is ARP", ethernet(s.to, s.mac, typeARP, ip6(s.own6, theirs6(), protoUDP, mark("frame"))), false},
	}
}

func (s sender) neighbours() []attempt {
	return []attempt{
		{"echo request", s.icmp6(s.own6, echoRequest, make([]byte, 4)), true},
		{"echo request from another", s.icmp6(theirs6(), echoRequest, make([]byte, 4)), false},
		{"neighbour solicitation", s.icmp6(s.own6, neighbourAsk, about(theirs6())), true},
		{"neighbour solicitation from the link-local address", s.icmp6(s.linkLocal, neighbourAsk, about(routers())), true},
		{"neighbour solicitation from a router's address", s.icmp6(routers(), neighbourAsk, about(theirs6())), false},
		{"duplicate address detection", s.icmp6(none6(), neighbourAsk, about(s.own6)), true},
		{"duplicate address detection of the link-local address", s.icmp6(none6(), neighbourAsk, about(s.linkLocal)), true},
		{"duplicate address detection of another's", s.icmp6(none6(), neighbourAsk, about(theirs6())), false},
		{"neighbour advertisement", s.icmp6(s.own6, neighbourTel, about(s.own6)), true},
		{"neighbour advertisement of the link-local address", s.icmp6(s.linkLocal, neighbourTel, about(s.linkLocal)), true},
		{"neighbour advertisement for another", s.icmp6(s.own6, neighbourTel, about(theirs6())), false},
		{"neighbour advertisement for a router", s.icmp6(s.linkLocal, neighbourTel, about(routers())), false},
		{"neighbour advertisement from another", s.icmp6(theirs6(), neighbourTel, about(s.own6)), false},
		{"router solicitation", s.icmp6(s.linkLocal, routerAsk, make([]byte, 4)), true},
		{"router solicitation from no address", s.icmp6(none6(), routerAsk, make([]byte, 4)), true},
		{"router advertisement", s.icmp6(s.linkLocal, routerTell, make([]byte, 12)), false},
		{"router advertisement from a router's address", s.icmp6(routers(), routerTell, make([]byte, 12)), false},
		{"redirect", s.icmp6(s.linkLocal, redirect, make([]byte, 36)), false},
		{"MLD report from no address", s.icmp6(none6(), mld2Report, make([]byte, 4)), true},
		{"MLD report", s.icmp6(s.linkLocal, mld2Report, make([]byte, 4)), true},
		{"MLD report from another", s.icmp6(routers(), mld2Report, make([]byte, 4)), false},
		{"MLDv1 report", s.icmp6(s.linkLocal, mldReport, make([]byte, 20)), true},
		{"MLDv1 done", s.icmp6(s.linkLocal, mldDone, make([]byte, 20)), true},
		{"ICMPv6 without a type", s.frame(typeIPv6, ip6(s.own6, everyone6(), protoICMP6, nil))[:54], false},
	}
}

// extensions are messages behind extension headers, in which guards have been fooled (RFC 7113).
func (s sender) extensions() []attempt {
	behind := func(from netip.Addr, first byte, headers []byte, message []byte) []byte {
		return s.frame(typeIPv6, ip6(from, everyone6(), first, slices.Concat(headers, message)))
	}
	advert := icmp6(s.linkLocal, everyone6(), routerTell, append(make([]byte, 12), mark("frame")...))
	report := icmp6(none6(), everyone6(), mld2Report, append(make([]byte, 4), mark("frame")...))
	return []attempt{
		{"MLD report behind a router alert", behind(none6(), protoHopByHop, options(protoICMP6), report), true},
		{"router advertisement behind hop-by-hop options", behind(s.linkLocal, protoHopByHop, options(protoICMP6), advert), false},
		{
			"router advertisement behind many headers",
			behind(s.linkLocal, protoDest, slices.Concat(options(protoDest), options(protoDest), options(protoICMP6)), advert), false,
		},
		{
			"router advertisement in a whole fragment",
			behind(s.linkLocal, protoFragment, fragment(protoICMP6, 0, false), advert), false,
		},
		{
			"router advertisement in a first fragment",
			behind(s.linkLocal, protoFragment, fragment(protoICMP6, 0, true), advert), false,
		},
		{
			"router advertisement behind headers of which the first fragment has not all",
			behind(s.linkLocal, protoFragment, slices.Concat(fragment(protoDest, 0, true), []byte{protoICMP6, 200, 1, 4}), mark("frame")), false,
		},
		{
			"first fragment without the message, with another behind its end",
			s.frame(typeIPv6, slices.Concat(ip6(s.linkLocal, everyone6(), protoFragment,
				slices.Concat(fragment(protoDest, 0, true), options(protoICMP6))), mark("frame"))), false,
		},
		{
			"first fragment without any header, with another behind its end",
			s.frame(typeIPv6, slices.Concat(ip6(s.linkLocal, everyone6(), protoFragment, fragment(protoDest, 0, true)),
				[]byte{protoUDP, 0, 1, 4, 0, 0, 0, 0}, mark("frame"))), false,
		},
		{
			"first fragment without ICMPv6, with some behind its end",
			s.frame(typeIPv6, slices.Concat(ip6(s.linkLocal, everyone6(), protoFragment, fragment(protoICMP6, 0, true)),
				icmp6(s.linkLocal, everyone6(), echoRequest, append(make([]byte, 4), mark("frame")...)))), false,
		},
		{
			"first fragment behind options",
			behind(s.linkLocal, protoHopByHop, slices.Concat(options(protoFragment), fragment(protoICMP6, 0, true)),
				icmp6(s.linkLocal, everyone6(), echoRequest, append(make([]byte, 4), mark("frame")...))), false,
		},
		{
			"echo request in a first fragment", behind(s.own6, protoFragment, fragment(protoICMP6, 0, true),
				icmp6(s.own6, everyone6(), echoRequest, append(make([]byte, 4), mark("frame")...))), true,
		},
		{
			"datagram in a first fragment",
			behind(s.own6, protoFragment, fragment(protoUDP, 0, true), udp(4000, 4000, mark("frame"))), true,
		},
		{"later fragment", behind(s.own6, protoFragment, fragment(protoICMP6, 64, false), mark("frame")), true},
		{"later fragment from another", behind(theirs6(), protoFragment, fragment(protoICMP6, 64, false), mark("frame")), false},
		{"headers without an end", behind(s.own6, protoDest, []byte{protoDest, 250, 1, 4}, mark("frame")), false},
	}
}

// unaddressed are what a container may send that has no address yet, and may not even then.
func (s sender) unaddressed() []attempt {
	discover := s.frame(typeIPv4, ip4(none4(), addr("255.255.255.255"), udp(68, 67, mark("frame"))))
	return []attempt{
		{"DHCP discover", discover, true},
		{"any IPv4 address", s.ip4(addr("172.30.0.50")), true},
		{"any IPv6 address", s.ip6(addr("fd30::50")), true},
		{"ARP request from any address", s.frame(typeARP, arp(1, s.mac, addr("172.30.0.50"), gateway4())), true},
		{"duplicate address detection", s.icmp6(none6(), neighbourAsk, about(addr("fd30::50"))), true},
		{"neighbour advertisement", s.icmp6(addr("fd30::50"), neighbourTel, about(addr("fd30::50"))), true},
		{"router solicitation", s.icmp6(s.linkLocal, routerAsk, make([]byte, 4)), true},
		{"MLD report", s.icmp6(none6(), mld2Report, make([]byte, 4)), true},
		{"MAC of another", ethernet(s.to, s.other, typeIPv4, ip4(none4(), gateway4(), mark("frame"))), false},
		{"ARP request from the MAC of another", s.frame(typeARP, arp(1, s.other, none4(), gateway4())), false},
		{"router advertisement", s.icmp6(s.linkLocal, routerTell, make([]byte, 12)), false},
		{"redirect", s.icmp6(s.linkLocal, redirect, make([]byte, 36)), false},
		{"tagged for a VLAN", s.frame(typeVLAN, slices.Concat([]byte{0, 10, 8, 0}, mark("frame"))), false},
	}
}

// try sends each attempt. guarded false says that all pass.
func (c *cable) try(t *testing.T, all []attempt, marker []byte, guarded bool) {
	t.Helper()
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) {
			if got, want := c.passes(t, a.frame, marker), a.passes || !guarded; got != want {
				t.Errorf("passes: %v, want %v", got, want)
			}
		})
	}
}
