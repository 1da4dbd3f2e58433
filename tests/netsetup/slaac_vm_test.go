//go:build linux

package netsetup_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestSLAACDrivers: every kind of link on a LAN hears its routers, two ipvlan children with one MAC address as well.
func TestSLAACDrivers(t *testing.T) {
	for name, network := range map[string]string{
		"macvlan in a VLAN": "driver = \"macvlan\"\nparent = \"p0\"\nvlan = 60",
		"ipvlan":            "driver = \"ipvlan\"\nparent = \"p0\"\nipam = \"none\"",
		"vlan":              "driver = \"vlan\"\nparent = \"p0\"\nvlan = 60",
		"bridge":            "driver = \"bridge\"\nuplink = \"p0\"\nvlan = 60",
	} {
		t.Run(name, func(t *testing.T) {
			w := newVLAN(t, "\n[network.n]\nipv6 = \"slaac\"\nslaac-wait = \"10s\"\n"+network+"\n")
			nettest.Need(t, nettest.VLANFiltering)
			w.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/"+nettest.Parent+"/accept_ra", "0") })
			w.Host.Remember(t)
			router := nettest.PeerName
			if name != "ipvlan" {
				w.inVLAN(t, 60)
				router += ".60"
			}
			w.Neighbour.Advertise(t, router, advertised())
			var boxes []*box
			var all []netip.Prefix
			for _, id := range []string{"a", "b"} {
				if name == "vlan" && id == "b" {
					break
				}
				b := w.box(t, id)
				i := b.attach(t, "network=n").Interfaces[0]
				if len(i.Learned) != 1 || slices.Contains(all, i.Learned[0]) || !slices.Equal(b.learned(t), i.Learned) {
					t.Errorf("%s learned %v after %v, and has %v", id, i.Learned, all, b.learned(t))
				}
				all = append(all, i.Learned...)
				boxes = append(boxes, b)
			}
			w.done(t, boxes...)
		})
	}
}
