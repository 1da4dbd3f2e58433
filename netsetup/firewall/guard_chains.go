//go:build linux

package firewall

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A guard lets a container send as itself only. The same chains stand behind a bridge port, on the host, and behind a link
// in the container's own namespace; on the host, what a sender may be is looked up by the port that it came from.
//
//	guard: MAC ─┬─ IPv4 ─ guard_ip4
//	            ├─ ARP ── guard_arp ─ guard_arp_sender
//	            └─ IPv6 ─ guard_ip6 ─┬─ no ICMPv6 ──────────────────────────────────────┐
//	                guard_fragment ──┴─ guard_icmp6 ─┬─ any other message ──────────────┤
//	                                                 ├─ MLD, router solicitation: guard_join ──┤
//	                                                 ├─ neighbour solicitation: guard_solicit ─┤
//	                                                 ├─ neighbour advertisement: guard_advert ─┴─ guard_source6
//	                                                 └─ router advertisement, redirect: drop
//
// A rule that cannot read what it compares does not match, whatever it compares with (NFT_BREAK). So each chain ends in a
// drop and lets pass only what was read and found right: a frame cut short, or one whose IPv6 headers have no end, does
// not pass.

// Names of the guard's sets. On the host, each key begins with a port's name.
const (
	setMACs      = "macs"
	setAddressed = "addressed"
)

// Names of the guard's chains.
const (
	chainGuard         = "guard"
	chainGuardIP4      = "guard_ip4"
	chainGuardARP      = "guard_arp"
	chainGuardSender   = "guard_arp_sender"
	chainGuardIP6      = "guard_ip6"
	chainGuardFragment = "guard_fragment"
	chainGuardICMP6    = "guard_icmp6"
	chainGuardJoin     = "guard_join"
	chainGuardSolicit  = "guard_solicit"
	chainGuardAdvert   = "guard_advert"
	chainGuardSource6  = "guard_source6"
)

// Kinds of ICMPv6 messages, from IANA's list.
const (
	mldReport       = 131
	mldDone         = 132
	routerSolicit   = 133
	routerAdvertise = 134
	neighSolicit    = 135
	neighAdvertise  = 136
	redirectMessage = 137
	mld2Report      = 143
)

// guard describes the chains of one table.
type guard struct {
	// ports is true for the table on the host, in which a port is part of every key.
	ports bool
	// free is true in a container's table when the container has no address yet; on the host a set says that.
	free bool
}

// chains are all that [chainGuard] leads to.
func (g guard) chains() []chain {
	v4, v6 := ipv4(), ipv6()
	none4, none6 := make([]byte, 4), make([]byte, 16)
	return []chain{
		{name: chainGuard, rules: []rule{
			say(g.lookup(setMACs, linkPayload(6, 6), true), drop()),
			// Who writes his frames himself says what protocol they are of (packet(7)), whatever is in them.
			say(protocolIs(unix.ETH_P_IP), etherType(unix.ETH_P_IP), goTo(chainGuardIP4)),
			say(protocolIs(unix.ETH_P_IPV6), etherType(unix.ETH_P_IPV6), goTo(chainGuardIP6)),
			say(protocolIs(unix.ETH_P_ARP), etherType(unix.ETH_P_ARP), goTo(chainGuardARP)),
			say(drop()),
		}},
		{name: chainGuardIP4, rules: g.end(say(protocolIs(unix.ETH_P_IP), g.own(v4.set(setSource), v4.saddr()), back()))},
		{name: chainGuardARP, rules: []rule{
			// Ethernet and IPv4 with addresses as long as theirs are. From that follows where the sender's stand (RFC 826).
			say(etherType(unix.ETH_P_ARP), is(netPayload(0, 4), 0, 1, 8, 0), is(netPayload(4, 2), 6, 4),
				g.own(setMACs, netPayload(8, 6)), goTo(chainGuardSender)),
			say(drop()),
		}},
		{name: chainGuardSender, rules: g.end(
			// Who asks whether an address is taken has none yet (RFC 5227).
			say(etherType(unix.ETH_P_ARP), is(netPayload(6, 2), 0, 1), is(netPayload(14, 4), none4...), back()),
			say(etherType(unix.ETH_P_ARP), g.own(v4.set(setSource), netPayload(14, 4)), back()),
		)},
		{name: chainGuardIP6, rules: guardIP6()},
		{name: chainGuardFragment, rules: guardFragment()},
		{name: chainGuardICMP6, rules: guardICMP6()},
		{name: chainGuardJoin, rules: []rule{
			say(isIP6(), is(v6.saddr(), none6...), back()),
			say(goTo(chainGuardSource6)),
		}},
		{name: chainGuardSolicit, rules: g.end(
			say(isIP6(), isNot(v6.saddr(), none6...), goTo(chainGuardSource6)),
			// Duplicate address detection (RFC 4862).
			say(icmp6(), g.own(v6.set(setSource), neighTarget()), back()),
		)},
		{name: chainGuardAdvert, rules: g.end(say(icmp6(), g.own(v6.set(setSource), neighTarget()), goTo(chainGuardSource6)))},
		{name: chainGuardSource6, rules: g.end(say(isIP6(), g.own(v6.set(setSource), v6.saddr()), back()))},
	}
}

