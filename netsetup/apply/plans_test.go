package apply_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// networks are networks of every driver, with and without rules.
func networks() map[string]*policy.Network {
	lan := func(spoofCheck bool) *policy.Network {
		return &policy.Network{
			Name: "lan", Driver: policy.Macvlan, Mode: policy.ModeBridge, DefaultRoute: true, SpoofCheck: spoofCheck,
			Subnets: []policy.Subnet{{
				Prefix: netip.MustParsePrefix("192.168.1.0/24"), Gateway: netip.MustParseAddr("192.168.1.1"),
			}},
		}
	}
	bridge := func(name string, mode policy.GatewayMode) *policy.Network {
		return &policy.Network{
			Name: name, Driver: policy.Bridge, Bridge: "lh-" + name, DefaultRoute: true,
			Firewall: mode != 0, GatewayMode: mode, ICC: true, Isolate: true,
			Subnets: []policy.Subnet{
				{
					Prefix: netip.MustParsePrefix("172.30.0.0/16"), Gateway: netip.MustParseAddr("172.30.0.1"),
					Masquerade: mode == policy.GatewayNAT,
				},
				{
					Prefix: netip.MustParsePrefix("fd00:30::/64"), Gateway: netip.MustParseAddr("fd00:30::1"),
					Masquerade: mode == policy.GatewayNAT, SNAT: netip.MustParseAddr("2001:db8::1"),
				},
			},
		}
	}
	apps := bridge("apps", policy.GatewayNAT)
	apps.SpoofCheck = true
	apps.Routes = []request.Route{
		{Dst: netip.MustParsePrefix("10.1.0.0/16"), Via: netip.MustParseAddr("10.9.0.1")},
		{Type: request.Blackhole, Dst: netip.MustParsePrefix("10.2.0.0/16")},
	}
	plain := bridge("plain", 0)
	plain.Subnets = plain.Subnets[:1]
	spelledOut := bridge("", 0)
	spelledOut.Bridge, spelledOut.Subnets, spelledOut.SpoofCheck, spelledOut.Firewall = "lh-apps", nil, true, true
	return map[string]*policy.Network{
		"lan": lan(false), "guarded": lan(true), "thru": {Name: "thru", Driver: policy.Macvlan, Mode: policy.ModePassthru},
		"apps": apps, "plain": plain, "routed": bridge("routed", policy.GatewayRouted),
		"isolated": bridge("isolated", policy.GatewayIsolated), "spelled out": spelledOut,
		"tagged": tagged(policy.Macvlan, 50), "ipvlan": tagged(policy.IPVLAN), "tagged ipvlan": tagged(policy.IPVLAN, 100, 20),
		"reached": reached(tagged(policy.Macvlan)), "reached tagged": reached(tagged(policy.IPVLAN, 50)),
		"vlan": tagged(policy.VLAN, 50), "qinq": tagged(policy.VLAN, 100, 20), "device": tagged(policy.HostDevice),
	}
}

// reached is a network whose containers the host reaches.
func reached(n *policy.Network) *policy.Network {
	n.HostAccess = true
	return n
}

// tagged is a network of a parent's sub-interface, or of a parent or device of which it takes no tags.
func tagged(driver policy.Driver, ids ...int) *policy.Network {
	n := &policy.Network{Name: "tagged", Driver: driver, DefaultRoute: true}
	switch driver {
	case policy.Macvlan:
		n.Mode = policy.ModeBridge
	case policy.IPVLAN:
		n.Mode, n.Flag = policy.ModeL2, policy.FlagBridge
	case policy.VLAN, policy.HostDevice, policy.Bridge:
	}
	for _, id := range ids {
		n.VLAN = append(n.VLAN, policy.Tag{ID: id, Protocol: policy.Dot1Q})
	}
	if len(ids) > 1 {
		n.VLAN[0].Protocol = policy.Dot1AD
	}
	return n
}

