//go:build linux

package netsetup_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// near is an ipvlan network in mode l2 of the wire, in both families; the neighbour is the gateway.
const near = `
[network.near]
driver = "ipvlan"
parent = "p0"
  [[network.near.subnet]]
  subnet  = "10.77.0.0/24"
  gateway = "10.77.0.1"
  [[network.near.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::1"
`

// routed is an ipvlan network whose subnets the host routes, with two subnets in IPv4.
const routed = `
[network.routed]
driver = "ipvlan"
mode   = "l3"
parent = "p0"
  [[network.routed.subnet]]
  subnet = "10.78.0.0/24"
  [[network.routed.subnet]]
  subnet = "fd78::/64"
`

// farther is another network on the same parent, as far as its mode allows that.
const farther = `
[network.farther]
driver = "ipvlan"
mode   = "l3"
parent = "p0"
  [[network.farther.subnet]]
  subnet = "10.79.0.0/24"
  [[network.farther.subnet]]
  subnet = "fd79::/64"
`

func ipvlanWith(network, options string) string {
	return strings.Replace(network, "parent", options+"\nparent", 1)
}

// newIPVLAN is newWorld where the kernel has ipvlan.
func newIPVLAN(t *testing.T, networks string) *world {
	t.Helper()
	nettest.Need(t, nettest.IPVLAN)
	return newWorld(t, networks)
}

