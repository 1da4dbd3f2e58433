package policy

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/policy/request"
)

// SpellOut is what a rule allows in attachments that are spelled out.
type SpellOut struct {
	Drivers []string
	Parents []string
	VLANs   []VLANRange
	Modes   []string
}

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
	n := &Network{MAC: MACStable, IPAM: IPAMNone, DefaultRoute: true, SpoofCheck: true, SourceRouting: true}
	err := n.Driver.UnmarshalText([]byte(link.Driver))
	switch {
	case err != nil || n.Driver == 0:
		return nil, k.deny("", "there is no driver %s", quoted(link.Driver))
	case n.Driver == HostDevice:
		return nil, k.deny("name a network of the policy", "a device of the host cannot be spelled out")
	case n.Driver == Bridge:
		err = p.spellBridge(k, n, link)
	default:
		err = n.spellChild(k, link)
	}
	if err == nil {
		err = p.leavesAlone(k, n)
	}
	if err != nil {
		return nil, err
	}
	n.settleConflicts(false)
	return n, n.spellSubnets(k, a.IPs)
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
