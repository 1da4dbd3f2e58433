package policy

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// TestSplitVLAN: VL-02, what a parent's name says of VLANs.
func TestSplitVLAN(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"eth0", "eth0 []"},
		{"eth0.10", "eth0 [10]"},
		{"eth0.1", "eth0 [1]"},
		{"eth0.4094", "eth0 [4094]"},
		{"eth0.100.20", "eth0 [100 20]"},
		{"a.1.2.3", "a.1 [2 3]"},
		{"my.lan.7", "my.lan [7]"},
		{"eth0.4095", "eth0.4095 []"},
		{"eth0.0", "eth0.0 []"},
		{"eth0.050", "eth0.050 []"},
		{"eth0.+5", "eth0.+5 []"},
		{"eth0.-5", "eth0.-5 []"},
		{"eth0.", "eth0. []"},
		{"eth0.x", "eth0.x []"},
		{"eth0:10", "eth0:10 []"},
		{".10", ".10 []"},
		{"eth0.99999999999999999999", "eth0.99999999999999999999 []"},
		{"", " []"},
	} {
		base, ids := SplitVLAN(tt.name)
		if got := fmt.Sprint(base, " ", ids); got != tt.want {
			t.Errorf("SplitVLAN(%q) = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestTags(t *testing.T) {
	for _, tt := range []struct {
		ids   []int
		outer VLANProtocol
		want  []Tag
	}{
		{nil, 0, nil},
		{[]int{50}, 0, []Tag{{50, Dot1Q}}},
		{[]int{50}, Dot1AD, []Tag{{50, Dot1AD}}},
		{[]int{100, 20}, 0, []Tag{{100, Dot1AD}, {20, Dot1Q}}},
		{[]int{100, 20}, Dot1Q, []Tag{{100, Dot1Q}, {20, Dot1Q}}},
	} {
		if diff := cmp.Diff(tt.want, Tags(tt.ids, tt.outer)); diff != "" {
			t.Errorf("Tags(%v, %s) (-want +got):\n%s", tt.ids, tt.outer, diff)
		}
	}
}

func TestScope(t *testing.T) {
	for _, tt := range []struct {
		n    Network
		want string
	}{
		{Network{Driver: Macvlan, Parent: Parent{DefaultRoute: true}}, "lan:ens192.50"},
		{Network{Driver: IPVLAN, Parent: Parent{Name: "ens192"}}, "lan:ens192.50"},
		{Network{Driver: VLAN}, "lan:ens192.50"},
		{Network{Driver: Bridge, Bridge: "lan0"}, "bridge:lan0"},
		{Network{Driver: Bridge, Bridge: "lan0", Access: 20}, "bridge:lan0:20"},
		{Network{Driver: Bridge, Bridge: "lan0", Trunk: []VLANRange{{2, 9}}}, "bridge:lan0"},
		{Network{Driver: Bridge, Bridge: "lan0", Trunk: []VLANRange{{2, 9}}, DefaultVLAN: true}, "bridge:lan0:1"},
		{Network{Driver: Bridge, Bridge: "lan0", Access: 20, DefaultVLAN: true}, "bridge:lan0:20"},
	} {
		if got := tt.n.Scope("ens192.50"); got != tt.want {
			t.Errorf("Scope of %+v = %s, want %s", tt.n, got, tt.want)
		}
	}
}

// TestReserved: what is kept back on a wire holds for all networks on it, however they name it, and for no other.
func TestReserved(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	all := map[string]*Network{
		"plain":  {Driver: Macvlan, Parent: Parent{Name: "eth0"}},
		"fifty":  {Driver: Macvlan, Parent: Parent{Name: "eth0"}, VLAN: Tags([]int{50}, 0)},
		"dotted": {Driver: IPVLAN, Parent: Parent{Name: "eth0.50"}},
		"qinq":   {Driver: Macvlan, Parent: Parent{Name: "eth0"}, VLAN: Tags([]int{100, 20}, 0)},
		"inner":  {Driver: VLAN, Parent: Parent{Name: "eth0.100"}, VLAN: Tags([]int{20}, 0)},
		"mac":    {Driver: Macvlan, Parent: Parent{MAC: mac}},
		"route":  {Driver: Macvlan, Parent: Parent{DefaultRoute: true}, VLAN: Tags([]int{50}, 0)},
		"device": {Driver: HostDevice, Device: Device{Name: "eth7"}},
		"br":     {Driver: Bridge, Bridge: "br0"},
		"br20":   {Driver: Bridge, Bridge: "br0", Access: 20},
		"br20b":  {Driver: Bridge, Bridge: "br0", Access: 20, Trunk: []VLANRange{{30, 30}}},
		"br30":   {Driver: Bridge, Bridge: "br0", Access: 30},
		"other":  {Driver: Bridge, Bridge: "br1", Access: 20},
	}
	p := &Policy{Networks: all}
	keeps, names := map[ipam.Range]string{}, []string{}
	i := byte(0)
	for name, n := range all {
		i++
		n.Name = name
		a := netip.AddrFrom4([4]byte{10, 0, i, 1})
		n.Subnets = []Subnet{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, i, 0}), 24), Gateway: a}}
		keeps[ipam.Range{From: a, To: a}] = name
		names = append(names, name)
	}
	if len(keeps) != len(names) {
		t.Fatal("two networks keep the same back")
	}
	for _, tt := range []struct {
		of, wire string
		want     []string
	}{
		{"plain", "eth0", []string{"plain"}},
		{"plain", "the default route's", []string{"plain", "route"}},
		{"br", "the default route's", []string{"br"}},
		{"fifty", "eth0.50", []string{"fifty", "dotted"}},
		{"dotted", "eth0.50", []string{"fifty", "dotted"}},
		{"qinq", "eth0.100.20", []string{"qinq", "inner"}},
		{"inner", "eth0.100.20", []string{"qinq", "inner"}},
		{"mac", "eth0", []string{"mac", "plain"}},
		{"route", "eth0.50", []string{"route", "fifty", "dotted"}},
		{"device", "eth7", []string{"device"}},
		{"br", "br0", []string{"br"}},
		{"br20", "br0", []string{"br20", "br20b"}},
		{"br20b", "br0", []string{"br20", "br20b"}},
		{"br30", "br0", []string{"br30"}},
		{"other", "br1", []string{"other"}},
	} {
		want, got := map[string]bool{}, map[string]bool{}
		for _, name := range tt.want {
			want[name] = true
		}
		for _, r := range p.Reserved(all[tt.of], tt.wire, map[string]string{"route": "the default route's", "br30": "the default route's", "mac": ""}) {
			got[keeps[r]] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Reserved of %s on %s (-want +got):\n%s", tt.of, tt.wire, diff)
		}
	}
}

