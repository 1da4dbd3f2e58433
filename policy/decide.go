package policy

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/policy/request"
)

// Decide allows a request, or refuses it as a whole with a [*DeniedError]. The first rule that matches the subject
// decides; when none does, the answer is no. A request for nothing gives nothing, whatever the rules say. What only a
// shim can give is [Policy.DecideGuest]'s.
//
// The attachments come in the order of the request.
func (p *Policy) Decide(req request.Request, s Subject) ([]Attachment, error) {
	if len(req.Attachments) == 0 {
		if len(req.Publish) > 0 {
			return nil, publish(nil, req.Publish[0]).deny("", "nothing is attached whose ports could be published")
		}
		return nil, nil
	}
	rule := p.match(s)
	if rule == nil {
		return nil, asked{what: whatOf(req.Attachments[0])}.deny(p.seen(s), "no rule matches this container")
	}
	if n, most := len(req.Attachments), rule.most(); n > most {
		return nil, asked{rule, whatOf(req.Attachments[most])}.deny("", "rule %s allows %d interfaces, and %d are asked for",
			quoted(rule.Name), most, n)
	}
	var out []Attachment
	for _, a := range req.Attachments {
		k := asked{rule, whatOf(a)}
		n, err := p.network(k, a)
		if err != nil {
			return nil, err
		}
		at, err := attach(k, a, n)
		if err != nil {
			return nil, err
		}
		if err = reserve(k, s, &at); err != nil {
			return nil, err
		}
		out = append(out, at)
	}
	if err := together(rule, req.Attachments, out); err != nil {
		return nil, err
	}
	if err := p.ownDNAT(rule, req.Attachments, out); err != nil {
		return nil, err
	}
	if err := checkPublish(rule, req.Publish); err != nil {
		return nil, err
	}
	if err := place(rule, req.Publish, out); err != nil {
		return nil, err
	}
	return out, nil
}

// match is the first rule that matches, nil when none does.
func (p *Policy) match(s Subject) *Rule {
	for i := range p.Rules {
		if p.Rules[i].Match.matches(s) {
			return &p.Rules[i]
		}
	}
	return nil
}

// matches says whether all conditions hold. One on something that is not known does not, whatever the glob.
func (m Match) matches(s Subject) bool {
	for _, c := range []struct {
		globs []string
		value string
	}{
		{m.Engine, s.Engine},
		{m.Namespace, s.Namespace},
		{m.Bundle, s.Bundle},
		{m.CGroup, s.CGroup},
		{m.ID, s.ID},
	} {
		if len(c.globs) > 0 && (c.value == "" || !globAny(c.globs, c.value)) {
			return false
		}
	}
	for key, globs := range m.Annotations {
		if value, ok := s.Annotations[key]; !ok || !globAny(globs, value) {
			return false
		}
	}
	return true
}

func (r *Rule) most() int {
	if r.MaxInterfaces > 0 {
		return r.MaxInterfaces
	}
	return request.MaxAttachments
}

// network finds the network that an attachment names, or makes one of an attachment that is spelled out.
func (p *Policy) network(k asked, a request.Attachment) (*Network, error) {
	if a.Link != nil {
		return p.spelledOut(k, a)
	}
	n, granted := p.Networks[a.Network], globAny(k.rule.Networks, a.Network)
	switch {
	case n == nil:
		return nil, k.deny(k.rule.near(p, a.Network), "the policy has no network %s", quoted(a.Network))
	case !granted:
		return nil, k.forbid(allowed("networks", k.rule.Networks), "network %s", a.Network)
	}
	return n, nil
}

// near suggests a network among those that the rule grants: the others are nobody's business.
func (r *Rule) near(p *Policy, name string) string {
	var names []string
	for _, n := range slices.Sorted(maps.Keys(p.Networks)) {
		if globAny(r.Networks, n) {
			names = append(names, n)
		}
	}
	return nearest(name, names)
}

