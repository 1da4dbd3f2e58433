//go:build linux

package netsetup_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// apps is a network on a bridge that lanhook makes, in both families.
const apps = `
[network.apps]
driver = "bridge"
  [[network.apps.subnet]]
  subnet = "172.30.0.0/24"
  [[network.apps.subnet]]
  subnet = "fd30::/64"
`

// appsWith is apps with more keys.
func appsWith(options string) string {
	return strings.Replace(apps, "driver", options+"\ndriver", 1)
}

// port is the host's end of the container's pair.
func (w *world) port(t *testing.T, id string) string {
	t.Helper()
	for _, rec := range w.records(t) {
		for _, step := range rec.Steps {
			if v, ok := step.(plan.AddVeth); ok && rec.Container == id {
				return v.Name
			}
		}
	}
	t.Fatalf("no record of %s has a veth", id)
	return ""
}

func TestBridge(t *testing.T) {
	t.Run("BR-01 RT-06 made with the first container, gone with the last", func(t *testing.T) {
		w := newWorld(t, apps)
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, "network=apps,ip=172.30.0.8,ip=fd30::8")
		bridge := w.hostLink(t, "lh-apps")
		if bridge.Kind != "bridge" || !bridge.Up || bridge.Promiscuous || bridge.Group != plan.Group {
			t.Errorf("bridge is %+v", bridge)
		}
		two.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9")
		one.detach(t)
		if again := w.hostLink(t, "lh-apps"); again.Index != bridge.Index || again.MAC.String() != bridge.MAC.String() {
			t.Errorf("bridge is %+v, was %+v", again, bridge)
		}
		two.Ping(t, addr("172.30.0.1"))
		w.done(t, two)
		if slices.Contains(w.links(t), "lh-apps") {
			t.Error("the bridge is still there")
		}
	})
	t.Run("BR-02 of the administrator's making", func(t *testing.T) {
		w := newWorld(t, appsWith(`bridge = "br0"`))
		w.adminBridge(t, "br0", "172.30.0.1/24", "fd30::1/64")
		before := w.hostLink(t, "br0")
		c := w.box(t, "c")
		c.attach(t, "network=apps")
		after := w.hostLink(t, "br0")
		if diff := cmp.Diff(stateLines(before), stateLines(after)); diff != "" || before.Index != after.Index {
			t.Errorf("bridge %d, was %d (-before +after):\n%s", after.Index, before.Index, diff)
		}
		c.Ping(t, addr("172.30.0.1"))
		c.Ping(t, addr("fd30::1"))
		w.done(t, c)
	})
	t.Run("BR-04 without addresses", func(t *testing.T) {
		w := newWorld(t, "[network.apps]\ndriver = \"bridge\"\n")
		c := w.box(t, "c")
		c.attach(t, "network=apps")
		c.has(t, "eth0 veth")
		port := w.hostLink(t, w.port(t, "c"))
		if !port.Up || port.Master != w.hostLink(t, "lh-apps").Index {
			t.Errorf("port is %+v", port)
		}
		if got := global(w.hostLink(t, "lh-apps").Addresses); len(got) > 0 {
			t.Errorf("the bridge has %v", got)
		}
		w.done(t, c)
	})
	t.Run("BR-05 promiscuous is the administrator's and stays", func(t *testing.T) {
		w := newWorld(t, appsWith(`bridge = "br0"`))
		w.adminBridge(t, "br0", "172.30.0.1/24", "fd30::1/64")
		change(t, w.Host, "br0", netlink.SetPromiscOn)
		w.Host.Remember(t)
		c := w.box(t, "c")
		c.attach(t, "network=apps")
		if !w.hostLink(t, "br0").Promiscuous {
			t.Error("the bridge is no longer promiscuous")
		}
		w.done(t, c)
	})
	t.Run("BR-06 MAC address of the container's end alone", func(t *testing.T) {
		w := newWorld(t, appsWith(`mac = "from-ip"`))
		c := w.box(t, "c")
		for annotation, want := range map[string]string{
			"": "02:42:ac:1e:00:09", ",mac=d0:ee:6a:1d:3c:62": "d0:ee:6a:1d:3c:62",
		} {
			c.attach(t, "network=apps,ip=172.30.0.9"+annotation)
			if got := c.eth0(t).MAC.String(); got != want {
				t.Errorf("MAC address %s, want %s", got, want)
			}
			if got := w.hostLink(t, w.port(t, "c")).MAC.String(); got == want {
				t.Errorf("the host's end has %s too", got)
			}
			c.Ping(t, addr("172.30.0.1")) // BR-26
			w.done(t, c)
		}
	})
	t.Run("BR-07 detached without ever being attached", func(t *testing.T) {
		w := newWorld(t, apps)
		d, err := w.setup.Detach(t.Context(), "c")
		if err != nil || d.Found {
			t.Errorf("detach found %t (%v)", d.Found, err)
		}
		w.empty(t)
	})
	t.Run("BR-12 a missing bridge is made and a made one kept", func(t *testing.T) {
		w := newWorld(t, appsWith(`bridge = "br0"`))
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, "network=apps")
		w.done(t, one)
		w.adminBridge(t, "br0", "192.0.2.1/24")
		one.attach(t, "network=apps")
		two.attach(t, "network=apps")
		if got := stateLines(w.hostLink(t, "br0")); !slices.Equal(got, []string{"br0 bridge", "  192.0.2.1/24"}) {
			t.Errorf("the bridge has %v", got)
		}
		w.done(t, one, two)
	})
	t.Run("BR-26 the host reaches it at once", func(t *testing.T) {
		w := newWorld(t, apps)
		c := w.box(t, "c")
		c.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9,mac=d0:ee:6a:1d:3c:62")
		w.Host.Ping(t, addr("172.30.0.9"))
		w.Host.Ping(t, addr("fd30::9"))
		w.done(t, c)
	})
}

