package policy

import (
	"slices"
	"strconv"
)

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

// unsure says whether what connects a bridge may be other than written, so that a comparison tells nothing.
func (n *networkDraft) unsure() bool {
	return n.bad && (n.has("vlan") || n.has("trunk") || n.has("uplink"))
}

// links refuses networks that cannot both have the links that they use. One error for each is enough.
func (d *decoder) links(doc *document) {
	d.bridgeNames(doc)
	below := newTakers(doc)
	same := map[string][]*networkDraft{}
	for _, n := range doc.order {
		u := n.claim()
		if u == nil || n.bad {
			continue
		}
		wire := u.wire(len(u.tags))
		if d.clashes(n, slices.Concat(below.of(u), same[wire])) {
			continue
		}
		if !slices.ContainsFunc(same[wire], func(o *networkDraft) bool { return o.claim().what == u.what }) {
			same[wire] = append(same[wire], n)
		}
	}
}

// clashes reports the first clash with one of others, at the network that comes later in the files: the first is taken to
// be right.
func (d *decoder) clashes(n *networkDraft, others []*networkDraft) bool {
	for _, o := range others {
		why := n.clash(o.Network)
		if why == "" {
			continue
		}
		first, second := o, n
		if second.named.compare(first.named) < 0 {
			first, second = second, first
		}
		u := second.claim()
		d.fail(second.place(u.key), "give one of them another link, or a VLAN of its own",
			"network %s %s, and network %s %s: %s", second.Name, u, first.Name, first.claim(), why)
		return true
	}
	return false
}

// takers are the networks that can take a VLAN away from those above: by moving the link below, or by bridging the VLAN.
type takers struct {
	moved   map[string]*networkDraft
	bridged map[string]map[int]*networkDraft
}

func newTakers(doc *document) takers {
	l := takers{map[string]*networkDraft{}, map[string]map[int]*networkDraft{}}
	for _, n := range doc.order {
		u := n.claim()
		if u == nil || n.bad {
			continue
		}
		wire := u.wire(len(u.tags))
		if u.way == moves && l.moved[wire] == nil {
			l.moved[wire] = n
		}
		if u.way != joins || !n.FiltersVLANs() {
			continue
		}
		if l.bridged[wire] == nil {
			l.bridged[wire] = map[int]*networkDraft{}
		}
		for _, r := range n.needed() {
			for id := r.From; id <= r.To; id++ {
				if l.bridged[wire][id] == nil {
					l.bridged[wire][id] = n
				}
			}
		}
	}
	return l
}

// of are those below a link.
func (l takers) of(u *claim) []*networkDraft {
	var out []*networkDraft
	for i, t := range u.tags {
		wire := u.wire(i)
		for _, n := range []*networkDraft{l.moved[wire], l.bridged[wire][t.ID]} {
			if n != nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// bridgeNames refuses a bridge for a parent, an uplink or a device of another network.
func (d *decoder) bridgeNames(doc *document) {
	bridges := map[string]*networkDraft{}
	for _, n := range doc.order {
		if n.Driver == Bridge && bridges[n.Bridge] == nil {
			bridges[n.Bridge] = n
		}
	}
	for _, n := range doc.order {
		for _, l := range n.links() {
			o := bridges[l.name]
			if o == nil {
				continue
			}
			d.fail(n.place(l.key), notABridge(l.key), "network %s: %s %s is the bridge of network %s", n.Name, l.key, l.name, o.Name)
		}
	}
}

// notABridge is the hint for a bridge that stands for something else.
func notABridge(key string) string {
	switch key {
	case "uplink":
		return "a bridge is no port of another; name the link that leads to the LAN"
	case "parent":
		return "name the link that leads to the LAN, or make the network one with driver = \"bridge\" and the same bridge"
	}
	return "a bridge stays with the host; name another device"
}

// oddVLANs warns of VLANs inside of VLANs that look like a slip.
func (n *networkDraft) oddVLANs(warn func(at mark, msg string)) {
	name := "network " + n.Name
	if _, tags := n.Uplink.split(); len(tags) > 0 && n.FiltersVLANs() {
		warn(n.place("uplink"), name+": the VLANs of the bridge are inside VLAN "+strconv.Itoa(tags[len(tags)-1].ID)+
			" of its uplink "+n.Uplink.Name+": for VLANs of the link itself name that")
	}
	if _, tags := n.Parent.split(); len(tags) > 0 && len(n.VLAN) > 0 && tags[len(tags)-1].ID == n.VLAN[0].ID {
		warn(n.place("vlan"), name+": VLAN "+strconv.Itoa(n.VLAN[0].ID)+" is inside VLAN "+strconv.Itoa(n.VLAN[0].ID)+
			", which the parent "+n.Parent.Name+" is already")
	}
}
