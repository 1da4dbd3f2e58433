package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// lanOf is the macvlan network lan on a link ens192 that is up, with nothing wrong. change makes something wrong of it.
func lanOf(change func(l *lan)) lan {
	l := lan{
		Network: &policy.Network{
			Name: "lan", Driver: policy.Macvlan, Mode: policy.ModeBridge, Parent: policy.Parent{Name: "ens192"}, IPAM: policy.IPAMLocal,
			DefaultRoute: true,
			Subnets: []policy.Subnet{{
				Prefix: netip.MustParsePrefix("192.168.1.0/24"), Gateway: netip.MustParseAddr("192.168.1.1"),
				Ranges: []ipam.Range{rangeOf("192.168.1.200-192.168.1.250")},
			}},
		},
		found: true,
		link:  plan.Link{Index: 2, Name: "ens192", MTU: 1500, Up: true, BondMode: -1},
		state: kernel.State{Index: 2, Name: "ens192", Addresses: prefixes("192.168.1.9/24", "fe80::1/64")},
	}
	if change != nil {
		change(&l)
	}
	return l
}

func rangeOf(text string) ipam.Range {
	r, err := ipam.ParseRange(text)
	if err != nil {
		panic(err)
	}
	return r
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestParentFindings(t *testing.T) {
	const (
		ipvlan = "use driver ipvlan, whose children have their parent's MAC address, or a bridge network without an uplink"
		modes  = ipvlan + ", or another mode of the bond, such as active-backup or 802.3ad"
	)
	good := engine.Finding{Level: engine.OK, Means: "the links of networks on LANs are there, up, and carry what containers send"}
	for _, c := range []struct {
		name   string
		change func(l *lan)
		want   engine.Finding
	}{
		{"good", nil, good},
		{"missing", func(l *lan) { l.found = false }, engine.Finding{
			Level: engine.Fail, Means: "parent ens192 of network lan does not exist: no container gets on it",
			Do: "see which links there are with: ip link",
		}},
		{"an uplink that is missing", func(l *lan) {
			l.found, l.Driver, l.Parent, l.Uplink = false, policy.Bridge, policy.Parent{}, policy.Parent{DefaultRoute: true}
		}, engine.Finding{
			Level: engine.Fail, Means: "uplink of the default route of network lan does not exist: no container gets on it",
			Do: "see which links there are with: ip link",
		}},
		{"down", func(l *lan) { l.link.Up = false }, engine.Finding{
			Level: engine.Warn, Means: "parent ens192 of network lan is down: nobody is reached until it is up", Do: "ip link set ens192 up",
		}},
		{"down, with parent-wait", func(l *lan) { l.link.Up, l.ParentUp = false, true }, engine.Finding{
			Level: engine.Fail, Means: "parent ens192 of network lan is down: no container gets on it until it is up", Do: "ip link set ens192 up",
		}},
		{"an uplink that is down", func(l *lan) {
			l.link.Up, l.Driver, l.Uplink = false, policy.Bridge, policy.Parent{Name: "ens192"}
		}, engine.Finding{
			Level: engine.Fail, Means: "uplink ens192 of network lan is down: no container gets on it until it is up", Do: "ip link set ens192 up",
		}},
		{"down, below a sub-interface of lanhook's", func(l *lan) {
			l.link.Up, l.link.Name, l.state.Addresses = false, "ens192.7", nil
			l.link.Subs = []plan.Sub{{Name: "ens192.7", Parent: "ens192", Tag: policy.Tag{ID: 7}}}
		}, engine.Finding{
			Level: engine.Warn, Means: "parent ens192 of network lan is down: nobody is reached until it is up", Do: "ip link set ens192 up",
		}},
		{"the port of a bridge", func(l *lan) { l.link.MasterKind = "bridge" }, engine.Finding{
			Level: engine.Fail, Means: "parent ens192 of network lan is a port of a bridge: no container gets on it",
			Do: "use driver bridge with that bridge, or take the link out of it",
		}},
		{"the port of another bridge", func(l *lan) {
			l.Driver, l.Uplink, l.link.MasterKind, l.taken = policy.Bridge, policy.Parent{Name: "ens192"}, "bridge", true
		}, engine.Finding{
			Level: engine.Fail, Means: "uplink ens192 of network lan is a port of another bridge: no container gets on it",
			Do: "name that bridge in the policy, or take the link out of it",
		}},
		{"the port of its own bridge", func(l *lan) {
			l.Driver, l.Uplink, l.link.MasterKind = policy.Bridge, policy.Parent{Name: "ens192"}, "bridge"
		}, good},
		{"a member of a bond", func(l *lan) { l.link.MasterKind = "bond" }, engine.Finding{
			Level: engine.Fail, Means: "parent ens192 of network lan is a member of a bond: no container gets on it", Do: "name the bond itself in the policy",
		}},
		{"the parent's MTU", func(l *lan) { l.MTU = 1500 }, good},
		{"a larger MTU", func(l *lan) { l.MTU = 1501 }, engine.Finding{
			Level: engine.Fail, Means: "network lan has an mtu of 1501, and its parent ens192 one of 1500: no container gets on it",
			Do: "lower mtu in the policy, or raise the parent's",
		}},
		{"a larger MTU on a bridge", func(l *lan) {
			l.MTU, l.Driver, l.Uplink = 9000, policy.Bridge, policy.Parent{Name: "ens192"}
		}, good},
		{"loopback", func(l *lan) { l.link.Loopback, l.link.Name = true, "lo" }, engine.Finding{
			Level: engine.Fail, Means: "parent lo of network lan is the loopback interface: no container gets on it", Do: "name the network card in the policy",
		}},
		{"wireless", func(l *lan) { l.link.Wireless = true }, engine.Finding{
			Level: engine.Fail, Do: ipvlan,
			Means: "parent ens192 of network lan is wireless: an access point takes frames from one MAC address a station, and drops those of containers",
		}},
		{"wireless under ipvlan", func(l *lan) { l.link.Wireless, l.Driver, l.Mode = true, policy.IPVLAN, policy.ModeL2 }, good},
		{"balance-alb", func(l *lan) { l.link.BondMode = 6 }, engine.Finding{
			Level: engine.Fail, Do: modes, Means: "parent ens192 of network lan is, or lies on, a bond in mode balance-alb, which puts its members' " +
				"MAC addresses in place of those of containers",
		}},
		{"balance-tlb under a bridge", func(l *lan) {
			l.link.BondMode, l.Driver, l.Uplink = 5, policy.Bridge, policy.Parent{Name: "ens192"}
		}, engine.Finding{
			Level: engine.Fail, Do: modes, Means: "uplink ens192 of network lan is, or lies on, a bond in mode balance-tlb, which puts its members' " +
				"MAC addresses in place of those of containers",
		}},
		{"802.3ad", func(l *lan) { l.link.BondMode = 4 }, good},
		{"a VLAN in which the host is", func(l *lan) {
			l.link.Name, l.link.Base, l.link.Tags = "ens192.20", "ens192", []policy.Tag{{ID: 20}}
		}, engine.Finding{
			Level: engine.Warn,
			Means: "the host has 192.168.1.9/24 on ens192.20, in the VLAN of network lan itself: containers there cannot reach the host at it",
			Do:    "take them off, unless the host is to be in that VLAN for others; containers reach it by another of its addresses, through the router",
		}},
		{"a VLAN in which the host is, under a bridge", func(l *lan) {
			l.link.Tags, l.Driver, l.Uplink = []policy.Tag{{ID: 20}}, policy.Bridge, policy.Parent{Name: "ens192"}
		}, good},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Check = "parent"
			if diff := cmp.Diff([]engine.Finding{c.want}, parentFindings([]lan{lanOf(c.change)})); diff != "" {
				t.Errorf("the findings differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPromiscuousFindings(t *testing.T) {
	const around = "; a virtual machine's surroundings are another matter, see hypervisor"
	for _, c := range []struct {
		name   string
		change func(l *lan)
		want   string
	}{
		{"not", nil, "ens192 is not promiscuous, and need not be: the kernel tells it the MAC addresses of containers, and makes it so by itself " +
			"where it takes no more of them" + around},
		{"not, ipvlan", func(l *lan) { l.Driver = policy.IPVLAN }, "ens192 is not promiscuous, and need not be: its containers have its MAC address"},
		{
			"not, an uplink", func(l *lan) { l.Driver, l.Uplink = policy.Bridge, policy.Parent{Name: "ens192"} },
			"ens192 is not promiscuous; as the uplink of a bridge it will be so by itself",
		},
		{"by hand", func(l *lan) { l.state.Promiscuous = true }, "ens192 is promiscuous because somebody has said so; it need not be, since the " +
			"kernel tells it the MAC addresses of containers (ip link set ens192 promisc off)" + around},
		{
			"by hand, an uplink", func(l *lan) {
				l.state.Promiscuous, l.Driver, l.Uplink = true, policy.Bridge, policy.Parent{Name: "ens192"}
			},
			"ens192 is promiscuous because somebody has said so; as the uplink of a bridge it is so by itself",
		},
		{
			"for something else", func(l *lan) { l.promiscuous = true },
			"ens192 is promiscuous because something on it asks for that, such as a bridge, macvlan in mode passthru or a capture",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := []engine.Finding{{Check: "promiscuous", Level: engine.OK, Means: c.want}}
			twice := []lan{lanOf(c.change), lanOf(c.change)}
			if diff := cmp.Diff(want, promiscuousFindings(twice)); diff != "" {
				t.Errorf("the findings differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTakesAll(t *testing.T) {
	const dir = "sys/class/net/ens192/"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"no sysfs", nil, false},
		{"not", map[string]string{dir + "ifindex": "2\n", dir + "flags": "0x1003\n"}, false},
		{"promiscuous", map[string]string{dir + "ifindex": "2\n", dir + "flags": "0x1103\n"}, true},
		{"of another namespace", map[string]string{dir + "ifindex": "3\n", dir + "flags": "0x1103\n"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := takesAll(below(t, c.files), kernel.State{Index: 2, Name: "ens192"}); got != c.want {
				t.Errorf("%t, want %t", got, c.want)
			}
		})
	}
}

func TestSubnetFindings(t *testing.T) {
	viaHost := func(via string) []request.Route {
		return []request.Route{{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr(via)}}
	}
	warn := func(means, do string) engine.Finding {
		return engine.Finding{Check: "subnet", Level: engine.Warn, Means: means, Do: do}
	}
	good := engine.Finding{Check: "subnet", Level: engine.OK, Means: "the subnets of networks fit what the host has on its links"}
	for _, c := range []struct {
		name   string
		change func(l *lan)
		want   []engine.Finding
	}{
		{"good", func(l *lan) { l.state.Routes = viaHost("192.168.1.1") }, []engine.Finding{good}},
		{"no address of the host's", func(l *lan) { l.state.Addresses = nil }, []engine.Finding{good}},
		{"another LAN", func(l *lan) { l.state.Addresses = prefixes("10.0.0.5/8", "fd00::5/64") }, []engine.Finding{warn(
			"network lan has the subnet 192.168.1.0/24, but on ens192 the host has 10.0.0.5/8: as far as it knows, that is no subnet of this LAN",
			"take the subnet of that LAN, unless there are several on it")}},
		{"another length", func(l *lan) { l.state.Addresses = prefixes("192.168.0.9/23") }, []engine.Finding{warn(
			"network lan has the subnet 192.168.1.0/24, but by the host's address 192.168.0.9/23 on ens192 the LAN is 192.168.0.0/23: containers "+
				"look for others where these are not",
			`write subnet = "192.168.0.0/23" with a range in it, unless the host's own length is wrong`)}},
		{"a router outside", func(l *lan) { l.state.Addresses = prefixes("192.168.1.129/25") }, []engine.Finding{
			warn("network lan has the subnet 192.168.1.0/24, but by the host's address 192.168.1.129/25 on ens192 the LAN is 192.168.1.128/25: "+
				"containers look for others where these are not",
				`write subnet = "192.168.1.128/25" with a range in it, unless the host's own length is wrong`),
			warn("the gateway 192.168.1.1 of network lan is not in 192.168.1.128/25, the LAN by the host's address on ens192", "name a router that is in it"),
		}},
		{"the host as router", func(l *lan) { l.state.Addresses = prefixes("192.168.1.1/24") }, []engine.Finding{{
			Check: "subnet", Level: engine.Fail, Means: "the gateway 192.168.1.1 of network lan is the host's own address on ens192: no container gets on it " +
				"but with default-route=false",
			Do: "name the router of the LAN; containers reach none of the addresses that the host has on their parent",
		}}},
		{"the host as router, of whom nobody asks", func(l *lan) {
			l.state.Addresses, l.DefaultRoute = prefixes("192.168.1.1/24"), false
		}, []engine.Finding{warn(
			"the gateway 192.168.1.1 of network lan is the host's own address on ens192: no container gets on it that asks for the default route",
			"name the router of the LAN; containers reach none of the addresses that the host has on their parent")}},
		{"the host as router, with a warning", func(l *lan) {
			l.state.Addresses, l.Conflict = prefixes("192.168.1.1/24"), policy.ConflictWarn
		}, []engine.Finding{warn(
			"the gateway 192.168.1.1 of network lan is the host's own address on ens192: containers there have no way out",
			"name the router of the LAN; containers reach none of the addresses that the host has on their parent")}},
		{"the host as router, unasked", func(l *lan) {
			l.state.Addresses, l.Conflict = prefixes("192.168.1.1/24"), policy.ConflictOff
		}, []engine.Finding{warn(
			"the gateway 192.168.1.1 of network lan is the host's own address on ens192: containers there have no way out",
			"name the router of the LAN; containers reach none of the addresses that the host has on their parent")}},
		{"the host as router, in mode vepa", func(l *lan) {
			l.state.Addresses, l.Mode = prefixes("192.168.1.1/24"), policy.ModeVEPA
		}, []engine.Finding{good}},
		{"the host in the pool", func(l *lan) { l.state.Addresses = prefixes("192.168.1.210/24") }, []engine.Finding{warn(
			"the host's own address 192.168.1.210 on ens192 is among those that network lan hands out: lanhook on this host passes over it, "+
				"and others do not", `exclude = ["192.168.1.210"]`)}},
		{"the host in the pool, excluded", func(l *lan) {
			l.state.Addresses = prefixes("192.168.1.210/24")
			l.Subnets[0].Exclude = []ipam.Range{rangeOf("192.168.1.210")}
		}, []engine.Finding{good}},
		{"the host in a static network", func(l *lan) {
			l.state.Addresses, l.IPAM = prefixes("192.168.1.210/24"), policy.IPAMStatic
		}, []engine.Finding{good}},
		{"another router", func(l *lan) { l.state.Routes = viaHost("192.168.1.254") }, []engine.Finding{warn(
			"the gateway of network lan is 192.168.1.1, but the host's own on ens192 is 192.168.1.254",
			`gateway = "192.168.1.254", unless the LAN has both routers`)}},
		{"a router of another table", func(l *lan) {
			l.state.Routes = viaHost("192.168.1.254")
			l.state.Routes[0].Table = 100
		}, []engine.Finding{good}},
		{"two routers", func(l *lan) {
			l.state.Routes = append(viaHost("192.168.1.254"), viaHost("192.168.1.1")...)
		}, []engine.Finding{good}},
		{"routed by the host", func(l *lan) {
			l.Driver, l.Mode, l.state.Addresses = policy.IPVLAN, policy.ModeL3, prefixes("10.0.0.5/8")
		}, []engine.Finding{good}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, subnetFindings([]lan{lanOf(c.change)}, nil)); diff != "" {
				t.Errorf("the findings differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApartFindings(t *testing.T) {
	n := policyOf().Networks["apps"]
	links := []kernel.State{
		{Name: "lh-apps", Addresses: prefixes("172.30.0.1/16")},
		{Name: "ens192", Addresses: prefixes("172.30.7.9/24")},
		{Name: "lhh-5oy34gnbgod", Kind: "macvlan", Group: plan.Group, Addresses: prefixes("172.30.7.10/32")},
		{Name: "lh-other", Kind: "bridge", Group: plan.Group, Addresses: prefixes("172.30.9.1/24")},
	}
	want := []engine.Finding{{
		Check: "subnet", Level: engine.Warn, Do: "give the network a subnet that is no other link's",
		Means: "network apps has the subnet 172.30.0.0/16, but the host has 172.30.7.9/24 on ens192: of addresses that are in both it reaches " +
			"those of one alone",
	}, {
		Check: "subnet", Level: engine.Warn, Do: "give the network a subnet that is no other link's",
		Means: "network apps has the subnet 172.30.0.0/16, but the host has 172.30.9.1/24 on lh-other: of addresses that are in both it reaches " +
			"those of one alone",
	}}
	if diff := cmp.Diff(want, apartFindings(n, n.Subnets[0].Prefix, links)); diff != "" {
		t.Errorf("the findings differ (-want +got):\n%s", diff)
	}
	if got := apartFindings(n, netip.MustParsePrefix("fe80::/64"), links); got != nil {
		t.Errorf("link-local addresses: %v", got)
	}
}

func TestDHCPFindings(t *testing.T) {
	good := engine.Finding{
		Level: engine.OK, Means: "no network hands out what a DHCP server of its LAN is known to lend, nor a whole subnet of one",
	}
	const do = "range = the part of it that the DHCP server does not lend"
	lent := engine.Finding{Level: engine.Warn, Do: do, Means: "a DHCP server has lent the host 192.168.1.210, which is among the addresses that " +
		"network lan hands out: it may lend others of them as well"}
	inPool := func(l *lan) { l.state.Addresses = prefixes("192.168.1.210/24") }
	for _, c := range []struct {
		name   string
		files  map[string]string
		change func(l *lan)
		want   engine.Finding
	}{
		{"a range", nil, nil, good},
		{"all of it", nil, func(l *lan) { l.Subnets[0].Ranges = nil }, engine.Finding{
			Level: engine.Warn, Do: do,
			Means: "network lan hands out all of 192.168.1.0/24: a DHCP server of the LAN, if there is one, lends some of the same addresses",
		}},
		{"all of it, asked for only", nil, func(l *lan) { l.Subnets[0].Ranges, l.IPAM = nil, policy.IPAMStatic }, good},
		{"systemd-networkd", map[string]string{"run/systemd/netif/leases/2": "# private\nADDRESS=192.168.1.210\nNETMASK=255.255.255.0\n"}, inPool, lent},
		{"NetworkManager", map[string]string{"var/lib/NetworkManager/internal-1-ens192.lease": "ADDRESS=192.168.1.210\n"}, inPool, lent},
		{"dhclient", map[string]string{"var/lib/dhcp/dhclient.ens192.leases": "lease {\n  fixed-address 192.168.1.210;\n}\n"}, inPool, lent},
		{"lent outside of the range", map[string]string{"run/systemd/netif/leases/2": "ADDRESS=192.168.1.9\n"}, nil, good},
		{"lent to another link", map[string]string{"run/systemd/netif/leases/3": "ADDRESS=192.168.1.21\n"}, inPool, good},
		{"lent on the LAN below a container's VLAN", map[string]string{"run/systemd/netif/leases/2": "ADDRESS=192.168.1.210\n"}, func(l *lan) {
			inPool(l)
			l.Driver = policy.VLAN
		}, good},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Check = "dhcp"
			if diff := cmp.Diff([]engine.Finding{c.want}, dhcpFindings(below(t, c.files), []lan{lanOf(c.change)})); diff != "" {
				t.Errorf("the findings differ (-want +got):\n%s", diff)
			}
		})
	}
}
