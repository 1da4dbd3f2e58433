//go:build linux

package kernel_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// linkText is what a parent was found to be: its name, or "+name" for one that is to be made, what it sends on, and the
// sub-interfaces that are lanhook's.
func linkText(l plan.Link) string {
	name := l.Name
	if l.Index == 0 {
		name = "+" + name
	}
	text := fmt.Sprintf("%s wire %s mtu %d up %t", name, l.Wire(), l.MTU, l.Up)
	for _, s := range l.Subs {
		text += fmt.Sprintf(" ensure %s on %s %s", s.Name, s.Parent, s.Tag)
	}
	return text
}

// longName is the longest that a link can have.
const longName = "enp0s31f6abcdef"

// vlanHost makes the host of [TestVLANFacts].
func vlanHost(t *testing.T, n *nettest.Net, h *kernel.Host) {
	t.Helper()
	n.Host.Do(t, func() {
		addVLAN(t, "p0", "office", dot1q(60))
		addVLAN(t, "p0", "p0.61", dot1q(61))
		addVLAN(t, "p0", "p0.62", dot1ad(9)) // its name says something else
		addVLAN(t, "p0", "down", dot1q(63))
		onLink(t, "down", netlink.LinkSetDown)
		addVLAN(t, nettest.CanaryBridge, "p0.64", dot1q(64)) // of another link
		for _, name := range []string{longName, "ens5.7"} {
			veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "x" + name[:5]}
			veth.Name, veth.MTU, veth.HardwareAddr = name, 9000, net.HardwareAddr{2, 0, 0, 0, 0, byte(len(name))}
			if err := netlink.LinkAdd(veth); err != nil {
				t.Fatal(err)
			}
			onLink(t, name, netlink.LinkSetUp)
		}
		onLink(t, "p0", func(l netlink.Link) error { return netlink.LinkAddAltName(l, "uplink-of-the-office") })
		onLink(t, "p0", func(l netlink.Link) error {
			nettest.AddAddress(t, "p0", prefix("10.77.0.2/24"))
			return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.IPv4(10, 77, 0, 1)})
		})
	})
	// lanhook's own, one of them not finished by its attach.
	run(t, h.KernelByID(-1, nil),
		plan.EnsureVLAN{Name: "p0.100", Parent: "p0", Tag: dot1ad(100)},
		plan.EnsureVLAN{Name: "p0.100.20", Parent: "p0.100", Tag: dot1q(20)},
		plan.EnsureVLAN{Name: "lhvaaaaaaaaaa", Parent: "p0", Tag: dot1q(70)},
		plan.EnsureVLAN{Name: "p0.71", Parent: "p0", Tag: dot1q(71)})
	n.Host.Do(t, func() {
		onLink(t, "p0.71", netlink.LinkSetDown)
		onLink(t, "p0.71", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1400) })
	})
	n.Host.Remember(t)
}

