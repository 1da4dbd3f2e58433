//go:build linux

package firewall

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Names of sets that have no family.
const (
	setBridges = "bridges"
	setSame    = "same"
	setOpen    = "open"
	setFrom    = "from"
	setTo      = "to"
	// setSettings is asked by no rule: it says what was made of a bridge.
	setSettings = "settings"
)

// Names of chains. What begins with admin is the administrator's.
const (
	chainAdmin  = "admin"
	chainNAT    = "to_nat"
	chainRouted = "to_routed"
	chainClosed = "closed"
)

// statusDNAT is the bit of a connection whose destination was translated (IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h).
const statusDNAT = 1 << 5

// Priorities one before the usual ones: what is published is nobody else's to translate, and an administrator's rule that
// hides everything which leaves by a link must not hide what has an address of its own (snat).
const (
	beforeDNAT = -101
	beforeSNAT = 99
)

// inetTable is where packets between networks go through.
func inetTable() table {
	return table{
		family: nftables.TableFamilyINet, name: tableName, sets: inetSets(),
		chains: []chain{
			{name: chainAdmin},
			loopbackChain(), preroutingChain(), outputChain(), publishChain(), postroutingChain(), forwardChain(),
			natChain(), routedChain(),
			closedChain(),
		},
	}
}

func inetSets() []set {
	proto, service, name := nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeIFName
	list := func(types ...nftables.SetDatatype) []nftables.SetDatatype { return types }
	var sets []set
	for _, f := range []struct {
		version
		addr nftables.SetDatatype
	}{{ipv4(), nftables.TypeIPAddr}, {ipv6(), nftables.TypeIP6Addr}} {
		sets = append(sets,
			set{f.set("publish"), list(f.addr, proto, service), list(f.addr, service), "port of a host address: container"},
			set{f.set("any"), list(proto, service), list(f.addr, service), "port of every host address: container"},
			set{f.set("whole"), list(f.addr), list(f.addr), "host address: container"},
			set{f.set("home"), list(f.addr, name), nil, "container . its bridge"},
			set{f.set("masquerade"), list(f.addr), nil, "containers that are hidden behind the host"},
			set{f.set("detour"), list(f.addr), nil, "containers that answer clients only by way of the host"},
			set{f.set("unbound"), list(f.addr), nil, "containers that do so for all but tcp"},
			set{f.set("snat"), list(f.addr), list(f.addr), "container: host address that it is hidden behind"},
			set{f.set("routed"), list(f.addr, proto, service), nil, "ports that are reached at the container's own address"},
		)
	}
	verdict := list(nftables.TypeVerdict)
	return append(sets,
		set{setBridges, list(name), nil, "all bridges of lanhook's"},
		set{setSame, list(name, name), nil, "bridges whose containers reach each other (icc)"},
		set{setOpen, list(name), nil, "bridges that are open to each other (isolate = false)"},
		set{setFrom, list(name), verdict, "what may leave a bridge"},
		set{setTo, list(name), verdict, "what may come to a bridge"},
		set{setSettings, list(name), list(name), "what the policy says of a bridge: gate, icc, open"},
	)
}

// loopbackChain guards the host's own 127.0.0.0/8, which bridges with published ports route (route_localnet).
func loopbackChain() chain {
	v := ipv4()
	return chain{
		name: "loopback", hook: &hook{kind: nftables.ChainTypeFilter, at: *nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityRaw},
		rules: []rule{
			say(in(setBridges, iifname()), v.within("127.0.0.0/8", v.daddr()), drop()),
			say(in(setBridges, iifname()), v.within("127.0.0.0/8", v.saddr()), drop()),
		},
	}
}

// preroutingChain translates what comes in. The kernel looks for strange addresses after that, so what comes from the wire
// for 127.0.0.1 must not be translated here.
func preroutingChain() chain {
	v := ipv4()
	return chain{
		name: "prerouting", hook: &hook{kind: nftables.ChainTypeNAT, at: *nftables.ChainHookPrerouting, priority: beforeDNAT},
		rules: []rule{
			say(v.within("127.0.0.0/8", v.daddr()), back()),
			say(toLocal(), jump("publish")),
		},
	}
}

// outputChain translates what the host itself sends.
func outputChain() chain {
	return chain{
		name: "output", hook: &hook{kind: nftables.ChainTypeNAT, at: *nftables.ChainHookOutput, priority: beforeDNAT},
		rules: []rule{say(toLocal(), jump("publish"))},
	}
}

