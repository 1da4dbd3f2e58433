//go:build linux

package netsetup_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOptions(t *testing.T) {
	t.Run("BR-35 settings of the interface, of network and container", func(t *testing.T) {
		w := newWorld(t, appsWith(`sysctl = ["net.ipv4.conf.IFNAME.rp_filter=2", "net.ipv4.conf.IFNAME.arp_announce=1"]`))
		b := w.box(t, "c")
		b.attach(t, "network.web.0=apps,sysctl=net.ipv4.conf.IFNAME.arp_announce=2")
		for name, want := range map[string]string{"rp_filter": "2", "arp_announce": "2"} {
			if got := readSetting(t, b.Space, "ipv4/conf/web.0/"+name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		w.done(t, b)
	})
	t.Run("BR-39 queue and flags", func(t *testing.T) {
		for _, network := range []string{lan, apps} {
			w := newWorld(t, strings.Replace(network, "driver", "txqueuelen = 77\npromiscuous = true\nallmulti = true\ndriver", 1))
			b := w.box(t, "c")
			for name := range w.setup.Policy.Networks {
				b.attach(t, "network="+name)
			}
			if got := b.eth0(t); got.TxQueueLen != 77 || !got.Promiscuous || !got.AllMulti {
				t.Errorf("link is %+v", got)
			}
			w.done(t, b)
		}
	})
	t.Run("BR-40 a setting that the policy does not grant", func(t *testing.T) {
		w := newWorld(t, apps)
		w.setup.Policy.Rules[0].Sysctl = []string{"net.ipv6.*"}
		w.box(t, "c").refused(t, "net.ipv4.conf.IFNAME.rp_filter", "network=apps,sysctl=net.ipv4.conf.IFNAME.rp_filter=2")
	})
	t.Run("BR-24 routes to nowhere", func(t *testing.T) {
		w := newWorld(t, appsWith(`route = ["blackhole 10.66.0.0/16", "prohibit fd66::/64", "unreachable 10.67.0.0/16 metric 9"]`))
		b := w.box(t, "c")
		b.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9")
		var got []string
		for line := range strings.SplitSeq(b.Snapshot(t), "\n") {
			for _, dst := range []string{"10.66.", "fd66:", "10.67."} {
				if strings.HasPrefix(line, "route "+dst) {
					got = append(got, line)
				}
			}
		}
		want := []string{
			"route 10.66.0.0/16 via <nil> on  table 254 type 6 scope 0 metric 0 from <nil> protocol 108",
			"route 10.67.0.0/16 via <nil> on  table 254 type 7 scope 0 metric 9 from <nil> protocol 108",
			"route fd66::/64 via <nil> on lo table 254 type 8 scope 0 metric 1024 from <nil> protocol 108",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		w.done(t, b)
	})
	t.Run("BR-23 routes through the bridge and elsewhere", func(t *testing.T) {
		w := newWorld(t, appsWith(`route = ["10.61.0.0/16 via 172.30.0.77", "fd61::/64 via fd30::77"]`))
		b := w.plainBox(t, "c")
		addBridge(t, b.Space, "other0", "10.89.0.5/24")
		b.Remember(t)
		b.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9,default-route=false,route=10.62.0.0/16 via 10.89.0.1")
		b.has(t, "other0 bridge", "  10.89.0.5/24", "  10.62.0.0/16 via 10.89.0.1",
			"eth0 veth", "  172.30.0.9/24", "  fd30::9/64", "  10.61.0.0/16 via 172.30.0.77", "  fd61::/64 via fd30::77 metric 1024")
		w.done(t, b)
	})
	t.Run("IP-20 table and scope of a route", func(t *testing.T) {
		w := newWorld(t, appsWith(`route = ["10.63.0.0/16 via 172.30.0.77 table 5000", "10.64.0.0/16 scope 200"]`))
		b := w.box(t, "c")
		b.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9")
		b.has(t, "eth0 veth", "  172.30.0.9/24", "  fd30::9/64",
			"  10.63.0.0/16 via 172.30.0.77 table 5000", "  0.0.0.0/0 via 172.30.0.1", "  10.64.0.0/16 scope 200", "  ::/0 via fd30::1 metric 1024")
		w.done(t, b)
	})
	t.Run("BR-22 metric", func(t *testing.T) {
		w := newWorld(t, apps)
		b := w.box(t, "c")
		b.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9,default-route=200")
		b.has(t, "eth0 veth", "  172.30.0.9/24", "  fd30::9/64",
			"  0.0.0.0/0 via 172.30.0.1 metric 200", "  ::/0 via fd30::1 metric 200")
		w.done(t, b)
	})
	t.Run("BR-42 IPv6 switched off for one interface", func(t *testing.T) {
		w := newWorld(t, apps)
		b := w.box(t, "c")
		b.attach(t, "network=apps,ip=172.30.0.9,sysctl=net.ipv6.conf.IFNAME.disable_ipv6=1")
		b.has(t, "eth0 veth", "  172.30.0.9/24", "  0.0.0.0/0 via 172.30.0.1")
		w.done(t, b)
	})
}
