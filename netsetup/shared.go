package netsetup

import (
	"slices"
	"sort"
	"strconv"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// What records share, in [store.Record.Shared]. A bridge stands there by its name alone. No link has a slash in its name,
// so that the rest is told apart:
//
//	rules/                       the firewall's tables
//	port/N                       a port that is kept from the host's own connections
//	vlan/NAME                    a VLAN sub-interface
//	tag/PARENT/PROTOCOL/ID       a VLAN of a link that is the container's own
//	uplink/BRIDGE/RANGE          VLANs that a bridge's uplink carries
//	host/NAME                    a link of the host beside containers
//	access/SCOPE/NAME/ADDRESS    an address that the host has on one, see [hostAddressName]; it goes with the link
//	device/…                     a device of the host that is in a container, see [deviceNames]; nothing is removed either
//	child/PARENT/KIND            says who has a child of a parent, see [childName]; nothing is removed with the last one
const (
	sharedRules  = "rules/"
	sharedPort   = "port/"
	sharedVLAN   = "vlan/"
	sharedTag    = "tag/"
	sharedUplink = "uplink/"
	sharedDevice = "device/"

	sharedHostLink    = "host/"
	sharedHostAddress = "access/"
)

func sharedPortName(port uint16) string { return sharedPort + strconv.Itoa(int(port)) }

// sharedBy names what a plan's steps share with those of others.
func sharedBy(steps plan.Steps) []string {
	var names []string
	for _, step := range steps {
		for _, name := range sharedNames(step) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// sharedNames are the names of what a step of an attach shares, or of what a removal removes; none for other steps.
func sharedNames(step plan.Step) []string {
	var names []string
	switch s := step.(type) {
	case plan.EnsureBridge:
		names = append(names, s.Name)
	case plan.ReleaseBridge:
		names = append(names, s.Name)
	case plan.AddRules, plan.ReleaseRules:
		names = append(names, sharedRules)
	case plan.EnsureVLAN:
		names = append(names, sharedVLAN+s.Name)
	case plan.ReleaseVLAN:
		names = append(names, sharedVLAN+s.Name)
	case plan.EnsureHostLink:
		names = append(names, sharedHostLink+s.Name)
		for _, a := range s.Addresses {
			names = append(names, hostAddressName(s.Scope, s.Name, a))
		}
	case plan.ReleaseHostLink:
		names = append(names, sharedHostLink+s.Name)
	case plan.AddVLAN:
		names = append(names, tagName(s.Parent, s.Tag))
	case plan.ReservePorts:
		return sharedNames(plan.ReleasePorts(s))
	case plan.ReleasePorts:
		for _, p := range s.Ports {
			names = append(names, sharedPortName(p))
		}
	case plan.EnsureUplink:
		return sharedNames(plan.ReleaseUplink{Bridge: s.Bridge, Link: s.Link, VLANs: s.Port().All()})
	case plan.ReleaseUplink:
		for _, v := range s.VLANs {
			names = append(names, uplinkName(s.Bridge, v))
		}
	case plan.AddMacvlan:
		names = append(names, childName(s.Parent, policy.Macvlan, 0, 0))
	case plan.MoveLink:
		names = append(names, deviceNames(s.Device)...)
	case plan.AddIPVLAN:
		names = append(names, childName(s.Parent, policy.IPVLAN, s.Mode, s.Flag))
	default:
	}
	return names
}

// removals are what gives back what a record shares, in the order of [inOrder], but for the tables of the firewall, which
// are one thing for all records.
func removals(steps plan.Steps) plan.Steps {
	return inOrder(slices.DeleteFunc(plan.Undo(steps), func(step plan.Step) bool {
		switch step.(type) {
		case plan.ReleaseBridge, plan.ReleaseVLAN, plan.ReleaseUplink, plan.ReleasePorts, plan.ReleaseHostLink:
			return false
		default:
			return true
		}
	}))
}

// idleOf is the part of a removal that removes what idle says; false for nothing. For VLANs of an uplink there is [idleVLANs].
func idleOf(step plan.Step, idle func(name string) bool) (plan.Step, bool) {
	switch s := step.(type) {
	case plan.ReleasePorts:
		s.Ports = slices.DeleteFunc(slices.Clone(s.Ports), func(p uint16) bool { return !idle(sharedPortName(p)) })
		return s, len(s.Ports) > 0
	default:
		return step, idle(sharedNames(step)[0])
	}
}

// inOrder sorts removals so that each finds what it removes without a user: the tables of the firewall first, which need no
// look at each bridge then; bridges and the host's links before sub-interfaces, on which they may hang; of those the inner before
// the outer.
func inOrder(steps plan.Steps) plan.Steps {
	parents := map[string]string{}
	for _, step := range steps {
		if v, ok := step.(plan.ReleaseVLAN); ok {
			parents[v.Name] = v.Parent
		}
	}
	rank := func(step plan.Step) int {
		switch s := step.(type) {
		case plan.ReleaseRules:
			return 0
		case plan.ReleasePorts, plan.ReleaseUplink:
			return 1
		case plan.ReleaseBridge, plan.ReleaseHostLink:
			return 2
		case plan.ReleaseVLAN:
			// Names of links make no circle, but what is read from a record may.
			depth := 0
			for name := s.Name; parents[name] != "" && depth < len(parents); name = parents[name] {
				depth++
			}
			return 3 + len(parents) - depth
		}
		return 0
	}
	sorted := slices.Clone(steps)
	sort.SliceStable(sorted, func(i, j int) bool { return rank(sorted[i]) < rank(sorted[j]) })
	return sorted
}

// unused are the shared things among names that no record names.
func unused(tx *store.Tx, names []string) ([]string, error) {
	var idle []string
	for _, name := range names {
		used := false
		for _, err := range tx.Users(name) {
			if err != nil {
				return nil, err
			}
			used = true
			break
		}
		if !used {
			idle = append(idle, name)
		}
	}
	return idle, nil
}

// unusedOf are the parts of removals that remove what no record names. What rules say of a bridge goes with it, unless the
// tables are needed no more: those go as a whole.
func unusedOf(tx *store.Tx, steps plan.Steps) (plan.Steps, error) {
	rules, err := unused(tx, []string{sharedRules})
	if err != nil {
		return nil, err
	}
	var all plan.Steps
	for _, step := range steps {
		idle, err := unused(tx, sharedNames(step))
		if err != nil {
			return nil, err
		}
		part, some := idleOf(step, func(name string) bool { return slices.Contains(idle, name) })
		if b, ok := part.(plan.ReleaseBridge); ok {
			b.Filtered = len(rules) == 0
			part = b
		}
		if some {
			all = append(all, part)
		}
	}
	return all, nil
}

// usersOf are records that name a shared thing: all of them, or as many as the caller needs to know, the first ones.
func usersOf(tx *store.Tx, name string, most int) ([]store.Ref, error) {
	var refs []store.Ref
	for ref, err := range tx.Users(name) {
		if err != nil {
			return nil, err
		}
		if refs = append(refs, ref); len(refs) == most {
			break
		}
	}
	return refs, nil
}
