package policy

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lanhook/lanhook/policy/request"
)

// IPv6 is where an interface has its IPv6 addresses from.
type IPv6 uint8

// The modes of IPv6. IPv6Static is the default.
const (
	// IPv6Static gives those of the network's subnets. No router changes anything.
	IPv6Static IPv6 = iota + 1
	// IPv6SLAAC takes them from routers (RFC 4862), with their default routes where the network gives one.
	IPv6SLAAC
	// IPv6Off leaves the interface without any IPv6, its link-local address included.
	IPv6Off
)

// maxSLAACWait and defaultSLAACWait: the link-local address is used after a second, a router may take half a second for its
// answer, and the address made from it is used after another second (RFC 4861 section 10, RFC 4862 section 5.1). A hook gives
// up after 20 s, and may have waited for the parent before.
const (
	defaultSLAACWait = 3 * time.Second
	maxSLAACWait     = 10 * time.Second
)

func ipv6Names() []string { return []string{"", "static", "slaac", "off"} }

// String is the mode in the policy.
func (m IPv6) String() string { return nameOf(ipv6Names(), m) }

// MarshalText writes the mode, "" for the zero value. The error is that there is no such mode.
func (m IPv6) MarshalText() ([]byte, error) { return textOf("ipv6", ipv6Names(), m) }

// UnmarshalText reads what [IPv6.MarshalText] writes.
func (m *IPv6) UnmarshalText(text []byte) error { return fromText("ipv6", ipv6Names(), text, m) }

// ipv6Schema are the keys about where IPv6 addresses come from.
func ipv6Schema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "ipv6", typ: "string", def: "`static`",
			doc: "`static` gives the addresses of the IPv6 subnets and hears no router, `slaac` takes addresses from the routers of " +
				"the LAN, `off` leaves the interface without any IPv6, see [below](#ipv6)",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, ipv6Names(), nil, &n.IPv6) },
		},
		{
			name: "slaac-wait", typ: "string", def: "`\"3s\"`",
			doc: "how long an attach waits for an address from a router, a time from `\"0s\"` to `\"10s\"`; without one the container " +
				"starts all the same, with a warning",
			set: func(d *decoder, n *networkDraft, v value) { d.wait(&n.SLAACWait, v, maxSLAACWait) },
		},
	}
}

// slaacGrant is the key of a rule about routers' addresses.
func slaacGrant() field[ruleDraft] {
	return field[ruleDraft]{
		name: "slaac", typ: "boolean", def: "`false`",
		doc: "whether `ipv6=slaac` may be asked for on networks that do not say so themselves",
		set: func(d *decoder, r *ruleDraft, v value) { v.into(d, &r.SLAAC) },
	}
}

// ipv6Keys are the settings by which the modes work.
func ipv6Keys() []string {
	const conf = "net.ipv6.conf.IFNAME."
	return []string{conf + "disable_ipv6", conf + "accept_ra", conf + "autoconf"}
}

// checkIPv6 checks what a network says of IPv6. It comes after all that it looks at.
func (d *decoder) checkIPv6(n *networkDraft, name string) {
	if n.IPv6 == 0 {
		n.IPv6 = IPv6Static
	}
	if n.has("slaac-wait") && !n.has("ipv6") {
		d.fail(n.place("slaac-wait"), `add ipv6 = "slaac", or take the key out`, "%s: slaac-wait is for ipv6 = \"slaac\"", name)
	}
	if !n.has("ipv6") || n.IPv6 == IPv6Static {
		return
	}
	fail := func(key, hint, why string) {
		d.fail(n.place(key), hint, "%s: ipv6 = %q %s", name, n.IPv6.String(), why)
	}
	for _, s := range n.subnets {
		if s.Prefix.IsValid() && s.Prefix.Addr().Is6() {
			fail("ipv6", "take one of the two out", "does not go with subnet "+s.Prefix.String()+", whose addresses lanhook gives")
		}
	}
	for _, r := range n.Routes {
		if n.IPv6 == IPv6Off && isRoute6(r) {
			fail("route", "take one of the two out", "does not go with route "+r.Dst.String())
		}
	}
	for _, s := range n.Sysctls {
		if slices.Contains(ipv6Keys(), s.Key) {
			fail("sysctl", "take it out of sysctl", "sets "+s.Key+" itself")
		}
	}
	if n.IPv6 == IPv6SLAAC {
		if hint, why := n.noSLAAC(); why != "" {
			fail("ipv6", hint, why)
		}
	}
}

// noSLAAC says why no router's addresses can be taken on a network, and what would help; "" where they can.
func (n *Network) noSLAAC() (hint, why string) {
	switch {
	case n.Driver == IPVLAN && n.Routed():
		return "use mode l2", "needs a LAN: in mode " + n.Mode.String() + " no router's word reaches a container"
	case n.Driver == Bridge && n.Firewall:
		return "use a bridge with uplink, or firewall = false", "is for LANs: rules of the host know its containers by addresses that it gives"
	case n.SpoofCheck:
		return "take one of the two out", "does not go with spoof-check, which needs to know the addresses before"
	case n.MTU != 0 && n.MTU < minMTU6:
		return "raise mtu to 1280", "needs an MTU of 1280 at least"
	}
	return "", ""
}