// attach merges what the container asks for into what the network gives.
func attach(k asked, a request.Attachment, n *Network) (Attachment, error) {
	at := Attachment{
		IfName: a.IfName, Network: n, Rule: k.rule.Name, MAC: a.MAC, MTU: a.MTU, Gateways: a.Gateways,
		DefaultRoute: a.DefaultRoute, Sysctls: slices.Concat(n.Sysctls, a.Sysctls),
		Rates: lowerRates(n.Rates, k.rule.Rates),
	}
	var err error
	if at.IPs, err = checkIPs(k, a, n); err != nil {
		return at, err
	}
	if at.Routes, err = checkRoutes(k, a, n); err != nil {
		return at, err
	}
	if err = checkMAC(k, a.MAC, n); err != nil {
		return at, err
	}
	if err = checkMTU(k, at); err != nil {
		return at, err
	}
	if err = checkIPv6(k, a, &at); err != nil {
		return at, err
	}
	if err = checkGateways(k, at); err != nil {
		return at, err
	}
	if err = checkDNAT(k, a, &at); err != nil {
		return at, err
	}
	for _, s := range a.Sysctls {
		if !globAny(k.rule.Sysctl, s.Key) {
			return at, k.forbid(allowed("sysctl", k.rule.Sysctl), "the sysctl %.128s", s.Key)
		}
	}
	return at, nil
}

// title is how messages call a network.
func (n *Network) title() string {
	if n.Name == "" {
		return "the attachment"
	}
	return "network " + n.Name
}

func (n *Network) prefixes() string {
	var all []string
	for _, s := range n.Subnets {
		all = append(all, s.Prefix.String())
	}
	return strings.Join(all, ", ")
}

// subnet is the one that holds an address, nil when none does.
func (n *Network) subnet(a netip.Addr) *Subnet {
	for i := range n.Subnets {
		if n.Subnets[i].Prefix.Contains(a) {
			return &n.Subnets[i]
		}
	}
	return nil
}

// checkIPs gives each address the prefix length of its subnet, or refuses.
func checkIPs(k asked, a request.Attachment, n *Network) ([]netip.Prefix, error) {
	if len(a.IPs) > 0 && n.IPAM == IPAMNone {
		return nil, k.deny("take ip out", "%s gives no addresses", n.title())
	}
	var out []netip.Prefix
	for _, ip := range a.IPs {
		s := n.subnet(ip.Addr)
		if s == nil {
			return nil, k.deny("", "address %s is outside the subnets of %s: %s", ip.Addr, n.title(), n.prefixes())
		}
		if ip.Bits >= 0 && ip.Bits != s.Prefix.Bits() {
			return nil, k.deny("write "+ip.Addr.String(), "address %s/%d has not the prefix length of its subnet %s",
				ip.Addr, ip.Bits, s.Prefix)
		}
		if ip.Addr == s.Gateway && (n.hostGateway() || !slices.Contains(k.rule.IPSingle, ip.Addr)) {
			return nil, k.deny("", "address %s is the gateway of subnet %s", ip.Addr, s.Prefix)
		}
		if err := ipam.Check(s.pool(ip.Addr), ip.Addr); err != nil {
			return nil, k.deny(hintOf(err), "%s", err)
		}
		if !k.rule.IPAny && !slices.ContainsFunc(k.rule.IP, func(p netip.Prefix) bool { return p.Contains(ip.Addr) }) {
			var granted []string
			for _, p := range k.rule.IP {
				granted = append(granted, p.String())
			}
			return nil, k.forbid(allowed("ip", granted), "the address %s", ip.Addr)
		}
		out = append(out, netip.PrefixFrom(ip.Addr, s.Prefix.Bits()))
	}
	return out, nil
}

func hintOf(err error) string {
	if h, ok := err.(hinter); ok { //nolint:errorlint // only the error itself speaks of this address
		return h.Hint()
	}
	return ""
}

// checkRoutes puts the container's routes behind the network's. The kernel knows one route for a destination, table and
// metric.
func checkRoutes(k asked, a request.Attachment, n *Network) ([]request.Route, error) {
	out := slices.Clone(n.Routes)
	if n.Internal && len(a.Routes) > 0 {
		return nil, k.deny("take route out", "%s is internal: nothing leads out of it", n.title())
	}
	for _, r := range a.Routes {
		if r.Type == request.Unicast && r.Dst.Bits() == 0 && !n.DefaultRoute {
			return nil, k.deny("", "%s gives no default route, and route %s is one", n.title(), r.Dst)
		}
		i := slices.IndexFunc(out, func(o request.Route) bool {
			return o.Dst == r.Dst && o.Table == r.Table && o.Metric == r.Metric
		})
		switch {
		case i < 0:
			out = append(out, r)
		case out[i] != r:
			return nil, k.deny("give it another metric", "%s has a route to %s already", n.title(), r.Dst)
		}
	}
	return out, nil
}

