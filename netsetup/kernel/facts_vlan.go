//go:build linux

package kernel

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// maxTags bounds how many VLAN sub-interfaces on top of each other are looked through, in case two name each other.
const maxTags = 8

// parent finds the link that the policy selects, or its sub-interface of some tags, the outermost first: one that is
// there whatever it is called, or else what is to be made.
func (h *Host) parent(p policy.Parent, tags []policy.Tag) (plan.Link, bool, error) {
	var (
		s   State
		ok  bool
		err error
	)
	switch {
	case p.Name != "":
		return h.named(p.Name, tags)
	case p.AltName != "":
		s, ok, err = h.conn.link(by{altName: p.AltName})
	case len(p.MAC) > 0:
		s, ok, err = h.linkByMAC(p.MAC)
	case p.DefaultRoute:
		s, ok, err = h.defaultLink()
	}
	if err != nil || !ok {
		return plan.Link{}, false, err
	}
	return h.tagged(s, tags)
}

// named finds a parent by its name. One such as "eth0.50" that is not there, or that lanhook made, means VLAN 50 of eth0: so
// it is counted, and made again if the last container that uses it has just gone.
func (h *Host) named(name string, tags []policy.Tag) (plan.Link, bool, error) {
	s, ok, err := h.conn.link(by{name: name})
	switch {
	case err != nil:
		return plan.Link{}, false, err
	case ok && !isSub(s):
		return h.tagged(s, tags)
	}
	base, ids := policy.SplitVLAN(name)
	for n := range slices.Backward(ids) {
		below := policy.Wire(base, policy.Tags(ids[:n], 0))
		b, there, err := h.conn.link(by{name: below})
		if err != nil {
			return plan.Link{}, false, err
		}
		if there && !isSub(b) {
			return h.tagged(b, slices.Concat(policy.Tags(ids[n:], 0), tags))
		}
	}
	if !ok {
		return plan.Link{}, false, nil
	}
	return h.tagged(s, tags) // its parent has another name by now
}

// isSub says whether a link is a sub-interface that lanhook made.
func isSub(s State) bool { return s.Kind == kindVLAN && s.Group == plan.Group }

// tagged is the sub-interface of a link with some tags, the outermost first; without any the link itself.
func (h *Host) tagged(s State, tags []policy.Tag) (plan.Link, bool, error) {
	l, err := h.linkOf(s)
	for _, tag := range tags {
		if err == nil {
			l, err = h.sub(l, tag)
		}
	}
	return l, err == nil, err
}

// linkOf is what a plan needs to know of a link. Of a sub-interface of lanhook's it says what it will be once it has been
// ensured: up, and with the MTU of what is below it. What is below all tags decides how frames leave.
func (h *Host) linkOf(s State) (plan.Link, error) {
	chain := []State{s}
	for top := s; top.Kind == kindVLAN && !top.Elsewhere && top.Parent != 0 && len(chain) <= maxTags; {
		below, ok, err := h.conn.link(by{index: top.Parent})
		if err != nil {
			return plan.Link{}, err
		}
		if !ok {
			break
		}
		chain, top = append(chain, below), below
	}
	base := chain[len(chain)-1]
	l := linkOf(base)
	l.Index, l.Name, l.Kind, l.MAC, l.Group, l.Master, l.MasterKind = s.Index, s.Name, s.Kind, s.MAC, s.Group, s.Master, s.MasterKind
	for i := len(chain) - 2; i >= 0; i-- {
		top, below := chain[i], chain[i+1]
		l.Base, l.Tags = base.Name, append(l.Tags, top.Tag)
		if isSub(top) {
			l.Subs = append(l.Subs, plan.Sub{Name: top.Name, Parent: below.Name, Tag: top.Tag})
		} else {
			l.MTU, l.Up = top.MTU, top.Up
		}
	}
	if l.MasterKind == "" && isBundle(base.MasterKind) {
		l.MasterKind = base.MasterKind
	}
	return l, nil
}

