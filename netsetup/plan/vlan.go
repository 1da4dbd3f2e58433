package plan

import (
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/lanhook/lanhook/policy"
)

// Wire is what the link sends on, whatever it is called: see [policy.Wire].
func (l Link) Wire() string {
	if l.Base == "" {
		return l.Name
	}
	return policy.Wire(l.Base, l.Tags)
}

// SubNames are the names of a sub-interface of the link: the usual one, which may be too long for the kernel or another
// link's, and one for these cases, "lhv" and ten characters of [a-z2-7], which follows from the wire and the tag alone.
func SubNames(l Link, tag policy.Tag) (usual, other string) {
	usual = l.Name + "." + strconv.Itoa(tag.ID)
	sum := fnv.New64a()
	base := l.Base
	if base == "" {
		base = l.Name
	}
	write := func(s string) { _, _ = sum.Write([]byte(s)) } //nolint:errcheck // it never fails
	write(base)
	for _, t := range append(slices.Clone(l.Tags), tag) {
		write("/" + t.Protocol.String() + "/" + strconv.Itoa(t.ID))
	}
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	other = "lhv"
	for n, bits := 0, sum.Sum64(); n < 10; n, bits = n+1, bits>>5 {
		other += letters[bits&31 : bits&31+1]
	}
	return usual, other
}

// subs are the VLAN sub-interfaces of all links, each once.
func subs(in Input, links []link) Steps {
	var steps Steps
	add := func(l Link) {
		for _, s := range l.Subs {
			if step := Step(EnsureVLAN(s)); !slices.Contains(steps, step) {
				steps = append(steps, step)
			}
		}
	}
	for _, l := range links {
		add(l.uplink)
		add(in.Facts.PortUplink[l.IfName])
	}
	return steps
}

// parentIndex is that of the link on which children hang; 0 for a sub-interface of lanhook's, which another container may take
// with it before it is ensured, so that it has another one then.
func (l link) parentIndex() int {
	if l.uplink.isOurs() {
		return 0
	}
	return l.uplink.Index
}

// isOurs says whether the link is a sub-interface that lanhook makes, or has made.
func (l Link) isOurs() bool {
	n := len(l.Subs)
	return n > 0 && l.Subs[n-1].Name == l.Name
}

// ownTag is the container's own tag, for the driver vlan.
func ownTag(n *policy.Network) policy.Tag {
	if n.Driver != policy.VLAN || len(n.VLAN) == 0 {
		return policy.Tag{}
	}
	return n.VLAN[len(n.VLAN)-1]
}

// vlanOf is the sub-interface itself: of the last tag, on the link that the others lead to.
func vlanOf(l link) AddVLAN {
	return AddVLAN{
		Name: l.own, Parent: l.uplink.Name, ParentIndex: l.parentIndex(), Tag: ownTag(l.Network), MAC: l.choice.MAC, MTU: l.mtu,
	}
}

// checkVLAN refuses a tag that the host has itself, of which there is one link only.
func checkVLAN(in Input, l link, fail failFunc) error {
	other := in.Facts.Tagged[l.IfName]
	if other == "" {
		return nil
	}
	return fail("end what uses it first, or give the network another VLAN; lanhook gc removes one of lanhook's that no container uses",
		"VLAN %s of %s cannot be moved into the container: the host has it as %s", ownTag(l.Network), l.uplink.Name, other)
}
