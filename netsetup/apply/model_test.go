package apply_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// model is a kernel that holds its state in maps and refuses what the real one refuses: a child without its parent, a
// port of no bridge, a taken name, an address on a missing link, a second route to one destination, and to delete a
// bridge that has ports. It is how the crash matrix sees an undo in the wrong order.
type model struct {
	host      map[string]*modelLink
	container map[string]*modelLink
	// routes are those that lie on no link of ours.
	routes map[string]bool
	rules  modelRules
	// reserved are ports that the host does not choose.
	reserved map[uint16]bool
	// routeRules are rules by which the container looks up routes.
	routeRules map[string]bool
	// used are shared things that another record names: the rules' tables, bridges, ports, "vlan/NAME", "uplink/BRIDGE/RANGE".
	used []string
}

type modelLink struct {
	kind, mac, master, alias string
	group                    uint32
	peer                     string
	up                       bool
	addresses, routes        []string
	sysctls                  map[string]string
	// filtered says of a bridge that its ports are to have rules.
	filtered bool
	rate     string
	// parent is the link of the host that it hangs on, tag a sub-interface's; vlans are those of a bridge's port.
	parent string
	tag    policy.Tag
	vlans  []string
	// device is the name that it had on the host before it was moved.
	device string
}

func newModel() *model {
	return &model{
		host: map[string]*modelLink{
			"ens192": {mac: "d0:00:00:00:00:01", up: true},
			"ens224": {mac: "d0:00:00:00:00:e0", up: true, addresses: []string{"192.0.2.9/24"}},
			"ens256": {mac: "d0:00:00:00:01:00", up: true},
		},
		container:  map[string]*modelLink{"lo": {up: true}, "net9": {kind: "veth", up: true, addresses: []string{"10.9.0.2/24"}}},
		routes:     map[string]bool{},
		routeRules: map[string]bool{},
		rules:      newModelRules(),
		reserved:   map[uint16]bool{},
	}
}

// undo are the steps by which a record is taken back: what another record still uses is not released, and the tables go
// with the last record that has rules.
func (m *model) undo(journal plan.Steps) plan.Steps {
	var steps plan.Steps
	ruled := false
	for _, step := range plan.Undo(journal) {
		step, left := m.stillUsed(step)
		if !left {
			continue
		}
		switch s := step.(type) {
		case plan.DelRules:
			ruled = true
		case plan.ReleaseBridge:
			if slices.Contains(m.used, s.Name) {
				continue
			}
		case plan.ReleasePorts:
			step = plan.ReleasePorts{Ports: slices.DeleteFunc(slices.Clone(s.Ports), func(p uint16) bool {
				return slices.Contains(m.used, strconv.Itoa(int(p)))
			})}
		}
		steps = append(steps, step)
	}
	if ruled && !slices.Contains(m.used, "rules") {
		steps = append(steps, plan.ReleaseRules{})
	}
	return steps
}

