//go:build linux

package netsetup_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

func TestSeveralNetworks(t *testing.T) {
	orders := map[string][2]string{
		"BR-21 macvlan first": {"lan,ip=10.77.0.9,ip=fd77::9", "apps,ip=172.30.0.9,ip=fd30::9"},
		"BR-21 bridge first":  {"apps,ip=172.30.0.9,ip=fd30::9", "lan,ip=10.77.0.9,ip=fd77::9"},
	}
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lan+apps)
			c := w.box(t, "c")
			c.attach(t, "network="+order[0], "network.eth1="+order[1])
			onLAN := []string{" macvlan bridge", "  10.77.0.9/24", "  fd77::9/64"}
			onApps := []string{" veth", "  172.30.0.9/24", "  fd30::9/64"}
			// The second one's default routes come behind the first one's.
			gateways := []string{"  0.0.0.0/0 via 10.77.0.1", "  ::/0 via fd77::1 metric 1024"}
			behind := []string{"  0.0.0.0/0 via 172.30.0.1 metric 2048", "  ::/0 via fd30::1 metric 2048"}
			first, second := onLAN, onApps
			if strings.HasPrefix(order[0], "apps") {
				gateways = []string{"  0.0.0.0/0 via 172.30.0.1", "  ::/0 via fd30::1 metric 1024"}
				behind = []string{"  0.0.0.0/0 via 10.77.0.1 metric 2048", "  ::/0 via fd77::1 metric 2048"}
				first, second = onApps, onLAN
			}
			first[0], second[0] = "eth0"+first[0], "eth1"+second[0]
			c.has(t, slices.Concat(first, gateways, second, behind)...)
			c.reachesNeighbour(t)
			c.Ping(t, addr("172.30.0.1"))
			w.done(t, c)
		})
	}
	t.Run("BR-21 the default route of each family by another", func(t *testing.T) {
		w := newWorld(t, lan4+apps)
		c := w.box(t, "c")
		c.attach(t, "network=lan,ip=10.77.0.9", "network.eth1=apps,ip=172.30.0.9,ip=fd30::9")
		c.has(t, "eth0 macvlan bridge", "  10.77.0.9/24", "  0.0.0.0/0 via 10.77.0.1",
			"eth1 veth", "  172.30.0.9/24", "  fd30::9/64", "  0.0.0.0/0 via 172.30.0.1 metric 2048", "  ::/0 via fd30::1 metric 1024")
		w.done(t, c)
	})
	t.Run("BR-21 two networks of one parent, and of one bridge", func(t *testing.T) {
		two := strings.ReplaceAll(lan, "network.lan", "network.lan2")
		w := newWorld(t, lan+two+apps)
		c := w.box(t, "c")
		r := c.attach(t, "network=lan", "network.eth1=lan2", "network.eth2=apps", "network.eth3=apps")
		seen := map[netip.Addr]bool{}
		for _, i := range r.Interfaces {
			for _, p := range i.Addresses {
				if seen[p.Addr()] {
					t.Errorf("%s is there twice: %+v", p.Addr(), r.Interfaces)
				}
				seen[p.Addr()] = true
			}
		}
		if len(seen) != 8 {
			t.Errorf("%d addresses, want 8: %+v", len(seen), r.Interfaces)
		}
		w.done(t, c)
	})
}

// What the container or the host has already under a name stays, and is named in the message.
func TestTakenNames(t *testing.T) {
	t.Run("in the container", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		c := w.plainBox(t, "c")
		addBridge(t, c.Space, "eth0", "192.0.2.5/24")
		c.Remember(t)
		for _, network := range []string{"lan", "apps"} {
			c.refused(t, "eth0: the container has an interface of this name already", "network="+network)
		}
	})
	t.Run("of the bridge, by something else", func(t *testing.T) {
		w := newWorld(t, appsWith(`bridge = "`+nettest.CanaryVeth+`"`))
		w.box(t, "c").refused(t, nettest.CanaryVeth+" is no bridge but a link of kind veth", "network=apps")
	})
	t.Run("of the bridge, by one that is down", func(t *testing.T) {
		w := newWorld(t, apps)
		addBridge(t, w.Host, "lh-apps")
		change(t, w.Host, "lh-apps", netlink.LinkSetDown)
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "bridge lh-apps is down", "network=apps")
	})
}

