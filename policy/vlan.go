package policy

import (
	"slices"
	"sort"
	"strconv"
	"strings"
)

const (
	// maxVLAN is the last id of a VLAN: 0 says that a frame is in none, and 4095 is reserved (IEEE 802.1Q, table 9-2).
	maxVLAN = 4094
	// maxTags is how many tags a frame has here at most.
	maxTags = 2
)

// String is the tag for messages: "50", or "50 (802.1ad)".
func (t Tag) String() string {
	if t.Protocol == Dot1AD {
		return strconv.Itoa(t.ID) + " (" + t.Protocol.String() + ")"
	}
	return strconv.Itoa(t.ID)
}

// Tags are the tags with these ids, the outermost first. outer is the protocol of the first, the zero value for the usual
// one: 802.1ad for the outer of two, 802.1q for one alone. All others are 802.1q.
func Tags(ids []int, outer VLANProtocol) []Tag {
	var tags []Tag
	for i, id := range ids {
		tag := Tag{ID: id, Protocol: Dot1Q}
		switch {
		case i == 0 && outer != 0:
			tag.Protocol = outer
		case i == 0 && len(ids) > 1:
			tag.Protocol = Dot1AD
		}
		tags = append(tags, tag)
	}
	return tags
}

// SplitVLAN takes the VLANs off the name of a link, as Docker reads it: "eth0.50" is VLAN 50 of eth0, "eth0.100.20" VLAN
// 20 in VLAN 100. Without any the name is the link's own; so is "eth0.050", since a name says each id in one way only.
// Only the kernel knows whether a link that has such a name is the VLAN that it says.
func SplitVLAN(name string) (base string, ids []int) {
	base = name
	for len(ids) < maxTags {
		at := strings.LastIndexByte(base, '.')
		if at <= 0 {
			break
		}
		id, ok := vlanID(base[at+1:])
		if !ok {
			break
		}
		base, ids = base[:at], append([]int{id}, ids...)
	}
	return base, ids
}

// vlanID reads an id as people write it, without sign or leading zeros.
func vlanID(s string) (int, bool) {
	id, err := strconv.Atoi(s)
	return id, err == nil && id >= 1 && id <= maxVLAN && strconv.Itoa(id) == s
}

// Wire names what a link sends on: the link below all VLANs and the ids of these, the outermost first, as in "eth0.100.20",
// whatever the links on the way are called.
func Wire(base string, tags []Tag) string {
	for _, t := range tags {
		base += "." + strconv.Itoa(t.ID)
	}
	return base
}

// Wire is what the network sends on, as far as the policy tells, or its bridge: see [Wire].
func (n *Network) Wire() string { return Wire(n.on()) }

// on is the wire that a network names: the link below all VLANs and their tags. A link that is found in another way than
// by its name has a base that no link has for a name.
func (n *Network) on() (base string, tags []Tag) {
	switch n.Driver {
	case HostDevice:
		return n.Device.String(), nil
	case Macvlan, IPVLAN, VLAN:
		base, tags = n.Parent.split()
	case Bridge:
		return n.Bridge, nil
	}
	return base, slices.Concat(tags, n.VLAN)
}

// split takes the VLANs off the name of a parent or uplink.
func (p Parent) split() (base string, tags []Tag) {
	if p.Name == "" {
		return p.String(), nil
	}
	base, ids := SplitVLAN(p.Name)
	return base, Tags(ids, 0)
}

// FiltersVLANs says whether the network's bridge filters VLANs.
func (n *Network) FiltersVLANs() bool { return n.Access != 0 || len(n.Trunk) > 0 }

// HasUplink says whether the network's bridge has an uplink of the policy's.
func (n *Network) HasUplink() bool {
	return n.Uplink.Name != "" || n.Uplink.MAC != nil || n.Uplink.AltName != "" || n.Uplink.DefaultRoute
}

// OnLAN says whether a bridge network is a piece of a LAN: by its uplink or its VLANs. There the host has no address, and
// makes no rules; the gateway is a router of the LAN.
func (n *Network) OnLAN() bool { return n.Driver == Bridge && (n.FiltersVLANs() || n.HasUplink()) }

// Untagged is the VLAN of what a container's port on a bridge carries without a tag, 0 for none.
func (n *Network) Untagged() int {
	if n.Access == 0 && n.DefaultVLAN {
		// The kernel's vlan_default_pvid (net/bridge/br_vlan.c, br_vlan_init).
		return 1
	}
	return n.Access
}

// Has says whether a VLAN is in the range.
func (r VLANRange) Has(id int) bool { return r.From <= id && id <= r.To }

// UniteVLANs are the VLANs of all ranges, sorted, with as few ranges as possible.
func UniteVLANs(ranges ...VLANRange) []VLANRange {
	sorted := slices.Clone(ranges)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].From < sorted[j].From })
	var all []VLANRange
	for _, r := range sorted {
		last := len(all) - 1
		switch {
		case r.To < r.From:
		case last >= 0 && r.From <= all[last].To+1:
			all[last].To = max(all[last].To, r.To)
		default:
			all = append(all, r)
		}
	}
	return all
}
