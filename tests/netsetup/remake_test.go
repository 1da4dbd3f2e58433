//go:build linux

package netsetup_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// remakes are networks of one parent with all that a child can have.
const remakes = `
[network.lan]
driver = "macvlan"
parent = "p0"
spoof-check = true
rate = "500mbit"
txqueuelen = 77
route = ["10.99.0.0/16 via 10.77.0.1"]
sysctl = ["net.ipv4.conf.IFNAME.log_martians=1"]
  [[network.lan.subnet]]
  subnet  = "10.77.0.0/24"
  gateway = "10.77.0.1"
  [[network.lan.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::1"

[network.other]
driver = "macvlan"
parent = "p0"
  [[network.other.subnet]]
  subnet  = "10.88.0.0/24"
  gateway = "10.88.0.1"
`

// whole is what a container has: its links with all their routes, in whatever table, the rules of routing, guards and settings.
func (b *box) whole(t *testing.T) string {
	t.Helper()
	var lines []string
	for l := range strings.SplitSeq(b.Snapshot(t), "\n") {
		// What the kernel sees to itself comes late, and an index is another one.
		if !strings.Contains(l, "fe80:") && !strings.Contains(l, "table 255") && !strings.HasPrefix(l, "neighbour") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// repaired fails the test unless repair does what the words say, and then has nothing more to do.
func (w *world) repaired(t *testing.T, words ...string) {
	t.Helper()
	r, err := w.setup.Repair(t.Context())
	if diff := gocmp.Diff(words, r.Links); err != nil || diff != "" {
		t.Errorf("repair: %v (-want +got)\n%s", err, diff)
	}
	w.well(t)
}

// TestRemake cuts the wire and lays it anew: repair makes the children of all containers anew, in the same namespaces, with
// names, MAC addresses, addresses, routes, rules, guards and settings, also those that a later record has added.
func TestRemake(t *testing.T) {
	w := newWorld(t, remakes)
	a, b, late := w.box(t, "a"), w.box(t, "b"), w.box(t, "late")
	boxes := []*box{a, b, late}
	a.attach(t, "network=lan", "network.eth1=other")
	b.attach(t, "network=lan,mtu=1400")
	late.attach(t, "network=other,ip=10.88.0.77")
	late.attach(t, "network.eth1=lan")
	before := map[string]string{}
	for _, c := range boxes {
		before[c.id] = c.whole(t)
	}
	for range 2 {
		w.Cut(t)
		for _, c := range boxes {
			if said := w.checked(t)[c.id]; !strings.Contains(said, "the link is gone with its parent "+nettest.Parent) {
				t.Errorf("check of %s says %q", c.id, said)
			}
		}
		if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
			t.Errorf("repair without the parent: %+v (%v)", r, err)
		}
		w.Lay(t)
		r, err := w.setup.Repair(t.Context())
		if err != nil || len(r.Links) != 5 {
			t.Errorf("repair: %v, %v", r.Links, err)
		}
		w.well(t)
		for _, c := range boxes {
			if diff := gocmp.Diff(before[c.id], c.whole(t)); diff != "" {
				t.Errorf("%s (-before +after)\n%s", c.id, diff)
			}
			c.Ping(t, nettest.PeerPrefix4().Addr())
			c.Ping(t, nettest.PeerPrefix6().Addr())
		}
	}
	for _, rec := range w.recordsOf(t, "late") {
		if err := w.setup.Release(t.Context(), rec.Ref()); err != nil {
			t.Error(err)
		}
	}
	late.Same(t)
	w.done(t, a, b)
}

// TestRemakeNot: what did not end with its parent is left alone, and so is who has none.
func TestRemakeNot(t *testing.T) {
	t.Run("a link that its container has deleted", func(t *testing.T) {
		w := newWorld(t, remakes)
		c := w.box(t, "c")
		c.attach(t, "network=lan")
		change(t, c.Space, "eth0", netlink.LinkDel)
		if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
			t.Errorf("repair gave %+v (%v)", r, err)
		}
		w.done(t, c)
	})
	t.Run("a parent that has another name", func(t *testing.T) {
		w := newWorld(t, remakes)
		c := w.box(t, "c")
		c.attach(t, "network=lan")
		rename := func(from, to string) {
			change(t, w.Host, from, func(l netlink.Link) error {
				// Before Linux 6.2 a link that is up keeps its name.
				return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetName(l, to), netlink.LinkSetUp(l))
			})
		}
		rename(nettest.Parent, "q0")
		w.Host.Do(t, func() {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = nettest.Parent
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "q1"}); err != nil {
				t.Fatal(err)
			}
		})
		was := c.eth0(t).Index
		if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() || c.eth0(t).Index != was {
			t.Errorf("repair gave %+v (%v), and index %d after %d", r, err, c.eth0(t).Index, was)
		}
		change(t, w.Host, nettest.Parent, netlink.LinkDel)
		rename("q0", nettest.Parent)
		w.done(t, c)
	})
	t.Run("a container that has ended", func(t *testing.T) {
		w := newWorld(t, remakes)
		c := w.plainBox(t, "c")
		c.attach(t, "network=lan")
		w.Cut(t)
		c.ended(t)
		w.Lay(t)
		if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
			t.Errorf("repair gave %+v (%v)", r, err)
		}
		w.collects(t, 1)
		w.empty(t)
	})
}

