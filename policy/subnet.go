package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// subnetDraft is a subnet with the places of its keys. The lists are read once the subnet itself is known, since each
// entry has to lie in it.
type subnetDraft struct {
	Subnet
	at   mark
	seen map[string]mark
	// ranges and excludes are the entries as written.
	ranges, excludes []value
	gateway          value
	masquerade       choice
}

// subnetSchema is the table [[network.NAME.subnet]].
func subnetSchema() []field[subnetDraft] {
	return []field[subnetDraft]{
		{
			name: "subnet", typ: "string", required: true,
			doc: "the network address and its length, such as `192.0.2.0/24` or `2001:db8::/64`",
			set: func(d *decoder, s *subnetDraft, v value) { s.Prefix = d.prefix(v) },
		},
		{
			name: "range", typ: "string or list of strings", def: "the whole subnet",
			doc: "what `ipam = \"local\"` picks from: `FROM-TO`, a CIDR, or one address, each inside the subnet",
			set: func(d *decoder, s *subnetDraft, v value) {
				s.ranges = v.filled(d, "leave range out for the whole subnet")
			},
		},
		{
			name: "gateway", typ: "address or `false`", def: "for a bridge the subnet's first usable address, else none",
			doc: "the next hop of the default route. On a bridge that lanhook makes, the host holds this address; " +
				"`false` for none",
			set: func(d *decoder, s *subnetDraft, v value) { d.gateway(s, v) },
		},
		{
			name: "exclude", typ: "list of strings",
			doc: "what nobody gets, not even when asked for: addresses, `FROM-TO` or CIDR, each inside the subnet",
			set: func(d *decoder, s *subnetDraft, v value) { s.excludes = v.list(d) },
		},
		{
			name: "masquerade", typ: "boolean", def: "the network's", doc: "bridge only: as the network's `masquerade`, for this subnet",
			set: func(d *decoder, s *subnetDraft, v value) { s.masquerade = v.choice(d) },
		},
		{
			name: "snat", typ: "address", def: "the network's", doc: "bridge only: as the network's `snat`, for this subnet",
			set: func(d *decoder, s *subnetDraft, v value) { s.SNAT, _ = d.hostAddress(v, snatAddress) },
		},
	}
}

// prefix reads a subnet. Those that no link can have are refused: 0.0.0.0/0, multicast and loopback.
func (d *decoder) prefix(v value) netip.Prefix {
	s, ok := v.str(d)
	if !ok {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		hint := "write ADDRESS/LENGTH, such as 192.0.2.0/24"
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			hint = "the length of the prefix is missing, as in " + s + "/24"
			if a.Is6() {
				hint = "the length of the prefix is missing, as in " + s + "/64"
			}
		}
		d.fail(v.at, hint, "%s: %s is no subnet", v.name, quoted(s))
		return netip.Prefix{}
	}
	if p.Addr().Is4In6() {
		d.fail(v.at, "write it as IPv4", "%s: %s is an IPv4 subnet written as IPv6", v.name, p)
		return netip.Prefix{}
	}
	if m := p.Masked(); m != p {
		d.fail(v.at, "write "+m.String(), "%s: %s has host bits set, the network is %s", v.name, p, m)
		return netip.Prefix{}
	}
	for _, bad := range []struct{ prefix, what string }{
		{"224.0.0.0/4", "multicast"},
		{"127.0.0.0/8", "loopback"},
		{"ff00::/8", "multicast"},
		{"::1/128", "loopback"},
	} {
		if p.Overlaps(netip.MustParsePrefix(bad.prefix)) {
			d.fail(v.at, "", "%s: %s has %s addresses in it (%s)", v.name, p, bad.what, bad.prefix)
			return netip.Prefix{}
		}
	}
	return p
}

func (d *decoder) gateway(s *subnetDraft, v value) {
	if v.kind == kindBool {
		if v.text != "false" {
			d.fail(v.at, "write an address, or false for none", "%s is true, which is no address", v.name)
		}
		return
	}
	text, ok := v.str(d)
	if !ok {
		return
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		hint := "write an address, or false for none"
		if p, err := netip.ParsePrefix(text); err == nil {
			hint = "write " + p.Addr().String() + ": the length is the subnet's"
		}
		d.fail(v.at, hint, "%s: %s is no IP address", v.name, quoted(text))
		return
	}
	s.Gateway, s.gateway = a.Unmap(), v
}

// subnets reads the subnets of a network.
func (d *decoder) subnets(n *networkDraft, v value) []subnetDraft {
	if !v.is(d, kindArray, "write [[network."+n.Name+".subnet]], with two brackets") {
		return nil
	}
	if len(v.items) > maxEntries {
		d.fail(v.at, "", "%s has %d entries, %d are the most", v.name, len(v.items), maxEntries)
		return nil
	}
	var out []subnetDraft
	for _, item := range v.items {
		s := subnetDraft{at: item.at}
		s.seen = decode(d, value{item, v.name}, subnetSchema(), nil, &s)
		out = append(out, s)
	}
	return out
}

