package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy/request"
)

// NetNSKind says which network namespace a container asks for instead of the one that its engine gives it.
type NetNSKind uint8

// The kinds of network namespaces.
const (
	// NetNSDefault is the one that the engine gives: nothing was asked for.
	NetNSDefault NetNSKind = iota
	// NetNSHost is the host's.
	NetNSHost
	// NetNSNone is one of the container's own in which nobody attaches anything.
	NetNSNone
	// NetNSContainer is that of another container.
	NetNSContainer
)

// Host is one line of a hosts file: a name and its address.
type Host struct {
	Name string
	Addr netip.Addr
}

// Guest is what the policy allows of a container's surroundings: the network namespace that it joins, and the files
// that name it and others to it. Only [Policy.DecideGuest] makes one. The zero value asks for nothing.
type Guest struct {
	// Rule is the name of the rule that allowed it, "" when nothing was asked for.
	Rule  string
	NetNS NetNSKind
	// Container is the id or name of the other container, set for NetNSContainer only.
	Container string
	// Attached is true when the container has interfaces of lanhook's, and so gets hosts and resolv.conf unasked.
	Attached bool
	// Hostname is "" when none was asked for.
	Hostname string
	// DNS, DNSSearch and DNSOption are what the container asked for, else what its networks give. What is empty comes
	// from the host. A DNSSearch of "." alone stands for none.
	DNS       []netip.Addr
	DNSSearch []string
	DNSOption []string
	// Hosts are the lines asked for, in their order; host-gateway has become the addresses that it stands for.
	Hosts []Host
}

// hostGateway is the address in an add-host that stands for the container's gateway, as Docker has it.
const hostGateway = "host-gateway"

// DecideGuest allows what only a shim can give, or refuses it with a [*DeniedError]. attachments are what [Policy.Decide]
// allowed for the same request. A host name, name servers and lines for the hosts file need a rule that matches and no more, for they change
// nothing but what the container itself reads. A namespace needs the rule's netns.
func (p *Policy) DecideGuest(req request.Request, s Subject, attachments []Attachment) (Guest, error) {
	keys := req.ShimOnly()
	if len(attachments)+len(keys) == 0 {
		return Guest{}, nil
	}
	rule := p.match(s)
	if rule == nil {
		return Guest{}, asked{what: keys[0]}.deny(p.seen(s), "no rule matches this container")
	}
	g := Guest{
		Rule: rule.Name, Attached: len(attachments) > 0, Hostname: req.Hostname, DNS: slices.Clone(req.DNS),
		DNSSearch: slices.Clone(req.DNSSearch), DNSOption: slices.Clone(req.DNSOption),
	}
	if err := g.namespace(rule, req.NetNS); err != nil {
		return Guest{}, err
	}
	if err := g.hosts(rule, req.AddHost, attachments); err != nil {
		return Guest{}, err
	}
	g.defaults(attachments)
	return g, nil
}

// namespace takes the network namespace asked for, when the rule lists it.
func (g *Guest) namespace(rule *Rule, mode string) error {
	if mode == "" {
		return nil
	}
	if !globAny(rule.NetNS, mode) {
		k := asked{rule, request.Prefix + "netns=" + mode}
		return k.forbid(allowed("netns", rule.NetNS), "the network namespace %s", mode)
	}
	id, other := strings.CutPrefix(mode, "container:")
	switch {
	case other:
		g.NetNS, g.Container = NetNSContainer, id
	case mode == "host":
		g.NetNS = NetNSHost
	default:
		g.NetNS = NetNSNone
	}
	return nil
}

// hosts reads the lines for the hosts file, each NAME:ADDRESS.
func (g *Guest) hosts(rule *Rule, lines []string, attachments []Attachment) error {
	for _, line := range lines {
		name, text, _ := strings.Cut(line, ":")
		k := asked{rule, request.Prefix + "add-host=" + line}
		if text != hostGateway {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return k.deny("", "%.80q is no address", text)
			}
			g.Hosts = append(g.Hosts, Host{name, addr})
			continue
		}
		gateways := hostGateways(attachments)
		if len(gateways) == 0 {
			return k.deny("write the address", "no network of the container has a gateway that %s could stand for", hostGateway)
		}
		for _, addr := range gateways {
			g.Hosts = append(g.Hosts, Host{name, addr})
		}
	}
	return nil
}

// hostGateways are the addresses for host-gateway, at most one a family: the host's on a bridge, else the router of the
// LAN. A link-local one is of no use without its interface, which a hosts file cannot name.
func hostGateways(attachments []Attachment) []netip.Addr {
	var out []netip.Addr
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		for _, host := range []bool{true, false} {
			i := slices.IndexFunc(attachments, func(a Attachment) bool {
				return a.Network.hostGateway() == host && a.reachable(family).IsValid()
			})
			if i >= 0 {
				out = append(out, attachments[i].reachable(family))
				break
			}
		}
	}
	return out
}

// reachable is the gateway of a family that can be named by its address alone, the zero Addr for none.
func (a Attachment) reachable(family func(netip.Addr) bool) netip.Addr {
	gateways := a.Gateways
	if !slices.ContainsFunc(gateways, family) {
		gateways = nil
		for _, s := range a.Network.Subnets {
			gateways = append(gateways, s.Gateway)
		}
	}
	for _, addr := range gateways {
		if addr.IsValid() && !a.owns(addr) && family(addr) && !addr.IsLinkLocalUnicast() {
			return addr
		}
	}
	return netip.Addr{}
}

// MatchesCGroup says whether a rule has a condition on cgroups, which a container is in only once it is created.
func (p *Policy) MatchesCGroup() bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return len(r.Match.CGroup) > 0 })
}

// defaults fills in what the container did not ask for and its networks give, in the order of its attachments.
func (g *Guest) defaults(attachments []Attachment) {
	dns, search := len(g.DNS) == 0, len(g.DNSSearch) == 0
	for _, a := range attachments {
		if dns {
			g.DNS = union(g.DNS, a.Network.DNS)
		}
		if search {
			g.DNSSearch = union(g.DNSSearch, a.Network.DNSSearch)
		}
	}
}

// union is a with what b has besides.
func union[T comparable](a, b []T) []T {
	for _, one := range b {
		if !slices.Contains(a, one) {
			a = append(a, one)
		}
	}
	return a
}
