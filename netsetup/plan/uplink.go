package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/policy"
)

// portVLANs are the VLANs of the container's port.
func portVLANs(n *policy.Network) PortVLANs {
	return PortVLANs{Access: n.Access, Trunk: n.Trunk, Default: n.DefaultVLAN && n.FiltersVLANs()}
}

// uplinks are the uplinks of all bridges that are lanhook's, each once, with the VLANs that any link needs of it. That of a
// bridge which is the administrator's has to carry them already.
func uplinks(f Facts, links []link) Steps {
	var all []EnsureUplink
	for _, l := range links {
		up, ok := f.PortUplink[l.IfName]
		if !ok || l.foreign() {
			continue
		}
		s := EnsureUplink{
			Bridge: l.Network.Bridge, Link: up.Name, VLANs: uplinkVLANs(l.Network), DefaultVLAN: portVLANs(l.Network).Default,
		}
		i := slices.IndexFunc(all, func(other EnsureUplink) bool { return other.Bridge == s.Bridge })
		if i < 0 {
			all = append(all, s)
			continue
		}
		all[i].VLANs = policy.UniteVLANs(append(all[i].VLANs, s.VLANs...)...)
		all[i].DefaultVLAN = all[i].DefaultVLAN || s.DefaultVLAN
	}
	var steps Steps
	for _, s := range all {
		steps = append(steps, s)
	}
	return steps
}

// uplinkVLANs are the VLANs that the uplink carries with a tag for a network's containers.
func uplinkVLANs(n *policy.Network) []policy.VLANRange {
	all := PortVLANs{Access: n.Access, Trunk: n.Trunk}.All()
	if portVLANs(n).Default {
		all = WithoutVLANs(all, []policy.VLANRange{oneVLAN(defaultVLAN)})
	}
	return all
}

// foreign says whether the link's bridge is there and not lanhook's.
func (l link) foreign() bool { return l.exists && l.uplink.Group != Group }

// checkVLANs refuses a bridge that cannot give the container the VLANs that its network names, or no VLAN at all.
func checkVLANs(l link, fail failFunc) error {
	n, b := l.Network, l.uplink
	switch {
	case len(n.Trunk) > 0 && n.SpoofCheck:
		return fail("give the container a network with an access VLAN (vlan = N) for each VLAN that it needs",
			"spoof-check does not go with trunk: a container's addresses within the VLANs of a trunk are not known")
	case n.DefaultVLAN && n.HasUplink() && !n.SpoofCheck:
		return fail("set spoof-check = true, which lets no frame with a tag pass, or take default-vlan out",
			"default-vlan with an uplink needs spoof-check: a container in VLAN 1, which has no tag there, could reach every VLAN of "+
				"the uplink by a tag of its own")
	case !l.exists || n.FiltersVLANs() == b.FiltersVLANs:
		return nil
	case l.foreign() && n.FiltersVLANs():
		return fail(fmt.Sprintf("ip link set %s type bridge vlan_filtering 1", b.Name),
			"bridge %s does not filter VLANs, and lanhook does not change a bridge that it has not made", b.Name)
	case n.FiltersVLANs():
		return fail(endHint(b), "bridge %s does not filter VLANs: it was made for containers without one", b.Name)
	case b.DefaultVLAN == 0:
		return fail(endHint(b), "bridge %s filters VLANs, and the network names none", b.Name)
	}
	return nil
}

// endHint says how a bridge of lanhook's is made anew. What a network is for its containers is not changed under them: a
// plain bridge would become a piece of the LAN, or its rules would no longer hold.
func endHint(bridge Link) string {
	if bridge.Group != Group {
		return "give the network another bridge name in the policy"
	}
	return "end the containers on it first, or give the network another bridge name in the policy"
}

// checkVRF refuses a VRF that is not there, or another one than a bridge that is there has.
func checkVRF(l link, vrf Link, found bool, fail failFunc) error {
	n, b := l.Network, l.uplink
	switch {
	case n.VRF != "" && !found:
		return fail(fmt.Sprintf("make it: ip link add %s type vrf table NUMBER, ip link set %[1]s up", n.VRF), "vrf %s does not exist", n.VRF)
	case n.VRF != "" && vrf.Kind != kindVRF:
		return fail("name the VRF in the policy, see: ip link show type vrf", "%s is no VRF but a link of kind %s", n.VRF, kind(vrf))
	case !l.exists:
		return nil
	case n.VRF != "" && b.Master != vrf.Index:
		return fail(endHint(b), "bridge %s is not in vrf %s", b.Name, n.VRF)
	case n.VRF == "" && b.MasterKind == kindVRF && !l.foreign() && n.Name != "":
		return fail(endHint(b), "bridge %s is in a VRF, and the network names none", b.Name)
	}
	return nil
}

