package policy

import (
	"fmt"
	"slices"
	"strings"
)

// way is what a network does to a link of the host.
type way uint8

const (
	// hangs: containers get children of the link.
	hangs way = iota + 1
	// moves: a container gets the link itself.
	moves
	// joins: the link becomes a port of a bridge.
	joins
)

// claim is the link that a network uses: base, or the VLAN of it that the tags lead to.
type claim struct {
	way  way
	base string
	tags []Tag
	// what is the use in words, with %s for the link.
	what string
	// key is the one of the policy that says so.
	key string
}

// claim is nil where the network names no link.
func (n *Network) claim() *claim {
	c := &claim{key: "parent"}
	switch n.Driver {
	case Macvlan:
		c.way, c.what = hangs, "hangs macvlan links on %s"
	case IPVLAN:
		c.way, c.what = hangs, fmt.Sprintf("hangs ipvlan links (%s %s) on %%s", n.Mode, n.Flag)
	case VLAN:
		c.way, c.what = moves, "moves %s into a container"
	case HostDevice:
		c.way, c.what, c.key = moves, "moves %s into a container", "device"
	case Bridge:
		c.way, c.what, c.key = joins, "puts %s into the bridge "+n.Bridge, "uplink"
		c.base, c.tags = n.Uplink.split()
	}
	if n.Driver != Bridge {
		c.base, c.tags = n.on()
	}
	if c.base == (Parent{}).String() {
		return nil
	}
	return c
}

// String is such as "moves eth0.50 into a container".
func (c *claim) String() string {
	link := Wire(c.base, c.tags)
	if strings.Contains(link, " ") {
		link = "the link " + link
	}
	return fmt.Sprintf(c.what, link)
}

// wire tells links apart, by the protocols of the tags too, which a name does not say.
func (c *claim) wire(tags int) string {
	return fmt.Sprint(c.base, c.tags[:tags])
}

// clash says why two networks cannot both have the links that they use, "" where they can. Of two that move the same link,
// only one container has it at a time, which the store sees to.
func (n *Network) clash(o *Network) string {
	a, b := n.claim(), o.claim()
	if a == nil || b == nil || a.base != b.base {
		return ""
	}
	lower, upper := a, b
	lowerNet := n
	if len(a.tags) > len(b.tags) {
		lower, upper, lowerNet = b, a, o
	}
	depth := len(lower.tags)
	if !slices.Equal(lower.tags, upper.tags[:depth]) {
		return ""
	}
	if depth < len(upper.tags) {
		return lowerNet.shadows(lower, upper.tags[depth])
	}
	return sameLink(n, o, a.way, b.way)
}

// both is [Network.clash] for two interfaces of one container: it cannot have the same VLAN twice either. That it has no device
// twice, the plan sees, which knows devices that are named in two ways.
func (n *Network) both(o *Network) string {
	if why := n.clash(o); why != "" {
		return why
	}
	a, b := n.claim(), o.claim()
	if n.Driver == VLAN && o.Driver == VLAN && a != nil && b != nil && a.base == b.base && slices.Equal(a.tags, b.tags) {
		return "there is one of it"
	}
	return ""
}

// sameLink is [Network.clash] for one link.
func sameLink(n, o *Network, a, b way) string {
	switch {
	case a == moves && b == moves:
		return ""
	case a == moves || b == moves:
		return "what is in a container is of no use to others"
	case a == joins && b == joins:
		if n.Bridge == o.Bridge {
			return ""
		}
		return "a link is a port of one bridge only"
	case a != b:
		return "a port of a bridge has no children"
	case n.Driver != o.Driver:
		return "a link has children of macvlan or of ipvlan, and never of both"
	case n.Driver == IPVLAN && (n.Mode != o.Mode || n.Flag != o.Flag):
		return "the kernel has one mode and flag for all ipvlan links on a parent"
	}
	return ""
}

// shadows says why the VLAN with a tag of the link cannot be had beside the network's use of the link itself.
func (n *Network) shadows(c *claim, tag Tag) string {
	switch {
	case c.way == moves:
		return "with the link, its VLANs are gone from the host"
	case c.way == joins && tag.Protocol == Dot1Q && n.bridges(tag.ID):
		// The kernel gives a frame to a sub-interface before a bridge sees it (net/core/dev.c, __netif_receive_skb_core).
		return fmt.Sprintf("what comes in with VLAN %d goes to the sub-interface, and never to the bridge", tag.ID)
	}
	return ""
}

// bridges says whether the network needs a VLAN of its bridge.
func (n *Network) bridges(id int) bool {
	return covers(n.needed(), id)
}

// covers says whether a VLAN is in one of the ranges.
func covers(ranges []VLANRange, id int) bool {
	return slices.ContainsFunc(ranges, func(r VLANRange) bool { return r.Has(id) })
}

// needed are the VLANs that the network needs of its bridge, in no order.
func (n *Network) needed() []VLANRange {
	if !n.FiltersVLANs() {
		return nil
	}
	all := slices.Clone(n.Trunk)
	if n.Access != 0 {
		all = append(all, VLANRange{n.Access, n.Access})
	}
	if n.DefaultVLAN {
		all = append(all, VLANRange{1, 1})
	}
	return all
}

// links are the links of the host that the network names, each with the key that does.
func (n *Network) links() []struct{ key, name string } {
	var out []struct{ key, name string }
	for _, l := range []struct{ key, name string }{
		{"parent", n.Parent.Name}, {"uplink", n.Uplink.Name}, {"device", n.Device.Name},
	} {
		if l.name != "" {
			out = append(out, l)
		}
	}
	return out
}
