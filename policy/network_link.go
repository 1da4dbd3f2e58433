package policy

import (
	"slices"
	"strings"
)

// checkLink checks what a network says of its link, and fills in the defaults.
func (d *decoder) checkLink(n *networkDraft, name string) {
	d.checkMode(n, name)
	d.checkParent(n, name)
	switch n.Driver {
	case Macvlan:
		d.checkMacvlan(n, name)
	case Bridge:
		d.checkBridge(n, name)
	case IPVLAN:
		d.checkIPVLAN(n, name)
	case VLAN:
		if !n.has("vlan") {
			d.fail(n.named, "add vlan = NUMBER; for the parent itself there is the driver host-device",
				"%s: vlan is missing: the driver vlan moves a VLAN of its parent into the container", name)
		}
		n.keepMAC()
	case HostDevice:
		if !n.has("device") {
			d.fail(n.named, "name the device, or write device = { mac = \"…\" } or { pci = \"…\" }",
				"%s: device is missing: a host-device network is a device of the host", name)
		}
		n.keepMAC()
	}
	if n.MAC == MACKeep && n.Driver != VLAN && n.Driver != HostDevice && n.Driver != IPVLAN {
		d.fail(n.place("mac"), "known are stable, random, from-ip",
			"%s: mac = \"keep\" is for the drivers vlan and host-device, whose links have an address before", name)
	}
}

// keepMAC leaves the link its address where the policy says nothing.
func (n *networkDraft) keepMAC() {
	if !n.has("mac") {
		n.MAC = MACKeep
	}
}

// modesOf are the modes of a driver, its default first; none for most.
func modesOf(driver Driver) []Mode {
	switch driver {
	case Macvlan:
		return []Mode{ModeBridge, ModePrivate, ModeVEPA, ModePassthru, ModeSource}
	case IPVLAN:
		return []Mode{ModeL2, ModeL3, ModeL3S}
	case Bridge, VLAN, HostDevice:
	}
	return nil
}

// checkMode refuses the mode of another driver.
func (d *decoder) checkMode(n *networkDraft, name string) {
	modes := modesOf(n.Driver)
	switch {
	case len(modes) == 0:
		n.Mode = 0
	case n.Mode == 0 && !n.has("mode"):
		n.Mode = modes[0]
	case n.Mode != 0 && !slices.Contains(modes, n.Mode):
		other := Macvlan
		if n.Driver == Macvlan {
			other = IPVLAN
		}
		d.fail(n.place("mode"), "the modes of "+n.Driver.String()+" are "+strings.Join(words(modes), ", "),
			"%s: mode %s is one of %s, and the driver is %s", name, n.Mode, other, n.Driver)
	}
}

// checkParent checks parent and vlan of the drivers that have a parent.
func (d *decoder) checkParent(n *networkDraft, name string) {
	switch n.Driver {
	case Macvlan, IPVLAN, VLAN:
	case Bridge, HostDevice:
		n.ParentWait = 0
		return
	}
	if !n.has("parent") {
		d.fail(n.named, "name the host's link, or write parent = { default-route = true }",
			"%s: parent is missing: %s %s network hangs on a link of the host", name, article(n.Driver), n.Driver)
	}
	if n.has("vlan-protocol") && !n.has("vlan") {
		d.fail(n.place("vlan-protocol"), "add vlan = NUMBER, or take the key out", "%s: vlan-protocol is for vlan, which is missing", name)
	}
	n.ParentUp = n.Driver == VLAN || n.has("parent-wait")
	n.VLAN = Tags(n.tags, n.protocol)
}

func article(d Driver) string {
	if d == IPVLAN {
		return "an"
	}
	return "a"
}

func (d *decoder) checkMacvlan(n *networkDraft, name string) {
	switch {
	case n.Mode == ModeSource && !n.has("source"):
		d.fail(n.place("mode"), "list the MAC addresses that may be heard: source = [\"…\"]",
			"%s: source is missing: in mode source nobody is heard who is not listed", name)
	case n.Mode != 0 && n.Mode != ModeSource && n.has("source"):
		d.fail(n.place("source"), "take source out, or set mode = \"source\"",
			"%s: source is for mode source, not for mode %s", name, n.Mode)
	case n.Mode == ModePassthru && n.has("mac"):
		d.fail(n.place("mac"), "take the key out",
			"%s: mac cannot be set in mode passthru, where the container has the parent's MAC address", name)
	}
}