// The bridge's addresses, the container's, and its default routes.
func TestBridgeSubnets(t *testing.T) {
	subnets := func(list ...string) string {
		text := "[network.apps]\ndriver = \"bridge\"\n"
		for _, s := range list {
			text += "[[network.apps.subnet]]\nsubnet = \"" + s + "\"\n"
		}
		return text
	}
	for _, c := range []struct {
		name    string
		subnets []string
		ips     string
		bridge  []string
		want    []string
	}{
		{
			"BR-03 IPv4",
			[]string{"10.1.2.0/24"},
			"ip=10.1.2.9",
			[]string{"10.1.2.1/24"},
			[]string{"eth0 veth", "  10.1.2.9/24", "  0.0.0.0/0 via 10.1.2.1"},
		},
		{
			"BR-03 IPv6",
			[]string{"fd01:2::/64"},
			"ip=fd01:2::9",
			[]string{"fd01:2::1/64"},
			[]string{"eth0 veth", "  fd01:2::9/64", "  ::/0 via fd01:2::1 metric 1024"},
		},
		{
			"BR-03 both",
			[]string{"10.1.2.0/24", "fd01:2::/64"},
			"ip=10.1.2.9,ip=fd01:2::9",
			[]string{"10.1.2.1/24", "fd01:2::1/64"},
			[]string{
				"eth0 veth", "  10.1.2.9/24", "  fd01:2::9/64", "  0.0.0.0/0 via 10.1.2.1", "  ::/0 via fd01:2::1 metric 1024",
			},
		},
		{
			"BR-03 IPv4 and twice IPv6",
			[]string{"10.1.2.0/24", "fd01:2::/64", "fd01:3::/64"},
			"ip=10.1.2.9,ip=fd01:2::9,ip=fd01:3::9",
			[]string{"10.1.2.1/24", "fd01:2::1/64", "fd01:3::1/64"},
			[]string{
				"eth0 veth", "  10.1.2.9/24", "  fd01:2::9/64", "  fd01:3::9/64",
				"  0.0.0.0/0 via 10.1.2.1", "  ::/0 via fd01:2::1 metric 1024",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, subnets(c.subnets...))
			b := w.box(t, "c")
			b.attach(t, "network=apps,"+c.ips)
			var got []string
			for _, p := range global(w.hostLink(t, "lh-apps").Addresses) {
				got = append(got, p.String())
				b.Ping(t, p.Addr())
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.bridge, got); diff != "" {
				t.Errorf("the bridge has (-want +got):\n%s", diff)
			}
			sortAddresses := b.view(t)
			slices.Sort(sortAddresses)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, sortAddresses); diff != "" {
				t.Errorf("the container has (-want +got):\n%s", diff)
			}
			w.done(t, b)
		})
	}
	t.Run("BR-03 from the pools, one address a subnet", func(t *testing.T) {
		w := newWorld(t, subnets("10.1.2.0/24", "fd01:2::/64", "fd01:3::/64"))
		b := w.box(t, "c")
		r := b.attach(t, "network=apps")
		var nets []string
		for _, p := range r.Interfaces[0].Addresses {
			nets = append(nets, p.Masked().String())
		}
		if diff := cmp.Diff([]string{"10.1.2.0/24", "fd01:2::/64", "fd01:3::/64"}, nets); diff != "" {
			t.Errorf("subnets (-want +got):\n%s", diff)
		}
		w.done(t, b)
	})
	t.Run("BR-38 without gateways", func(t *testing.T) {
		w := newWorld(t, strings.ReplaceAll(appsWith("internal = true"), "subnet =", "gateway = false\nsubnet ="))
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, "network=apps,ip=172.30.0.8,ip=fd30::8")
		two.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9")
		if got := global(w.hostLink(t, "lh-apps").Addresses); len(got) > 0 {
			t.Errorf("the bridge has %v", got)
		}
		one.has(t, "eth0 veth", "  172.30.0.8/24", "  fd30::8/64")
		one.Ping(t, addr("172.30.0.9"))
		one.Ping(t, addr("fd30::9"))
		w.done(t, one, two)
	})
	t.Run("BR-37 a /31 of two containers", func(t *testing.T) {
		w := newWorld(t, strings.Replace(subnets("10.83.0.8/31"), "driver", "internal = true\ndriver", 1))
		one, two, three := w.box(t, "one"), w.box(t, "two"), w.box(t, "three")
		one.attach(t, "network=apps")
		r := two.attach(t, "network=apps")
		one.Ping(t, onlyAddress(t, r.Interfaces[0], netip.Addr.Is4))
		three.refused(t, "10.83.0.8/31", "network=apps")
		w.done(t, one, two)
	})
	t.Run("BR-34 of one family", func(t *testing.T) {
		for _, c := range []struct{ subnet, disabled string }{{"10.1.2.0/24", "1"}, {"fd01:2::/64", "0"}} {
			w := newWorld(t, subnets(c.subnet))
			b := w.box(t, "c")
			lo := readSetting(t, b.Space, "ipv6/conf/lo/disable_ipv6")
			r := b.attach(t, "network=apps")
			if got := b.eth0(t).Addresses; c.disabled == "1" && len(got) != 1 ||
				slices.ContainsFunc(got, func(p netip.Prefix) bool { return p.Addr().Is4() != (c.disabled == "1") }) {
				t.Errorf("%s: addresses %v, reported %v", c.subnet, got, r.Interfaces[0].Addresses)
			}
			if got := readSetting(t, b.Space, "ipv6/conf/eth0/disable_ipv6"); got != c.disabled {
				t.Errorf("%s: disable_ipv6 of eth0 is %s, want %s", c.subnet, got, c.disabled)
			}
			if got := readSetting(t, b.Space, "ipv6/conf/lo/disable_ipv6"); got != lo {
				t.Errorf("%s: disable_ipv6 of lo is %s, was %s", c.subnet, got, lo)
			}
			w.done(t, b)
		}
	})
	t.Run("BR-18 containers of one network reach each other", func(t *testing.T) {
		for _, options := range []string{"", "internal = true"} {
			w := newWorld(t, appsWith(options))
			one, two := w.box(t, "one"), w.box(t, "two")
			one.attach(t, "network=apps")
			r := two.attach(t, "network=apps")
			one.Ping(t, onlyAddress(t, r.Interfaces[0], netip.Addr.Is4))
			one.Ping(t, onlyAddress(t, r.Interfaces[0], netip.Addr.Is6))
			for _, p := range two.eth0(t).Addresses {
				if p.Addr().IsLinkLocalUnicast() {
					one.Ping(t, p.Addr().WithZone("eth0"))
				}
			}
			w.done(t, one, two)
		}
	})
}

