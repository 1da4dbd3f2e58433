//go:build linux

package netsetup_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// TestRemakeFollowsVLAN: below a sub-interface the card has another name by now. The sub-interface is made under the name that follows
// from that, and who attaches later uses the same one.
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
				d.refused(t, "VLAN 20 of q0.100", "network=tagged")
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

// TestRemakeFollowsVLANUsed: somebody has been attached in the VLAN of the card since it has another name, and its sub-interface is used.
func TestRemakeFollowsVLANUsed(t *testing.T) {
	w := newVLAN(t, vlanOf("tagged", "macvlan", `{ mac = "02:70:00:00:00:01" }`, 50, "vlan = 60\nhost-access = true"))
	c, d := w.box(t, "c"), w.box(t, "d")
	c.attach(t, "network=tagged")
	before := c.whole(t)
	w.Cut(t)
	w.relay(t, "q0", nil)
	w.Host.Remember(t)
	w.inVLAN(t, 60)
	d.attach(t, "network=tagged")
	w.mended(t)
	w.well(t)
	if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	c.reachesIn(t)
	d.reachesIn(t)
	d.detach(t)
	c.reachesIn(t)
	w.done(t, c)
}

// TestRemakeFollowsVLANs: two links of one container are in two VLANs of the same card, and the leases of each go along.
func TestRemakeFollowsVLANs(t *testing.T) {
	const parent = `{ mac = "02:70:00:00:00:01" }`
	w := newVLAN(t, vlanOf("one", "macvlan", parent, 50, "vlan = 60\nhost-access = true")+
		vlanOf("two", "macvlan", parent, 51, "vlan = 61\nhost-access = true\ndefault-route = false"))
	c := w.box(t, "c")
	c.attach(t, "network=one", "network.eth1=two")
	before := c.whole(t)
	w.Cut(t)
	w.relay(t, "q0", nil)
	w.Host.Remember(t)
	w.mended(t)
	w.well(t)
	if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	for _, l := range w.records(t)[0].Leases {
		if want := map[string]string{"eth0": "lan:q0.60", "eth1": "lan:q0.61"}[l.IfName]; l.Scope != want {
			t.Errorf("%s of %s is leased in %s, want %s", l.Addr, l.IfName, l.Scope, want)
		}
	}
	if links := w.hostLinks(t); len(links) != 2 {
		t.Errorf("the host's links are %+v", links)
	}
	w.done(t, c)
}
