//go:build linux

package netsetup_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/tests/nettest"
)

// byMAC selects the parent of the world, and other a second card that card puts in.
const (
	byMAC = `{ mac = "02:70:00:00:00:01" }`
	other = `
[network.other]
driver = "macvlan"
parent = { mac = "02:70:00:00:00:02" }
host-access = true
  [[network.other.subnet]]
  subnet = "10.78.0.0/24"
`
)

// card puts a second card into the host, of a MAC address of its own.
func (w *world) card(t *testing.T, name string) {
	t.Helper()
	w.Host.Do(t, func() {
		l := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "wire"}
		l.Name, l.HardwareAddr = name, net.HardwareAddr{2, 0x70, 0, 0, 0, 2}
		if err := errors.Join(netlink.LinkAdd(l), netlink.LinkSetUp(l)); err != nil {
			t.Fatal(err)
		}
		wire, err := netlink.LinkByName("wire")
		if err == nil {
			err = netlink.LinkSetUp(wire)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// parents are the names of the host's links on which a container's are.
func (w *world) parents(t *testing.T, b *box, names ...string) []string {
	t.Helper()
	hosts, own := linkList(t, w.Host), linkList(t, b.Space)
	var all []string
	for _, name := range names {
		i := slices.IndexFunc(own, func(l netlink.Link) bool { return l.Attrs().Name == name })
		if i < 0 {
			all = append(all, "none")
			continue
		}
		at := slices.IndexFunc(hosts, func(l netlink.Link) bool { return l.Attrs().Index == own[i].Attrs().ParentIndex })
		all = append(all, hosts[at].Attrs().Name)
	}
	return all
}

// TestRemakeFollowsSwapped: the two cards of one container have changed their names, and it has each link on the card that its network
// selects, with the host's link beside it.
func TestRemakeFollowsSwapped(t *testing.T) {
	w := newWorld(t, selecting(byMAC)+other)
	w.card(t, "p1")
	c := w.box(t, "c")
	c.attach(t, "network=lan", "network.eth1=other")
	before := c.whole(t)
	w.Cut(t)
	change(t, w.Host, "p1", netlink.LinkDel)
	w.relay(t, "p1", nil)
	w.card(t, nettest.Parent)
	w.Host.Remember(t)
	r, err := w.setup.Repair(t.Context())
	if err != nil {
		t.Errorf("repair: %+v (%v)", r, err)
	}
	if diff := gocmp.Diff([]string{"p1", "p0"}, w.parents(t, c, "eth0", "eth1")); diff != "" {
		t.Errorf("the parents (-want +got)\n%s", diff)
	}
	w.well(t)
	if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	if links := w.hostLinks(t); len(links) != 2 {
		t.Errorf("the host's links are %+v", links)
	}
	c.reachesNeighbour(t)
	w.done(t, c)
}

// TestRemakeFollowsAlone: where a container has a link on the same card by that card's name, it does not go along to another name.
func TestRemakeFollowsAlone(t *testing.T) {
	w := newWorld(t, selecting(byMAC)+strings.Replace(reach("named", ""), "host-access = true", "default-route = false", 1))
	c := w.box(t, "c")
	c.attach(t, "network=lan", "network.eth1=named")
	w.Cut(t)
	w.relay(t, "q0", nil)
	w.Host.Remember(t)
	if _, err := w.setup.Repair(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := gocmp.Diff([]string{"q0", "none"}, w.parents(t, c, "eth0", "eth1")); diff != "" {
		t.Errorf("the parents (-want +got)\n%s", diff)
	}
	rec := w.records(t)[0]
	for _, l := range rec.Leases {
		if want := map[string]string{"eth0": "lan:q0", "eth1": "lan:p0"}[l.IfName]; l.Scope != want {
			t.Errorf("%s of %s is leased in %s, want %s", l.Addr, l.IfName, l.Scope, want)
		}
	}
	w.done(t, c)
}

// TestRemakeFollowsHost: the host's link beside containers is one, with its one address, for those from before and those that were
// attached since their parent has another name.
func TestRemakeFollowsHost(t *testing.T) {
	for name, access := range map[string]string{"picked": "true", "given": `["10.77.0.200", "fd77::c8"]`} {
		for when, early := range map[string]bool{"before the repair": true, "after it": false} {
			t.Run(name+" "+when, func(t *testing.T) {
				w := newWorld(t, strings.Replace(selecting(byMAC), "host-access = true", "host-access = "+access, 1))
				c, d := w.box(t, "c"), w.box(t, "d")
				first := c.attach(t, "network=lan")
				w.Cut(t)
				w.relay(t, "q0", nil)
				w.Host.Remember(t)
				if !early {
					w.mended(t)
				}
				second := d.attach(t, "network=lan")
				if early {
					w.mended(t)
				}
				links := w.hostLinks(t)
				if len(links) != 1 {
					t.Fatalf("the host's links are %+v", links)
				}
				w.well(t)
				w.reachEachOther(t, c, first, links[0])
				w.reachEachOther(t, d, second, links[0])
				w.done(t, c, d)
			})
		}
	}
}

// TestRemakeFollowsDefault: while the host's default route leads to a link that takes no children, a container waits for its parent.
func TestRemakeFollowsDefault(t *testing.T) {
	w := newWorld(t, selecting(`{ default-route = true }`))
	change(t, w.Host, nettest.Parent, defaultBy)
	c := w.box(t, "c")
	r := c.attach(t, "network=lan")
	w.Cut(t)
	change(t, w.Host, "lo", func(l netlink.Link) error { return errors.Join(netlink.LinkSetUp(l), defaultBy(l)) })
	if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
		t.Errorf("repair without the parent: %+v (%v)", r, err)
	}
	change(t, w.Host, "lo", netlink.LinkSetDown)
	w.relay(t, "q0", defaultBy)
	w.Host.Remember(t)
	w.mended(t)
	w.well(t)
	w.reachEachOther(t, c, r, w.hostLinks(t)[0])
	w.done(t, c)
}

// TestRemakeFollowsDead: for a container that has ended without a word nothing follows, and its address may be another's.
func TestRemakeFollowsDead(t *testing.T) {
	w := newWorld(t, selecting(byMAC))
	c, d := w.plainBox(t, "c"), w.box(t, "d")
	c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
	w.Cut(t)
	c.ended(t)
	w.relay(t, "q0", nil)
	w.Host.Remember(t)
	d.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
	if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
		t.Errorf("repair: %+v (%v)", r, err)
	}
	d.detach(t)
	if _, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{}); err != nil {
		t.Error(err)
	}
	w.empty(t)
}

func (w *world) mended(t *testing.T) {
	t.Helper()
	if r, err := w.setup.Repair(t.Context()); err != nil || r.None() {
		t.Errorf("repair gave %+v (%v)", r, err)
	}
}
