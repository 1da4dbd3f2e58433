//go:build linux

package netsetup_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// TestRemakeFollowsVLAN: below a sub-interface the card has another name by now. The sub-interface keeps its own, and who attaches later
// uses the same one.
func TestRemakeFollowsVLAN(t *testing.T) {
	for driver, keys := range map[string]string{"macvlan": "vlan = [100, 20]", "ipvlan": "vlan = 60", "vlan": "vlan = [100, 20]"} {
		t.Run(driver, func(t *testing.T) {
			w := newVLAN(t, vlanOf("tagged", driver, `{ mac = "02:70:00:00:00:01" }`, 50, keys))
			ids := []int{60}
			if driver != "ipvlan" {
				ids = []int{100, 20}
			}
			w.inVLAN(t, ids...)
			c, d := w.box(t, "c"), w.box(t, "d")
			c.attach(t, "network=tagged")
			before := c.whole(t)
			w.Cut(t)
			w.relay(t, "q0", nil)
			w.Host.Remember(t)
			w.inVLAN(t, ids...)
			if r, err := w.setup.Repair(t.Context()); err != nil || r.None() {
				t.Errorf("repair gave %+v (%v)", r, err)
			}
			w.well(t)
			if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
				t.Errorf("(-before +after)\n%s", diff)
			}
			c.reachesIn(t)
			if driver != "vlan" {
				d.attach(t, "network=tagged")
				d.reachesIn(t)
				d.detach(t)
			} else {
				d.refused(t, "VLAN 20 of p0.100", "network=tagged")
			}
			c.detach(t)
			for _, l := range linkList(t, w.Host) {
				if _, is := l.(*netlink.Vlan); is {
					t.Errorf("the host still has %s", l.Attrs().Name)
				}
			}
			w.empty(t)
		})
	}
}