// checkIPv6 settles which mode an attachment has: the one asked for, or its network's. Less may always be asked for.
func checkIPv6(k asked, a request.Attachment, at *Attachment) error {
	n := at.Network
	at.IPv6 = n.IPv6
	if at.IPv6 == 0 {
		at.IPv6 = IPv6Static // spelled out
	}
	if a.IPv6 != "" {
		own := at.IPv6
		if err := at.IPv6.UnmarshalText([]byte(a.IPv6)); err != nil {
			return k.deny("known are static, slaac, off", "ipv6: there is no %s", quoted(a.IPv6))
		}
		switch {
		case own == IPv6Off && at.IPv6 != IPv6Off:
			return k.deny("take ipv6 out", "%s has no IPv6", n.title())
		case at.IPv6 == IPv6SLAAC && own != IPv6SLAAC && !k.rule.SLAAC:
			return k.forbid("take ipv6 out; a rule with slaac = true allows it", "addresses from routers (ipv6=slaac)")
		}
	}
	if at.IPv6 == IPv6Static {
		return nil
	}
	if at.IPv6 == IPv6SLAAC {
		if hint, why := n.noSLAAC(); why != "" {
			return k.deny(hint, "ipv6=slaac %s", why)
		}
		if at.MTU != 0 && at.MTU < minMTU6 {
			return k.deny("", "ipv6=slaac needs an MTU of %d at least, and mtu is %d", minMTU6, at.MTU)
		}
	}
	for _, p := range at.IPs {
		if p.Addr().Is6() {
			return k.deny("take one of the two out", "address %s does not go with ipv6=%s", p.Addr(), at.IPv6)
		}
	}
	for _, g := range at.Gateways {
		if g.Is6() {
			return k.deny("take one of the two out", "gateway %s does not go with ipv6=%s", g, at.IPv6)
		}
	}
	for _, s := range at.Sysctls {
		if slices.Contains(ipv6Keys(), s.Key) {
			return k.deny("take one of the two out", "the sysctl %s does not go with ipv6=%s", s.Key, at.IPv6)
		}
	}
	return leaveRoutes6(k, at)
}

// isRoute6 says whether a route leads IPv6 somewhere.
func isRoute6(r request.Route) bool { return r.Dst.Addr().Is6() && r.Type == request.Unicast }

// leaveRoutes6 leaves out the network's IPv6 routes that its mode has no use for, as its addresses are left out, and refuses those that
// were asked for: without IPv6 all on the link, where whose gateway another link of the container may reach is not one of them; with
// routers' addresses those by gateways in the network's own subnets, from which the container has no address.
func leaveRoutes6(k asked, at *Attachment) error {
	n, off := at.Network, at.IPv6 == IPv6Off
	unreached := func(r request.Route) bool { return r.Via.IsValid() && !r.OnLink && n.subnet(r.Via) != nil }
	at.Routes = slices.DeleteFunc(at.Routes, func(r request.Route) bool {
		return isRoute6(r) && slices.Contains(n.Routes, r) && (off || unreached(r))
	})
	for _, r := range at.Routes {
		switch {
		case !isRoute6(r):
		case off && (!r.Via.IsValid() || r.OnLink || r.Via.IsLinkLocalUnicast()):
			return k.deny("take one of the two out", "route %s does not go with ipv6=off", r.Dst)
		case !off && unreached(r):
			return k.deny("name the router by its link-local address (fe80::…), or take ipv6=slaac out", "route %s by %s does not go with "+
				"ipv6=slaac, with which the container has no address of subnet %s", r.Dst, r.Via, n.subnet(r.Via).Prefix)
		}
	}
	return nil
}

// WithoutIPv6 says whether the interface gets no IPv6 address of its network's: it has none at all, by its mode or by the
// settings that were asked for, or those of routers.
func (a Attachment) WithoutIPv6() bool {
	return a.IPv6 == IPv6Off || a.IPv6 == IPv6SLAAC || slices.ContainsFunc(a.Sysctls, func(s request.Sysctl) bool {
		return s.Key == "net.ipv6.conf.IFNAME.disable_ipv6" && s.Value != "0"
	})
}

// gatewayBy says what the mode has to say of a default route of a family: known is false where that follows from the gateways.
func (a Attachment) gatewayBy(family func(netip.Addr) bool) (may, known bool) {
	if !family(netip.IPv6Unspecified()) {
		return false, false
	}
	switch a.IPv6 {
	case IPv6SLAAC:
		return true, true
	case IPv6Off:
		return false, true
	case IPv6Static:
	}
	return false, false
}