// guardIP6 parts what may claim an address from the rest.
func guardIP6() []rule {
	return []rule{
		// Nearly everything.
		say(nextHeader(unix.IPPROTO_TCP), goTo(chainGuardSource6)),
		say(nextHeader(unix.IPPROTO_UDP), goTo(chainGuardSource6)),
		// It is nothing without the first fragment, which shows what it is or is dropped.
		say(laterFragment(), goTo(chainGuardSource6)),
		say(fragmentHeader(), goTo(chainGuardFragment)),
		say(isNot(l4proto(), unix.IPPROTO_ICMPV6), goTo(chainGuardSource6)),
		say(goTo(chainGuardICMP6)),
	}
}

// guardFragment lets a first fragment pass only when what it is a part of begins right behind its header and within it.
// Otherwise the kernel takes for that what stands behind the packet in its frame, and the truth comes in the next fragment
// (RFC 7113, section 2).
func guardFragment() []rule {
	var rules []rule
	for _, extension := range []byte{
		unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT, unix.IPPROTO_AH, unix.IPPROTO_DSTOPTS,
	} {
		rules = append(rules, say(isIP6(), fields(fragmentField(0, 1)), []expr.Any{equal(extension)}, drop()))
	}
	return append(rules,
		say(isNot(l4proto(), unix.IPPROTO_ICMPV6), nextHeader(unix.IPPROTO_FRAGMENT), goTo(chainGuardSource6)),
		// The fragment's header and one of ICMPv6, 8 bytes each.
		say(nextHeader(unix.IPPROTO_FRAGMENT), fields(netPayload(4, 2)),
			[]expr.Any{&expr.Cmp{Op: expr.CmpOpGte, Register: register(0), Data: []byte{0, 16}}}, goTo(chainGuardICMP6)),
		say(drop()),
	)
}

func guardICMP6() []rule {
	kind := func(k byte, then []expr.Any) rule { return say(icmp6(), is(transportPayload(0, 1), k), then) }
	return []rule{
		kind(routerAdvertise, drop()),
		kind(redirectMessage, drop()),
		kind(neighAdvertise, goTo(chainGuardAdvert)),
		kind(neighSolicit, goTo(chainGuardSolicit)),
		kind(mld2Report, goTo(chainGuardJoin)),
		kind(mldReport, goTo(chainGuardJoin)),
		kind(mldDone, goTo(chainGuardJoin)),
		kind(routerSolicit, goTo(chainGuardJoin)),
		// Whatever else can be read.
		say(icmp6(), isNot(transportPayload(0, 1), routerAdvertise), goTo(chainGuardSource6)),
		say(drop()),
	}
}