func TestVLANFacts(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	vlanHost(t, n, h)
	byName := func(name string) policy.Parent { return policy.Parent{Name: name} }
	for name, test := range map[string]struct {
		parent policy.Parent
		tags   []policy.Tag
		want   string
	}{
		"link itself":             {byName("p0"), nil, "p0 wire p0 mtu 1500 up true"},
		"VLAN":                    {byName("p0"), policy.Tags([]int{50}, 0), "+p0.50 wire p0.50 mtu 1500 up true ensure p0.50 on p0 50"},
		"VL-02 VLAN in the name":  {byName("p0.50"), nil, "+p0.50 wire p0.50 mtu 1500 up true ensure p0.50 on p0 50"},
		"VL-02 bad delimiter":     {byName("p0:50"), nil, ""},
		"VL-02 unknown link":      {byName("missing.456"), nil, ""},
		"VL-02 leading zero":      {byName("p0.050"), nil, ""},
		"VL-02 VLAN 0":            {byName("p0.0"), nil, ""},
		"VL-02 VLAN 4095":         {byName("p0.4095"), nil, ""},
		"VL-02 VLAN 4094":         {byName("p0.4094"), nil, "+p0.4094 wire p0.4094 mtu 1500 up true ensure p0.4094 on p0 4094"},
		"VL-03 other name":        {byName("p0"), policy.Tags([]int{60}, 0), "office wire p0.60 mtu 1500 up true"},
		"VL-03 by its name":       {byName("office"), nil, "office wire p0.60 mtu 1500 up true"},
		"VL-03 dotted":            {byName("p0.61"), nil, "p0.61 wire p0.61 mtu 1500 up true"},
		"VLAN in VLAN 60":         {byName("office"), policy.Tags([]int{5}, 0), "+office.5 wire p0.60.5 mtu 1500 up true ensure office.5 on office 5"},
		"VLAN in VLAN 61 by name": {byName("p0.61.5"), nil, "+p0.61.5 wire p0.61.5 mtu 1500 up true ensure p0.61.5 on p0.61 5"},
		"administrator's is down": {byName("p0"), policy.Tags([]int{63}, 0), "down wire p0.63 mtu 1500 up false"},
		"name says another VLAN":  {byName("p0.62"), nil, "p0.62 wire p0.9 mtu 1500 up true"},
		"name of another VLAN":    {byName("p0"), policy.Tags([]int{62}, 0), "+lhv… wire p0.62 mtu 1500 up true ensure lhv… on p0 62"},
		"name of another link's":  {byName("p0"), policy.Tags([]int{64}, 0), "+lhv… wire p0.64 mtu 1500 up true ensure lhv… on p0 64"},
		"parent of 15 bytes":      {byName(longName), policy.Tags([]int{50}, 0), "+lhv… wire " + longName + ".50 mtu 9000 up true ensure lhv… on " + longName + " 50"},
		"15 bytes by name":        {byName(longName + ".50"), nil, "+lhv… wire " + longName + ".50 mtu 9000 up true ensure lhv… on " + longName + " 50"},
		"dot that is no VLAN":     {byName("ens5.7"), nil, "ens5.7 wire ens5.7 mtu 9000 up true"},
		"VLAN of a dotted link":   {byName("ens5.7.8"), nil, "+ens5.7.8 wire ens5.7.8 mtu 9000 up true ensure ens5.7.8 on ens5.7 8"},
		"QinQ": {
			byName("p0"), policy.Tags([]int{101, 20}, 0),
			"+p0.101.20 wire p0.101.20 mtu 1500 up true ensure p0.101 on p0 101 (802.1ad) ensure p0.101.20 on p0.101 20",
		},
		"QinQ by name": {
			byName("p0.101.20"), nil,
			"+p0.101.20 wire p0.101.20 mtu 1500 up true ensure p0.101 on p0 101 (802.1ad) ensure p0.101.20 on p0.101 20",
		},
		"ours": {
			byName("p0"), policy.Tags([]int{100, 20}, 0),
			"p0.100.20 wire p0.100.20 mtu 1500 up true ensure p0.100 on p0 100 (802.1ad) ensure p0.100.20 on p0.100 20",
		},
		"ours by name": {
			byName("p0.100.20"), nil,
			"p0.100.20 wire p0.100.20 mtu 1500 up true ensure p0.100 on p0 100 (802.1ad) ensure p0.100.20 on p0.100 20",
		},
		"outer tag is ours": {
			byName("p0"), policy.Tags([]int{100, 21}, 0),
			"+p0.100.21 wire p0.100.21 mtu 1500 up true ensure p0.100 on p0 100 (802.1ad) ensure p0.100.21 on p0.100 21",
		},
		"name of ours of another protocol": {byName("p0.100"), nil, "+lhv… wire p0.100 mtu 1500 up true ensure lhv… on p0 100"},
		"ours under another name":          {byName("p0"), policy.Tags([]int{70}, 0), "lhv… wire p0.70 mtu 1500 up true ensure lhv… on p0 70"},
		"ours by another name":             {byName("lhvaaaaaaaaaa"), nil, "lhv… wire p0.70 mtu 1500 up true ensure lhv… on p0 70"},
		"ours is not up yet":               {byName("p0.71"), nil, "p0.71 wire p0.71 mtu 1500 up true ensure p0.71 on p0 71"},
		"alternative name": {
			policy.Parent{AltName: "uplink-of-the-office"}, policy.Tags([]int{50}, 0), "+p0.50 wire p0.50 mtu 1500 up true ensure p0.50 on p0 50",
		},
		"alternative name and VLAN": {byName("uplink-of-the-office.50"), nil, "+p0.50 wire p0.50 mtu 1500 up true ensure p0.50 on p0 50"},
		"MAC address": {
			policy.Parent{MAC: net.HardwareAddr{2, 0x70, 0, 0, 0, 1}}, policy.Tags([]int{60}, 0), "office wire p0.60 mtu 1500 up true",
		},
		"default route": {
			policy.Parent{DefaultRoute: true}, policy.Tags([]int{50}, 0), "+p0.50 wire p0.50 mtu 1500 up true ensure p0.50 on p0 50",
		},
	} {
		t.Run(name, func(t *testing.T) {
			facts, err := h.Facts(t.Context(), nil, []kernel.Query{{IfName: "eth0", Parent: test.parent, VLAN: test.tags, WantAddresses: true}})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if l, ok := facts.Uplink["eth0"]; ok {
				got = linkText(l)
				for _, s := range append(l.Subs, plan.Sub{Name: l.Name}) {
					if len(s.Name) == 13 && strings.HasPrefix(s.Name, "lhv") {
						got = strings.ReplaceAll(got, s.Name, "lhv…")
					}
				}
			}
			if got != test.want {
				t.Errorf("found %s\n want %s", got, test.want)
			}
		})
	}
}