// attach is an attachment to a network that asks for all that it can have, and what is chosen for it.
func attach(t *testing.T, ifname string, n *policy.Network) (policy.Attachment, plan.Choice) {
	t.Helper()
	a := policy.Attachment{IfName: ifname, Network: n, Routes: n.Routes}
	c := plan.Choice{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.9/24")}, MAC: plan.MAC(mac(t, "02:00:00:00:00:09")),
	}
	switch {
	case n.Driver == policy.IPVLAN:
		c.MAC = nil
	case n.Mode == policy.ModePassthru:
		c = plan.Choice{}
	case n.Driver == policy.IPVLAN:
		c.MAC = nil
	case n.Driver == policy.Bridge:
		c = plan.Choice{
			Addresses: []netip.Prefix{netip.MustParsePrefix("172.30.0.9/16"), netip.MustParsePrefix("fd00:30::9/64")},
			MAC:       plan.MAC(mac(t, "02:00:00:00:00:0a")),
		}
	}
	if n.HostAccess {
		c.Host = []netip.Addr{netip.MustParseAddr("192.168.1.8")}
	}
	if n.Firewall && n.GatewayMode != policy.GatewayIsolated {
		a.Publish = []policy.Publish{
			{Addr: netip.IPv4Unspecified(), Host: 8080, Container: 80, Count: 3},
			{Addr: netip.MustParseAddr("2001:db8::1"), Host: 8080, Container: 80, Count: 1, Protocol: request.UDP},
		}
		c.Ports = []uint16{8080, 8080}
		a.DNAT = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	}
	if n.SpoofCheck {
		a.Rates = policy.Rates{In: policy.Rate{Bits: 1e9, Burst: 1 << 20}, Out: policy.Rate{Bits: 1e8, Burst: 1 << 17}}
	}
	return a, c
}

