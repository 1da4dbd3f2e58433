package plan

import (
	"math"
	"net/netip"
	"slices"
	"sort"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// owners says which attachments have a default route, by index and for each family: those that the container asked for,
// or else one of those that have a gateway; and behind it all others that have one, to which the kernel turns once the links
// of those before are gone.
type owners struct{ v4, v6 map[int]owned }

// owned is a default route of an attachment.
type owned struct {
	metric int
	// backup says that another one comes before it.
	backup bool
}

// backup says whether the default route of attachment i in the family of an address comes behind another one.
func (o owners) backup(i int, of netip.Addr) bool {
	if of.Is4() {
		return o.v4[i].backup
	}
	return o.v6[i].backup
}

// metricStep is what lies between the metric of a default route and that of the next one behind it, which says none of its
// own or one that would not be behind. It is what the kernel gives an IPv6 route without a metric.
const metricStep = usualMetric

func defaultRoutes(in Input) owners {
	return owners{
		v4: defaultOwners(in, netip.Addr.Is4, in.Facts.HasDefault.V4, in.Facts.DefaultOn.V4),
		v6: defaultOwners(in, netip.Addr.Is6, in.Facts.HasDefault.V6, in.Facts.DefaultOn.V6),
	}
}

// defaultOwners are those of a family. taken says that the container has a default route already, on is the name of its link:
// beside one of an engine nobody gets one that did not ask, while one of another record of lanhook's is the first of the list.
func defaultOwners(in Input, family func(netip.Addr) bool, taken bool, on string) map[int]owned {
	all := map[int]owned{}
	var waiting []*link
	last := in.highest(family)
	for i, a := range in.Attachments {
		l := newLink(in, i)
		_, has := l.way(family)
		switch {
		case !has && (!a.DefaultRoute.Want || !l.leads(family)):
		case a.DefaultRoute.Set && a.DefaultRoute.Want:
			all[i] = owned{metric: l.metric()}
			last = max(last, l.rank(family))
		case a.DefaultRoute.Set || !a.Network.DefaultRoute:
		default:
			waiting = append(waiting, &l)
		}
	}
	if taken && !slices.ContainsFunc(in.Others, func(o Other) bool { return o.IfName == on }) {
		return all
	}
	// A record that was made after the look at the kernel has its routes already.
	taken = taken || slices.ContainsFunc(in.Others, func(o Other) bool { return highest(o.Routes, family) >= 0 })
	// The order of the metrics is the kernel's; of equal ones the first comes first.
	sort.SliceStable(waiting, func(i, j int) bool { return waiting[i].Network.Metric < waiting[j].Network.Metric })
	for _, l := range waiting {
		d := owned{metric: l.metric(), backup: taken || len(all) > 0}
		if d.backup && (d.metric == 0 || l.rank(family) <= last) {
			d.metric = max(last, usualMetric) + metricStep
		}
		if d.metric > math.MaxInt32 {
			continue // behind the last metric that can be asked for there is no place
		}
		all[l.index] = d
		last = max(last, rank(request.Route{Dst: everywhere(family), Metric: d.metric}))
	}
	return all
}

// highest is the highest metric of the default routes of a family that are there, or are asked for as routes; -1 for none.
func (in Input) highest(family func(netip.Addr) bool) int {
	all := -1
	for _, a := range in.Attachments {
		all = max(all, highest(a.Routes, family))
	}
	for _, o := range in.Others {
		all = max(all, highest(o.Routes, family))
	}
	return all
}

// highest is the highest metric of the default routes of a family among some, -1 for none.
func highest(routes []request.Route, family func(netip.Addr) bool) int {
	metric := -1
	for _, r := range routes {
		if r.Dst.Bits() == 0 && family(r.Dst.Addr()) && isMain(r) {
			metric = max(metric, rank(r))
		}
	}
	return metric
}

// metric is that of the link's default routes: the one asked for, or its network's.
func (l link) metric() int {
	if l.DefaultRoute.Metric != 0 {
		return l.DefaultRoute.Metric
	}
	return l.Network.Metric
}

// rank is the link's metric as the kernel compares it.
func (l link) rank(family func(netip.Addr) bool) int {
	return rank(request.Route{Dst: everywhere(family), Metric: l.metric()})
}

// mayLead says whether the link is not kept from having a default route, by the container or its network.
func (l link) mayLead() bool {
	if l.DefaultRoute.Set {
		return l.DefaultRoute.Want
	}
	return l.Network.DefaultRoute
}

// leads says whether the link can have the default route of a family: it has a gateway, or needs none.
func (l link) leads(family func(netip.Addr) bool) bool {
	return l.gateway(family).IsValid() || l.Network.Routed() && l.has(family)
}

// gateway is the link's gateway in a family: the one asked for, or that of the first subnet which has one and from
// which the container has an address. An isolated network has none, and neither has the container that is the gateway.
func (l link) gateway(family func(netip.Addr) bool) netip.Addr {
	if l.Network.GatewayMode == policy.GatewayIsolated {
		return netip.Addr{}
	}
	own := func(gateway netip.Addr) bool {
		return l.has(func(a netip.Addr) bool { return a == gateway })
	}
	for _, g := range l.Gateways {
		if family(g) && !own(g) {
			return g
		}
	}
	for _, s := range l.Network.Subnets {
		if s.Gateway.IsValid() && family(s.Gateway) && l.has(s.Prefix.Contains) && !own(s.Gateway) {
			return s.Gateway
		}
	}
	return netip.Addr{}
}

// defaults are the default routes that the link has, without a gateway where none can be reached.
func (l link) defaults(o owners) []request.Route {
	var routes []request.Route
	add := func(family func(netip.Addr) bool, all map[int]owned) {
		if d, ok := all[l.index]; ok {
			routes = append(routes, request.Route{Dst: everywhere(family), Via: l.gateway(family), Metric: d.metric})
		}
	}
	add(netip.Addr.Is4, o.v4)
	add(netip.Addr.Is6, o.v6)
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
