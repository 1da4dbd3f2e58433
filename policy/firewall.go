package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// Closed says whether nothing passes between the network and anything else but the host itself.
func (n *Network) Closed() bool {
	return n.Driver == Bridge && n.Firewall && (n.Internal || n.GatewayMode == GatewayIsolated)
}

// ofFamily is the address of the same family as like, the zero Addr for none.
func ofFamily(all []netip.Addr, like netip.Addr) netip.Addr {
	for _, a := range all {
		if a.Is4() == like.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// conflict is a key that says the opposite of another.
type conflict struct {
	key string
	// set is false where the value of the key is the one that agrees.
	set bool
}

// checkFirewall refuses what cannot be had together, and fills in the defaults.
func (d *decoder) checkFirewall(n *networkDraft, name string) {
	if n.Driver != Bridge {
		n.Firewall, n.ICC, n.Isolate, n.GatewayMode = false, false, false, 0
		d.foreignSubnetKeys(n, name)
		return
	}
	said := n.Firewall
	n.Firewall = n.Firewall && !n.OnLAN()
	with, why := n.shut()
	if with != "" {
		for _, c := range []conflict{
			{"firewall", n.OnLAN() && said},
			{"gateway-mode", !n.Firewall || n.GatewayMode != GatewayIsolated},
			{"masquerade", n.masquerade == yes},
			{"snat", true},
			{"icc", !n.Firewall && !n.ICC},
			{"isolate", n.Isolate != n.Firewall},
			{"bind", true},
			{"dnat", true},
		} {
			if c.set && n.has(c.key) {
				d.fail(n.seen[c.key], why, "%s: %s does not go with %s", name, c.key, with)
			}
		}
	}
	if n.has("snat") && n.masquerade == no {
		d.fail(n.seen["snat"], "take one of the two out", "%s: snat hides what leaves, and masquerade is false", name)
	}
	if n.GatewayMode == GatewayIsolated && n.has("default-route") && n.DefaultRoute {
		d.fail(n.seen["default-route"], "take one of the two out",
			"%s: default-route does not go with gateway-mode = \"isolated\"", name)
	}
	if n.GatewayMode == GatewayIsolated {
		n.DefaultRoute = false
	}
	n.Isolate = n.Isolate && n.Firewall
	d.checkFamilies(n, name)
	for i := range n.subnets {
		d.subnetNAT(n, &n.subnets[i], name, with)
	}
}

// shut is the key, with its value, by which nothing leaves the network through rules of lanhook's, "" for none.
func (n *networkDraft) shut() (with, why string) {
	const (
		closed = "take one of the two out: nothing goes in or out there"
		lan    = "take one of the two out: the network is a piece of the LAN, where the host has no address and makes no rules"
	)
	switch {
	case n.HasUplink():
		return "uplink", lan
	case n.Access != 0:
		return "vlan", lan
	case len(n.Trunk) > 0:
		return "trunk", lan
	case !n.Firewall:
		return "firewall = false", "take one of the two out: it needs rules"
	case n.Internal:
		return "internal = true", closed
	case n.GatewayMode == GatewayIsolated:
		return `gateway-mode = "isolated"`, closed
	}
	return "", ""
}

// checkFamilies refuses addresses for which no container of the network can have a counterpart.
func (d *decoder) checkFamilies(n *networkDraft, name string) {
	for _, k := range []struct {
		key  string
		list []netip.Addr
	}{{"snat", n.snat}, {"bind", n.Bind}, {"dnat", n.DNAT}} {
		for _, a := range k.list {
			if a.Is4() && !n.has4() || a.Is6() && !n.has6() {
				d.fail(n.seen[k.key], "", "%s: %s %s needs an %s subnet, and there is none", name, k.key, a, family(a))
			}
			inside := func(s subnetDraft) bool { return s.Prefix.IsValid() && s.Prefix.Contains(a) }
			if i := slices.IndexFunc(n.subnets, inside); i >= 0 && k.key == "dnat" {
				d.fail(n.seen[k.key], "name an address of the host outside", "%s: dnat %s lies in the network's own subnet %s",
					name, a, n.subnets[i].Prefix)
			}
		}
	}
	if n.masquerade == yes && len(n.subnets) == 0 {
		d.fail(n.seen["masquerade"], "", "%s: masquerade needs a subnet, and there is none", name)
	}
}

// subnetNAT decides behind what a subnet is hidden: its own keys go before the network's.
func (d *decoder) subnetNAT(n *networkDraft, s *subnetDraft, name, shut string) {
	where := name + ": subnet"
	if s.Prefix.IsValid() {
		where = fmt.Sprintf("%s: subnet %s", name, s.Prefix)
	}
	own := hasKey(s.seen, "snat")
	for _, c := range []conflict{{"masquerade", s.masquerade == yes}, {"snat", true}} {
		if at, ok := s.seen[c.key]; ok && c.set && shut != "" {
			d.fail(at, "take one of the two out", "%s: %s does not go with %s", where, c.key, shut)
		}
	}
	if own && s.masquerade == no {
		d.fail(s.seen["snat"], "take one of the two out", "%s: snat hides what leaves, and masquerade is false", where)
	}
	if own && s.SNAT.IsValid() && s.Prefix.IsValid() && s.SNAT.Is4() != s.Prefix.Addr().Is4() {
		d.fail(s.seen["snat"], "", "%s: snat %s is of the other family", where, s.SNAT)
	}
	switch {
	case own:
		s.Masquerade = true
	case s.masquerade != unsaid:
		s.Masquerade = s.masquerade == yes
	case n.masquerade != unsaid:
		s.Masquerade = n.masquerade == yes
	case ofFamily(n.snat, s.Prefix.Addr()).IsValid():
		s.Masquerade = true
	default:
		s.Masquerade = shut == "" && n.GatewayMode == GatewayNAT
	}
	if s.Masquerade && !own {
		s.SNAT = ofFamily(n.snat, s.Prefix.Addr())
	}
}

// foreignSubnetKeys refuses the keys of subnets that only a bridge has.
func (d *decoder) foreignSubnetKeys(n *networkDraft, name string) {
	for _, s := range n.subnets {
		for _, key := range []string{"masquerade", "snat"} {
			if at, ok := s.seen[key]; ok {
				d.fail(at, "take the key out", "%s: subnet: the driver %s has no %s, only bridge has", name, n.Driver, key)
			}
		}
	}
}
