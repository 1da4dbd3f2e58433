//go:build linux

package netsetup_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// selecting is a network that finds its parent by another means than its name, and whose containers the host reaches.
func selecting(parent string) string {
	return strings.Replace(reach("lan", ""), `"p0"`, parent, 1)
}

// relay lays the wire anew, with another name on the host's side and what an administrator or udev(7) gives it.
func (w *world) relay(t *testing.T, name string, then func(netlink.Link) error) {
	t.Helper()
	w.Lay(t)
	w.rename(t, nettest.Parent, name)
	if then != nil {
		change(t, w.Host, name, then)
	}
}

func (w *world) rename(t *testing.T, from, to string) {
	t.Helper()
	change(t, w.Host, from, func(l netlink.Link) error {
		// Before Linux 6.2 a link that is up keeps its name.
		return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetName(l, to), netlink.LinkSetUp(l))
	})
}

// defaultBy gives the host a default route by a link.
func defaultBy(l netlink.Link) error {
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}})
}

func withAltName(l netlink.Link) error { return netlink.LinkAddAltName(l, "the-card") }

// TestRemakeFollows: a parent that the network selects by its MAC address, an alternative name or the default route is found again
// under another name, and all that was on it, with its leases.
func TestRemakeFollows(t *testing.T) {
	for parent, selected := range map[string]func(netlink.Link) error{
		`{ mac = "02:70:00:00:00:01" }`: nil, `{ altname = "the-card" }`: withAltName, `{ default-route = true }`: defaultBy,
	} {
		t.Run(parent, func(t *testing.T) {
			w := newWorld(t, selecting(parent))
			if selected != nil {
				change(t, w.Host, nettest.Parent, selected)
			}
			one, two := w.box(t, "one"), w.box(t, "two")
			first, second := one.attach(t, "network=lan"), two.attach(t, "network=lan")
			before := one.whole(t)
			w.Cut(t)
			if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
				t.Errorf("repair without the parent: %+v (%v)", r, err)
			}
			w.relay(t, "q0", selected)
			checked, err := w.setup.Check(t.Context(), w.recordsOf(t, "one"))
			if err != nil || len(checked.Of[0]) == 0 || !checked.Of[0][0].Repair {
				t.Errorf("check does not say that repair would help: %+v (%v)", checked, err)
			}
			r, err := w.setup.Repair(t.Context())
			if said := strings.Join(r.Links, "\n"); err != nil || !strings.Contains(said, "parent p0 of eth0 of container one is q0 by now") {
				t.Errorf("repair: %s (%v)", said, err)
			}
			w.well(t)
			if diff := gocmp.Diff(before, one.whole(t)); diff != "" {
				t.Errorf("(-before +after)\n%s", diff)
			}
			w.reachEachOther(t, one, first, w.hostLinks(t)[0])
			w.reachEachOther(t, two, second, w.hostLinks(t)[0])
			one.reachesNeighbour(t)
			again, err := w.setup.Attach(t.Context(), one.container(t, "network=lan"))
			if err != nil || !again.Already {
				t.Errorf("attached again: %+v (%v)", again, err)
			}
			w.box(t, "other").refused(t, "is in use by interface eth0 of container one",
				"network=lan,ip="+first.Interfaces[0].Addresses[0].Addr().String())
			one.detach(t)
			two.detach(t)
			change(t, w.Host, "q0", netlink.LinkDel)
			w.Lay(t)
			w.empty(t)
		})
	}
}

// TestRemakeFollowsNot: nobody gets a link on a card that its network does not select, or an address that is another's there.
func TestRemakeFollowsNot(t *testing.T) {
	t.Run("another card has the name", func(t *testing.T) {
		w := newWorld(t, selecting(`{ mac = "02:70:00:00:00:01" }`))
		c := w.box(t, "c")
		c.attach(t, "network=lan")
		w.Cut(t)
		w.Lay(t)
		change(t, w.Host, nettest.Parent, func(l netlink.Link) error {
			return netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0x70, 0, 0, 0, 0x77})
		})
		w.Host.Remember(t)
		if checked, err := w.setup.Check(t.Context(), w.records(t)); err != nil || checked.Of[0][0].Repair {
			t.Errorf("check says that repair would help: %+v (%v)", checked, err)
		}
		if _, err := w.setup.Repair(t.Context()); err != nil {
			t.Error(err)
		}
		if links := linkList(t, c.Space); len(links) != 1 {
			t.Errorf("the container has %d links, want lo alone", len(links))
		}
		w.done(t, c)
	})
	t.Run("another container has the address by now", func(t *testing.T) {
		w := newWorld(t, selecting(`{ mac = "02:70:00:00:00:01" }`))
		c, d := w.box(t, "c"), w.box(t, "d")
		c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
		w.Cut(t)
		w.relay(t, "q0", nil)
		w.Host.Remember(t)
		d.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
		r, err := w.setup.Repair(t.Context())
		if err == nil || !strings.Contains(err.Error(), "look for the parent of eth0 of container c: address 10.77.0.9 on q0 is in use by interface eth0 of container d") {
			t.Errorf("repair: %+v (%v)", r, err)
		}
		if links := linkList(t, c.Space); len(links) != 1 {
			t.Errorf("the container has %d links, want lo alone", len(links))
		}
		w.done(t, c, d)
	})
}
