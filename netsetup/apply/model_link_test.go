package apply_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// applyLink carries out what there is of ipvlan, VLANs, devices, uplinks and rules of routing; done is false for another
// step.
func (m *model) applyLink(step plan.Step) (done bool, err error) {
	switch s := step.(type) {
	case plan.EnsureVLAN:
		return true, m.ensureVLAN(s)
	case plan.ReleaseVLAN:
		return true, m.releaseVLAN(s)
	case plan.AddVLAN:
		return true, m.addVLAN(s)
	case plan.AddIPVLAN:
		return true, m.addIPVLAN(s)
	case plan.MoveLink:
		return true, m.moveLink(s)
	case plan.ReturnLink:
		return true, m.returnLink(s)
	case plan.EnsureUplink:
		return true, m.ensureUplink(s)
	case plan.ReleaseUplink:
		return true, m.releaseUplink(s)
	case plan.AddRouteRule:
		rule := ruleText(s)
		if m.routeRules[rule] {
			return true, errExist
		}
		m.routeRules[rule] = true
		return true, nil
	case plan.ProbeLinks:
		return true, m.probeLinks(s)
	case plan.AnnounceLinks:
		return true, m.announceLinks(s)
	case plan.AwaitAddresses:
		for _, a := range s.Links {
			if l := m.container[a.If]; l == nil || !l.up {
				return true, fmt.Errorf("no link %s that is up", a.If)
			}
		}
		return true, nil
	case plan.DelRouteRule:
		delete(m.routeRules, ruleText(plan.AddRouteRule(s)))
		return true, nil
	default:
		return m.applyHostLink(step)
	}
}

func ruleText(s plan.AddRouteRule) string {
	return fmt.Sprintf("from %s table %d priority %d", s.From, s.Table, s.Priority)
}

// tagged finds the sub-interface of a parent and tag, of which the kernel has one only, wherever it is.
func (m *model) tagged(parent string, tag policy.Tag) *modelLink {
	for _, links := range []map[string]*modelLink{m.host, m.container} {
		for _, l := range links {
			if l.kind == "vlan" && l.parent == parent && l.tag == tag {
				return l
			}
		}
	}
	return nil
}

func (m *model) ensureVLAN(s plan.EnsureVLAN) error {
	parent, ok := m.host[s.Parent]
	if !ok {
		return errNoDev
	}
	there := m.host[s.Name]
	switch same := m.tagged(s.Parent, s.Tag); {
	case there != same:
		return errExist
	case there != nil:
		return nil
	}
	m.host[s.Name] = &modelLink{kind: "vlan", parent: s.Parent, tag: s.Tag, mac: parent.mac, group: plan.Group, up: true}
	return nil
}

func (m *model) releaseVLAN(s plan.ReleaseVLAN) error {
	l, ok := m.host[s.Name]
	if !ok || l.kind != "vlan" || l.group != plan.Group || l.parent != s.Parent || l.tag != s.Tag {
		return nil
	}
	if l.master != "" || len(m.children(s.Name)) > 0 {
		return fmt.Errorf("delete vlan %s: %w", s.Name, errBusy)
	}
	delete(m.host, s.Name)
	return nil
}

// children are what hangs on a link of the host, and would die with it.
func (m *model) children(parent string) (all []*modelLink) {
	for _, links := range []map[string]*modelLink{m.host, m.container} {
		for _, l := range links {
			if l.parent == parent {
				all = append(all, l)
			}
		}
	}
	return all
}

func (m *model) addVLAN(s plan.AddVLAN) error {
	parent, ok := m.host[s.Parent]
	switch {
	case !ok:
		return errNoDev
	case m.container[s.Name] != nil, m.tagged(s.Parent, s.Tag) != nil:
		return errExist
	}
	m.container[s.Name] = &modelLink{kind: "vlan", parent: s.Parent, tag: s.Tag, mac: macOr(s.MAC, parent)}
	return nil
}