// snapshot is the whole state as sorted text.
func (m *model) snapshot() string {
	var lines []string
	for side, links := range map[string]map[string]*modelLink{"host": m.host, "container": m.container} {
		for name, l := range links {
			lines = append(lines, fmt.Sprintf("%s %s %+v", side, name, *l))
		}
	}
	for r := range m.routes {
		lines = append(lines, "route "+r)
	}
	for r := range m.routeRules {
		lines = append(lines, "rule "+r)
	}
	for p := range m.reserved {
		lines = append(lines, fmt.Sprintf("reserved %d", p))
	}
	lines = append(lines, m.rules.snapshot()...)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

var (
	errExist = errors.New("file exists")
	errNoDev = errors.New("no such device")
	errBusy  = errors.New("device or resource busy")
)

func (m *model) Apply(_ context.Context, step plan.Step) error {
	switch s := step.(type) {
	case plan.EnsureBridge:
		return m.ensureBridge(s)
	case plan.AddVeth:
		return m.addVeth(s)
	case plan.AddMacvlan:
		return m.addMacvlan(s)
	case plan.SetSysctls:
		return m.on(s.If, func(l *modelLink) error { return l.set(s.Values) })
	case plan.AddAddress:
		return m.on(s.If, func(l *modelLink) error { return add(&l.addresses, s.Address.String()) })
	case plan.SetLink:
		return m.setLink(s)
	case plan.AddRoute:
		return m.addRoute(s)
	case plan.DelLink:
		return m.delLink(s)
	case plan.DelRoute:
		delete(m.routes, s.Route.String())
		return nil
	case plan.ReleaseBridge:
		return m.releaseBridge(s)
	}
	if done, err := m.applyLink(step); done {
		return err
	}
	return m.applyRules(step)
}

func (m *model) ensureBridge(s plan.EnsureBridge) error {
	l, ok := m.host[s.Name]
	if !ok {
		l = &modelLink{kind: "bridge", mac: s.MAC.String(), group: plan.Group, up: true}
		m.host[s.Name] = l
	}
	if l.kind != "bridge" {
		return errExist
	}
	if l.group != plan.Group {
		return nil
	}
	if s.Localnet && !s.Filtered {
		return fmt.Errorf("route_localnet without rules: %w", errBusy)
	}
	l.filtered = l.filtered || s.Filtered
	for _, a := range s.Addresses {
		if !slices.Contains(l.addresses, a.String()) {
			l.addresses = append(l.addresses, a.String())
		}
	}
	return nil
}

func (m *model) addVeth(s plan.AddVeth) error {
	bridge, ok := m.host[s.Bridge]
	switch {
	case !ok || bridge.kind != "bridge":
		return errNoDev
	case m.host[s.Name] != nil || m.container[s.Peer] != nil:
		return errExist
	}
	port := &modelLink{kind: "veth", mac: s.MAC.String(), master: s.Bridge, peer: s.Peer, up: true}
	for _, v := range s.VLANs.Trunk {
		port.vlans = append(port.vlans, v.String())
	}
	m.host[s.Name] = port
	m.container[s.Peer] = &modelLink{kind: "veth", mac: s.PeerMAC.String(), peer: s.Name}
	return nil
}

func (m *model) addMacvlan(s plan.AddMacvlan) error {
	parent, ok := m.host[s.Parent]
	switch {
	case !ok:
		return errNoDev
	case parent.master != "":
		return errBusy
	case m.container[s.Name] != nil:
		return errExist
	case slices.ContainsFunc(m.children(s.Parent), func(l *modelLink) bool { return l.kind == "ipvlan" }):
		return errBusy
	}
	m.container[s.Name] = &modelLink{kind: "macvlan", parent: s.Parent, mac: macOr(s.MAC, parent)}
	return nil
}

func (m *model) on(name string, change func(*modelLink) error) error {
	l, ok := m.container[name]
	if !ok {
		return errNoDev
	}
	return change(l)
}

func (l *modelLink) set(values []request.Sysctl) error {
	if l.up {
		return fmt.Errorf("settings of a link that is up come too late: %w", errBusy)
	}
	l.sysctls = maps.Clone(l.sysctls)
	if l.sysctls == nil {
		l.sysctls = map[string]string{}
	}
	for _, v := range values {
		l.sysctls[v.Key] = v.Value
	}
	return nil
}

func add(list *[]string, entry string) error {
	if slices.Contains(*list, entry) {
		return errExist
	}
	*list = append(*list, entry)
	return nil
}

func (m *model) setLink(s plan.SetLink) error {
	l, ok := m.container[s.From]
	if !ok {
		return errNoDev
	}
	if m.container[s.Name] != nil {
		return errExist
	}
	if port := m.host[l.peer]; port != nil && m.host[port.master].filtered && m.rules.ports[port] == "" {
		return fmt.Errorf("%s is to be up without rules: %w", s.From, errBusy)
	}
	delete(m.container, s.From)
	m.container[s.Name] = l
	l.alias, l.up = s.Alias, true
	if peer := m.host[l.peer]; peer != nil {
		peer.peer = s.Name
	}
	return nil
}

func (m *model) addRoute(s plan.AddRoute) error {
	if s.If != "" {
		return m.on(s.If, func(l *modelLink) error {
			if !l.up {
				return errNoDev
			}
			return add(&l.routes, s.Route.String())
		})
	}
	if m.routes[s.Route.String()] {
		return errExist
	}
	m.routes[s.Route.String()] = true
	return nil
}

func (m *model) delLink(s plan.DelLink) error {
	links := m.container
	if s.Side == plan.Host {
		links = m.host
	}
	for _, name := range []string{s.Name, s.IfName} {
		l, ok := links[name]
		otherMAC := s.MAC != nil && l != nil && l.mac != s.MAC.String()
		if !ok || l.kind != s.Kind || name == s.Name && otherMAC || name == s.IfName && l.alias != s.Alias {
			continue
		}
		delete(links, name)
		if s.Side == plan.Host {
			delete(m.container, l.peer)
		}
	}
	return nil
}

func (m *model) releaseBridge(s plan.ReleaseBridge) error {
	l, ok := m.host[s.Name]
	if !ok || l.group != plan.Group {
		return nil
	}
	for name, other := range m.host {
		if other.master == s.Name && name != s.Uplink {
			return fmt.Errorf("delete bridge %s: %w", s.Name, errBusy)
		}
	}
	if uplink := m.host[s.Uplink]; uplink != nil && uplink.master == s.Name {
		uplink.master, uplink.vlans = "", nil
	}
	delete(m.host, s.Name)
	if s.Filtered {
		m.rules.dropBridge(s.Name)
	}
	return nil
}