// TestRemakeOfStopped: where the namespace outlives its container, a link is made anew only for others that have joined it. Else it
// is about to be detached, by somebody who may have looked already which links there are.
func TestRemakeOfStopped(t *testing.T) {
	t.Run("kept by a process that lanhook does not know", func(t *testing.T) {
		w := newWorld(t, remakes)
		c := w.plainBox(t, "c")
		c.attach(t, "network=lan")
		other, endJoined := join(t, c.Space)
		c.End()
		w.Cut(t)
		w.Lay(t)
		if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
			t.Errorf("repair gave %+v (%v)", r, err)
		}
		if links := linkList(t, other); len(links) != 1 {
			t.Errorf("the namespace has %d links, want lo alone", len(links))
		}
		c.detachAny(t)
		endJoined()
		w.empty(t)
	})
	for _, left := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared with another container, left %t", left), func(t *testing.T) {
			w := newWorld(t, remakes)
			p := w.pod(t)
			p.start(t, "a", "network=lan")
			p.start(t, "b", "network=lan")
			p.kill("a")
			if left {
				p.stop(t, "a")
			}
			w.Cut(t)
			w.Lay(t)
			w.repaired(t, "eth0 of container a has ended with p0")
			p.reachesNeighbour(t)
			if !left {
				p.stop(t, "a")
			}
			p.stop(t, "b")
			p.over(t)
		})
	}
}

// TestRemakeTwice: what could not be made anew leaves nothing, and is made when nothing is in its way any more. A link with the name
// that the container has made meanwhile is its own.
func TestRemakeTwice(t *testing.T) {
	w := newWorld(t, remakes)
	c := w.box(t, "c")
	c.attach(t, "network=lan,ip=10.77.0.9")
	before := c.whole(t)
	w.Cut(t)
	c.Do(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			t.Fatal(err)
		}
	})
	w.Lay(t)
	for range 2 {
		r, err := w.setup.Repair(t.Context())
		if err == nil || !strings.Contains(err.Error(), "make eth0 of container c anew") || !r.None() {
			t.Errorf("repair gave %+v (%v)", r, err)
		}
		if links := linkList(t, c.Space); len(links) != 2 {
			t.Errorf("the container has %d links, want lo and its own", len(links))
		}
	}
	change(t, c.Space, "eth0", netlink.LinkDel)
	w.repaired(t, "eth0 of container c has ended with p0")
	if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	c.Ping(t, netip.MustParseAddr("10.77.0.1"))
	w.done(t, c)
}

// TestRemakeOnAnotherCard: a child that has its parent's MAC address has that of the new one, and the guard and the record know it.
func TestRemakeOnAnotherCard(t *testing.T) {
	w := newWorld(t, strings.Replace(lan, "parent", "mode = \"passthru\"\nspoof-check = true\nparent", 1))
	c := w.box(t, "c")
	c.attach(t, "network=lan")
	w.Cut(t)
	w.Lay(t)
	card := net.HardwareAddr{2, 0x70, 0, 0, 0, 0x77}
	change(t, w.Host, nettest.Parent, func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, card) })
	w.Host.Remember(t)
	w.repaired(t, "eth0 of container c has ended with p0")
	if got := w.recordsOf(t, "c")[0].Interfaces[0].MAC.String(); got != card.String() {
		t.Errorf("the record has %s", got)
	}
	c.Ping(t, nettest.PeerPrefix4().Addr())
	c.Ping(t, nettest.PeerPrefix6().Addr())
	w.done(t, c)
}

// TestRepairLate: what there was no time for is said in one line, not in one for each container, and is done by the next repair.
func TestRepairLate(t *testing.T) {
	w := newWorld(t, remakes)
	boxes := w.crowd(t, 24)
	for _, b := range boxes {
		b.attach(t, "network=other")
	}
	w.Cut(t)
	w.Lay(t)
	tap := w.Neighbour.Tap(t, nettest.PeerName)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := w.setup.Repair(ctx)
		done <- err
	}()
	// The first child comes up, and there is half a second's work left.
	tap.Until(t, func(frame []byte) bool { return len(frame) > 14 && frame[6] != 0x02 })
	late := errors.New("it takes too long")
	cancel(late)
	if err := <-done; !errors.Is(err, late) || strings.Count(err.Error(), late.Error()) > 3 {
		t.Errorf("repair gave %v", err)
	}
	if _, err := w.setup.Repair(t.Context()); err != nil {
		t.Error(err)
	}
	w.well(t)
	together(t, len(boxes), func(i int) error { return w.release(t.Context(), boxes[i].id) })
	w.empty(t)
}

// TestRemakeHostAccess: the host's own link beside containers ends with the parent as theirs do, and comes back with them.
func TestRemakeHostAccess(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	c := w.box(t, "c")
	r := c.attach(t, "network=lan")
	before := c.whole(t)
	w.Cut(t)
	w.Lay(t)
	if _, err := w.setup.Repair(t.Context()); err != nil {
		t.Error(err)
	}
	w.well(t)
	if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	w.reachEachOther(t, c, r, w.hostLinks(t)[0])
	w.done(t, c)
}
