package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy/request"
)

// spellBridge makes the port of a bridge, in the VLAN that was asked for.
func (p *Policy) spellBridge(k asked, n *Network, link *request.Link) error {
	switch {
	case link.Mode != "" || link.Parent != "" || link.Flag != "":
		return k.deny("take them out", "the driver bridge has no mode, flag and parent")
	case link.Bridge == "":
		return k.deny("add bridge=NAME", "bridge is missing")
	case len(link.VLAN) > 1:
		return k.deny("write one id", "the port of a bridge is in one VLAN, and two are asked for")
	}
	n.Bridge = link.Bridge
	if err := spellName(k, n.Bridge); err != nil {
		return err
	}
	if err := k.grantedBridge(n.Bridge); err != nil {
		return err
	}
	if len(link.VLAN) == 1 {
		n.Access = link.VLAN[0]
		if err := k.grantedVLAN(n.Access, "bridge "+n.Bridge); err != nil {
			return err
		}
	}
	o := p.onBridge(n.Bridge)
	if err := n.checkVLAN(k, o); err != nil {
		return err
	}
	n.joins(o)
	return nil
}

// onBridge is a network that has the bridge, nil when none has. All that have it agree in what matters here.
func (p *Policy) onBridge(bridge string) *Network {
	for _, n := range p.Networks {
		if n.Driver == Bridge && n.Bridge == bridge {
			return n
		}
	}
	return nil
}

// checkVLAN refuses a port that would be in a VLAN which nobody granted, or on a bridge that is in no need of VLANs.
func (n *Network) checkVLAN(k asked, o *Network) error {
	switch {
	case o == nil:
		return nil
	case o.FiltersVLANs() && n.Access == 0:
		return k.deny("add vlan=NUMBER", "bridge %s keeps VLANs apart, and no VLAN is asked for", n.Bridge)
	case !o.FiltersVLANs() && n.Access != 0:
		return k.deny("take vlan out", "bridge %s does not keep VLANs apart: its networks in the policy have none", n.Bridge)
	case o.DefaultVLAN && !covers(k.rule.SpellOut.VLANs, 1):
		return k.forbid("name another bridge", "VLAN 1, in which every port of bridge %s is as well", n.Bridge)
	}
	return nil
}

// joins takes over what holds for the bridge as a whole: without it, a port that is spelled out would be a way round
// icc, internal and firewall of the network that it ends up in.
func (n *Network) joins(o *Network) {
	if o == nil {
		n.GatewayMode, n.ICC = GatewayNAT, true
		n.Firewall = !n.OnLAN()
		n.Isolate = n.Firewall
		return
	}
	n.Firewall, n.GatewayMode, n.ICC, n.Isolate, n.Internal = o.Firewall, o.GatewayMode, o.ICC, o.Isolate, o.Internal
	n.Uplink, n.DefaultVLAN, n.VRF = o.Uplink, o.DefaultVLAN, o.VRF
	if n.Internal || n.GatewayMode == GatewayIsolated {
		n.DefaultRoute = false
	}
}

// spellChild makes the child of a parent, or of a VLAN of it, or that VLAN itself.
func (n *Network) spellChild(k asked, link *request.Link) error {
	switch {
	case link.Bridge != "":
		return k.deny("take it out", "the driver %s has no bridge", n.Driver)
	case link.Parent == "":
		return k.deny("add parent=NAME", "parent is missing")
	case n.Driver == VLAN && len(link.VLAN) == 0:
		return k.deny("add vlan=NUMBER", "vlan is missing: the driver vlan moves a VLAN of its parent into the container")
	case len(link.VLAN) > maxTags:
		return k.deny("", "a frame has one or two VLAN tags, and %d are asked for", len(link.VLAN))
	}
	n.Parent.Name, n.ParentWait, n.VLAN = link.Parent, defaultParentWait, Tags(link.VLAN, 0)
	n.ParentUp = n.Driver == VLAN
	if n.Driver != Macvlan {
		n.MAC = MACKeep
	}
	if err := spellName(k, link.Parent); err != nil {
		return err
	}
	if err := k.grantedParent(link.Parent, link.VLAN); err != nil {
		return err
	}
	return n.spellMode(k, link)
}

// spellMode takes mode and flag. Those of ipvlan are the parent's in the kernel, and so of all containers on it.
func (n *Network) spellMode(k asked, link *request.Link) error {
	modes := modesOf(n.Driver)
	if len(modes) == 0 {
		if link.Mode != "" || link.Flag != "" {
			return k.deny("take them out", "the driver %s has no mode and no flag", n.Driver)
		}
		return nil
	}
	n.Mode = modes[0]
	if link.Mode != "" {
		if err := n.Mode.UnmarshalText([]byte(link.Mode)); err != nil || !slices.Contains(modes, n.Mode) {
			return k.deny("known are "+strings.Join(words(modes), ", "), "%s has no mode %s", n.Driver, quoted(link.Mode))
		}
	}
	granted := k.rule.SpellOut.Modes
	switch {
	case n.Mode == ModeSource:
		return k.deny("", "mode source needs a list of MAC addresses, which cannot be spelled out")
	case !slices.Contains(granted, n.Mode.String()):
		return k.forbid(allowed("modes", granted), "mode %s to be spelled out", n.Mode)
	}
	return n.spellFlag(k, link.Flag)
}

