package plan

import "slices"

// subs are the VLAN sub-interfaces of all links, each once.
func subs(links []link) Steps {
	var steps Steps
	for _, l := range links {
		for _, s := range l.uplink.Subs {
			if step := Step(EnsureVLAN(s)); !slices.Contains(steps, step) {
				steps = append(steps, step)
			}
		}
	}
	return steps
}

// vlanOf is the sub-interface itself: of the last tag, on the link that the others lead to.
func vlanOf(l link) AddVLAN {
	s := AddVLAN{Name: l.own, Parent: l.uplink.Name, ParentIndex: l.uplink.Index, MAC: l.choice.MAC, MTU: l.mtu}
	if n := len(l.Network.VLAN); n > 0 {
		s.Tag = l.Network.VLAN[n-1]
	}
	return s
}
