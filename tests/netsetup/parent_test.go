//go:build linux

package netsetup_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// The parent is the link that the policy describes, whatever it is called.
func TestMacvlanParent(t *testing.T) {
	parents := func(p string) string { return strings.Replace(lan, `"p0"`, p+"\nparent-wait = \"0s\"", 1) }
	t.Run("MV-07 of the default route", func(t *testing.T) {
		w := newWorld(t, parents("{ default-route = true }"))
		w.Host.Do(t, func() {
			nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.2/24"))
			if err := netlink.RouteAdd(&netlink.Route{Gw: nettest.PeerPrefix4().Addr().AsSlice()}); err != nil {
				t.Fatal(err)
			}
		})
		w.Host.Remember(t)
		c := w.box(t, "c")
		r := c.attach(t, "network=lan")
		if r.Interfaces[0].Uplink != nettest.Parent || c.eth0(t).Parent != w.hostLink(t, nettest.Parent).Index {
			t.Errorf("parent is %s, want %s", r.Interfaces[0].Uplink, nettest.Parent)
		}
		c.reachesNeighbour(t)
		w.done(t, c)
	})
	t.Run("MV-07 of a default route that is not there", func(t *testing.T) {
		newWorld(t, parents("{ default-route = true }")).box(t, "c").refused(t, "default route", "network=lan")
	})
	t.Run("MV-07 by MAC address", func(t *testing.T) {
		w := newWorld(t, parents(`{ mac = "02:70:00:00:00:01" }`))
		c := w.box(t, "c")
		c.attach(t, "network=lan")
		c.reachesNeighbour(t)
		w.done(t, c)
	})
	t.Run("MV-07 by alternative name", func(t *testing.T) {
		const alt = "a-name-far-too-long-for-an-interface"
		w := newWorld(t, parents(`{ altname = "`+alt+`" }`))
		change(t, w.Host, nettest.Parent, func(l netlink.Link) error { return netlink.LinkAddAltName(l, alt) })
		w.Host.Remember(t)
		c := w.box(t, "c")
		c.attach(t, "network=lan")
		c.reachesNeighbour(t)
		w.done(t, c)
	})
	t.Run("MV-22 missing", func(t *testing.T) {
		newWorld(t, parents(`"p9"`)).box(t, "c").refused(t, "parent p9 does not exist", "network=lan")
	})
	t.Run("MV-22 down", func(t *testing.T) {
		w := newWorld(t, parents(`"p0"`))
		change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "parent p0 is down", "network=lan")
	})
	t.Run("MV-22 down all the time that it is waited for", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, `"p0"`, "\"p0\"\nparent-wait = \"300ms\"", 1))
		change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
		w.Host.Remember(t)
		began := time.Now()
		w.box(t, "c").refused(t, "parent p0 is down", "network=lan")
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("it was waited for %s", took)
		}
	})
	t.Run("MV-22 a bridge port", func(t *testing.T) {
		w := newWorld(t, parents(`"lh-canary1"`))
		w.box(t, "c").refused(t, "parent lh-canary1 is a port of a bridge", "network=lan")
	})
	t.Run("MV-22 appears and comes up while it is waited for", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, `"p0"`, "\"late0\"\nparent-wait = \"5s\"", 1))
		c := w.box(t, "c")
		ended := make(chan error, 1)
		want := c.container(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
		began := time.Now()
		go func() {
			_, err := w.setup.Attach(t.Context(), want)
			ended <- err
		}()
		time.Sleep(50 * time.Millisecond)
		w.Host.Do(t, func() {
			a := netlink.NewLinkAttrs()
			a.Name = "late0"
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "late1"}); err != nil {
				t.Fatal(err)
			}
		})
		time.Sleep(50 * time.Millisecond)
		change(t, w.Host, "late1", netlink.LinkSetUp)
		change(t, w.Host, "late0", netlink.LinkSetUp)
		if err := <-ended; err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("attach took %s, error %v", time.Since(began), err)
		}
		c.has(t, "eth0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64",
			"  0.0.0.0/0 via 10.77.0.1", "  ::/0 via fd77::1 metric 1024")
		c.detach(t)
		change(t, w.Host, "late0", netlink.LinkDel)
		w.empty(t)
	})
	t.Run("MV-22 waited for in vain", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, `"p0"`, "\"p9\"\nparent-wait = \"100ms\"", 1))
		began := time.Now()
		w.box(t, "c").refused(t, "parent p9 does not exist", "network=lan")
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("refused after %s, without waiting", took)
		}
	})
}

// TestParentDown: a container starts on a parent that is down, with a warning, and reaches its LAN once somebody brings it up.
// It may end at any time.
func TestParentDown(t *testing.T) {
	w := newWorld(t, lan)
	change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
	w.Host.Remember(t)
	for name, up := range map[string]bool{"MV-22 down until the end": false, "MV-22 brought up": true} {
		t.Run(name, func(t *testing.T) {
			c := w.box(t, "c")
			began := time.Now()
			r := c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
			if said := fmt.Sprint(r.Warnings); said != "eth0: parent p0 is down: nobody is reached until it is up" {
				t.Errorf("warnings: %v", r.Warnings)
			}
			before := c.view(t)
			w.well(t) // it announces on a parent that is down, too
			if up {
				change(t, w.Host, nettest.Parent, netlink.LinkSetUp)
				c.reachesNeighbour(t)
				w.well(t)
			}
			c.has(t, before...)
			c.detach(t)
			// Only once its child is gone: of a link that is down the kernel does not look any more whether it needs to be
			// promiscuous (net/core/dev.c, __dev_set_rx_mode).
			change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
			w.empty(t)
		})
	}
}

// TestParentDownHostAccess: with the parent down the host has its link beside the container all the same, and once it is up they
// reach each other.
func TestParentDownHostAccess(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
	w.Host.Remember(t)
	c := w.box(t, "c")
	r := c.attach(t, "network=lan")
	w.well(t)
	change(t, w.Host, nettest.Parent, netlink.LinkSetUp)
	w.reachEachOther(t, c, r, w.hostLinks(t)[0])
	w.well(t)
	c.detach(t)
	change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
	w.empty(t)
}