// publishChain finds the container of a port: the more is said of the host's side, the earlier.
func publishChain() chain {
	v4, v6 := ipv4(), ipv6()
	c := chain{name: "publish", rules: []rule{
		// The kernel forwards nothing that has a source of one link only: a refusal is better than silence.
		say(v6.within("fe80::/10", v6.daddr()), back()),
		// For ::1 it knows only routes by the link that the answer comes in by (rt6_need_strict in net/ipv6/route.c).
		say(v6.is("::1", v6.daddr()), back()),
	}}
	for _, v := range []version{v4, v6} {
		c.rules = append(c.rules, say(v.dnatTo(v.set("publish"), true, v.daddr(), l4proto(), dport())))
	}
	for _, v := range []version{v4, v6} {
		c.rules = append(c.rules, say(v.dnatTo(v.set("any"), true, l4proto(), dport())))
	}
	for _, v := range []version{v4, v6} {
		c.rules = append(c.rules, say(v.dnatTo(v.set("whole"), false, v.daddr())))
	}
	return c
}

// postroutingChain hides what leaves.
func postroutingChain() chain {
	v4, v6 := ipv4(), ipv6()
	c := chain{
		name: "postrouting",
		hook: &hook{kind: nftables.ChainTypeNAT, at: *nftables.ChainHookPostrouting, priority: beforeSNAT},
	}
	both := func(f func(v version) rule) { c.rules = append(c.rules, f(v4), f(v6)) }
	atHome := func(v version) []expr.Any { return append(v.only(), in(v.set("home"), v.saddr(), oifname())...) }
	both(func(v version) rule {
		// A container that reaches its neighbour by a published port: the answer must come back by the host.
		return say(atHome(v), translated(), masquerade())
	})
	both(func(v version) rule { return say(atHome(v), back()) })
	both(func(v version) rule {
		// A container that has its default route elsewhere. It would answer a host address of snat by there, too.
		return say(v.only(), in(v.set("detour"), v.daddr()), translated(), masquerade())
	})
	both(func(v version) rule {
		// One that answers by source has none yet when it sends a datagram from a socket that is bound to no address.
		return say(v.only(), notProto(unix.IPPROTO_TCP), in(v.set("unbound"), v.daddr()), translated(), masquerade())
	})
	c.rules = append(c.rules,
		say(v4.within("224.0.0.0/4", v4.daddr()), back()),
		say(v6.within("ff00::/8", v6.daddr()), back()),
	)
	both(func(v version) rule { return say(v.snatTo(v.set("snat"))) })
	both(func(v version) rule { return say(v.only(), in(v.set("masquerade"), v.saddr()), masquerade()) })
	// The host's own loopback, on the way to a published port.
	c.rules = append(c.rules, say(in(setBridges, oifname()), v4.within("127.0.0.0/8", v4.saddr()), masquerade()))
	return c
}

// forwardChain says what may pass between links.
func forwardChain() chain {
	c := chain{
		name: "forward",
		hook: &hook{kind: nftables.ChainTypeFilter, at: *nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter},
		rules: []rule{
			say(jump(chainAdmin)),
			say(in(setSame, iifname(), oifname()), accept()),
			// Before connections that are there: see closedChain.
			say(vmap(setFrom, iifname())),
			say(goesOn(), accept()),
			say(in(setOpen, iifname()), in(setOpen, oifname()), accept()),
			say(vmap(setTo, oifname())),
		},
	}
	for _, v := range []version{ipv4(), ipv6()} {
		// What belongs to no connection is not translated, and would leave with the container's own address.
		c.rules = append(c.rules, say(ctState(expr.CtStateBitINVALID), v.only(), in(v.set("masquerade"), v.saddr()), drop()))
	}
	return c
}

// goesOn matches what belongs to a connection that is there.
func goesOn() []expr.Any { return ctState(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED) }

// closedChain lets nothing pass but what containers of the bridge itself answer, to somebody whom the administrator let in,
// for one. A connection is known by its addresses alone: with those of another network's container, what comes from here
// would belong to that one's connections, and leave.
func closedChain() chain {
	c := chain{name: chainClosed}
	for _, v := range []version{ipv4(), ipv6()} {
		c.rules = append(c.rules, say(v.only(), in(v.set("home"), v.saddr(), iifname()), goesOn(), accept()))
	}
	c.rules = append(c.rules, say(drop()))
	return c
}

func natChain() chain {
	return chain{name: chainNAT, rules: []rule{say(translated(), accept()), say(drop())}}
}

// routedChain lets in what natChain does, and from elsewhere than lanhook's other bridges ICMP and published ports.
func routedChain() chain {
	rules := []rule{
		say(translated(), accept()),
		say(in(setBridges, iifname()), drop()),
		say(proto(unix.IPPROTO_ICMP), accept()),
		say(proto(unix.IPPROTO_ICMPV6), accept()),
	}
	for _, v := range []version{ipv4(), ipv6()} {
		rules = append(rules, say(v.only(), in(v.set("routed"), v.daddr(), l4proto(), dport()), accept()))
	}
	return chain{name: chainRouted, rules: append(rules, say(drop()))}
}
