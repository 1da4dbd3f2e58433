//go:build linux

package netsetup_test

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

func TestBridgeTraffic(t *testing.T) {
	t.Run("BR-17 internal", func(t *testing.T) {
		w := newWorld(t, appsWith("internal = true"))
		b := w.box(t, "c")
		b.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9")
		b.has(t, "eth0 veth", "  172.30.0.9/24", "  fd30::9/64")
		b.Ping(t, addr("172.30.0.1"))
		b.Ping(t, addr("fd30::1"))
		b.unreachable(t, "192.0.2.1", "2001:db8::1")
		if got := readSetting(t, w.Host, "ipv4/conf/lh-apps/forwarding"); got != "0" {
			t.Errorf("forwarding of the bridge is %s", got)
		}
		w.done(t, b)
	})
	t.Run("BR-32 forwarding of the bridge, not of the host", func(t *testing.T) {
		w := newWorld(t, apps)
		b := w.box(t, "c")
		all := readSetting(t, w.Host, "ipv4/ip_forward")
		b.attach(t, "network=apps")
		for _, family := range []string{"ipv4", "ipv6"} {
			if got := readSetting(t, w.Host, family+"/conf/lh-apps/forwarding"); got != "1" {
				t.Errorf("%s forwarding of the bridge is %s", family, got)
			}
		}
		if got := readSetting(t, w.Host, "ipv4/ip_forward"); got != all {
			t.Errorf("ip_forward is %s, was %s", got, all)
		}
		w.done(t, b)
	})
	t.Run("BR-32 routed to the neighbour where the host forwards", func(t *testing.T) {
		w := newWorld(t, appsWith(`gateway-mode = "routed"`))
		w.Host.Do(t, func() {
			nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.2/24"))
			nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("fd77::2/64"))
			nettest.WriteSysctl(t, "ipv4/conf/p0/forwarding", "1")
			nettest.WriteSysctl(t, "ipv6/conf/all/forwarding", "1")
		})
		w.Neighbour.Do(t, func() {
			for dst, via := range map[string]string{"172.30.0.0/24": "10.77.0.2", "fd30::/64": "fd77::2"} {
				to, err := netlink.ParseIPNet(dst)
				if err == nil {
					err = netlink.RouteAdd(&netlink.Route{Dst: to, Gw: addr(via).AsSlice()})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
		w.Host.Remember(t)
		b := w.box(t, "c")
		b.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9")
		b.reachesNeighbour(t)
		w.Neighbour.Ping(t, addr("172.30.0.9"))
		w.Neighbour.Ping(t, addr("fd30::9"))
		w.done(t, b)
	})
	t.Run("BR-33 no router is heeded, and addresses are announced", func(t *testing.T) {
		w := newWorld(t, apps)
		b := w.box(t, "c")
		b.attach(t, "network=apps")
		for _, c := range []struct {
			space      *nettest.Space
			name, want string
		}{
			{w.Host, "ipv6/conf/lh-apps/accept_ra", "0"},
			{w.Host, "ipv6/conf/" + w.port(t, "c") + "/accept_ra", "0"},
			{b.Space, "ipv6/conf/eth0/accept_ra", "0"},
			{b.Space, "ipv6/conf/eth0/autoconf", "0"},
			{b.Space, "ipv4/conf/eth0/arp_notify", "1"},
			{b.Space, "ipv6/conf/eth0/ndisc_notify", "1"},
		} {
			if got := readSetting(t, c.space, c.name); got != c.want {
				t.Errorf("%s of %s is %s, want %s", c.name, c.space.Name, got, c.want)
			}
		}
		w.done(t, b)
	})
	t.Run("BR-36 IPv6 switched off on the host's links", func(t *testing.T) {
		w := newWorld(t, apps)
		w.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/default/disable_ipv6", "1") })
		w.Host.Remember(t)
		b := w.box(t, "c")
		b.refused(t, "add address fd30::1/64 to bridge lh-apps: IPv6 is disabled on this link", "network=apps")
	})
	t.Run("BR-16 the largest MTU", func(t *testing.T) {
		w := newWorld(t, appsWith("mtu = 65535"))
		b := w.box(t, "c")
		b.attach(t, "network=apps")
		if got := b.eth0(t).MTU; got != 65535 {
			t.Errorf("MTU %d", got)
		}
		w.done(t, b)
	})
}