// plans are plans of every driver, alone and together, with and without rules.
func plans(t *testing.T) map[string]plan.Plan {
	t.Helper()
	uplink := plan.Link{Index: 3, Name: "ens192", MAC: plan.MAC(mac(t, "d0:00:00:00:00:01")), MTU: 1500, Up: true}
	all := networks()
	made := map[string]plan.Plan{}
	for name, of := range map[string][]string{
		"macvlan": {"lan"}, "passthru": {"thru"}, "guarded macvlan": {"guarded"}, "bridge without rules": {"plain"},
		"bridge": {"apps"}, "routed": {"routed"}, "isolated": {"isolated"}, "spelled out": {"spelled out"},
		"both": {"apps", "lan"}, "three": {"isolated", "guarded", "routed"},
		"tagged macvlan": {"tagged"}, "ipvlan": {"ipvlan"}, "tagged ipvlan": {"tagged ipvlan"}, "vlan": {"vlan"}, "qinq": {"qinq"},
		"host access": {"reached"}, "host access by a VLAN": {"reached tagged"}, "bridge and host access": {"apps", "reached"},
		"device": {"device"}, "tagged and qinq": {"tagged", "qinq", "device"},
	} {
		in := plan.Input{
			Record: "abcdefghij", HostID: "host",
			Facts: plan.Facts{
				Uplink: map[string]plan.Link{},
				Local: map[netip.Addr]bool{
					netip.MustParseAddr("192.0.2.7"): true, netip.MustParseAddr("2001:db8::1"): true,
				},
				// 8081 is the administrator's, 8082 another record's.
				Ephemeral: plan.Ports{From: 8080, To: 9000}, Reserved: []plan.Ports{{From: 8081, To: 8082}},
				NotForwarding: []string{"ens192"}, NotForwarding6: true,
			},
			OwnReserved: []uint16{8082},
		}
		for i, network := range of {
			ifname := []string{"eth0", "eth1", "eth2"}[i]
			a, c := attach(t, ifname, all[network])
			in.Attachments, in.Choices = append(in.Attachments, a), append(in.Choices, c)
			switch {
			case a.Network.Driver == policy.HostDevice:
				in.Facts.Device = map[string]plan.FoundDevice{ifname: device(t)}
			case a.Network.Driver != policy.Bridge:
				in.Facts.Uplink[ifname] = subInterface(uplink, a.Network)
			case a.Network.Name == "":
				// Who spells out a bridge publishes only where the host sends by it.
				in.Facts.Uplink[ifname] = plan.Link{
					Index: 7, Name: a.Network.Bridge, Kind: "bridge", MTU: 1500, Up: true, Group: plan.Group,
				}
				in.Facts.Ways = map[netip.Addr]int{}
				for _, p := range c.Addresses {
					in.Facts.Ways[p.Addr()] = 7
				}
			}
		}
		p, err := plan.Build(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		made[name] = p
	}
	made["uplink and rules"] = handmade(t)
	return made
}

// subInterface is the link that a network's children hang on: a sub-interface that is missing. Of the driver vlan it is the
// one below the container's own.
func subInterface(base plan.Link, n *policy.Network) plan.Link {
	tags := n.VLAN
	if n.Driver == policy.VLAN {
		tags = tags[:len(tags)-1]
	}
	l := base
	for _, tag := range tags {
		sub := plan.Sub{Name: fmt.Sprintf("%s.%d", l.Name, tag.ID), Parent: l.Name, Tag: tag}
		l.Name, l.Index, l.Base = sub.Name, 0, base.Name
		l.Tags, l.Subs = append(l.Tags, tag), append(l.Subs, sub)
	}
	return l
}

func device(t *testing.T) plan.FoundDevice {
	return plan.FoundDevice{
		Device: plan.Device{
			Name: "ens224", Index: 4, MAC: plan.MAC(mac(t, "d0:00:00:00:00:e0")), MTU: 1500, Up: true,
			Addresses: []plan.DeviceAddress{{Address: netip.MustParsePrefix("192.0.2.9/24")}},
		},
		Link: plan.Link{Index: 4, Name: "ens224", MTU: 1500, Up: true},
	}
}

// handmade is a bridge with an uplink that is a sub-interface, and a container that answers by the interface that was asked.
func handmade(t *testing.T) plan.Plan {
	const own = "lhabcdefghija"
	range10 := policy.VLANRange{From: 10, To: 10}
	return plan.Plan{Steps: plan.Steps{
		plan.EnsureVLAN{Name: "ens192.50", Parent: "ens192", Tag: policy.Tag{ID: 50, Protocol: policy.Dot1Q}},
		plan.EnsureBridge{Name: "lh-lan", MAC: plan.MAC(mac(t, "02:00:00:00:00:0b")), MTU: 1500, VLANs: true},
		plan.EnsureUplink{Bridge: "lh-lan", Link: "ens192.50", VLANs: []policy.VLANRange{range10, {From: 20, To: 29}}},
		plan.AddVeth{
			Name: own, MAC: plan.MAC(mac(t, "02:00:00:00:00:0c")), Bridge: "lh-lan", Peer: own, PeerMAC: plan.MAC(mac(t, "02:00:00:00:00:0d")),
			VLANs: plan.PortVLANs{Access: 30, Trunk: []policy.VLANRange{range10}},
		},
		plan.SetLink{From: own, Name: "eth0", Alias: "lanhook abcdefghij lan"},
		plan.AddRoute{If: "eth0", Route: request.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1"), Table: 300}},
		plan.AddRouteRule{From: netip.MustParseAddr("192.0.2.7"), Table: 300, Priority: 1000},
		plan.AwaitAddresses{Links: []plan.Await{{If: "eth0", Wait: time.Second}}},
	}}
}

// worlds are kernels to begin with: empty, and with somebody else's things under the names that we use.
func worlds() map[string]func() *model {
	return map[string]func() *model{
		"empty": newModel,
		"foreign bridge": func() *model {
			m := newModel()
			m.host["lh-apps"] = &modelLink{kind: "bridge", mac: "d0:00:00:00:00:02", up: true}
			return m
		},
		"foreign links with our names": func() *model {
			m := newModel()
			m.host["lhabcdefghija"] = &modelLink{kind: "veth", mac: "d0:00:00:00:00:03"}
			m.container["lhabcdefghija"] = &modelLink{kind: "macvlan", mac: "d0:00:00:00:00:04"}
			return m
		},
		"administrator's rules and ports": func() *model {
			m := newModel()
			m.rules.tables["inet"], m.rules.tables["admin"] = true, true
			m.reserved[8081] = true
			return m
		},
		"another's port": func() *model {
			m := newModel()
			m.rules.tables["inet"] = true
			m.rules.entries["inet publish 0.0.0.0 tcp 8081"] = entry{"172.30.0.7 80", "zzzzzzzzzz"}
			m.used = []string{"rules"}
			return m
		},
		"another on the same bridge": func() *model {
			m := newModel()
			m.host["lh-apps"] = &modelLink{
				kind: "bridge", mac: "d0:00:00:00:00:07", group: plan.Group, up: true, filtered: true,
				addresses: []string{"172.30.0.1/16", "fd00:30::1/64"},
			}
			m.host["lhzzzzzzzzzza"] = &modelLink{kind: "veth", mac: "d0:00:00:00:00:08", master: "lh-apps", up: true}
			m.rules.tables["inet"], m.rules.tables["bridge"] = true, true
			m.rules.gates["lh-apps"] = "nat true true"
			m.rules.entries["inet home 172.30.0.7 lh-apps"] = entry{"", "zzzzzzzzzz"}
			m.reserved[8082] = true
			m.used = []string{"rules", "lh-apps", "8082"}
			return m
		},
		"foreign link with a sub-interface's name": func() *model {
			m := newModel()
			m.host["ens192.50"] = &modelLink{kind: "veth", mac: "d0:00:00:00:00:09"}
			m.host["ens192.100"] = &modelLink{kind: "vlan", mac: "d0:00:00:00:00:09", parent: "ens256", tag: policy.Tag{ID: 100, Protocol: policy.Dot1AD}}
			return m
		},
		"administrator's sub-interfaces": func() *model {
			m := newModel()
			m.host["ens192.50"] = &modelLink{kind: "vlan", parent: "ens192", tag: policy.Tag{ID: 50, Protocol: policy.Dot1Q}, up: true}
			m.host["ens192.100"] = &modelLink{kind: "vlan", parent: "ens192", tag: policy.Tag{ID: 100, Protocol: policy.Dot1AD}, up: true}
			return m
		},
		"another on the same sub-interfaces": func() *model {
			m := newModel()
			dot1q, dot1ad := policy.Tag{ID: 50, Protocol: policy.Dot1Q}, policy.Tag{ID: 100, Protocol: policy.Dot1AD}
			m.host["ens192.50"] = &modelLink{kind: "vlan", parent: "ens192", tag: dot1q, group: plan.Group, up: true}
			m.host["ens192.100"] = &modelLink{kind: "vlan", parent: "ens192", tag: dot1ad, group: plan.Group, up: true}
			m.host["elsewhere"] = &modelLink{kind: "vlan", parent: "ens192.100", tag: policy.Tag{ID: 21, Protocol: policy.Dot1Q}}
			m.used = []string{"vlan/ens192.50", "vlan/ens192.100"}
			return m
		},
		"foreign link with the host link's name": func() *model {
			m := newModel()
			m.host[plan.HostLinkName("tagged", "ens192")] = &modelLink{kind: "veth", mac: "d0:00:00:00:00:09"}
			return m
		},
		"another that the host reaches": func() *model {
			m := newModel()
			name := plan.HostLinkName("tagged", "ens192")
			m.host[name] = &modelLink{
				kind: "macvlan", parent: "ens192", mac: "d0:00:00:00:00:0a", group: plan.Group, up: true,
				addresses: []string{"192.168.1.8"}, routes: []string{"192.168.1.7"},
			}
			m.used = []string{"host/" + name}
			return m
		},
		"another VLAN of the same uplink": func() *model {
			m := newModel()
			m.host["ens192.50"] = &modelLink{
				kind: "vlan", parent: "ens192", tag: policy.Tag{ID: 50, Protocol: policy.Dot1Q}, group: plan.Group, up: true,
				master: "lh-lan", vlans: []string{"10", "40"},
			}
			m.host["lh-lan"] = &modelLink{kind: "bridge", mac: "d0:00:00:00:00:07", group: plan.Group, up: true}
			m.host["lhzzzzzzzzzza"] = &modelLink{kind: "veth", mac: "d0:00:00:00:00:08", master: "lh-lan", up: true, vlans: []string{"10", "40"}}
			m.used = []string{"vlan/ens192.50", "lh-lan", "uplink/lh-lan/10", "uplink/lh-lan/40"}
			return m
		},
		"administrator's bridge with an uplink": func() *model {
			m := newModel()
			m.host["ens192.50"] = &modelLink{
				kind: "vlan", parent: "ens192", tag: policy.Tag{ID: 50, Protocol: policy.Dot1Q}, up: true, master: "lh-lan", vlans: []string{"10"},
			}
			m.host["lh-lan"] = &modelLink{kind: "bridge", mac: "d0:00:00:00:00:07", up: true}
			return m
		},
		"name taken in the container": func() *model {
			m := newModel()
			m.container["eth0"] = &modelLink{kind: "veth", mac: "d0:00:00:00:00:05", up: true}
			return m
		},
	}
}
