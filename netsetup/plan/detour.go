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

// detour are those of the container's addresses to which something published goes, and from which the answer would not come
// back to the host by itself: by the container's default route it would leave by another link, or go to another router,
// with a source that nobody there has asked. The host can only help where it has an address that the container reaches.
func (l link) detour(out ways) []netip.Addr {
	host := l.onBridge()
	var all []netip.Addr
	for _, to := range l.targets() {
		way := out.v4
		if to.Is6() {
			way = out.v6
		}
		if !slices.Contains(host, way) && l.shares(to, host) && !slices.Contains(all, to) {
			all = append(all, to)
		}
	}
	return all
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
