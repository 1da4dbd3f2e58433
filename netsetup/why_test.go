//go:build linux

package netsetup

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// heldRecord has two interfaces: eth0 on a LAN, and eth1 on a bridge with ports and a whole address.
func heldRecord() store.Record {
	return store.Record{
		ID: "abcdefghij", Container: "0123", Workload: "web", State: store.Attached, Created: time.Unix(1, 0).UTC(),
		Interfaces: []plan.Interface{
			{
				Name: "eth0", Network: "lan", Driver: "macvlan", Uplink: "ens192", MAC: plan.MAC{2, 0, 0, 0, 0, 1},
				Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.9/24"), netip.MustParsePrefix("fd00::9/64")},
				Learned:   []netip.Prefix{netip.MustParsePrefix("2001:db8::9/64")},
			},
			{
				Name: "eth1", Driver: "bridge", Uplink: "lh-apps", MAC: plan.MAC{2, 0, 0, 0, 0, 2},
				Addresses: []netip.Prefix{netip.MustParsePrefix("172.30.0.2/16")},
				DNAT:      []plan.Translation{{From: netip.MustParseAddr("192.0.2.7"), To: netip.MustParseAddr("172.30.0.2")}},
				Publish: []plan.Publish{
					{Protocol: request.TCP, Addr: netip.IPv4Unspecified(), Host: 8080, Count: 3, To: netip.MustParseAddrPort("172.30.0.2:80")},
					{Protocol: request.UDP, Addr: netip.MustParseAddr("192.0.2.5"), Host: 53, Count: 1, To: netip.MustParseAddrPort("172.30.0.2:53")},
				},
			},
		},
		Leases: []store.Lease{{Scope: "lan:ens192", Addr: netip.MustParseAddr("192.168.1.77"), IfName: "lhh-x"}},
	}
}

