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
	write := func(s string) { _, _ = sum.Write([]byte(s)) }
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

// lowest is the link to be brought up for this one to be: sub-interfaces of lanhook's come up with what is below them.
func (l Link) lowest() string {
	if l.isOurs() {
		return l.Subs[0].Parent
	}
	return l.Name
}

// OwnTag is the VLAN that a network of the driver vlan gives a container itself, on the sub-interface of its other tags; the
// zero Tag for other drivers.
func OwnTag(n *policy.Network) policy.Tag {
	if n.Driver != policy.VLAN || len(n.VLAN) == 0 {
		return policy.Tag{}
	}
	return n.VLAN[len(n.VLAN)-1]
}

// withoutOwn are the tags of the sub-interface of its parent on which a network is.
func withoutOwn(n *policy.Network) []policy.Tag {
	if OwnTag(n) == (policy.Tag{}) {
		return n.VLAN
	}
	return n.VLAN[:len(n.VLAN)-1]
}

// vlanOf is the sub-interface itself: of the last tag, on the link that the others lead to.
func vlanOf(l link) AddVLAN {
	return AddVLAN{
		Name: l.own, Parent: l.uplink.Name, ParentIndex: l.parentIndex(), Tag: OwnTag(l.Network), MAC: l.choice.MAC, MTU: l.mtu,
	}
}

// UplinkName is the name of what an attachment hangs on, as people have it: the bridge, the parent, or the VLAN of the parent
// that is the container's own. It is "" when the parent is not there.
func (f Facts) UplinkName(a policy.Attachment) string {
	switch a.Network.Driver { //nolint:exhaustive // of the others it is the parent
	case policy.Bridge:
		return a.Network.Bridge
	case policy.HostDevice:
		return f.Device[a.IfName].Name
	}
	name := f.Uplink[a.IfName].Name
	if own := OwnTag(a.Network); own != (policy.Tag{}) && name != "" {
		return policy.Wire(name, []policy.Tag{own})
	}
	return name
}

// Wire is what the attachment sends on, whatever the link is called: see [policy.Network.Scope].
func (f Facts) Wire(a policy.Attachment) string {
	uplink, ok := f.Uplink[a.IfName]
	if a.Network.Driver == policy.Bridge || a.Network.Driver == policy.HostDevice || !ok {
		return f.UplinkName(a)
	}
	if own := OwnTag(a.Network); own != (policy.Tag{}) {
		return policy.Wire(uplink.Wire(), []policy.Tag{own})
	}
	return uplink.Wire()
}

// checkVLAN refuses a VLAN that is not free to be the container's own: of each the kernel has one link only.
func checkVLAN(in Input, l link, fail failFunc) error {
	own := OwnTag(l.Network)
	const hint = "give the network another VLAN, or end what uses this one; lanhook gc removes one of lanhook's that no container uses"
	if other := in.Facts.Tagged[l.IfName]; other != "" {
		return fail(hint, "VLAN %s of %s cannot be moved into the container: the host has it as %s", own, l.uplink.Name, other)
	}
	for i, a := range in.Attachments {
		other := in.Facts.Uplink[a.IfName]
		same := i < l.index && other.Name == l.uplink.Name && OwnTag(a.Network) == own
		if same || slices.ContainsFunc(other.Subs, func(s Sub) bool { return s.Parent == l.uplink.Name && s.Tag == own }) {
			return fail(hint, "VLAN %s of %s cannot be the container's own: its %s uses it too", own, l.uplink.Name, a.IfName)
		}
	}
	return nil
}
