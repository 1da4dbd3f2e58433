package policy

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// hostAccessSchema is the key about the host's own link beside the containers'.
func hostAccessSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "host-access", typ: "boolean, address or list of addresses", def: "`false`", drivers: []Driver{Macvlan, IPVLAN},
			doc: "the host reaches its containers on this network, and they reach it: `true` for an address of each subnet that lanhook " +
				"picks, or the host's addresses, one a subnet; see [below](#a-host-that-reaches-its-containers)",
			set: func(d *decoder, n *networkDraft, v value) { d.hostAccess(n, v) },
		},
	}
}

// hostAccess reads the key. In which subnets the addresses lie is known later.
func (d *decoder) hostAccess(n *networkDraft, v value) {
	if v.kind == kindBool {
		n.HostAccess, _ = v.boolean(d)
		return
	}
	const hint = "write true, or the host's address in the network's subnet"
	if v.kind != kindString && v.kind != kindArray {
		d.fail(v.at, hint, "%s must be true, an address or a list of addresses, not %s", v.name, v.kind)
		return
	}
	n.HostAccess = true
	n.hostAddresses = v.filled(d, hint)
}

// checkHostAccess refuses what cannot reach the host, and gives the subnets the addresses that the host is to have in them.
func (d *decoder) checkHostAccess(n *networkDraft, name string) {
	at := n.place("host-access")
	if !n.HostAccess {
		return
	}
	if why := n.apartFromHost(); why != "" {
		d.fail(at, "take the key out", "%s: host-access is not to be had: %s", name, why)
		return
	}
	switch {
	case n.Driver != Macvlan && n.Driver != IPVLAN:
		return // that it has no such key is said already
	case len(n.subnets) == 0:
		d.fail(at, "add a [[network."+n.Name+".subnet]]",
			"%s: host-access needs a subnet: the host's routes lead to the containers' addresses, which are not known otherwise", name)
	case len(n.hostAddresses) == 0 && n.IPAM == IPAMStatic:
		d.fail(at, "write the host's address instead of true", "%s: with ipam = \"static\" nothing picks the host's address", name)
	}
	for _, v := range n.hostAddresses {
		d.hostAddressOf(n, v, name)
	}
}

// apartFromHost says why a link of the host beside those of the containers would not reach them, "" where it would.
func (n *networkDraft) apartFromHost() string {
	switch {
	case n.Driver == Macvlan && n.Mode != ModeBridge && n.Mode != 0:
		why := "in mode " + n.Mode.String() + " "
		switch n.Mode { //nolint:exhaustive // ipvlan's are another driver's
		case ModeVEPA:
			return why + "all frames leave by the parent, and whether they come back is the switch's matter"
		case ModePassthru:
			return why + "the container has the parent to itself"
		case ModeSource:
			return why + "a container hears only the senders that are listed"
		}
		return why + "the links of one parent do not reach each other"
	case n.Driver == IPVLAN && n.Flag != FlagBridge && n.Flag != 0:
		return "with flag " + n.Flag.String() + " the links of one parent do not reach each other"
	}
	return ""
}

// hostAddressOf reads one of the host's addresses and gives it to the subnet in which it lies.
func (d *decoder) hostAddressOf(n *networkDraft, v value, name string) {
	addr, err := netip.ParseAddr(v.text)
	if err != nil || addr.Zone() != "" {
		hint := ""
		if _, err := netip.ParsePrefix(v.text); err == nil {
			hint = "write one address without a length"
		}
		d.fail(v.at, hint, "%s: %s is no IP address", v.name, quoted(v.text))
		return
	}
	addr = addr.Unmap()
	i := slices.IndexFunc(n.Subnets, func(s Subnet) bool { return s.Prefix.Contains(addr) })
	holder, kept := n.reservedFor(addr)
	switch {
	case i < 0 && len(n.Subnets) < len(n.subnets): // it may lie in one that is wrong
	case i < 0:
		d.fail(v.at, "", "%s: host-access %s is in no subnet of the network", name, addr)
	case n.Subnets[i].HostAddress == addr:
		d.fail(v.at, "", "%s: host-access %s is there twice", name, addr)
	case n.Subnets[i].HostAddress.IsValid():
		d.fail(v.at, "", "%s: host-access %s and %s are both in subnet %s, and one is enough", name,
			n.Subnets[i].HostAddress, addr, n.Subnets[i].Prefix)
	case kept:
		d.fail(v.at, "give the host another address", "%s: host-access %s is reserved for %s", name, addr, quoted(holder))
	case n.Subnets[i].Gateway == addr:
		d.fail(v.at, "give the host another address: the gateway is the LAN's router",
			"%s: host-access %s is the gateway", name, addr)
	case !ipam.Usable(n.Subnets[i].Prefix).Contains(addr):
		d.fail(v.at, "hosts have addresses in "+ipam.Usable(n.Subnets[i].Prefix).String(), "%s: host-access %s is %s", name, addr,
			edge(n.Subnets[i].Prefix, addr))
	default:
		n.Subnets[i].HostAddress = addr
	}
}

// hostLinks refuses one address for two networks: the host would have it on two links.
func (d *decoder) hostLinks(doc *document) {
	first := map[netip.Addr]*networkDraft{}
	for _, n := range doc.order {
		for _, s := range n.Subnets {
			if !s.HostAddress.IsValid() {
				continue
			}
			if old := first[s.HostAddress]; old != nil {
				d.fail(n.place("host-access"), "give each network an address of its own",
					"network %s: host-access %s is network %s's too", n.Name, s.HostAddress, old.Name)
				continue
			}
			first[s.HostAddress] = n
		}
	}
}

// PicksHost says whether the host's own addresses on the network are picked, one in each subnet.
func (n *Network) PicksHost() bool { return n.HostAccess && n.IPAM == IPAMLocal && !n.NamesHost() }

// NamesHost says whether the policy names the host's own addresses on the network.
func (n *Network) NamesHost() bool {
	return slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.HostAddress.IsValid() })
}