func TestHolds(t *testing.T) {
	const lan = "eth0 on network lan, macvlan on ens192"
	all := []request.Protocol{request.TCP, request.UDP, request.SCTP}
	at := func(addr string) Question { return Question{Addr: netip.MustParseAddr(addr)} }
	port := func(addr string, n uint16, protocols ...request.Protocol) Question {
		q := Question{Port: n, Protocols: protocols}
		if addr != "" {
			q.Addr = netip.MustParseAddr(addr)
		}
		return q
	}
	const (
		web   = "0.0.0.0:8080-8082/tcp to 172.30.0.2:80-82 of eth1"
		dns   = "192.0.2.5:53/udp to 172.30.0.2:53 of eth1"
		whole = "all that is sent to 192.0.2.7 goes to 172.30.0.2 of eth1"
	)
	for _, c := range []struct {
		name string
		q    Question
		want []string
	}{
		{"IPv4", at("192.168.1.9"), []string{lan}},
		{"IPv6", at("fd00::9"), []string{lan}},
		{"an address of a router's prefix", at("2001:db8::9"), []string{lan}},
		{"spelled out", at("172.30.0.2"), []string{"eth1, bridge on lh-apps"}},
		{"nobody's address", at("192.168.1.10"), nil},
		{"a whole address", at("192.0.2.7"), []string{whole}},
		{"the address of a port", at("192.0.2.5"), []string{dns}},
		{"what no interface has", at("192.168.1.77"), []string{"kept for lhh-x"}},
		{"MAC address", Question{MAC: plan.MAC{2, 0, 0, 0, 0, 1}}, []string{lan}},
		{"nobody's MAC address", Question{MAC: plan.MAC{2, 0, 0, 0, 0, 3}}, nil},
		{"port", port("", 8080, all...), []string{whole, web}},
		{"the last port", port("0.0.0.0", 8082, all...), []string{web}},
		{"the port after", port("0.0.0.0", 8083, all...), nil},
		{"the port before", port("0.0.0.0", 8079, all...), nil},
		{"another protocol", port("0.0.0.0", 8080, request.UDP), nil},
		{"port at one address", port("198.51.100.1", 8080, all...), []string{web}},
		{"port at an address of IPv6", port("fd00::1", 8080, all...), nil},
		{"port of one address", port("192.0.2.5", 53, all...), []string{dns}},
		{"port of one address at all", port("0.0.0.0", 53, all...), []string{dns}},
		{"port of another address", port("192.0.2.6", 53, all...), nil},
		{"port of a whole address", port("192.0.2.7", 22, all...), []string{whole}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, o := range holds(heldRecord(), c.q) {
				got = append(got, o.What)
				if o.Kind != OwnerContainer || o.Container != "0123" || o.Workload != "web" || o.State != "attached" || o.Since.Unix() != 1 {
					t.Errorf("the owner is %+v", o)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestHostIn: what a bridge sends without a tag is in the VLAN that it has so itself, and in no other.
func TestHostIn(t *testing.T) {
	has := []kernel.PortVLAN{
		{Range: policy.VLANRange{From: 1, To: 1}, PVID: true, Untagged: true},
		{Range: policy.VLANRange{From: 10, To: 19}},
		{Range: policy.VLANRange{From: 30, To: 30}, Untagged: true},
	}
	for vlan, want := range map[int][2]bool{1: {true, false}, 10: {false, true}, 19: {false, true}, 20: {}, 30: {}, 0: {}} {
		if own, tagged := hostIn(has, vlan); [2]bool{own, tagged} != want {
			t.Errorf("VLAN %d: without a tag %t, with one %t", vlan, own, tagged)
		}
	}
}

func TestKeepers(t *testing.T) {
	pool := func(text string) ipam.Range {
		r, err := ipam.ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	p := &policy.Policy{Networks: map[string]*policy.Network{
		"lan": {Name: "lan", Driver: policy.Macvlan, IPAM: policy.IPAMLocal, Subnets: []policy.Subnet{
			{
				Prefix: netip.MustParsePrefix("192.168.1.0/24"), Gateway: netip.MustParseAddr("192.168.1.1"),
				Ranges:  []ipam.Range{pool("192.168.1.100-192.168.1.110")},
				Exclude: []ipam.Range{pool("192.168.1.105")},
			},
			{Prefix: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParseAddr("fe80::1"), HostAddress: netip.MustParseAddr("fd00::c8")},
		}, Reserve: []policy.Reservation{{Name: "printer", Addresses: []netip.Addr{
			netip.MustParseAddr("192.168.1.102"), netip.MustParseAddr("fd00::102"),
		}}}},
		"twin": {Name: "twin", Driver: policy.Macvlan, IPAM: policy.IPAMLocal, Subnets: []policy.Subnet{{
			Prefix: netip.MustParsePrefix("192.168.1.0/24"), Ranges: []ipam.Range{pool("192.168.1.1-192.168.1.2")},
		}}},
		"static": {Name: "static", Driver: policy.IPVLAN, IPAM: policy.IPAMStatic, Subnets: []policy.Subnet{{Prefix: netip.MustParsePrefix("10.9.0.0/24")}}},
		"apps": {
			Name: "apps", Driver: policy.Bridge, Bridge: "lh-apps", IPAM: policy.IPAMLocal,
			Bind: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, DNAT: []netip.Addr{netip.MustParseAddr("192.0.2.7")},
			Subnets: []policy.Subnet{{
				Prefix: netip.MustParsePrefix("172.30.0.0/16"), Gateway: netip.MustParseAddr("172.30.0.1"), SNAT: netip.MustParseAddr("192.0.2.8"),
			}},
		},
	}}
	for addr, want := range map[string]Owner{
		"192.168.1.1":   {What: "the gateway of network lan", Network: "lan"},
		"192.168.1.105": {What: "network lan keeps it back (exclude)", Network: "lan"},
		"192.168.1.102": {What: "network lan keeps it for the workload printer (reserve)", Network: "lan"},
		"fd00::102":     {What: "network lan keeps it for the workload printer (reserve)", Network: "lan"},
		"fd00::c8":      {What: "network lan keeps it for this host, which reaches its containers by it (host-access)", Network: "lan"},
		"fe80::1":       {What: "the gateway of network lan", Network: "lan"},
		"fd00::7":       {What: "network lan may hand it out, from its subnet fd00::/64", Network: "lan", Free: true},
		"10.9.0.0":      {What: "network static: no host has this address of its subnet 10.9.0.0/24", Network: "static"},
		"10.9.0.7":      {What: "network static gives it only to who asks for it, from its subnet 10.9.0.0/24", Network: "static", Free: true},
		"172.30.0.1":    {What: "the gateway of network apps, which the host has on bridge lh-apps while containers are on it", Network: "apps"},
		"192.0.2.5":     {What: "the address of the host at which network apps publishes ports (bind)", Network: "apps"},
		"192.0.2.7":     {What: "all that is sent to it goes to a container on network apps (dnat)", Network: "apps"},
		"192.0.2.8":     {What: "network apps is hidden behind it (snat)", Network: "apps"},
	} {
		want.Kind = OwnerPolicy
		got := keepers(p, Question{Addr: netip.MustParseAddr(addr)})
		if diff := cmp.Diff([]Owner{want}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", addr, diff)
		}
	}
	for addr, want := range map[string][]string{
		"192.168.1.104": {
			"network lan may hand it out, from its subnet 192.168.1.0/24",
			"network twin gives it only to who asks for it, from its subnet 192.168.1.0/24",
		},
		"192.168.1.2": {
			"network lan gives it only to who asks for it, from its subnet 192.168.1.0/24",
			"network twin may hand it out, from its subnet 192.168.1.0/24",
		},
	} {
		var got []string
		for _, o := range keepers(p, Question{Addr: netip.MustParseAddr(addr)}) {
			got = append(got, o.What)
			if !o.Free {
				t.Errorf("%s: %+v keeps it", addr, o)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", addr, diff)
		}
	}
	for _, q := range []Question{
		{Addr: netip.MustParseAddr("198.51.100.1")}, {MAC: plan.MAC{2, 0, 0, 0, 0, 1}}, {Port: 80}, {Port: 80, Addr: netip.MustParseAddr("192.168.1.1")},
	} {
		if got := keepers(p, q); got != nil {
			t.Errorf("%v: %v, want nothing", q, got)
		}
	}
	if got := keepers(nil, Question{Addr: netip.MustParseAddr("192.168.1.1")}); got != nil {
		t.Errorf("without a policy: %v", got)
	}
}

func TestLinkOwner(t *testing.T) {
	mac, permanent := plan.MAC{2, 0, 0, 0, 0, 1}, plan.MAC{2, 0, 0, 0, 0, 9}
	for _, c := range []struct {
		link kernel.State
		q    Question
		want string
	}{
		{
			kernel.State{Name: "ens192", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.5/24")}},
			Question{Addr: netip.MustParseAddr("192.0.2.5")},
			"link ens192 of this host has 192.0.2.5/24",
		},
		{
			kernel.State{Name: "lh-apps", Kind: "bridge", Group: plan.Group, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("172.30.0.1/16")}},
			Question{Addr: netip.MustParseAddr("172.30.0.1")},
			"bridge link lh-apps of this host, made by lanhook, has 172.30.0.1/16",
		},
		{kernel.State{Name: "ens192", MAC: mac}, Question{MAC: mac}, "link ens192 of this host, and is down"},
		{
			kernel.State{Name: "bond0", Kind: "bond", MAC: mac, Permanent: permanent, Up: true},
			Question{MAC: permanent},
			"bond link bond0 of this host has it as its permanent address, and now 02:00:00:00:00:01",
		},
	} {
		if got := linkOwner(c.link, c.q).What; got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestMarkConflicts(t *testing.T) {
	yes, no := true, false
	mine, other := plan.MAC{2, 0, 0, 0, 0, 1}, plan.MAC{2, 0, 0, 0, 0, 2}
	neighbour := func(link string, mac plan.MAC) Owner {
		return Owner{Kind: OwnerNeighbour, What: "x", Link: link, MAC: mac, Answers: true}
	}
	silent := neighbour("ens192", other)
	silent.Answers = false
	container := func(lives *bool) Owner { return Owner{Kind: OwnerContainer, Link: "ens192", MAC: mine, Lives: lives} }
	for _, c := range []struct {
		name       string
		containers []Owner
		host       []Owner
		want       bool
	}{
		{"nobody else", nil, []Owner{neighbour("ens192", other)}, false},
		{"a container", []Owner{container(&yes)}, []Owner{neighbour("ens192", other)}, true},
		{"a neighbour of the host's table who is silent", []Owner{container(&yes)}, []Owner{silent}, false},
		{"the container itself", []Owner{container(&yes)}, []Owner{neighbour("ens192", mine)}, false},
		{"a container that has ended", []Owner{container(&no)}, []Owner{neighbour("ens192", other)}, false},
		{"a container elsewhere", []Owner{container(&yes)}, []Owner{neighbour("ens224", other)}, false},
		{"the container itself, by way of another link", []Owner{container(&yes)}, []Owner{neighbour("br0", mine)}, false},
		{"the host", nil, []Owner{neighbour("ens192", other), {Kind: OwnerHost, Link: "ens192", MAC: mine}}, true},
		{"ports of a container, which say nothing", []Owner{{Kind: OwnerContainer, Link: "ens192", Lives: &yes}}, []Owner{neighbour("ens192", other)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			markConflicts(c.containers, c.host)
			if got := c.host[0]; got.Conflict != c.want || (got.What == "x: a conflict") != c.want {
				t.Errorf("%+v, want a conflict: %t", got, c.want)
			}
		})
	}
}