// routes gives the host addresses on the wire, and the neighbour routes by it to the subnets that are behind it.
func (w *world) routes(t *testing.T) {
	t.Helper()
	w.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.2/24"))
		nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("fd77::2/64"))
	})
	w.Neighbour.Do(t, func() {
		for dst, via := range map[string]string{
			"10.78.0.0/24": "10.77.0.2", "10.79.0.0/24": "10.77.0.2", "fd78::/64": "fd77::2", "fd79::/64": "fd77::2",
		} {
			_, to, err := net.ParseCIDR(dst)
			if err == nil {
				err = netlink.RouteAdd(&netlink.Route{Dst: to, Gw: net.ParseIP(via)})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	w.Host.Remember(t)
}

func TestIPVLANLink(t *testing.T) {
	w := newIPVLAN(t, near)
	t.Run("IV-03 as its network says, with the parent's MAC address", func(t *testing.T) {
		w.usePolicy(t, near)
		c, before := w.box(t, "c"), w.links(t)
		r := c.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9")
		c.has(t, "eth0 ipvlan l2 bridge", "  10.77.0.9/24", "  fd77::9/64",
			"  0.0.0.0/0 via 10.77.0.1", "  ::/0 via fd77::1 metric 1024")
		parent := w.hostLink(t, nettest.Parent)
		if got := c.eth0(t); got.MAC.String() != parent.MAC.String() || r.Interfaces[0].MAC.String() != parent.MAC.String() {
			t.Errorf("MAC address %s, reported %s, want the parent's %s", got.MAC, r.Interfaces[0].MAC, parent.MAC)
		}
		if got := w.links(t); !slices.Equal(got, before) {
			t.Errorf("the host has the links %v, and had %v", got, before)
		}
		c.reachesNeighbour(t)
		w.Neighbour.Ping(t, addr("10.77.0.9"))
		w.Neighbour.Ping(t, addr("fd77::9"))
		if drift, err := w.check(t, w.records(t)[0]); err != nil || len(drift) > 0 {
			t.Errorf("drift %+v (%v)", drift, err)
		}
		w.done(t, c)
	})
	t.Run("IV-05 a gateway in one family only", func(t *testing.T) {
		w.usePolicy(t, strings.Replace(strings.Replace(near, "10.77.0.1\"", "10.77.0.254\"", 1), "  gateway = \"fd77::1\"\n", "", 1))
		c := w.box(t, "c")
		c.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9")
		c.has(t, "eth0 ipvlan l2 bridge", "  10.77.0.9/24", "  fd77::9/64", "  0.0.0.0/0 via 10.77.0.254")
		w.done(t, c)
	})
	t.Run("IV-04 MTU, routes, no default route", func(t *testing.T) {
		w.usePolicy(t, ipvlanWith(near, "mtu = 1400"))
		c := w.box(t, "c")
		c.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9,default-route=false,route=10.1.0.0/16 via 10.77.0.1,route=fd01::/48 via fd77::1 metric 5")
		c.has(t, "eth0 ipvlan l2 bridge", "  10.77.0.9/24", "  fd77::9/64",
			"  10.1.0.0/16 via 10.77.0.1", "  fd01::/48 via fd77::1 metric 5")
		if got := c.eth0(t).MTU; got != 1400 {
			t.Errorf("MTU %d, want 1400", got)
		}
		w.done(t, c)
	})
	t.Run("IV-04 internal", func(t *testing.T) {
		w.usePolicy(t, ipvlanWith(near, "internal = true"))
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, "network=near,ip=10.77.0.8,ip=fd77::8")
		two.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9")
		one.has(t, "eth0 ipvlan l2 bridge", "  10.77.0.8/24", "  fd77::8/64")
		one.Ping(t, addr("10.77.0.9"))
		w.done(t, one, two)
	})
	t.Run("IV-04 without addresses", func(t *testing.T) {
		w.usePolicy(t, "[network.bare]\ndriver = \"ipvlan\"\nipam = \"none\"\nparent = \"p0\"\n")
		c := w.box(t, "c")
		c.attach(t, "network=bare")
		c.has(t, "eth0 ipvlan l2 bridge")
		w.done(t, c)
	})
	t.Run("IV-04 an MTU above the parent's", func(t *testing.T) {
		w.usePolicy(t, ipvlanWith(near, "mtu = 9000"))
		w.box(t, "c").refused(t, "an MTU of 9000 is above the 1500 of parent p0", "network=near")
	})
	t.Run("a MAC address", func(t *testing.T) {
		w.usePolicy(t, near)
		w.box(t, "c").refused(t, "MAC", "network=near,mac=02:42:00:00:00:09")
	})
	t.Run("parents", func(t *testing.T) {
		w.usePolicy(t, strings.ReplaceAll(near, `"p0"`, `"lh-canary1"`))
		w.box(t, "c").refused(t, "parent lh-canary1 is a port of a bridge", "network=near")
		change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
		w.Host.Remember(t)
		w.usePolicy(t, ipvlanWith(near, `parent-wait = "0s"`))
		w.box(t, "e").refused(t, "parent p0 is down", "network=near")
	})
}

// Each mode lets through what ip-link(8) says of it: to the neighbour, and to another container on the parent.
func TestIPVLANModes(t *testing.T) {
	w := newIPVLAN(t, near)
	w.routes(t)
	for mode := policy.ModeL2; mode <= policy.ModeL3S; mode++ {
		for flag := policy.FlagBridge; flag <= policy.FlagVEPA; flag++ {
			t.Run(fmt.Sprintf("IV-01 %s %s", mode, flag), func(t *testing.T) {
				network, name, subnet := near, "near", "77"
				if mode != policy.ModeL2 {
					network, name, subnet = strings.Replace(routed, "mode   = \"l3\"\n", "", 1), "routed", "78"
				}
				w.usePolicy(t, ipvlanWith(network, fmt.Sprintf("mode = %q\nflag = %q", mode, flag)))
				one, two := w.box(t, "one"), w.box(t, "two")
				one.attach(t, fmt.Sprintf("network=%s,ip=10.%s.0.8,ip=fd%s::8", name, subnet, subnet))
				two.attach(t, fmt.Sprintf("network=%s,ip=10.%s.0.9,ip=fd%s::9", name, subnet, subnet))
				got := one.eth0(t)
				if want := w.hostLink(t, nettest.Parent).MTU; got.Mode != mode || got.Flag != flag || got.MTU != want || !got.Up {
					t.Errorf("mode %s %s, MTU %d, up %t; want %s %s, %d, up", got.Mode, got.Flag, got.MTU, got.Up, mode, flag, want)
				}
				if mode != policy.ModeL2 {
					one.has(t, fmt.Sprintf("eth0 ipvlan %s %s", mode, flag), "  10.78.0.8/24", "  fd78::8/64", "  0.0.0.0/0 scope 253", "  ::/0 metric 1024")
				}
				one.reachesNeighbour(t)
				for _, family := range []string{"10.%s.0.", "fd%s::"} {
					prefix := fmt.Sprintf(family, subnet)
					w.Neighbour.Ping(t, addr(prefix+"8"))
					if flag == policy.FlagBridge {
						one.Ping(t, addr(prefix+"9"))
					} else {
						one.NoPing(t, addr(prefix+"9"))
					}
				}
				w.done(t, one, two)
			})
		}
	}
	t.Run("IV-06 two subnets, which reach each other without a gateway", func(t *testing.T) {
		w.usePolicy(t, routed+farther)
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, "network=routed,ip=10.78.0.8,ip=fd78::8")
		two.attach(t, "network=farther,ip=10.79.0.8,ip=fd79::8")
		one.has(t, "eth0 ipvlan l3 bridge", "  10.78.0.8/24", "  fd78::8/64", "  0.0.0.0/0 scope 253", "  ::/0 metric 1024")
		for _, to := range []string{"10.79.0.8", "fd79::8"} {
			one.Ping(t, addr(to))
		}
		for _, to := range []string{"10.78.0.8", "fd78::8"} {
			two.Ping(t, addr(to))
		}
		w.done(t, one, two)
	})
	t.Run("several networks on one parent", func(t *testing.T) {
		w.usePolicy(t, near+strings.ReplaceAll(strings.ReplaceAll(near, "near", "more"), "77", "81"))
		one, two, both := w.box(t, "one"), w.box(t, "two"), w.box(t, "both")
		one.attach(t, "network=near,ip=10.77.0.8,ip=fd77::8")
		two.attach(t, "network=more,ip=10.81.0.8,ip=fd81::8")
		both.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9", "network.eth1=more,ip=10.81.0.9,ip=fd81::9")
		both.Ping(t, addr("10.77.0.8"))
		both.Ping(t, addr("fd81::8"))
		one.reachesNeighbour(t)
		w.done(t, one, two, both)
	})
	t.Run("the same address again, before the kernel has ended the first container", func(t *testing.T) {
		w.usePolicy(t, near)
		for i := range 3 {
			c := w.plainBox(t, fmt.Sprintf("c%d", i))
			c.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9", "name=web")
			c.End()
			if _, err := w.setup.Detach(t.Context(), c.id); err != nil {
				t.Error(err)
			}
		}
		w.empty(t)
	})
}

// A parent has children of one kind: what others have there is known from their records.
func TestIPVLANParentInUse(t *testing.T) {
	w := newIPVLAN(t, near)
	for _, c := range []struct{ name, networks, first, second, want string }{
		{
			"beside macvlan", lan + "#" + near, "network=lan,ip=10.77.0.8,ip=fd77::8", "network=near,ip=10.77.0.9,ip=fd77::9",
			"eth0: parent p0 cannot have an ipvlan child in mode l2 bridge: container one has a macvlan child on it",
		},
		{
			"macvlan beside it", near + "#" + lan, "network=near,ip=10.77.0.8,ip=fd77::8", "network=lan,ip=10.77.0.9,ip=fd77::9",
			"eth0: parent p0 cannot have a macvlan child: container one has an ipvlan child on it in mode l2 bridge",
		},
		{
			"another mode", near + "#" + routed, "network=near,ip=10.77.0.8,ip=fd77::8", "network=routed",
			"eth0: parent p0 cannot have an ipvlan child in mode l3 bridge: container one has an ipvlan child on it in mode l2 bridge",
		},
		{
			"another flag", near + "#" + ipvlanWith(near, `flag = "private"`), "network=near,ip=10.77.0.8,ip=fd77::8",
			"network=near,ip=10.77.0.9,ip=fd77::9",
			"eth0: parent p0 cannot have an ipvlan child in mode l2 private: container one has an ipvlan child on it in mode l2 bridge",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			// One policy would not hold both: the administrator has changed it while a container runs.
			first, second, _ := strings.Cut(c.networks, "#")
			w.usePolicy(t, first)
			one, two, three := w.plainBox(t, "one"), w.box(t, "two"), w.plainBox(t, "three")
			one.attach(t, c.first)
			before := one.eth0(t)
			w.usePolicy(t, second)
			two.refused(t, c.want, c.second)
			if _, err := w.setup.Plan(t.Context(), two.container(t, c.second)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the plan gave error %v, want %q", err, c.want)
			}
			if after := one.eth0(t); after.Mode != before.Mode || after.Flag != before.Flag {
				t.Errorf("mode %s %s, was %s %s", after.Mode, after.Flag, before.Mode, before.Flag)
			}
			one.reachesNeighbour(t)
			// A container that has died without a poststop is in nobody's way.
			one.ended(t)
			three.attach(t, c.second)
			if all := w.records(t); len(all) != 1 || all[0].Container != "three" {
				t.Errorf("records: %+v", all)
			}
			three.detachAny(t)
			w.empty(t)
		})
	}
	t.Run("of the host itself", func(t *testing.T) {
		w.usePolicy(t, near)
		w.Host.Do(t, func() {
			p, err := netlink.LinkByName(nettest.Parent)
			if err == nil {
				a := netlink.NewLinkAttrs()
				a.Name, a.ParentIndex = "iv0", p.Attrs().Index
				err = netlink.LinkAdd(&netlink.IPVlan{LinkAttrs: a, Mode: netlink.IPVLAN_MODE_L3S})
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		w.Host.Remember(t)
		c := w.box(t, "c")
		c.refused(t, "cannot have an ipvlan child in mode l2 bridge: the host has the ipvlan child iv0 on it, in mode l3s bridge", "network=near")
		w.usePolicy(t, strings.Replace(routed, `"l3"`, `"l3s"`, 1))
		c.attach(t, "network=routed")
		w.done(t, c)
		change(t, w.Host, "iv0", netlink.LinkDel)
		w.Host.Remember(t)
	})
	t.Run("of a container that lanhook does not know", func(t *testing.T) {
		w.usePolicy(t, near)
		stranger := w.plainBox(t, "stranger")
		ns, closeNS := stranger.open(t)
		p := w.hostLink(t, nettest.Parent)
		err := w.setup.Host.Kernel(ns).Apply(t.Context(), plan.AddMacvlan{
			Name: "mv0", Parent: p.Name, ParentIndex: p.Index, Mode: policy.ModeBridge, MAC: plan.MAC{2, 0, 0, 0, 0, 9}, MTU: 1500,
		})
		if err != nil {
			t.Fatal(err)
		}
		w.box(t, "c").refused(t, "p0 is in use by something that takes all its frames, such as a macvlan child in another network namespace",
			"network=near")
		closeNS()
	})
}
