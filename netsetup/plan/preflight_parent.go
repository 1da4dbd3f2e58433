package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/lanhook/lanhook/policy"
)

// checkParent finds what would make a child of the parent fail, or have no way to the wire.
func checkParent(in Input, l link, fail failFunc) error {
	n, uplink := l.Network, l.uplink
	switch {
	case !l.exists:
		return missing("parent", n.Parent, n.ParentWait, fail)
	case uplink.Loopback:
		return fail("name the network card in the policy", "parent %s is the loopback interface", uplink.Name)
	case uplink.MasterKind == "bridge":
		return fail("use driver bridge with that bridge, or take the link out of it",
			"parent %s is a port of a bridge", uplink.Name)
	case isBundled(uplink.MasterKind):
		return fail("use the "+uplink.MasterKind+" itself as parent",
			"parent %s is a member of a %s", uplink.Name, uplink.MasterKind)
	case isIPVLAN(uplink.Kind):
		return fail("name the link in the policy on which it lies itself", "parent %s is an %s child itself", uplink.Name, uplink.Kind)
	case uplink.Bridged != "":
		return bridged("parent", uplink, fail)
	case !uplink.Up && n.ParentUp:
		return down("parent", uplink, fail)
	case l.mtu > uplink.MTU:
		return fail("lower mtu, or raise the parent's",
			"an MTU of %d is above the %d of parent %s", l.mtu, uplink.MTU, uplink.Name)
	}
	if err := checkOwnMAC(l, fail); err != nil {
		return err
	}
	if who := in.Facts.Users[l.IfName]; who != "" {
		return fail("the children of a link are all macvlan, or all ipvlan of one mode and flag: agree on one, or put one of the networks on "+
			"another link, such as a VLAN of this one",
			"parent %s cannot have %s: %s", uplink.Name, child(n), who)
	}
	if err := checkGatewayHere(l, fail); err != nil && n.Conflict != policy.ConflictWarn {
		return err
	}
	switch n.Driver { //nolint:exhaustive // the others have nothing of their own
	case policy.IPVLAN:
		return checkIPVLAN(l, fail)
	case policy.VLAN:
		return checkVLAN(in, l, fail)
	}
	return nil
}

// TakesChildren says whether a link may be a parent, as [Build] sees it, and is of Ethernet.
func (l Link) TakesChildren() bool {
	return !l.Loopback && len(l.MAC) == macLen && !isBundled(l.MasterKind) && l.MasterKind != "bridge" && !isIPVLAN(l.Kind)
}

func isBundled(master string) bool { return master == "bond" || master == "team" }

func isIPVLAN(kind string) bool { return kind == "ipvlan" || kind == "ipvtap" }

// missing refuses a link that is not there, which the network has as its what.
func missing(what string, p policy.Parent, wait time.Duration, fail failFunc) error {
	hint := "see which links there are with: ip link"
	if wait > 0 {
		hint = fmt.Sprintf("waited %s (parent-wait) for it; %s", wait, hint)
	}
	if base, ids := policy.SplitVLAN(p.Name); len(ids) > 0 {
		if _, more := policy.SplitVLAN(base); len(more) > 0 {
			hint += "; a frame has two VLAN tags at most"
		}
		return fail(hint, "%s %s does not exist, and neither does %s, of which it would be a VLAN", what, p, base)
	}
	if base, like := likeVLAN(p.Name); like {
		hint += fmt.Sprintf("; the VLANs of %s are %s.1 to %s.4094", base, base, base)
	}
	return fail(hint, "%s %s does not exist", what, p)
}

// likeVLAN says of which link a name may have been meant to be a VLAN that [policy.SplitVLAN] does not take for one, because of
// its number or of what stands before that.
func likeVLAN(name string) (base string, like bool) {
	at := strings.LastIndexAny(name, ".-_")
	if at <= 0 || strings.Trim(name[at+1:], "0123456789") != "" {
		return "", false
	}
	return name[:at], true
}

