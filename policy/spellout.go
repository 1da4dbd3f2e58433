package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy/request"
)

// spelledOut makes the network of an attachment that is spelled out, within what the rule allows. It has no name, the
// subnets of its addresses, and no gateway but those that the container names: the host never takes an address because
// a container says so. What rules say of a bridge is its networks' to say, where the policy has any on it.
func (p *Policy) spelledOut(k asked, a request.Attachment) (*Network, error) {
	so, link := k.rule.SpellOut, a.Link
	if so == nil {
		return nil, k.forbid("name a network of the policy; the rule has no spell-out", "attachments that are spelled out")
	}
	if !slices.Contains(so.Drivers, link.Driver) {
		return nil, k.forbid(allowed("drivers", so.Drivers), "the driver %s to be spelled out", quoted(link.Driver))
	}
	if len(link.VLAN) > 0 {
		return nil, k.deny("make the VLAN interface on the host and name it as the parent",
			"vlan: VLAN sub-interfaces are not in this version")
	}
	n := &Network{MAC: MACStable, IPAM: IPAMNone, DefaultRoute: true, SpoofCheck: true, SourceRouting: true}
	err := n.Driver.UnmarshalText([]byte(link.Driver))
	switch {
	case err != nil || n.Driver == 0:
		return nil, k.deny("", "there is no driver %s", quoted(link.Driver))
	case n.Driver == Bridge:
		err = n.spellBridge(k, link)
		n.joins(p.on(link.Bridge))
	default:
		err = n.spellMacvlan(k, link)
	}
	if err != nil {
		return nil, err
	}
	return n, n.spellSubnets(k, a.IPs)
}

func (n *Network) spellBridge(k asked, link *request.Link) error {
	switch {
	case link.Mode != "" || link.Parent != "":
		return k.deny("take them out", "the driver bridge has no mode and no parent")
	case link.Bridge == "":
		return k.deny("add bridge=NAME", "bridge is missing")
	}
	n.Bridge = link.Bridge
	return spellLink(k, link.Bridge)
}

// on is a network that has the bridge, nil when none has. All that have it agree in what matters here.
func (p *Policy) on(bridge string) *Network {
	for _, n := range p.Networks {
		if n.Driver == Bridge && n.Bridge == bridge {
			return n
		}
	}
	return nil
}

// joins takes over what holds for the bridge as a whole: without it, a port that is spelled out would be a way round
// icc, internal and firewall of the network that it ends up in.
func (n *Network) joins(o *Network) {
	if o == nil {
		n.Firewall, n.GatewayMode, n.ICC, n.Isolate = true, GatewayNAT, true, true
		return
	}
	n.Firewall, n.GatewayMode, n.ICC, n.Isolate, n.Internal = o.Firewall, o.GatewayMode, o.ICC, o.Isolate, o.Internal
	if n.Internal || n.GatewayMode == GatewayIsolated {
		n.DefaultRoute = false
	}
}

func (n *Network) spellMacvlan(k asked, link *request.Link) error {
	switch {
	case link.Bridge != "":
		return k.deny("take it out", "the driver macvlan has no bridge")
	case link.Parent == "":
		return k.deny("add parent=NAME", "parent is missing")
	}
	n.Parent.Name, n.ParentWait, n.Mode = link.Parent, defaultParentWait, ModeBridge
	if err := spellLink(k, link.Parent); err != nil {
		return err
	}
	if link.Mode != "" {
		if err := n.Mode.UnmarshalText([]byte(link.Mode)); err != nil {
			return k.deny("known are "+strings.Join(modeNames()[1:], ", "), "there is no mode %s", quoted(link.Mode))
		}
	}
	switch {
	case n.Mode == ModeSource:
		return k.deny("", "mode source needs a list of MAC addresses, which cannot be spelled out")
	case !slices.Contains(k.rule.SpellOut.Modes, n.Mode.String()):
		return k.forbid(allowed("modes", k.rule.SpellOut.Modes), "mode %s to be spelled out", n.Mode)
	}
	return nil
}

// spellLink checks the parent or bridge. The name is checked once more here, since it goes to the kernel.
func spellLink(k asked, name string) error {
	if err := request.CheckIfName(name); err != nil {
		return k.deny("", "%s", err)
	}
	if !globAny(k.rule.SpellOut.Parents, name) {
		return k.forbid(allowed("parents", k.rule.SpellOut.Parents), "the link %s to be spelled out", name)
	}
	return nil
}

// unusable says why an address cannot be an interface's, "" for one that can. 0.0.0.0/8 and 127.0.0.0/8 never stand on a
// wire (RFC 1122, section 3.2.1.3). Multicast, unspecified and broadcast addresses are no requests to begin with.
func unusable(a netip.Addr) string {
	switch {
	case a.IsLoopback():
		return "a loopback address"
	case a.Is4() && a.As4()[0] == 0:
		return "no host's address"
	}
	return ""
}

// spellSubnets makes the subnets that the addresses lie in.
func (n *Network) spellSubnets(k asked, ips []request.Address) error {
	for _, ip := range ips {
		if ip.Bits < 0 {
			return k.deny("write "+ip.Addr.String()+"/LENGTH", "address %s has no prefix length, which an attachment that is "+
				"spelled out needs", ip.Addr)
		}
		if why := unusable(ip.Addr); why != "" {
			return k.deny("take an address that a host can have on a network", "address %s is %s", ip.Addr, why)
		}
		p, err := ip.Addr.Prefix(ip.Bits)
		if err != nil || ip.Bits == 0 {
			return k.deny("", "address %s has an impossible prefix length, %d", ip.Addr, ip.Bits)
		}
		if slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Prefix == p }) {
			continue
		}
		for _, s := range n.Subnets {
			if s.Prefix.Overlaps(p) {
				return k.deny("give both the same length", "address %s: its subnet %s overlaps %s",
					netip.PrefixFrom(ip.Addr, ip.Bits), p, s.Prefix)
			}
		}
		n.Subnets = append(n.Subnets, Subnet{Prefix: p})
	}
	if len(n.Subnets) > 0 {
		n.IPAM = IPAMStatic
	}
	return nil
}