func checkMAC(k asked, mac net.HardwareAddr, n *Network) error {
	switch {
	case mac == nil:
	case n.Driver == IPVLAN:
		return k.deny("take mac out", "%s is of the driver ipvlan: all links on its parent have that one's MAC address, the only one "+
			"that the switch sees", n.title())
	case n.Mode == ModePassthru:
		return k.deny("take mac out", "%s is in mode passthru, where the container has the parent's MAC address", n.title())
	case !k.rule.MACAny && !globAny(k.rule.MAC, mac.String()):
		return k.forbid(allowed("mac", k.rule.MAC), "the MAC address %s", mac)
	}
	return nil
}

func checkMTU(k asked, at Attachment) error {
	n := at.Network
	six := slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Prefix.Addr().Is6() })
	switch {
	case at.MTU == 0:
	case n.MTU != 0 && at.MTU > n.MTU:
		return k.deny("", "mtu %d is above that of %s, %d", at.MTU, n.title(), n.MTU)
	case six && at.MTU < minMTU6:
		return k.deny("", "mtu %d is too small for the IPv6 addresses of %s, %d is the least", at.MTU, n.title(), minMTU6)
	}
	return nil
}

// checkGateways checks the gateways asked for, and that there is one where the default route is asked for.
func checkGateways(k asked, at Attachment) error {
	n := at.Network
	switch {
	case len(at.Gateways) == 0:
	case !n.DefaultRoute:
		return k.deny("take gateway out", "%s gives no default route, so there is no gateway", n.title())
	case n.Routed():
		return k.deny("take gateway out; the default route needs none",
			"%s is in mode %s, in which the host routes and nobody asks for a gateway's MAC address", n.title(), n.Mode)
	}
	for _, g := range at.Gateways {
		s := n.subnet(g)
		six := slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Prefix.Addr().Is6() })
		switch {
		case g.Is6() && g.IsLinkLocalUnicast() && six:
		case s == nil:
			return k.deny("", "gateway %s is outside the subnets of %s: %s", g, n.title(), orNone(n.prefixes()))
		case !ipam.Usable(s.Prefix).Contains(g):
			return k.deny("", "gateway %s is %s of subnet %s", g, edge(s.Prefix, g), s.Prefix)
		case slices.ContainsFunc(at.IPs, func(p netip.Prefix) bool { return p.Addr() == g }):
			return k.deny("", "gateway %s is the container's own address", g)
		}
	}
	if !at.DefaultRoute.Set || !at.DefaultRoute.Want {
		return nil
	}
	switch {
	case !n.DefaultRoute:
		return k.deny("take default-route out", "%s gives no default route", n.title())
	case !at.gateway(netip.Addr.Is4) && !at.gateway(netip.Addr.Is6):
		return k.deny("add gateway=ADDRESS", "%s has no gateway for a default route", n.title())
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "it has none"
	}
	return s
}

// metric is that of its default routes.
func (a Attachment) metric() int {
	if a.DefaultRoute.Metric != 0 {
		return a.DefaultRoute.Metric
	}
	return a.Network.Metric
}

// together refuses what the attachments of one container cannot have at the same time.
func together(r *Rule, asks []request.Attachment, all []Attachment) error {
	addrs, macs := map[netip.Addr]int{}, map[string]int{}
	for i, at := range all {
		k := asked{r, whatOf(asks[i])}
		for _, ip := range at.IPs {
			if j, twice := addrs[ip.Addr()]; twice {
				return k.deny("", "address %s is asked for twice, also by %s", ip.Addr(), whatOf(asks[j]))
			}
			addrs[ip.Addr()] = i
		}
		if at.MAC != nil {
			if j, twice := macs[at.MAC.String()]; twice {
				return k.deny("", "MAC address %s is asked for twice, also by %s", at.MAC, whatOf(asks[j]))
			}
			macs[at.MAC.String()] = i
		}
		for j, o := range all[:i] {
			if why := at.Network.both(o.Network); why != "" {
				return k.deny("ask for one of them", "it %s, and %s %s: %s", at.Network.claim(), whatOf(asks[j]), o.Network.claim(), why)
			}
			if rivals(at, o) {
				return k.deny("write default-route=NUMBER with different numbers, or false in one of them",
					"default-route is asked for here and by %s with the same metric", whatOf(asks[j]))
			}
		}
	}
	return nil
}

func publish(r *Rule, p request.Port) asked {
	return asked{r, request.Prefix + "publish=" + p.String()}
}

// String is the range as it stands in the policy, "8000-8999/tcp".
func (r PortRange) String() string {
	if r.From == r.To {
		return fmt.Sprintf("%d/%s", r.From, r.Protocol)
	}
	return fmt.Sprintf("%d-%d/%s", r.From, r.To, r.Protocol)
}