func (n *Network) spellFlag(k asked, flag string) error {
	if n.Driver != IPVLAN {
		if flag != "" {
			return k.deny("take it out", "the driver %s has no flag", n.Driver)
		}
		return nil
	}
	n.Flag = FlagBridge
	if flag != "" {
		if err := n.Flag.UnmarshalText([]byte(flag)); err != nil {
			return k.deny("known are "+strings.Join(flagNames()[1:], ", "), "there is no flag %s", quoted(flag))
		}
	}
	if granted := k.rule.SpellOut.Modes; n.Flag != FlagBridge && !slices.Contains(granted, n.Flag.String()) {
		return k.forbid(allowed("modes", granted), "flag %s to be spelled out", n.Flag)
	}
	return nil
}

// spellName checks the name of a parent or bridge once more, since it goes to the kernel. The names of lanhook's own
// sub-interfaces do not tell which VLAN they are of.
func spellName(k asked, name string) error {
	if err := request.CheckIfName(name); err != nil {
		return k.deny("", "%s", err)
	}
	if rest, ok := strings.CutPrefix(name, "lhv"); ok && len(rest) == 10 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == "" {
		return k.deny("name its parent, and add vlan=NUMBER", "the link %s is lanhook's own", name)
	}
	return nil
}

// grantedParent says whether the rule grants a parent and the VLANs that are asked for: those that vlan names, and those
// that stand in the parent's name. What is not granted by the exact name of the sub-interface needs a grant of the link
// below and of each VLAN.
func (k asked) grantedParent(name string, vlan []int) error {
	so := k.rule.SpellOut
	base, ids := SplitVLAN(name)
	ids = append(ids, vlan...)
	for named := len(ids); named > 0; named-- {
		if slices.Contains(so.Parents, Wire(base, Tags(ids[:named], 0))) {
			return k.grantedVLANs(ids[named:], name)
		}
	}
	if !globAny(so.Parents, base) {
		return k.forbid(allowed("parents", so.Parents), "the link %s to be spelled out", base)
	}
	return k.grantedVLANs(ids, base)
}

func (k asked) grantedVLANs(ids []int, of string) error {
	for _, id := range ids {
		if err := k.grantedVLAN(id, of); err != nil {
			return err
		}
	}
	return nil
}

func (k asked) grantedVLAN(id int, of string) error {
	granted := k.rule.SpellOut.VLANs
	if covers(granted, id) {
		return nil
	}
	return k.forbid(allowed("vlans", words(granted)), "VLAN %d of %s to be spelled out", id, of)
}

// grantedBridge says whether the rule grants a bridge. One that is called as a VLAN of a link is would stand in that one's
// place, so that only its exact name is a grant.
func (k asked) grantedBridge(name string) error {
	so := k.rule.SpellOut
	_, ids := SplitVLAN(name)
	if slices.Contains(so.Parents, name) || len(ids) == 0 && globAny(so.Parents, name) {
		return nil
	}
	return k.forbid(allowed("parents", so.Parents), "the link %s to be spelled out", name)
}

// leavesAlone refuses what would take a link from a network of the policy, which would then refuse its own containers.
func (p *Policy) leavesAlone(k asked, n *Network) error {
	for _, name := range slices.Sorted(maps.Keys(p.Networks)) {
		o := p.Networks[name]
		if why := n.clash(o); why != "" {
			return k.deny("name another link", "it %s, and network %s %s: %s", n.claim(), name, o.claim(), why)
		}
		if base, _ := n.on(); n.Driver != Bridge && o.Driver == Bridge && o.Bridge == base {
			// Beside the ports, neither its rules nor its VLANs would hold.
			return k.deny("write driver=bridge,bridge="+base, "%s is the bridge of network %s", base, name)
		}
		if n.Driver != Bridge {
			continue
		}
		for _, l := range o.links() {
			if l.name == n.Bridge {
				return k.deny("name another bridge", "%s is the %s of network %s", n.Bridge, l.key, name)
			}
		}
	}
	return nil
}

// modeless is a driver that is granted without any of its modes, "" for none.
func (s *SpellOut) modeless() string {
	for _, driver := range []Driver{Macvlan, IPVLAN} {
		has := func(m Mode) bool { return slices.Contains(s.Modes, m.String()) }
		if slices.Contains(s.Drivers, driver.String()) && !slices.ContainsFunc(modesOf(driver), has) {
			return driver.String()
		}
	}
	return ""
}