// TestVLANFactsOfTheDriver looks for a tag that is to be the container's own.
func TestVLANFactsOfTheDriver(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	vlanHost(t, n, h)
	for id, want := range map[int]string{60: "office", 61: "p0.61", 71: "p0.71", 64: "", 9: "", 50: ""} {
		q := kernel.Query{IfName: "eth0", Parent: policy.Parent{Name: "p0"}, Own: dot1q(id)}
		facts, err := h.Facts(t.Context(), nil, []kernel.Query{q})
		if err != nil || facts.Tagged["eth0"] != want {
			t.Errorf("VLAN %d is %q (%v), want %q", id, facts.Tagged["eth0"], err, want)
		}
	}
}

// TestVLANFactsOfWhatComes looks for a sub-interface that another attach makes: it has one name, there or not.
func TestVLANFactsOfWhatComes(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	made := func() error {
		p, err := netlink.LinkByName("p0")
		if err != nil {
			return err
		}
		return netlink.LinkAdd(&netlink.Vlan{
			LinkAttrs: netlink.LinkAttrs{Name: "p0.60", ParentIndex: p.Attrs().Index, Group: plan.Group}, VlanId: 60,
		})
	}
	whileItComesAndGoes(t, n.Host, "p0.60", made, func() error {
		facts, err := h.Facts(t.Context(), nil, []kernel.Query{
			{IfName: "one", Parent: policy.Parent{Name: "p0"}, VLAN: policy.Tags([]int{60}, 0)},
			{IfName: "two", Parent: policy.Parent{Name: "p0.60"}, VLAN: policy.Tags([]int{20}, 0)},
		})
		one, two := facts.Uplink["one"].Name, facts.Uplink["two"].Name
		if err == nil && (one != "p0.60" || two != "p0.60.20") {
			err = fmt.Errorf("found %s and %s, want p0.60 and p0.60.20", one, two)
		}
		return err
	})
}

// TestVLANFactsFollowTheParent takes what a missing or unfinished sub-interface will have from what is below it.
func TestVLANFactsFollowTheParent(t *testing.T) {
	nettest.Need(t, nettest.VLAN, nettest.Bond)
	n := nettest.New(t)
	h := openHost(t, n)
	run(t, h.KernelByID(-1, nil), plan.EnsureVLAN{Name: "p0.60", Parent: "p0", Tag: dot1q(60)})
	n.Host.Do(t, func() {
		onLink(t, "p0", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) })
		onLink(t, "p0", netlink.LinkSetDown)
		bond := netlink.NewLinkBond(netlink.NewLinkAttrs())
		bond.Name, bond.Mode = "bond0", netlink.BOND_MODE_BALANCE_ALB
		if err := netlink.LinkAdd(bond); err != nil {
			t.Fatal(err)
		}
		addVLAN(t, nettest.CanaryBridge, "lan.3", dot1q(3))
	})
	n.Host.Remember(t)
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{
		{IfName: "ours", Parent: policy.Parent{Name: "p0.60"}},
		{IfName: "missing", Parent: policy.Parent{Name: "p0.61"}},
		{IfName: "bond", Parent: policy.Parent{Name: "bond0.5"}},
		{IfName: "port", Parent: policy.Parent{Name: "lh-canary1"}, VLAN: policy.Tags([]int{5}, 0)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ours":    "p0.60 wire p0.60 mtu 1300 up false ensure p0.60 on p0 60",
		"missing": "+p0.61 wire p0.61 mtu 1300 up false ensure p0.61 on p0 61",
	} {
		if got := linkText(facts.Uplink[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := facts.Uplink["bond"].BondMode; got != 6 {
		t.Errorf("the VLAN of a bond in mode balance-alb is in mode %d", got)
	}
	if got := facts.Uplink["port"].MasterKind; got != "" {
		t.Errorf("the VLAN of a bridge's port is a port of a %s", got)
	}
}