// checkSubnets looks at the subnets of a network whose driver is known.
func (d *decoder) checkSubnets(n *networkDraft, name string) {
	for i := range n.subnets {
		s := &n.subnets[i]
		if !s.Prefix.IsValid() {
			continue
		}
		if !d.apart(n, i, name) {
			continue
		}
		where := fmt.Sprintf("%s: subnet %s", name, s.Prefix)
		d.checkGateway(n, s, where)
		for _, v := range s.ranges {
			d.addRange(n, s, v, where)
		}
		for _, v := range s.excludes {
			d.addExclude(n, s, v, where)
		}
		d.checkLeft(n, s, where)
		n.Subnets = append(n.Subnets, s.Subnet)
	}
}

// apart refuses a subnet that overlaps one before it in the same network.
func (d *decoder) apart(n *networkDraft, i int, name string) bool {
	p, at := n.subnets[i].Prefix, n.subnets[i].seen["subnet"]
	for _, o := range n.subnets[:i] {
		switch {
		case !o.Prefix.IsValid() || !o.Prefix.Overlaps(p):
		case o.Prefix == p:
			d.fail(at, "", "%s: subnet %s is there twice, first in %s", name, p, o.seen["subnet"])
			return false
		default:
			d.fail(at, "", "%s: subnet %s overlaps subnet %s in %s", name, p, o.Prefix, o.seen["subnet"])
			return false
		}
	}
	return true
}

// checkGateway checks the gateway, or gives a bridge its default. A subnet of one or two addresses has none: there
// would be no address left for a second container, and no host on the link but these (RFC 3021, RFC 6164).
func (d *decoder) checkGateway(n *networkDraft, s *subnetDraft, where string) {
	usable := ipam.Usable(s.Prefix)
	tiny := s.Prefix.Bits() >= s.Prefix.Addr().BitLen()-1
	gw := s.Gateway
	if !gw.IsValid() {
		if n.hostGateway() && n.GatewayMode != GatewayIsolated && !tiny && !hasKey(s.seen, "gateway") {
			s.Gateway = usable.From
		}
		return
	}
	s.Gateway = netip.Addr{}
	switch {
	case n.GatewayMode == GatewayIsolated:
		d.fail(s.gateway.at, "take one of the two out",
			"%s: gateway %s does not go with gateway-mode = \"isolated\", where the host has no address", where, gw)
	case !n.hostGateway() && s.Prefix.Addr().Is6() && gw.IsLinkLocalUnicast():
		// Routers are known by their link-local addresses in IPv6 (RFC 4861 section 6.1.2).
		s.Gateway = gw
	case !s.Prefix.Contains(gw):
		d.fail(s.gateway.at, n.elsewhere(ipam.Range{From: gw, To: gw}), "%s: gateway %s is outside the subnet", where, gw)
	case tiny:
		d.fail(s.gateway.at, "write gateway = false, or take a larger subnet",
			"%s: a subnet of this size leaves no room for a gateway", where)
	case !usable.Contains(gw):
		d.fail(s.gateway.at, "hosts have addresses in "+usable.String(), "%s: gateway %s is %s", where, gw, edge(s.Prefix, gw))
	default:
		s.Gateway = gw
	}
}

// hostGateway says whether the gateway is the host, and not a router on a LAN.
func (n *Network) hostGateway() bool { return n.Driver == Bridge && !n.OnLAN() }

func hasKey(seen map[string]mark, key string) bool {
	_, ok := seen[key]
	return ok
}

// edge names an address that no host has.
func edge(p netip.Prefix, a netip.Addr) string {
	switch {
	case a.Is6():
		return "the subnet-router anycast address"
	case a == p.Addr():
		return "the network address"
	}
	return "the broadcast address"
}

// elsewhere is the hint that what does not fit here fits another subnet of the network.
func (n *networkDraft) elsewhere(r ipam.Range) string {
	for _, o := range n.subnets {
		if o.Prefix.IsValid() && within(o.Prefix, r) {
			return fmt.Sprintf("it lies in subnet %s of this network, write it there", o.Prefix)
		}
	}
	return ""
}

func within(p netip.Prefix, r ipam.Range) bool { return p.Contains(r.From) && p.Contains(r.To) }

