package plan

import (
	"fmt"
	"strings"
)

// line collects the words of a step's text.
type line struct{ parts []string }

func (l *line) addf(format string, args ...any) {
	l.parts = append(l.parts, fmt.Sprintf(format, args...))
}

func (l *line) String() string { return strings.Join(l.parts, " ") }

// addIf adds the words only where the value is set.
func (l *line) addIf(set bool, format string, args ...any) {
	if set {
		l.addf(format, args...)
	}
}

// String names the side as text output does.
func (s Side) String() string {
	if s == Container {
		return "container"
	}
	return "host"
}

func (s EnsureBridge) String() string {
	var l line
	l.addf("host: ensure bridge %s mac %s", s.Name, s.MAC)
	l.addIf(s.MTU != 0, "mtu %d", s.MTU)
	for _, a := range s.Addresses {
		l.addf("address %s", a)
	}
	for _, a := range s.Without {
		l.addf("without address %s", a)
	}
	l.addIf(s.Forward, "forward")
	l.addIf(s.Localnet, "route_localnet")
	l.addIf(s.Filtered, "filtered")
	l.addIf(s.VLANs, "vlan_filtering")
	l.addIf(s.VRF != "", "vrf %s", s.VRF)
	l.addIf(s.Uplink != "", "for uplink %s", s.Uplink)
	l.addIf(s.AsIs, "as it is if there")
	return l.String()
}

func (s AddVeth) String() string {
	var l line
	l.addf("host: add veth %s mac %s mtu %d master %s", s.Name, s.MAC, s.MTU, s.Bridge)
	l.addIf(s.Hairpin, "hairpin")
	l.addIf(s.Isolated, "isolated")
	l.addIf(!s.VLANs.None(), "%s", s.VLANs)
	l.addf("up, peer in container %s mac %s mtu %d", s.Peer, s.PeerMAC, s.PeerMTU)
	return l.String()
}

func (s AddMacvlan) String() string {
	var l line
	l.addf("container: add macvlan %s on %s mode %s", s.Name, s.Parent, s.Mode)
	l.addf("mac %s mtu %d", s.MAC, s.MTU)
	l.addIf(s.BroadcastQueue != 0, "bcqueuelen %d", s.BroadcastQueue)
	for _, m := range s.Sources {
		l.addf("source %s", m)
	}
	return l.String()
}

func (s SetSysctls) String() string {
	var l line
	l.addf("container: sysctl")
	for _, v := range s.Values {
		l.addf("%s=%s", strings.Replace(v.Key, "IFNAME", s.If, 1), v.Value)
	}
	return l.String()
}

func (s AddAddress) String() string {
	return fmt.Sprintf("container: add address %s on %s", s.Address, s.If)
}

func (s SetLink) String() string {
	var l line
	l.addf("container: set %s name %s alias %s", s.From, s.Name, s.Alias)
	l.addIf(s.TxQueueLen != 0, "txqueuelen %d", s.TxQueueLen)
	l.addIf(s.Promiscuous, "promisc")
	l.addIf(s.AllMulti, "allmulticast")
	l.addf("up")
	return l.String()
}

func (s AddRoute) String() string {
	var l line
	l.addf("container: add route %s", s.Route)
	l.addIf(s.If != "", "on %s", s.If)
	return l.String()
}

func (s DelLink) String() string {
	var l line
	l.addf("%s: delete %s %s", s.Side, s.Kind, s.Name)
	l.addIf(s.MAC != nil, "with mac %s", s.MAC)
	l.addIf(s.IfName != "", "or %s with alias %s", s.IfName, s.Alias)
	l.addIf(s.Index != 0, "or index %d", s.Index)
	return l.String()
}

func (s DelRoute) String() string {
	return fmt.Sprintf("container: delete route %s", s.Route)
}

func (s ReleaseBridge) String() string {
	var l line
	l.addf("host: delete bridge %s if ours and unused", s.Name)
	l.addIf(s.Filtered, "with its rules")
	l.addIf(s.Uplink != "", "besides its uplink %s", s.Uplink)
	return l.String()
}