// down refuses a link that is down. Sub-interfaces of lanhook's are brought up with what is below them.
func down(what string, l Link, fail failFunc) error {
	return fail(fmt.Sprintf("bring it up: ip link set %s up", l.lowest()), "%s %s is down", what, l.lowest())
}

// checkDown warns of a parent that is down, where that may be: the child is whole, and works as soon as the parent is up.
func checkDown(l link, fail failFunc) error {
	n := l.Network
	if l.uplink.Up || !l.exists || n.Driver != policy.Macvlan && n.Driver != policy.IPVLAN {
		return nil
	}
	name := l.uplink.lowest()
	return fail("bring it up: ip link set "+name+" up; with parent-wait in the policy, containers are refused as long as it is down",
		"parent %s is down: nobody is reached until it is up", name)
}

// bridged refuses a sub-interface that would take its VLAN from a bridge of lanhook's (net/core/dev.c,
// __netif_receive_skb_core).
func bridged(what string, l Link, fail failFunc) error {
	return fail(fmt.Sprintf("put the network on that bridge too (driver bridge, with the same uplink and its vlan), or end the containers on %s first",
		l.Bridged),
		"%s %s would take its VLAN from bridge %s, whose uplink carries it", what, l.Name, l.Bridged)
}

// child is the kind of link that a network hangs on its parent, as messages have it.
func child(n *policy.Network) string {
	if n.Driver == policy.IPVLAN {
		return fmt.Sprintf("an ipvlan child in mode %s %s", n.Mode, n.Flag)
	}
	return fmt.Sprintf("a %s child", n.Driver)
}

// The modes of a bond in which it writes its members' MAC addresses into what it sends, whoever sent it
// (Documentation/networking/bonding.rst).
const (
	balanceTLB = 5
	balanceALB = 6
)

// checkOwnMAC refuses parents by which no frame of another MAC address than their own can leave or come back.
func checkOwnMAC(l link, fail failFunc) error {
	if l.choice.MAC == nil || l.choice.MAC.String() == l.uplink.MAC.String() {
		return nil
	}
	const remedy = "use driver ipvlan, whose children have their parent's MAC address"
	switch {
	case l.uplink.Wireless:
		return fail("a wireless access point takes frames from one MAC address a station; "+remedy+", or a bridge network",
			"parent %s is wireless, and its %s children have their own MAC addresses", l.uplink.Name, l.Network.Driver)
	case l.uplink.BondMode == balanceTLB || l.uplink.BondMode == balanceALB:
		return fail(remedy+", or another mode of the bond, such as active-backup or 802.3ad",
			"parent %s %s, which puts its members' MAC addresses in place of those of %s children",
			l.uplink.Name, onBond(l.uplink), l.Network.Driver)
	}
	return nil
}

// onBond says of a link in what way it has to do with a bond in one of these modes.
func onBond(l Link) string {
	mode, is := "balance-tlb", "is"
	if l.BondMode == balanceALB {
		mode = "balance-alb"
	}
	if l.Kind != "bond" {
		is = "lies on"
	}
	return fmt.Sprintf("%s a bond in mode %s", is, mode)
}

// checkIPVLAN refuses what the policy lets nobody ask of an ipvlan child, and what the kernel would pass over.
func checkIPVLAN(l link, fail failFunc) error {
	switch {
	case l.choice.MAC != nil:
		return fail("ask for no MAC address, or use driver macvlan",
			"the MAC address %s cannot be had: ipvlan children have that of their parent", l.choice.MAC)
	case l.Network.Mode == policy.ModeL3S && l.Rates.In != (policy.Rate{}):
		// What comes in goes from the parent's input of IP to the child's, and by no hook of the child
		// (drivers/net/ipvlan/ipvlan_l3s.c, ipvlan_nf_input).
		return fail("use mode l3, or no rate towards the container",
			"what comes in cannot be limited in ipvlan mode l3s")
	}
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		if g := l.gateway(family); l.Network.Routed() && g.IsValid() {
			return fail("leave the gateway away: the host routes what its ipvlan children send",
				"the gateway %s cannot be reached in ipvlan mode %s", g, l.Network.Mode)
		}
	}
	return nil
}
