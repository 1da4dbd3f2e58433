package plan

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// mainTable is the number of the routing table that a route without a number goes to (RT_TABLE_MAIN).
const mainTable = 254

// usualMetric is what the kernel makes of an IPv6 route's metric 0 (IP6_RT_PRIO_USER in linux/ipv6_route.h).
const usualMetric = 1024

// ways are the gateways by which the container reaches what is in none of its subnets, by family: no address for none, and
// where it is not known.
type ways struct{ v4, v6 netip.Addr }

func waysOut(in Input, links []link, o owners) ways {
	return ways{
		v4: wayOut(links, o, netip.Addr.Is4, in.Facts.HasDefault.V4),
		v6: wayOut(links, o, netip.Addr.Is6, in.Facts.HasDefault.V6),
	}
}

// wayOut is the gateway of the default route with the lowest metric. Of one that is there already the metric is not known:
// only the lowest of all comes before it for certain.
func wayOut(links []link, o owners, family func(netip.Addr) bool, taken bool) netip.Addr {
	var best request.Route
	for _, l := range links {
		for _, r := range slices.Concat(l.Routes, l.defaults(o)) {
			isDefault := r.Dst.Bits() == 0 && family(r.Dst.Addr()) && (r.Table == 0 || r.Table == mainTable)
			if isDefault && (!best.Dst.IsValid() || rank(r) < rank(best)) {
				best = r
			}
		}
	}
	lowest := 0
	if best.Dst.Addr().Is6() {
		lowest = 1
	}
	if taken && rank(best) > lowest {
		return netip.Addr{}
	}
	return best.Via
}

// rank is the metric that the kernel compares.
func rank(r request.Route) int {
	if r.Metric == 0 && r.Dst.Addr().Is6() {
		return usualMetric
	}
	return r.Metric
}

// of is the gateway of an address's family.
func (w ways) of(a netip.Addr) netip.Addr {
	if a.Is6() {
		return w.v6
	}
	return w.v4
}

// bySource are the gateways by which the link answers from its own addresses, where it does so by a table of its own.
func (l link) bySource(out ways) ways {
	if l.ruled.V4 {
		out.v4 = l.gateway(netip.Addr.Is4)
	}
	if l.ruled.V6 {
		out.v6 = l.gateway(netip.Addr.Is6)
	}
	return out
}

// detours are those of the container's addresses to which something published goes, and from which the answer would not come
// back to the host by itself: by the container's default route it would leave by another link, or go to another router,
// with a source that nobody there has asked. The host can only help where it has an address that the container reaches.
//
// A link with a table of its own answers by itself, but only what has a source when its way is looked for. That is so for
// TCP. A socket for datagrams that is bound to no address has none until the way is known (udp_sendmsg in
// net/ipv4/udp.c): unbound are the addresses for which all but TCP still takes another way.
func (l link) detours(out ways) (all, unbound []netip.Addr) {
	host := l.onBridge()
	own := l.bySource(out)
	for _, to := range l.targets() {
		switch {
		case !l.shares(to, host):
		case !slices.Contains(host, own.of(to)):
			all = appendNew(all, to)
		case !slices.Contains(host, out.of(to)) && l.datagrams(to):
			unbound = appendNew(unbound, to)
		}
	}
	return all, unbound
}

// datagrams says whether anything but TCP that comes to the host goes to an address.
func (l link) datagrams(to netip.Addr) bool {
	return slices.ContainsFunc(l.publish(), func(p Publish) bool { return p.To.Addr() == to && p.Protocol != request.TCP }) ||
		slices.ContainsFunc(l.dnat(), func(t Translation) bool { return t.To == to })
}

func appendNew(list []netip.Addr, a netip.Addr) []netip.Addr {
	if slices.Contains(list, a) {
		return list
	}
	return append(list, a)
}

// shares says whether one of these addresses is in the subnet of the container's address own.
func (l link) shares(own netip.Addr, host []netip.Addr) bool {
	return slices.ContainsFunc(l.choice.Addresses, func(p netip.Prefix) bool {
		return p.Addr() == own && slices.ContainsFunc(host, p.Masked().Contains)
	})
}

// onBridge are the addresses that the host has on the link's bridge once the plan is carried out.
func (l link) onBridge() []netip.Addr {
	if l.Network.Driver != policy.Bridge {
		return nil
	}
	host := slices.Clone(l.uplink.Addresses)
	s := bridgeOf(l)
	if l.exists && (s.AsIs || l.uplink.Group != Group) {
		return host
	}
	for _, p := range s.Addresses {
		host = append(host, p.Addr())
	}
	return host
}
