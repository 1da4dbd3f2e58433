package plan

import "github.com/lanhook/lanhook/policy"

func macvlanOf(l link) AddMacvlan {
	s := AddMacvlan{
		Name:           l.own,
		Parent:         l.uplink.Name,
		ParentIndex:    l.parentIndex(),
		Mode:           l.Network.Mode,
		MAC:            l.choice.MAC,
		MTU:            l.mtu,
		BroadcastQueue: l.Network.BroadcastQueue,
	}
	if s.Mode == policy.ModePassthru {
		// The kernel gives the child its parent's address (drivers/net/macvlan.c, macvlan_common_newlink). It stands
		// here so that undo knows the child by it.
		s.MAC = l.uplink.MAC
	}
	for _, m := range l.Network.Sources {
		s.Sources = append(s.Sources, MAC(m))
	}
	return s
}
