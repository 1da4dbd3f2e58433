package plan

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// owners says which attachments own the default route, by index: for each family those that the container asked for,
// or else the first one that has a gateway or needs none, unless the container has a default route already.
type owners struct{ v4, v6 map[int]bool }

func defaultRoutes(in Input) owners {
	return owners{
		v4: defaultOwners(in, netip.Addr.Is4, in.Facts.HasDefault.V4),
		v6: defaultOwners(in, netip.Addr.Is6, in.Facts.HasDefault.V6),
	}
}

func defaultOwners(in Input, family func(netip.Addr) bool, taken bool) map[int]bool {
	asked, first := map[int]bool{}, map[int]bool{}
	for i, a := range in.Attachments {
		l := newLink(in, i)
		switch {
		case !l.leads(family):
		case a.DefaultRoute.Set && a.DefaultRoute.Want:
			asked[i] = true
		case a.DefaultRoute.Set || !a.Network.DefaultRoute || a.Network.Internal:
		case len(first) == 0 && !taken:
			first[i] = true
		}
	}
	if len(asked) > 0 {
		return asked
	}
	return first
}

// leads says whether the link can have the default route of a family: it has a gateway, or needs none.
func (l link) leads(family func(netip.Addr) bool) bool {
	return l.gateway(family).IsValid() || l.routed() && l.has(family)
}

// gateway is the link's gateway in a family: the one asked for, or that of the first subnet which has one and from
// which the container has an address. An isolated network has none.
func (l link) gateway(family func(netip.Addr) bool) netip.Addr {
	if l.Network.GatewayMode == policy.GatewayIsolated {
		return netip.Addr{}
	}
	for _, g := range l.Gateways {
		if family(g) {
			return g
		}
	}
	for _, s := range l.Network.Subnets {
		if s.Gateway.IsValid() && family(s.Gateway) && l.has(s.Prefix.Contains) {
			return s.Gateway
		}
	}
	return netip.Addr{}
}

// defaults are the default routes that the link owns, without a gateway where none can be reached.
func (l link) defaults(o owners) []request.Route {
	metric := l.Network.Metric
	if l.DefaultRoute.Metric != 0 {
		metric = l.DefaultRoute.Metric
	}
	var routes []request.Route
	if o.v4[l.index] {
		routes = append(routes, request.Route{
			Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: l.gateway(netip.Addr.Is4), Metric: metric,
		})
	}
	if o.v6[l.index] {
		routes = append(routes, request.Route{
			Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Via: l.gateway(netip.Addr.Is6), Metric: metric,
		})
	}
	return routes
}

// routes are the link's routes: own ones go with the link, others lie on another link of the container or on none.
func (l link) routes(o owners) (own, elsewhere Steps) {
	for _, r := range slices.Concat(l.Routes, l.defaults(o)) {
		if l.carries(r) {
			own = append(own, AddRoute{If: l.IfName, Route: r})
		} else {
			elsewhere = append(elsewhere, AddRoute{Route: r})
		}
	}
	return own, elsewhere
}

// carries says whether a route lies on this link: it has no gateway, or one that the link reaches by itself.
func (l link) carries(r request.Route) bool {
	if r.Type != request.Unicast {
		return false
	}
	if !r.Via.IsValid() || r.OnLink || r.Via.IsLinkLocalUnicast() {
		return true
	}
	return slices.ContainsFunc(l.choice.Addresses, func(p netip.Prefix) bool {
		return p.Masked().Contains(r.Via)
	})
}
