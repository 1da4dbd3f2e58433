package plan

import (
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// A container with several interfaces answers by the one that was asked, and each interface answers ARP for its own
// addresses alone. By itself the kernel does neither: it sends by destination only, whatever address it sends from, and
// answers ARP for any of its addresses on every link (Documentation/networking/ip-sysctl.rst, arp_ignore). So a request
// that came in by a router of the second network would be answered by way of the first one's, with a source that nobody
// there expects, and be dropped.
//
//	27752: from 10.1.0.9 lookup T   for each address of the interface
//	table T: 10.1.0.0/24, its static routes, its default route, what is never to be sent anywhere
//	32766: from all lookup main     what the container begins itself, while it has chosen no address
//
// Tables and rules are made where they are needed: an interface that is alone, and has the default route, has none.
const (
	// rulePriority is that of all rules of ours: after the table of local addresses (0), before the main one (32766). A rule
	// that somebody adds without a priority comes before them (net/core/fib_rules.c, fib_default_rule_pref).
	rulePriority = Group
	// tables is the first number of tables of ours. The kernel's and the administrator's are small numbers as a rule: 253 to
	// 255 are its own, and /etc/iproute2/rt_tables names those up to 252.
	tables = 1 << 30
	// slots are the tables that a record can have: one for each of its own links, then those for links of others.
	slots      = 64
	firstOther = 16
)

// OwnTable says whether a routing table is one of lanhook's.
func OwnTable(table int) bool { return table>>30 == 1 }

// tableOf is the number of a table: 1<<30, 24 bits that are made from the record's id, and 6 bits for the slot, which is
// the place of the link in the record. It follows from the link's own name, and is another one for each link of a container.
func tableOf(record string, slot int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(record))
	return tables | int(h.Sum32()&(1<<24-1))*slots | slot
}

// Other is an interface that another record of the same namespace made.
type Other struct {
	IfName    string
	Addresses []netip.Prefix
	// Routes are those of the main table that lie on it, and those of the record that lie on no link (blackhole and its like).
	Routes []request.Route
	// Ruled are those of Addresses that have a table already, or are not to have one.
	Ruled []netip.Addr
}

// withTables are the links, each of which knows whether it needs a table of its own.
func withTables(in Input, links []link) []link {
	here := Families{}
	n4, n6 := 0, 0
	for _, l := range links {
		n4, n6 = n4+one(l.sends(netip.Addr.Is4)), n6+one(l.sends(netip.Addr.Is6))
	}
	here.V4 = n4 > 1 || in.Facts.HasAddress.V4 || in.others(netip.Addr.Is4)
	here.V6 = n6 > 1 || in.Facts.HasAddress.V6 || in.others(netip.Addr.Is6)
	for i, l := range links {
		// Who says that the default route is not here expects one elsewhere: Docker's, since version 28, comes after the hook.
		elsewhere := l.DefaultRoute.Set && !l.DefaultRoute.Want
		links[i].ruled = Families{
			V4: l.Network.SourceRouting && l.sends(netip.Addr.Is4) && (here.V4 || elsewhere),
			V6: l.Network.SourceRouting && l.sends(netip.Addr.Is6) && (here.V6 || elsewhere),
		}
	}
	return links
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// others says whether other records of the namespace have addresses of a family.
func (in Input) others(family func(netip.Addr) bool) bool {
	return slices.ContainsFunc(in.Others, func(o Other) bool { return len(sources(o.Addresses, family)) > 0 })
}

// sends says whether the link has an address of a family from which something is routed.
func (l link) sends(family func(netip.Addr) bool) bool {
	return len(sources(l.choice.Addresses, family)) > 0
}

// sources are the addresses of a family from which something is routed: link-local ones are not (RFC 4291, section 2.5.6).
func sources(all []netip.Prefix, family func(netip.Addr) bool) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool {
		return !family(p.Addr()) || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()
	})
}

// each are those families of which it is true.
func (f Families) each() []func(netip.Addr) bool {
	var all []func(netip.Addr) bool
	if f.V4 {
		all = append(all, netip.Addr.Is4)
	}
	if f.V6 {
		all = append(all, netip.Addr.Is6)
	}
	return all
}

// bySource are the routes and rules by which each link answers itself: first the tables, then the rules that lead there, so
// that no rule leads to a table that is not whole.
func bySource(in Input, links []link) Steps {
	var steps, rules Steps
	nowhere := blackholes(in, links)
	for _, l := range links {
		for _, family := range l.ruled.each() {
			from := sources(l.choice.Addresses, family)
			t := table{number: tableOf(l.record, l.index), family: family}
			t.connect(l.IfName, from)
			for _, r := range l.Routes {
				if l.carries(r) {
					t.add(l.IfName, r)
				}
			}
			if way, ok := l.way(family); ok {
				t.add(l.IfName, way)
			}
			t.serve(links)
			t.add("", nowhere...)
			steps, rules = append(steps, t.routes...), append(rules, t.rules(from)...)
		}
	}
	late, lateRules := forOthers(in, links, nowhere)
	return slices.Concat(steps, late, rules, lateRules)
}