// checkIPVLAN checks what the kernel's drivers/net/ipvlan asks for: its links share the MAC address of their parent, and
// in the modes l3 and l3s they neither send nor take ARP and neighbour discovery.
func (d *decoder) checkIPVLAN(n *networkDraft, name string) {
	n.MAC = MACKeep
	if !n.has("flag") {
		n.Flag = FlagBridge
	}
	if len(n.subnets) == 0 && !n.has("subnet") && n.IPAM != IPAMNone {
		d.fail(n.named, "add a [[network."+n.Name+".subnet]], or write ipam = \"none\"",
			"%s: an ipvlan network needs a subnet: no DHCP server tells its containers apart, which have one MAC address", name)
	}
	if n.Mode != ModeL3 && n.Mode != ModeL3S {
		return
	}
	for _, s := range n.subnets {
		if s.Gateway.IsValid() {
			d.fail(s.gateway.at, "take it out: the default route needs none",
				"%s: gateway %s does not go with mode %s, in which the parent's host routes and nobody asks for a MAC address",
				name, s.Gateway, n.Mode)
		}
	}
}

func (d *decoder) checkBridge(n *networkDraft, name string) {
	if len(n.tags) > 1 {
		d.fail(n.place("vlan"), "write one number; trunk is for VLANs with tags",
			"%s: vlan has two ids, and the port of a bridge is in one VLAN", name)
	} else if len(n.tags) == 1 {
		n.Access = n.tags[0]
	}
	for _, r := range n.Trunk {
		if r.Has(n.Access) {
			d.fail(n.place("trunk"), "take it out of one of them",
				"%s: trunk has VLAN %d, which vlan gives without a tag", name, n.Access)
		}
	}
	if n.has("default-vlan") && !n.has("vlan") && !n.has("trunk") {
		d.fail(n.place("default-vlan"), "add vlan or trunk, or take the key out",
			"%s: default-vlan is for bridges that keep VLANs apart, and neither vlan nor trunk is there", name)
	}
	if n.FiltersVLANs() && n.Untagged() == 0 && n.has("subnet") {
		d.fail(n.place("subnet"), "add vlan = NUMBER for the container's own addresses, or take the subnets out",
			"%s: a port with trunk alone carries nothing without a tag, so an address of its interface reaches nobody", name)
	}
	d.checkGuarded(n, name)
	if !n.has("bridge") {
		n.Bridge = "lh-" + n.Name
		if len(n.Bridge) > maxIfName && validNetworkName(n.Name) {
			d.fail(n.named, "name the bridge with bridge = \"…\"",
				"%s: its bridge would be called %s, which has %d bytes, and %d are the most", name, n.Bridge, len(n.Bridge), maxIfName)
		}
	}
}

// checkGuarded refuses what the kernel lets through that the policy means to keep apart.
func (d *decoder) checkGuarded(n *networkDraft, name string) {
	switch {
	case n.DefaultVLAN && covers(n.Trunk, 1):
		d.fail(n.place("trunk"), "take one of the two out", "%s: trunk has VLAN 1, which default-vlan gives without a tag", name)
	case n.SpoofCheck && len(n.Trunk) > 0:
		d.fail(n.place("spoof-check"), "take it out, or make a network with vlan = NUMBER for each VLAN that a container needs",
			"%s: spoof-check does not go with trunk: which addresses a container has behind its tags is not known", name)
	case n.DefaultVLAN && n.HasUplink() && !n.SpoofCheck:
		// The uplink takes the outer of two tags off, and the next switch goes by the inner one.
		d.fail(n.place("default-vlan"), "add spoof-check = true, which lets no frame with a tag pass, or take the key out",
			"%s: default-vlan on an uplink lets a container reach every VLAN of the wire, by a second tag behind that of VLAN 1", name)
	}
	switch {
	case n.VRF == "":
	case n.Firewall && !n.OnLAN():
		// What is forwarded has the VRF for the link that it came by (Documentation/networking/vrf.rst).
		d.fail(n.place("vrf"), "add firewall = false: then the host's own rules say what passes",
			"%s: vrf needs firewall = false: what containers send comes in by the VRF, where no rule sees their bridge", name)
	case n.Internal:
		d.fail(n.place("vrf"), "take one of the two out; without a gateway nothing goes in or out either",
			"%s: vrf does not go with internal: the forwarding of the VRF counts, and not that of its bridge", name)
	}
}
