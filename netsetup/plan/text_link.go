package plan

import (
	"fmt"

	"github.com/lanhook/lanhook/policy"
)

func (s AddIPVLAN) String() string {
	return fmt.Sprintf("container: add ipvlan %s on %s mode %s %s mtu %d", s.Name, s.Parent, s.Mode, s.Flag, s.MTU)
}

func (s EnsureVLAN) String() string {
	return fmt.Sprintf("host: ensure vlan %s on %s %s up", s.Name, s.Parent, tagText(s.Tag))
}

func (s AddVLAN) String() string {
	var l line
	l.addf("container: add vlan %s on %s %s", s.Name, s.Parent, tagText(s.Tag))
	l.addIf(s.MAC != nil, "mac %s", s.MAC)
	l.addf("mtu %d", s.MTU)
	return l.String()
}

func (s MoveLink) String() string {
	var l line
	l.addf("container: move %s of the host in as %s", s.Device.Name, s.Name)
	l.addIf(s.MAC != nil, "mac %s", s.MAC)
	l.addIf(s.MTU != 0, "mtu %d", s.MTU)
	return l.String()
}

func (s EnsureUplink) String() string {
	var l line
	l.addf("host: ensure %s is a port of %s", s.Link, s.Bridge)
	for _, v := range s.VLANs {
		l.addf("vlan %s", v)
	}
	l.addIf(s.DefaultVLAN, "and vlan 1 untagged")
	return l.String()
}

func (s AddRouteRule) String() string {
	return fmt.Sprintf("container: add rule from %s table %d priority %d", s.From, s.Table, s.Priority)
}

func (s ReleaseVLAN) String() string {
	return fmt.Sprintf("host: delete vlan %s on %s %s if ours and unused", s.Name, s.Parent, tagText(s.Tag))
}

func (s ReturnLink) String() string {
	return fmt.Sprintf("host: take %s back from the container as %s", s.Name, s.Device.Name)
}

func (s ReleaseUplink) String() string {
	var l line
	l.addf("host: take from %s as a port of %s", s.Link, s.Bridge)
	for _, v := range s.VLANs {
		l.addf("vlan %s", v)
	}
	return l.String()
}

func (s DelRouteRule) String() string {
	return fmt.Sprintf("container: delete rule from %s table %d priority %d", s.From, s.Table, s.Priority)
}

func tagText(t policy.Tag) string { return fmt.Sprintf("protocol %s id %d", t.Protocol, t.ID) }

// None says whether a port is one of a bridge that does not filter VLANs.
func (v PortVLANs) None() bool { return v.Access == 0 && len(v.Trunk) == 0 && !v.Default }

func (v PortVLANs) String() string {
	var l line
	l.addIf(v.Access != 0, "vlan %d untagged", v.Access)
	for _, r := range v.Trunk {
		l.addf("vlan %s tagged", r)
	}
	l.addIf(v.Default, "default vlan")
	return l.String()
}