// forOthers makes tables for interfaces of the namespace that were alone until now. Their routes lie on links of another
// record, so that they have an undo of their own.
func forOthers(in Input, links []link, nowhere []request.Route) (steps, rules Steps) {
	has := func(family func(netip.Addr) bool) bool {
		return slices.ContainsFunc(links, func(l link) bool { return l.sends(family) })
	}
	for i, o := range in.Others[:min(len(in.Others), slots-firstOther)] {
		free := slices.DeleteFunc(slices.Clone(o.Addresses), func(p netip.Prefix) bool { return slices.Contains(o.Ruled, p.Addr()) })
		for _, family := range (Families{V4: has(netip.Addr.Is4), V6: has(netip.Addr.Is6)}).each() {
			from := sources(free, family)
			if len(from) == 0 {
				continue
			}
			if from[0].Addr().Is4() {
				steps = append(steps, SetSysctls{If: o.IfName, Values: ownARP()})
			}
			t := table{number: tableOf(in.Record, firstOther+i), family: family}
			t.connect(o.IfName, sources(o.Addresses, family))
			for _, r := range o.Routes {
				if r.Type == request.Unicast {
					t.add(o.IfName, r)
				}
			}
			t.serve(links)
			t.add("", nowhere...)
			steps, rules = append(steps, t.routes...), append(rules, t.rules(from)...)
		}
	}
	return steps, rules
}

// blackholes are the routes of the main table by which something is not to be sent at all, from whichever address.
func blackholes(in Input, links []link) []request.Route {
	var all []request.Route
	add := func(list []request.Route) {
		for _, r := range list {
			if r.Type != request.Unicast && isMain(r) {
				all = append(all, r)
			}
		}
	}
	for _, l := range links {
		add(l.Routes)
	}
	for _, o := range in.Others {
		add(o.Routes)
	}
	return all
}

func isMain(r request.Route) bool { return r.Table == 0 || r.Table == mainTable }

// table is what goes to the table of one link, for one family.
type table struct {
	number int
	family func(netip.Addr) bool
	// routes are of type AddRoute.
	routes Steps
}

// connect adds the subnets that a link reaches by itself.
func (t *table) connect(on string, addresses []netip.Prefix) {
	for _, p := range addresses {
		if !p.IsSingleIP() {
			t.add(on, request.Route{Dst: p.Masked()})
		}
	}
}

// serve adds those LANs of which the container is the router: whoever is on one asks by it for the container's other
// addresses, too.
func (t *table) serve(links []link) {
	for _, l := range links {
		for _, s := range l.Network.Subnets {
			if s.Gateway.IsValid() && l.has(func(a netip.Addr) bool { return a == s.Gateway }) {
				t.add(l.IfName, request.Route{Dst: s.Prefix})
			}
		}
	}
}

// add adds those of the routes that are of the family and of the main table, unless there is one to the destination with the
// same metric. on is the name of their link, "" for none.
func (t *table) add(on string, routes ...request.Route) {
	for _, r := range routes {
		if !t.family(r.Dst.Addr()) || !isMain(r) {
			continue
		}
		r.Table = t.number
		same := func(step Step) bool {
			o, ok := step.(AddRoute)
			return ok && o.Route.Dst == r.Dst && rank(o.Route) == rank(r)
		}
		if !slices.ContainsFunc(t.routes, same) {
			t.routes = append(t.routes, AddRoute{If: on, Route: r})
		}
	}
}

func (t *table) rules(from []netip.Prefix) Steps {
	var steps Steps
	for _, p := range from {
		steps = append(steps, AddRouteRule{From: p.Addr(), Table: t.number, Priority: rulePriority})
	}
	return steps
}

// ownARP has a link answer ARP for its own addresses only, and ask with them.
func ownARP() []request.Sysctl {
	return []request.Sysctl{
		{Key: "net.ipv4.conf.IFNAME.arp_ignore", Value: "1"},
		{Key: "net.ipv4.conf.IFNAME.arp_announce", Value: "2"},
	}
}

// severalSysctls are the settings of a link with IPv4 addresses that is one of several. rp_filter=2 takes what the link's
// own router would not be asked for, such as a request that a router of another network has sent here, but nothing from
// where no link leads.
func (l link) severalSysctls() []request.Sysctl {
	if !l.ruled.V4 {
		return nil
	}
	return append(ownARP(), request.Sysctl{Key: "net.ipv4.conf.IFNAME.rp_filter", Value: "2"})
}

// way is the route by which the link reaches what is in none of its subnets; false when it has none.
func (l link) way(family func(netip.Addr) bool) (request.Route, bool) {
	r := request.Route{Dst: everywhere(family), Via: l.gateway(family), Metric: l.metric()}
	return r, l.leads(family) && !l.Network.Internal && l.Network.GatewayMode != policy.GatewayIsolated
}

// everywhere is the destination of a default route.
func everywhere(family func(netip.Addr) bool) netip.Prefix {
	if family(netip.IPv4Unspecified()) {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