func TestAddresses(t *testing.T) {
	t.Run("RT-05 each container its own, in its own namespace", func(t *testing.T) {
		w := newWorld(t, lan4)
		one, two := w.box(t, "one"), w.box(t, "two")
		a := onlyAddress(t, one.attach(t, "network=lan").Interfaces[0], netip.Addr.Is4)
		b := onlyAddress(t, two.attach(t, "network=lan").Interfaces[0], netip.Addr.Is4)
		if a == b {
			t.Errorf("both have %s", a)
		}
		one.Ping(t, b)
		two.Ping(t, a)
		w.done(t, one, two)
	})
	t.Run("the same again when the container is made anew", func(t *testing.T) {
		w := newWorld(t, lan)
		var first string
		for i, id := range []string{"c1", "c2", "c3"} {
			c := w.box(t, id)
			got := c.attach(t, "network=lan", "name=web").Interfaces[0]
			text := fmt.Sprint(got.Addresses, got.MAC)
			if i == 0 {
				first = text
			}
			if text != first {
				t.Errorf("start %d has %s, the first had %s", i+1, text, first)
			}
			w.done(t, c)
		}
	})
	t.Run("one address is given once, however the network is called", func(t *testing.T) {
		small := strings.Replace(lan4, "gateway", "range = \"10.77.0.20-10.77.0.22\"\ngateway", 1)
		other := strings.NewReplacer("network.lan", "network.other", `"p0"`, `{ mac = "02:70:00:00:00:01" }`).Replace(small)
		w := newWorld(t, small+other)
		var boxes []*box
		seen := map[netip.Addr]bool{}
		for i, network := range []string{"lan", "other", "lan"} {
			c := w.box(t, fmt.Sprintf("c%d", i))
			boxes = append(boxes, c)
			seen[onlyAddress(t, c.attach(t, "network="+network).Interfaces[0], netip.Addr.Is4)] = true
		}
		if len(seen) != 3 {
			t.Errorf("three containers have %v", seen)
		}
		w.box(t, "fourth").refused(t, "all 3 are in use by", "network=other")
		for a := range seen {
			w.box(t, "fifth").refused(t, a.String(), "network=other,ip="+a.String())
		}
		w.done(t, boxes...)
	})
	t.Run("the host's own is never given", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "gateway", "range = \"10.77.0.2-10.77.0.3\"\ngateway", 1))
		w.Host.Do(t, func() { nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.2/24")) })
		w.Host.Remember(t)
		one, two := w.box(t, "one"), w.box(t, "two")
		if got := onlyAddress(t, one.attach(t, "network=lan").Interfaces[0], netip.Addr.Is4); got != addr("10.77.0.3") {
			t.Errorf("got %s", got)
		}
		two.refused(t, "no address is free in 10.77.0.0/24", "network=lan")
		two.refused(t, "10.77.0.2", "network=lan,ip=10.77.0.2")
		w.done(t, one)
	})
	t.Run("the host's own on a bridge of the administrator's is never given", func(t *testing.T) {
		w := newWorld(t, strings.Replace(appsWith(`bridge = "br0"`), "subnet = \"172.30.0.0/24\"",
			"subnet = \"172.30.0.0/24\"\nrange = \"172.30.0.2-172.30.0.3\"", 1))
		w.adminBridge(t, "br0", "172.30.0.2/24")
		one, two := w.box(t, "one"), w.box(t, "two")
		if got := onlyAddress(t, one.attach(t, "network=apps").Interfaces[0], netip.Addr.Is4); got != addr("172.30.0.3") {
			t.Errorf("got %s", got)
		}
		two.refused(t, "no address is free in 172.30.0.0/24", "network=apps")
		two.refused(t, "172.30.0.2", "network=apps,ip=172.30.0.2")
		w.done(t, one)
	})
	t.Run("a MAC address that another container has", func(t *testing.T) {
		w := newWorld(t, lan)
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, "network=lan,mac=02:42:00:00:00:07")
		two.refused(t, "02:42:00:00:00:07", "network=lan,mac=02:42:00:00:00:07")
		w.done(t, one)
	})
}