const kindVRF = "vrf"

// checkUplink refuses an uplink that cannot be, or is not, a port of the network's bridge.
func checkUplink(l link, up Link, found bool, fail failFunc) error {
	n, b := l.Network, l.uplink
	if !n.HasUplink() {
		if l.exists && !l.foreign() && b.Uplink != "" && n.Name != "" {
			return fail(endHint(b), "bridge %s has the uplink %s, and the network names none", b.Name, b.Uplink)
		}
		return nil
	}
	switch {
	case !found:
		return missing("uplink", n.Uplink, n.ParentWait, fail)
	case l.foreign():
		return checkForeignUplink(l, up, fail)
	case l.exists && b.Up && b.Uplink == "":
		return fail(endHint(b), "bridge %s was made without the uplink %s", b.Name, up.Name)
	case l.exists && b.Up && b.Uplink != up.Name:
		return fail(endHint(b), "bridge %s has the uplink %s, not %s", b.Name, b.Uplink, up.Name)
	case l.bridgeMTU > up.MTU:
		return fail("lower mtu, or raise the uplink's", "an MTU of %d is above the %d of uplink %s", l.bridgeMTU, up.MTU, up.Name)
	}
	if err := checkShadow(n, up, fail); err != nil {
		return err
	}
	if l.exists && up.Master == b.Index {
		return nil
	}
	return checkNewPort(up, fail)
}

// checkForeignUplink looks whether the uplink of an administrator's bridge is what he has to make it.
func checkForeignUplink(l link, up Link, fail failFunc) error {
	if up.Master != l.uplink.Index {
		return fail(fmt.Sprintf("ip link set %s master %s", up.Name, l.uplink.Name),
			"%s is no port of bridge %s, and lanhook does not change a bridge that it has not made", up.Name, l.uplink.Name)
	}
	if without := WithoutVLANs(uplinkVLANs(l.Network), up.VLANs); len(without) > 0 {
		return fail(fmt.Sprintf("bridge vlan add dev %s vid %s", up.Name, without[0]),
			"%s does not carry VLAN %s, and lanhook does not change a bridge that it has not made", up.Name, without[0])
	}
	return checkShadow(l.Network, up, fail)
}

// checkShadow refuses VLANs of which the kernel gives what comes in to a sub-interface, before the bridge sees it
// (net/core/dev.c, __netif_receive_skb_core).
func checkShadow(n *policy.Network, up Link, fail failFunc) error {
	for _, sub := range up.Above {
		for _, r := range uplinkVLANs(n) {
			if sub.Tag.Protocol == policy.Dot1Q && r.Has(sub.Tag.ID) {
				return fail(fmt.Sprintf("take the VLAN off the network, or the sub-interface off the link when nothing uses it: "+
					"ip link delete %s; one of lanhook's goes with its last container", sub.Name),
					"what comes in on uplink %s in VLAN %d goes to its sub-interface %s, and not to the bridge", up.Name, sub.Tag.ID, sub.Name)
			}
		}
	}
	return nil
}

// checkNewPort refuses a link that the host needs itself, or that no bridge can have.
func checkNewPort(up Link, fail failFunc) error {
	own := slices.IndexFunc(up.Addresses, func(a netip.Addr) bool { return a.Is4() || !a.IsLinkLocalUnicast() })
	switch {
	case up.Loopback:
		return fail("name the network card in the policy", "uplink %s is the loopback interface", up.Name)
	case up.MasterKind != "":
		return fail("take it out first (ip link set "+up.Name+" nomaster), or name another link",
			"uplink %s is a port of a %s already", up.Name, up.MasterKind)
	case up.Kind == kindBridge:
		return fail("name the link that is to be a port of the bridge", "uplink %s is a bridge itself", up.Name)
	case up.Wireless:
		return fail("a wireless access point takes frames from one MAC address a station; use a bridge network without an uplink",
			"uplink %s is wireless, and containers have their own MAC addresses", up.Name)
	case up.BondMode == balanceTLB || up.BondMode == balanceALB:
		return fail("use driver ipvlan, whose children have their parent's MAC address, or another mode of the bond, such as "+
			"active-backup or 802.3ad",
			"uplink %s %s, which puts its members' MAC addresses in place of those of containers", up.Name, onBond(up))
	case up.Bridged != "":
		return bridged("uplink", up, fail)
	case own >= 0:
		return fail("use a link of its own or a VLAN sub-interface, or make the bridge yourself and move the address there; "+
			"driver macvlan leaves the host its addresses",
			"uplink %s has the host's address %s, which would no longer be reached", up.Name, up.Addresses[own])
	case !up.Up:
		return down("uplink", up, fail)
	}
	return nil
}

const kindBridge = "bridge"