// isBundle says whether the ports of a link of this kind take no frames of their own, tagged ones neither. Those of a bridge
// do: the kernel gives a tagged frame to the sub-interface first (net/core/dev.c, __netif_receive_skb_core).
func isBundle(kind string) bool { return kind == kindBond || kind == "team" }

// sub is the sub-interface of a link, there or to be made.
func (h *Host) sub(l plan.Link, tag policy.Tag) (plan.Link, error) {
	s, ok, err := h.subOf(l, tag)
	if err != nil {
		return plan.Link{}, err
	}
	if ok {
		return h.linkOf(s)
	}
	if l.Bridged == "" {
		if l.Bridged, err = h.bridged(l, tag); err != nil {
			return plan.Link{}, err
		}
	}
	name, other := plan.SubNames(l, tag)
	if free, err := h.freeFor(name, l, tag); err != nil {
		return plan.Link{}, err
	} else if !free {
		name = other
	}
	l.Subs = append(slices.Clone(l.Subs), plan.Sub{Name: name, Parent: l.Name, Tag: tag})
	l.Tags = append(slices.Clone(l.Tags), tag)
	if l.Base == "" {
		l.Base = l.Name
	}
	l.Index, l.Name, l.Kind, l.Group, l.Master = 0, name, kindVLAN, plan.Group, 0
	if !isBundle(l.MasterKind) {
		l.MasterKind = ""
	}
	return l, nil
}

// bridged names the bridge of lanhook's that has a VLAN by a link as its uplink, "" for none. What an administrator does with
// his bridges is his affair.
func (h *Host) bridged(l plan.Link, tag policy.Tag) (string, error) {
	if l.MasterKind != kindBridge || tag.Protocol != policy.Dot1Q {
		return "", nil
	}
	bridge, ok, err := h.conn.link(by{index: l.Master})
	if err != nil || !ok || bridge.Group != plan.Group || !bridge.FiltersVLANs {
		return "", err
	}
	has, err := h.conn.portVLANs(l.Index)
	if err != nil {
		return "", failed(err, "list VLANs of %s", l.Name)
	}
	if slices.ContainsFunc(has, func(v PortVLAN) bool { return v.Range.From <= tag.ID && tag.ID <= v.Range.To }) {
		return bridge.Name, nil
	}
	return "", nil
}

// freeFor says whether the sub-interface of a link can have a name: when nobody has it, or this very sub-interface, which
// another attach has made since it was looked for.
func (h *Host) freeFor(name string, l plan.Link, tag policy.Tag) (bool, error) {
	if len(name) >= unix.IFNAMSIZ {
		return false, nil
	}
	s, taken, err := h.conn.link(by{name: name})
	same := isSub(s) && s.Tag == tag && (l.Index == 0 && !s.Elsewhere || s.isOn(l.Index))
	return !taken || same, err
}

// subOf looks for the sub-interface of a link, of which there is one for each tag, in this namespace. The name that it has as
// a rule is tried first: the kernel can only list all sub-interfaces.
func (h *Host) subOf(l plan.Link, tag policy.Tag) (State, bool, error) {
	if l.Index == 0 {
		return State{}, false, nil
	}
	is := func(s State) bool { return s.Kind == kindVLAN && s.isOn(l.Index) && s.Tag == tag }
	name, _ := plan.SubNames(l, tag)
	s, ok, err := h.conn.link(by{name: name})
	if err != nil || ok && is(s) {
		return s, ok, err
	}
	all, err := h.conn.linksOfKind(kindVLAN)
	if err != nil {
		return State{}, false, failed(err, "list VLANs of %s", l.Name)
	}
	i := slices.IndexFunc(all, is)
	if i < 0 {
		return State{}, false, nil
	}
	return all[i], true, nil
}

// tagFacts says which link of the host has the tag that is to be the container's own.
func (h *Host) tagFacts(facts *plan.Facts, q Query, parent plan.Link) error {
	if q.Own == (policy.Tag{}) {
		return nil
	}
	s, ok, err := h.subOf(parent, q.Own)
	if err != nil || !ok {
		return err
	}
	if facts.Tagged == nil {
		facts.Tagged = map[string]string{}
	}
	facts.Tagged[q.IfName] = s.Name
	return nil
}