// TestElsewhere: only of a network that could keep back an address is it asked what it sends on.
func TestElsewhere(t *testing.T) {
	lan := []Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/24")}}
	other := []Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}}
	all := map[string]*Network{
		"plain":   {Driver: Macvlan, Parent: Parent{Name: "eth0"}, Subnets: lan},
		"same":    {Driver: IPVLAN, Parent: Parent{Name: "eth0"}, Subnets: lan},
		"office":  {Driver: Macvlan, Parent: Parent{Name: "office"}, Subnets: lan},
		"route":   {Driver: Macvlan, Parent: Parent{DefaultRoute: true}, Subnets: lan},
		"far":     {Driver: Macvlan, Parent: Parent{Name: "eth1"}, Subnets: other},
		"nothing": {Driver: Macvlan, Parent: Parent{Name: "eth2"}},
		"device":  {Driver: HostDevice, Device: Device{Name: "eth7"}, Subnets: lan},
		"br":      {Driver: Bridge, Bridge: "br0", Subnets: lan},
	}
	for name, n := range all {
		n.Name = name
	}
	p := &Policy{Networks: all}
	for _, tt := range []struct {
		of   string
		ips  []netip.Prefix
		want []string
	}{
		{"plain", nil, []string{"office", "route"}},
		{"nothing", nil, nil},
		{"nothing", []netip.Prefix{netip.MustParsePrefix("10.1.0.1/8")}, []string{"far"}},
		{"br", nil, nil},
	} {
		var got []string
		for _, n := range p.Elsewhere(all[tt.of], "eth0", tt.ips) {
			got = append(got, n.Name)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Elsewhere of %s (-want +got):\n%s", tt.of, diff)
		}
	}
}