// addRange adds one range, cut to what hosts can have: "range = the subnet" means its hosts.
func (d *decoder) addRange(n *networkDraft, s *subnetDraft, v value, where string) {
	r, err := ipam.ParseRange(v.text)
	if err != nil {
		d.wrong(v, err)
		return
	}
	if !within(s.Prefix, r) {
		d.fail(v.at, n.elsewhere(r), "%s: range %s is outside the subnet", where, v.text)
		return
	}
	usable := ipam.Usable(s.Prefix)
	cut := r
	if cut.From.Less(usable.From) {
		cut.From = usable.From
	}
	if usable.To.Less(cut.To) {
		cut.To = usable.To
	}
	if cut.To.Less(cut.From) {
		d.fail(v.at, "hosts have addresses in "+usable.String(), "%s: range %s is only %s", where, v.text,
			edge(s.Prefix, r.From))
		return
	}
	for _, o := range s.Ranges {
		if o.Overlaps(cut) {
			d.fail(v.at, "", "%s: range %s overlaps range %s", where, v.text, o)
			return
		}
	}
	s.Ranges = append(s.Ranges, cut)
}

// addExclude adds one exclusion. One that names a single address which nobody gets anyway is a mistake.
func (d *decoder) addExclude(n *networkDraft, s *subnetDraft, v value, where string) {
	r, err := ipam.ParseRange(v.text)
	if err != nil {
		d.wrong(v, err)
		return
	}
	single := r.From == r.To
	switch {
	case !within(s.Prefix, r):
		d.fail(v.at, n.elsewhere(r), "%s: exclude %s is outside the subnet", where, v.text)
	case single && !ipam.Usable(s.Prefix).Contains(r.From):
		d.fail(v.at, "take it out", "%s: exclude %s is %s, which nobody gets", where, v.text, edge(s.Prefix, r.From))
	case single && r.From == s.Gateway:
		d.fail(v.at, "take it out", "%s: exclude %s is the gateway, which nobody gets", where, v.text)
	case slices.Contains(s.Exclude, r):
		d.fail(v.at, "", "%s: exclude %s is there twice", where, v.text)
	default:
		s.Exclude = append(s.Exclude, r)
	}
}

// checkLeft refuses a subnet in which nothing is left to be handed out.
func (d *decoder) checkLeft(n *networkDraft, s *subnetDraft, where string) {
	pool := s.Pool()
	// Only a list that was read whole says what is left.
	if len(pool.Ranges) < len(s.ranges) || len(s.Exclude) < len(s.excludes) {
		return
	}
	if n.IPAM == IPAMStatic {
		pool.Ranges = nil
	}
	if pool.Size() != (ipam.Number{}) {
		return
	}
	at := s.at
	if m, ok := s.seen["exclude"]; ok {
		at = m
	} else if m, ok := s.seen["range"]; ok {
		at = m
	}
	d.fail(at, "", "%s: no address is left: the gateway and exclude cover everything", where)
}

// checkAddresses checks what ties subnets, ipam, mtu and the default route together, and fills in the defaults.
func (d *decoder) checkAddresses(n *networkDraft, name string) {
	if !n.has("ipam") {
		n.IPAM = IPAMNone
		if len(n.subnets) > 0 {
			n.IPAM = IPAMLocal
		}
	}
	d.checkSubnets(n, name)
	d.checkReserve(n, name)
	v4, v6 := n.has4(), n.has6()
	switch {
	case n.IPAM == IPAMNone && len(n.subnets) > 0:
		d.fail(n.place("ipam"), "take the subnets out, or set ipam to local or static",
			"%s: ipam = \"none\" gives no addresses, but there are subnets", name)
	case (n.IPAM == IPAMLocal || n.IPAM == IPAMStatic) && len(n.subnets) == 0:
		d.fail(n.place("ipam"), "add a [[network."+n.Name+".subnet]]",
			"%s: ipam = %q needs a subnet, and there is none", name, n.IPAM)
	}
	if n.MAC == MACFromIP && !v4 {
		d.fail(n.place("mac"), "", "%s: mac = \"from-ip\" needs an IPv4 subnet, and there is none", name)
	}
	if v6 && n.MTU != 0 && n.MTU < minMTU6 {
		d.fail(n.place("mtu"), "", "%s: mtu is %d, but IPv6 needs %d at least", name, n.MTU, minMTU6)
	}
	if !n.Internal {
		return
	}
	if n.has("default-route") && n.DefaultRoute {
		d.fail(n.place("default-route"), "take one of the two out", "%s: default-route and internal are both true", name)
	}
	n.DefaultRoute = false
}

func (n *networkDraft) has4() bool {
	return slices.ContainsFunc(n.subnets, func(s subnetDraft) bool { return s.Prefix.Addr().Is4() })
}

func (n *networkDraft) has6() bool {
	return slices.ContainsFunc(n.subnets, func(s subnetDraft) bool { return s.Prefix.Addr().Is6() })
}
