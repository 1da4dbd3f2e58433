//go:build linux

package netsetup_test

import (
	"net"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestRemakeVLAN makes sub-interfaces anew, and the children on them, of every driver: after somebody has deleted the sub-interface,
// and after the card below has gone and come back.
func TestRemakeVLAN(t *testing.T) {
	for driver, keys := range map[string]string{
		"macvlan": "spoof-check = true\nvlan = 60", "ipvlan": "spoof-check = true\nvlan = 60", "vlan": "vlan = 60",
	} {
		t.Run(driver, func(t *testing.T) {
			w := newVLAN(t, vlanOf("tagged", driver, `"p0"`, 50, keys))
			w.inVLAN(t, 60)
			c := w.box(t, "c")
			c.attach(t, "network=tagged")
			before := c.whole(t)
			again := func() {
				t.Helper()
				r, err := w.setup.Repair(t.Context())
				if err != nil || r.None() {
					t.Errorf("repair gave %+v (%v)", r, err)
				}
				w.well(t)
				if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
					t.Errorf("(-before +after)\n%s", diff)
				}
				c.reachesIn(t)
			}
			if driver != "vlan" {
				for range 2 {
					change(t, w.Host, "p0.60", netlink.LinkDel)
					again()
					w.subInterface(t, "p0.60")
				}
			}
			w.Cut(t)
			w.Lay(t)
			w.inVLAN(t, 60)
			again()
			w.done(t, c)
		})
	}
}

// TestRemakeIPVLAN makes ipvlan children anew on another card of the name, whose MAC address they have then.
func TestRemakeIPVLAN(t *testing.T) {
	nettest.Need(t, nettest.IPVLAN)
	w := newWorld(t, vlanOf("plain", "ipvlan", `"p0"`, 77, "spoof-check = true"))
	one, two := w.box(t, "one"), w.box(t, "two")
	one.attach(t, "network=plain")
	two.attach(t, "network=plain")
	w.Cut(t)
	w.Lay(t)
	change(t, w.Host, nettest.Parent, func(l netlink.Link) error {
		return netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0x70, 0, 0, 0, 0x77})
	})
	w.Host.Remember(t)
	w.repaired(t, "eth0 of container one has ended with p0", "eth0 of container two has ended with p0")
	one.Ping(t, nettest.PeerPrefix4().Addr())
	two.Ping(t, nettest.PeerPrefix6().Addr())
	w.done(t, one, two)
}

// TestParentDownVLAN: the sub-interface of a parent that is down is made with its first container, and comes up along with it.
func TestParentDownVLAN(t *testing.T) {
	for _, driver := range []string{"macvlan", "ipvlan"} {
		t.Run(driver, func(t *testing.T) {
			tagged := strings.Replace(vlanOf("tagged", driver, `"p0"`, 50, "vlan = 60"), `parent-wait = "0s"`, "", 1)
			w := newVLAN(t, tagged+vlanOf("own", "vlan", `"p0"`, 51, "vlan = 61"))
			w.inVLAN(t, 60)
			change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
			w.Host.Remember(t)
			c := w.box(t, "c")
			if r := c.attach(t, "network=tagged"); r.Warnings == nil {
				t.Error("there is no warning")
			}
			w.box(t, "o").refused(t, "parent p0 is down", "network=own")
			change(t, w.Host, nettest.Parent, netlink.LinkSetUp)
			c.reachesIn(t)
			w.subInterface(t, "p0.60")
			c.detach(t)
			change(t, w.Host, nettest.Parent, netlink.LinkSetDown) // last, as in TestParentDown
			w.empty(t)
		})
	}
}