func TestBridgeMTU(t *testing.T) {
	mtus := func(t *testing.T, w *world, b *box) [3]int {
		t.Helper()
		return [3]int{b.eth0(t).MTU, w.hostLink(t, w.port(t, b.id)).MTU, w.hostLink(t, "lh-apps").MTU}
	}
	t.Run("BR-14 of the network", func(t *testing.T) {
		w := newWorld(t, appsWith("mtu = 9002"))
		b := w.box(t, "c")
		b.attach(t, "network=apps")
		if got := mtus(t, w, b); got != [3]int{9002, 9002, 9002} {
			t.Errorf("MTUs of container, port and bridge: %v", got)
		}
		w.done(t, b)
	})
	t.Run("BR-14 of a bridge that is there", func(t *testing.T) {
		w := newWorld(t, appsWith("mtu = 1400"))
		w.adminBridge(t, "lh-apps", "172.30.0.1/24")
		change(t, w.Host, "lh-apps", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1450) })
		w.Host.Remember(t)
		b := w.box(t, "c")
		b.attach(t, "network=apps")
		// A port with a smaller one would lower the bridge's.
		if got := mtus(t, w, b); got != [3]int{1400, 1450, 1450} {
			t.Errorf("MTUs of container, port and bridge: %v", got)
		}
		w.done(t, b)
	})
	t.Run("BR-15 of the default route", func(t *testing.T) {
		w := newWorld(t, apps)
		change(t, w.Neighbour, nettest.PeerName, func(l netlink.Link) error { return netlink.LinkSetMTU(l, 9000) })
		change(t, w.Host, nettest.Parent, func(l netlink.Link) error { return netlink.LinkSetMTU(l, 9000) })
		w.Host.Do(t, func() {
			nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.2/24"))
			if err := netlink.RouteAdd(&netlink.Route{Gw: nettest.PeerPrefix4().Addr().AsSlice()}); err != nil {
				t.Fatal(err)
			}
		})
		w.forwards(t)
		b := w.box(t, "c")
		b.attach(t, "network=apps")
		if got := mtus(t, w, b); got != [3]int{9000, 9000, 9000} {
			t.Errorf("MTUs of container, port and bridge: %v", got)
		}
		w.done(t, b)
	})
}