func (m *model) addIPVLAN(s plan.AddIPVLAN) error {
	parent, ok := m.host[s.Parent]
	switch {
	case !ok:
		return errNoDev
	case m.container[s.Name] != nil:
		return errExist
	case parent.master != "" || slices.ContainsFunc(m.children(s.Parent), func(l *modelLink) bool { return l.kind == "macvlan" }):
		return errBusy
	}
	m.container[s.Name] = &modelLink{kind: "ipvlan", parent: s.Parent, mac: parent.mac}
	return nil
}

// macOr is a link's address: its parent's where none is asked for.
func macOr(mac plan.MAC, parent *modelLink) string {
	if mac == nil {
		return parent.mac
	}
	return mac.String()
}

// moveLink takes from a device what the kernel takes from it: it is down, and without addresses.
func (m *model) moveLink(s plan.MoveLink) error {
	l, ok := m.host[s.Device.Name]
	switch {
	case !ok:
		return errNoDev
	case l.master != "" || len(m.children(s.Device.Name)) > 0:
		return errBusy
	case m.container[s.Name] != nil:
		return errExist
	}
	delete(m.host, s.Device.Name)
	l.device, l.up, l.addresses = s.Device.Name, false, nil
	l.mac = macOr(s.MAC, l)
	m.container[s.Name] = l
	return nil
}

func (m *model) returnLink(s plan.ReturnLink) error {
	for name, l := range m.container {
		if l.device != s.Device.Name {
			continue
		}
		if m.host[s.Device.Name] != nil {
			return errExist
		}
		delete(m.container, name)
		back := &modelLink{kind: l.kind, mac: s.Device.MAC.String(), up: s.Device.Up}
		for _, a := range s.Device.Addresses {
			back.addresses = append(back.addresses, a.Address.String())
		}
		m.host[s.Device.Name] = back
		return nil
	}
	return nil
}

// ensureUplink changes nothing of a bridge that is not ours.
func (m *model) ensureUplink(s plan.EnsureUplink) error {
	bridge, link := m.host[s.Bridge], m.host[s.Link]
	switch {
	case bridge == nil || bridge.kind != "bridge" || link == nil:
		return errNoDev
	case link.master != "" && link.master != s.Bridge, len(m.children(s.Link)) > 0:
		return errBusy
	case bridge.group != plan.Group && link.master == "":
		return fmt.Errorf("add %s to a bridge of somebody else's: %w", s.Link, errBusy)
	case bridge.group != plan.Group:
		return nil
	}
	link.master = s.Bridge
	for _, v := range s.VLANs {
		if !slices.Contains(link.vlans, v.String()) {
			link.vlans = append(link.vlans, v.String())
		}
	}
	return nil
}

func (m *model) releaseUplink(s plan.ReleaseUplink) error {
	bridge, link := m.host[s.Bridge], m.host[s.Link]
	if bridge == nil || bridge.group != plan.Group || link == nil || link.master != s.Bridge {
		return nil
	}
	for _, v := range s.VLANs {
		for name, port := range m.host {
			if port.master == s.Bridge && name != s.Link && slices.Contains(port.vlans, v.String()) {
				return fmt.Errorf("take VLAN %s from %s: %w", v, s.Link, errBusy)
			}
		}
	}
	link.vlans = slices.DeleteFunc(link.vlans, func(v string) bool {
		return slices.ContainsFunc(s.VLANs, func(r policy.VLANRange) bool { return r.String() == v })
	})
	if len(link.vlans) == 0 {
		link.vlans = nil
	}
	return nil
}

// stillUsed is what is left of a step that releases a shared thing, when others use some of it; false for nothing.
func (m *model) stillUsed(step plan.Step) (plan.Step, bool) {
	used := func(name ...string) bool { return slices.Contains(m.used, strings.Join(name, "/")) }
	switch s := step.(type) {
	case plan.ReleaseVLAN:
		return s, !used("vlan", s.Name)
	case plan.ReleaseHostLink:
		return s, !used("host", s.Name)
	case plan.ReleaseUplink:
		s.VLANs = slices.DeleteFunc(slices.Clone(s.VLANs), func(r policy.VLANRange) bool { return used("uplink", s.Bridge, r.String()) })
		return s, len(s.VLANs) > 0
	default:
		return step, true
	}
}
