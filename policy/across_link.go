package policy

import "strconv"

// sameLAN refuses two networks on one bridge that differ in what connects the bridge itself, and says whether they do not.
func (d *decoder) sameLAN(n, old *networkDraft) bool {
	uplink := func(n *networkDraft) string {
		if n.HasUplink() {
			return n.Uplink.String()
		}
		return "none"
	}
	vlans := func(n *networkDraft) string {
		if n.FiltersVLANs() {
			return "kept apart"
		}
		return "not kept apart"
	}
	const same = "give it another bridge, or make it the same in both"
	for _, k := range []struct{ key, is, mine, theirs, hint string }{
		{"vlan", "VLANs are", vlans(n), vlans(old), "give it another bridge, or all networks on this one a vlan or a trunk"},
		{"uplink", "uplink is", uplink(n), uplink(old), n.mergedVLANs(old, same)},
		{"default-vlan", "default-vlan is", strconv.FormatBool(n.DefaultVLAN), strconv.FormatBool(old.DefaultVLAN), same},
		{"vrf", "vrf is", n.VRF, old.VRF, same},
	} {
		if k.mine == k.theirs {
			continue
		}
		d.fail(n.place(k.key), k.hint, "network %s: %s %s here and %s for network %s, and both have the bridge %s",
			n.Name, k.is, orNothing(k.mine), orNothing(k.theirs), old.Name, n.Bridge)
		return false
	}
	return true
}

func orNothing(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// mergedVLANs is the hint for two VLANs of one link that would become one on a bridge; otherwise the other one.
func (n *networkDraft) mergedVLANs(old *networkDraft, otherwise string) string {
	mine, tags := n.Uplink.split()
	theirs, others := old.Uplink.split()
	if len(tags) == 1 && len(others) == 1 && mine == theirs {
		return "on one bridge the two VLANs would become one: write uplink = " + strconv.Quote(mine) + " with vlan = " +
			strconv.Itoa(tags[0].ID) + " here and vlan = " + strconv.Itoa(others[0].ID) + " there"
	}
	return otherwise
}
