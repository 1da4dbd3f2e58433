package plan

import "slices"

// Undo returns the steps that take back what steps did or may have done, in the order in which they are to be run: the
// last deed first, but rules and guards after the links for which they stand, so that a container which still runs never
// has a link without them. It needs nothing but the journal, so it is right however far the journal's steps came, and
// whatever policy and annotations say by now.
//
// What lives on a link of ours (addresses, settings, routes, queues) goes with the link and has no step of its own.
func Undo(steps Steps) Steps {
	var routes, links, rules, shared Steps
	for _, step := range slices.Backward(steps) {
		switch s := step.(type) {
		case EnsureBridge:
			// A bridge that was left as it was may have rules that others had made for it.
			shared = append(shared, ReleaseBridge{
				Name: s.Name, Filtered: s.Filtered || s.AsIs, Uplink: uplinkOf(steps, s.Name),
			})
		case EnsureVLAN, EnsureUplink, ReservePorts, EnsureHostLink:
			shared = append(shared, releases(step)...)
		case AddVeth:
			links = append(links, DelLink{Side: Host, Name: s.Name, Kind: "veth", MAC: s.MAC})
		case AddMacvlan:
			links = append(links, delOf(steps, DelLink{Name: s.Name, Index: s.Index, Kind: "macvlan", MAC: s.MAC}))
		case AddIPVLAN:
			links = append(links, delOf(steps, DelLink{Name: s.Name, Index: s.Index, Kind: "ipvlan"}))
		case AddVLAN:
			links = append(links, delOf(steps, DelLink{Name: s.Name, Index: s.Index, Kind: "vlan", MAC: s.MAC}))
		case MoveLink:
			back := ReturnLink{Name: s.Name, Alias: s.Alias, Index: s.Index, Device: s.Device}
			if set, ok := linkOf(steps, s.Name); ok {
				back.IfName = set.Name
			}
			links = append(links, back)
		case AddRouteRule:
			routes = append(routes, DelRouteRule(s))
		case AddRoute:
			if s.If == "" || !given(steps, s.If) {
				routes = append(routes, DelRoute{Route: s.Route})
			}
		case AddRules:
			rules = append(rules, DelRules(s))
		case AddGuard:
			rules = append(rules, DelGuard{Table: s.Table})
		case AddHostRoute:
			rules = append(rules, DelHostRoute{Link: s.Link, To: s.To})
		case SetSysctls, AddAddress, SetLink, SetRate, EnsureForwarding, AwaitAddresses,
			DelLink, DelRoute, ReleaseBridge, DelRules, ReleaseRules, ReleasePorts, DelGuard,
			ReleaseVLAN, ReturnLink, ReleaseUplink, DelRouteRule, ReleaseHostLink, DelHostRoute:
		}
	}
	return slices.Concat(routes, links, rules, shared)
}

// releases are the steps that give back what a step shares with other records, but for a bridge.
func releases(step Step) Steps {
	switch s := step.(type) {
	case EnsureVLAN:
		return Steps{ReleaseVLAN(s)}
	case EnsureUplink:
		return s.release()
	case ReservePorts:
		return Steps{ReleasePorts(s)}
	case EnsureHostLink:
		return Steps{ReleaseHostLink{Name: s.Name}}
	default:
		return nil
	}
}

// delOf completes what deletes a link of the container with the name and alias that steps give it.
func delOf(steps Steps, del DelLink) DelLink {
	del.Side = Container
	if set, ok := linkOf(steps, del.Name); ok {
		del.IfName, del.Alias = set.Name, set.Alias
	}
	return del
}

// uplinkOf is the uplink of a bridge, "" for none.
func uplinkOf(steps Steps, bridge string) string {
	for _, step := range steps {
		if s, ok := step.(EnsureUplink); ok && s.Bridge == bridge {
			return s.Link
		}
	}
	return ""
}

// linkOf finds the step that gives the link called own its name.
func linkOf(steps Steps, own string) (SetLink, bool) {
	for _, step := range steps {
		if s, ok := step.(SetLink); ok && s.From == own {
			return s, true
		}
	}
	return SetLink{}, false
}

// given says whether one of the steps gives a link the name.
func given(steps Steps, name string) bool {
	return slices.ContainsFunc(steps, func(step Step) bool {
		s, ok := step.(SetLink)
		return ok && s.Name == name
	})
}

// WithIndexes is the journal of steps that are done, with the index of each link that lives in the container.
func WithIndexes(steps Steps, index func(ifName string) int) Steps {
	done := slices.Clone(steps)
	indexOf := func(own string) int {
		if set, ok := linkOf(steps, own); ok {
			return index(set.Name)
		}
		return 0
	}
	for i, step := range done {
		switch s := step.(type) {
		case AddMacvlan:
			s.Index = indexOf(s.Name)
			done[i] = s
		case AddIPVLAN:
			s.Index = indexOf(s.Name)
			done[i] = s
		case AddVLAN:
			s.Index = indexOf(s.Name)
			done[i] = s
		case MoveLink:
			s.Index = indexOf(s.Name)
			done[i] = s
		default:
		}
	}
	return done
}

// Linked is how many steps from the first on have to be done until the kernel itself shows what is shared: every bridge
// that is used has its ports, the host its links beside those of containers, and the rules are there.
func Linked(steps Steps) int {
	n := 0
	for i, step := range steps {
		switch step.(type) {
		case EnsureBridge, AddVeth, AddRules, ReservePorts, EnsureVLAN, EnsureUplink, EnsureHostLink:
			n = i + 1
		case AddMacvlan, AddIPVLAN, SetSysctls, AddAddress, SetLink, AddRoute, SetRate, AddGuard, EnsureForwarding, AddVLAN, MoveLink, AddRouteRule, AddHostRoute, AddHostAddresses,
			ProbeLinks, AnnounceLinks, AwaitAddresses, DelLink, DelRoute, ReleaseBridge, DelRules, ReleaseRules, ReleasePorts, DelGuard,
			ReleaseVLAN, ReturnLink, ReleaseUplink, DelRouteRule, ReleaseHostLink, DelHostRoute:
		}
	}
	return n
}