// end puts behind rules that let pass what is a container's own: what one passes that has no address, as before DHCP, and
// a drop.
func (g guard) end(all ...rule) []rule {
	switch {
	case g.ports:
		all = append(all, say(notIn(setAddressed, iifname()), back()))
	case g.free:
		all = append(all, say(back()))
	}
	return append(all, say(drop()))
}

// own matches what is in a set of the container's own.
func (g guard) own(set string, what load) []expr.Any { return g.lookup(set, what, false) }

func (g guard) lookup(set string, what load, invert bool) []expr.Any {
	loads := []load{what}
	if g.ports {
		loads = []load{iifname(), what}
	}
	if invert {
		return notIn(set, loads...)
	}
	return in(set, loads...)
}

func linkPayload(offset, size uint32) load { return payload(expr.PayloadBaseLLHeader, offset, size) }

func netPayload(offset, size uint32) load {
	return payload(expr.PayloadBaseNetworkHeader, offset, size)
}

func transportPayload(offset, size uint32) load {
	return payload(expr.PayloadBaseTransportHeader, offset, size)
}

// neighTarget is the address that a neighbour solicitation or advertisement is about (RFC 4861, sections 4.3 and 4.4).
func neighTarget() load { return transportPayload(8, 16) }

// protocolIs matches what the kernel takes a frame for.
func protocolIs(number uint16) []expr.Any {
	return is(meta(expr.MetaKeyPROTOCOL, 1), binary.BigEndian.AppendUint16(nil, number)...)
}

// etherType matches what a frame's header says. Of one with a VLAN tag that is the tag, wherever the kernel keeps it.
func etherType(number uint16) []expr.Any {
	return is(linkPayload(12, 2), binary.BigEndian.AppendUint16(nil, number)...)
}

// isIP6 is what nft(8) writes before it looks into an IPv6 packet.
func isIP6() []expr.Any { return protocolIs(unix.ETH_P_IPV6) }

// nextHeader matches what the header of IPv6 itself says comes next.
func nextHeader(number byte) []expr.Any { return append(isIP6(), is(netPayload(6, 1), number)...) }

// icmp6 matches ICMPv6, behind whatever extension headers.
func icmp6() []expr.Any { return append(isIP6(), proto(unix.IPPROTO_ICMPV6)...) }

// fragmentField loads from the fragment header of IPv6 (RFC 8200, section 4.5).
func fragmentField(offset, size uint32) load {
	return load{func(r uint32) expr.Any {
		return &expr.Exthdr{DestRegister: r, Type: unix.IPPROTO_FRAGMENT, Offset: offset, Len: size, Op: expr.ExthdrOpIpv6}
	}, 1}
}

// laterFragment matches fragments that are not the first of their packet: the upper 13 bits of the field are the offset.
func laterFragment() []expr.Any {
	return append(append(isIP6(), fields(fragmentField(2, 2))...), and([]byte{0xff, 0xf8}),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: []byte{0, 0}})
}

// fragmentHeader matches packets with a fragment header.
func fragmentHeader() []expr.Any {
	return append(isIP6(), &expr.Exthdr{
		DestRegister: register(0), Type: unix.IPPROTO_FRAGMENT, Len: 1, Flags: unix.NFT_EXTHDR_F_PRESENT, Op: expr.ExthdrOpIpv6,
	}, equal(1))
}

func is(what load, value ...byte) []expr.Any { return append(fields(what), equal(value...)) }

func isNot(what load, value ...byte) []expr.Any {
	return append(fields(what), &expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: value})
}

// notIn matches what is not in a set.
func notIn(set string, loads ...load) []expr.Any {
	return append(fields(loads...), &expr.Lookup{SourceRegister: register(0), SetName: set, Invert: true})
}

func goTo(chain string) []expr.Any { return verdict(expr.VerdictGoto, chain) }
