//go:build linux

package netsetup_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// reach is a network of the wire whose containers the host reaches, with some more keys. Its subnets are those of the wire.
func reach(name, keys string) string {
	return fmt.Sprintf(`
[network.%[1]s]
driver = "macvlan"
parent = "p0"
host-access = true
%[2]s
  [[network.%[1]s.subnet]]
  subnet  = "10.77.0.0/24"
  gateway = "10.77.0.1"
  [[network.%[1]s.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::1"
`, name, keys)
}

// onLAN gives the host addresses on the wire, as a host has them beside its containers. It must in the end be like now.
func (w *world) onLAN(t *testing.T) {
	t.Helper()
	w.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.5/24"))
		nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("fd77::5/64"))
		for _, gw := range []netip.Addr{nettest.PeerPrefix4().Addr(), nettest.PeerPrefix6().Addr()} {
			if err := netlink.RouteAdd(&netlink.Route{Gw: gw.AsSlice()}); err != nil {
				t.Fatal(err)
			}
		}
	})
	w.Host.Ping(t, nettest.PeerPrefix4().Addr())
	w.Host.Ping(t, nettest.PeerPrefix6().Addr())
	nettest.Eventually(t, "the host's addresses have their routes", func() bool {
		return strings.Contains(w.Host.Snapshot(t), "route fd77::5/128 ")
	})
	w.Host.Remember(t)
}

// hostLinks are the host's links beside containers, the oldest first.
func (w *world) hostLinks(t *testing.T) []kernel.State {
	t.Helper()
	var all []kernel.State
	for _, l := range linkList(t, w.Host) {
		if name := l.Attrs().Name; plan.IsHostLinkName(name) {
			all = append(all, w.hostLink(t, name))
		}
	}
	return all
}

// ownAddress is the host's address of a family on one of its links beside containers.
func ownAddress(t *testing.T, l kernel.State, family func(netip.Addr) bool) netip.Addr {
	t.Helper()
	for _, p := range global(l.Addresses) {
		if family(p.Addr()) && p.IsSingleIP() {
			return p.Addr()
		}
	}
	t.Fatalf("the host's link has the addresses %v", l.Addresses)
	return netip.Addr{}
}

// ways are the host's ways to addresses: link and source of each.
func (w *world) ways(t *testing.T, to ...string) []string {
	t.Helper()
	var all []string
	w.Host.Do(t, func() {
		for _, a := range to {
			routes, err := netlink.RouteGet(netip.MustParseAddr(a).AsSlice())
			if err != nil || len(routes) != 1 {
				t.Fatalf("way to %s: %v (%v)", a, routes, err)
			}
			link, err := netlink.LinkByIndex(routes[0].LinkIndex)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s by %s from %s", a, link.Attrs().Name, routes[0].Src))
		}
	})
	return all
}

// lanWays are those to the LAN and beyond, which no container's coming and going changes.
func (w *world) lanWays(t *testing.T) []string {
	t.Helper()
	return w.ways(t, "10.77.0.1", "10.77.0.9", "10.77.0.254", "192.0.2.1", "fd77::1", "fd77::9", "2001:db8::1")
}

// reachEachOther sends a packet of each family from the host to a container and back, and the other way round.
func (w *world) reachEachOther(t *testing.T, b *box, r netsetup.Result, l kernel.State) {
	t.Helper()
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		w.Host.Ping(t, onlyAddress(t, r.Interfaces[0], family))
		b.Ping(t, ownAddress(t, l, family))
	}
}

// TestHostAccess (A1, A3): the host and its containers reach each other, all else stays as it was, and with the last container
// everything is gone.
func TestHostAccess(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	w.onLAN(t)
	ways := w.lanWays(t)
	one, two := w.box(t, "one"), w.box(t, "two")
	first := one.attach(t, "network=lan,ip=10.77.0.30,ip=fd77::30")
	links := w.hostLinks(t)
	if len(links) != 1 || len(links[0].Name) > 15 || links[0].Group != plan.Group || links[0].Kind != "macvlan" {
		t.Fatalf("the host's links are %+v", links)
	}
	w.reachEachOther(t, one, first, links[0])
	second := two.attach(t, "network=lan,ip=10.77.0.31,ip=fd77::31")
	w.reachEachOther(t, two, second, links[0])
	one.reachesNeighbour(t)
	if diff := cmp.Diff(ways, w.lanWays(t)); diff != "" {
		t.Errorf("the host's ways (-before +now):\n%s", diff)
	}
	for _, a := range second.Interfaces[0].Addresses {
		family := netip.Addr.Is6
		if a.Addr().Is4() {
			family = netip.Addr.Is4
		}
		want := fmt.Sprintf("%s by %s from %s", a.Addr(), links[0].Name, ownAddress(t, links[0], family))
		if got := w.ways(t, a.Addr().String()); got[0] != want {
			t.Errorf("the way to the container is %s, want %s", got[0], want)
		}
	}
	now := w.hostLink(t, links[0].Name)
	if n := len(now.Routes); n != 4 || now.Index != links[0].Index {
		t.Errorf("the host's link is %+v, with %d routes", now, n)
	}
	w.well(t)
	one.detach(t)
	if got := w.hostLinks(t); len(got) != 1 || len(got[0].Routes) != 2 {
		t.Errorf("with one container left the host's links are %+v", got)
	}
	w.reachEachOther(t, two, second, links[0])
	w.done(t, two)
}

// Containers get the same view as without, and their neighbours none of the host's.
func TestHostAccessChangesNothingElse(t *testing.T) {
	const wish = "network=lan,ip=10.77.0.9,ip=fd77::9,mac=02:77:00:00:00:09"
	plain := newWorld(t, strings.Replace(reach("lan", ""), "host-access = true", "", 1))
	c := plain.box(t, "c")
	c.attach(t, wish)
	want := c.view(t)
	plain.done(t, c)

	w := newWorld(t, reach("lan", ""))
	w.onLAN(t)
	c = w.box(t, "c")
	c.attach(t, wish)
	if diff := cmp.Diff(want, c.view(t)); diff != "" {
		t.Errorf("the container (-without host-access +with):\n%s", diff)
	}
	l := w.hostLinks(t)[0]
	t.Run("the host's address on the LAN is the parent's alone", func(t *testing.T) {
		w.Neighbour.Ping(t, addr("10.77.0.5"))
		w.Neighbour.Do(t, func() {
			peer, err := netlink.LinkByName(nettest.PeerName)
			if err != nil {
				t.Fatal(err)
			}
			list, err := netlink.NeighList(peer.Attrs().Index, unix.AF_INET)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range list {
				if n.IP.String() == "10.77.0.5" && n.HardwareAddr.String() != "02:70:00:00:00:01" {
					t.Errorf("the LAN knows the host's address at %s", n.HardwareAddr)
				}
			}
		})
		c.NoPing(t, addr("10.77.0.5"))
	})
	t.Run("settings", func(t *testing.T) {
		for name, want := range map[string]string{
			"ipv4/conf/%s/arp_ignore": "1", "ipv4/conf/%s/arp_announce": "2", "ipv6/conf/%s/accept_ra": "0", "ipv6/conf/%s/autoconf": "0",
		} {
			if got := readSetting(t, w.Host, fmt.Sprintf(name, l.Name)); got != want {
				t.Errorf(name+" is %s", l.Name, got)
			}
		}
	})
	t.Run("nobody gets the host's address", func(t *testing.T) {
		w.box(t, "other").refused(t, "is this host's own", "network=lan,ip="+ownAddress(t, l, netip.Addr.Is4).String())
	})
	w.done(t, c)
}

// Each network of a parent has a link of its own, and addresses that no container of either gets.
func TestHostAccessOfSeveralNetworks(t *testing.T) {
	small := strings.ReplaceAll(reach("small", "mtu = 1400"), "10.77.0.0/24\"", "10.77.0.0/24\"\n  range = \"10.77.0.16-10.77.0.19\"")
	w := newWorld(t, reach("lan", "")+small)
	w.onLAN(t)
	one, two := w.box(t, "one"), w.box(t, "two")
	first := one.attach(t, "network=lan")
	second := two.attach(t, "network=small")
	links := w.hostLinks(t)
	if len(links) != 2 || links[1].MTU != 1400 || links[0].MAC.String() == links[1].MAC.String() {
		t.Fatalf("the host's links are %+v", links)
	}
	w.reachEachOther(t, one, first, links[0])
	w.reachEachOther(t, two, second, links[1])
	both := w.box(t, "both")
	both.attach(t, "network=lan", "network.eth1=small")
	if n := len(w.hostLinks(t)); n != 2 {
		t.Errorf("the host has %d links", n)
	}
	// Four addresses: two containers and the host have three of them.
	third := w.box(t, "third")
	third.attach(t, "network=small")
	w.box(t, "fourth").refused(t, "no address is free in 10.77.0.0/24", "network=small")
	third.detach(t)
	one.detach(t)
	if n := len(w.hostLinks(t)); n != 2 {
		t.Errorf("the host has %d links, and both has interfaces on two networks", n)
	}
	both.detach(t)
	w.reachEachOther(t, two, second, links[1])
	w.done(t, two)
}

// The policy may say which addresses the host has. Nobody gets them, on whatever network of the LAN, with or without containers.
func TestHostAccessByPolicy(t *testing.T) {
	named := strings.Replace(reach("lan", ""), "true", `["10.77.0.200", "fd77::c8"]`, 1)
	w := newWorld(t, named+strings.Replace(reach("other", ""), "host-access = true", "", 1))
	w.onLAN(t)
	c := w.box(t, "c")
	c.refused(t, "10.77.0.200", "network=other,ip=10.77.0.200")
	c.refused(t, "10.77.0.200", "network=lan,ip=10.77.0.200")
	r := c.attach(t, "network=lan")
	l := w.hostLinks(t)[0]
	if got := ownAddress(t, l, netip.Addr.Is4); got != addr("10.77.0.200") {
		t.Errorf("the host's address is %s", got)
	}
	w.reachEachOther(t, c, r, l)
	t.Run("one that the policy changes holds for the next first container", func(t *testing.T) {
		w.usePolicy(t, strings.ReplaceAll(named, "200", "201"))
		d := w.box(t, "d")
		w.reachEachOther(t, d, d.attach(t, "network=lan"), l)
		d.detach(t)
		c.detach(t)
		c.attach(t, "network=lan")
		if got := ownAddress(t, w.hostLinks(t)[0], netip.Addr.Is4); got != addr("10.77.0.201") {
			t.Errorf("the host's address is %s", got)
		}
	})
	t.Run("one that the host has on the LAN is refused", func(t *testing.T) {
		w.done(t, c)
		w.usePolicy(t, strings.Replace(named, "10.77.0.200", "10.77.0.5", 1))
		c.refused(t, "host-access: the host has address 10.77.0.5 already", "network=lan")
		w.usePolicy(t, named)
		c.attach(t, "network=lan")
	})
	t.Run("one that a container has is refused", func(t *testing.T) {
		w.done(t, c)
		w.usePolicy(t, strings.Replace(reach("other", ""), "host-access = true", "", 1))
		c.attach(t, "network=other,ip=10.77.0.200")
		w.usePolicy(t, named)
		w.box(t, "d").refused(t, "address 10.77.0.200 is in use by interface eth0 of container c", "network=lan")
	})
	w.done(t, c)
}

// What is in the way stays as it is.
func TestHostAccessInTheWay(t *testing.T) {
	const wish = "network=lan,ip=10.77.0.9,ip=fd77::9"
	t.Run("another route to the container's address", func(t *testing.T) {
		w := newWorld(t, reach("lan", ""))
		w.onLAN(t)
		w.Host.Do(t, func() {
			to, err := netlink.ParseIPNet("10.77.0.9/32")
			if err == nil {
				err = netlink.RouteAdd(&netlink.Route{Dst: to, Gw: nettest.PeerPrefix4().Addr().AsSlice()})
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "the host has another route to this address", wish)
		w.empty(t)
	})
	t.Run("another link of the name", func(t *testing.T) {
		w := newWorld(t, reach("lan", ""))
		addBridge(t, w.Host, plan.HostLinkName("lan", nettest.Parent))
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "there is a link of kind bridge of this name", wish)
		w.empty(t)
	})
	t.Run("a route that a lost state has left", func(t *testing.T) {
		w := newWorld(t, reach("lan", ""))
		c, d := w.plainBox(t, "c"), w.box(t, "d")
		c.attach(t, wish)
		change(t, c.Space, "eth0", netlink.LinkDel) // a namespace that is ending answers for its addresses a while
		w.lose(t)
		r := d.attach(t, wish)
		w.reachEachOther(t, d, r, w.hostLinks(t)[0])
		w.done(t, d)
	})
}

// TestHostAccessLost (A2): what somebody takes away is seen and made again, and after a reboot all is made anew.
func TestHostAccessLost(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	w.onLAN(t)
	c, d := w.plainBox(t, "c"), w.plainBox(t, "d")
	r, other := c.attach(t, "network=lan"), d.attach(t, "network=lan")
	l := w.hostLinks(t)[0]
	four := onlyAddress(t, r.Interfaces[0], netip.Addr.Is4)
	for _, test := range []struct {
		name, want string
		change     func(l netlink.Link) error
	}{
		{"link", "the host's link " + l.Name + " is gone", netlink.LinkDel},
		{"up", "the host's link " + l.Name + " is down", netlink.LinkSetDown},
		{"address", "address " + ownAddress(t, l, netip.Addr.Is6).String() + " of the host's link", func(link netlink.Link) error {
			a, err := netlink.ParseAddr(ownAddress(t, l, netip.Addr.Is6).String() + "/128")
			if err != nil {
				return err
			}
			return netlink.AddrDel(link, a)
		}},
		{"route", "the host's route to " + four.String() + " by " + l.Name + " is gone", func(link netlink.Link) error {
			to, err := netlink.ParseIPNet(four.String() + "/32")
			if err != nil {
				return err
			}
			return netlink.RouteDel(&netlink.Route{Dst: to, LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			change(t, w.Host, l.Name, test.change)
			if got := w.checked(t)["c"]; !strings.Contains(got, test.want) {
				t.Errorf("check says %q, want %q", got, test.want)
			}
			repaired, err := w.setup.Repair(t.Context())
			if err != nil || !slices.ContainsFunc(repaired.Links, func(s string) bool { return strings.Contains(s, test.want) }) {
				t.Errorf("repair gave %+v (%v)", repaired, err)
			}
			w.well(t)
			w.reachEachOther(t, c, r, w.hostLinks(t)[0])
			w.reachEachOther(t, d, other, w.hostLinks(t)[0])
		})
	}
	t.Run("reboot", func(t *testing.T) {
		change(t, w.Host, l.Name, netlink.LinkDel)
		c.ended(t)
		d.ended(t)
		w.setup.BootID = "another boot"
		again := w.box(t, "c")
		r := again.attach(t, "network=lan")
		w.reachEachOther(t, again, r, w.hostLinks(t)[0])
		if _, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{}); err != nil {
			t.Error(err)
		}
		w.reachEachOther(t, again, r, w.hostLinks(t)[0])
		w.done(t, again)
	})
}

// gc removes the link of which no record is left, and leaves one that is used.
func TestHostAccessCollected(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	c := w.plainBox(t, "c")
	r := c.attach(t, "network=lan")
	if got, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{}); err != nil || len(got.HostLinks) > 0 {
		t.Errorf("gc removed %+v (%v)", got, err)
	}
	w.reachEachOther(t, c, r, w.hostLinks(t)[0])
	c.detachAny(t)
	c.attach(t, "network=lan")
	c.ended(t)
	w.lose(t)
	for _, dry := range []bool{true, false} {
		got, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{DryRun: dry})
		if err != nil || !slices.Equal(got.HostLinks, []string{plan.HostLinkName("lan", nettest.Parent)}) {
			t.Errorf("gc removed %+v (%v)", got, err)
		}
	}
	w.empty(t)
}

// The link comes and goes under many that attach and detach at once, and the host reaches whoever is attached.
func TestHostAccessComesAndGoes(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	boxes := w.crowd(t, 12)
	wants := make([]netsetup.Container, len(boxes))
	for i, b := range boxes {
		wants[i] = b.container(t, "network=lan")
	}
	name := plan.HostLinkName("lan", nettest.Parent)
	together(t, len(boxes), func(i int) error {
		for range 3 {
			r, err := w.setup.Attach(t.Context(), wants[i])
			if err != nil {
				return err
			}
			link, ok, err := w.setup.Host.Link(name)
			if err != nil || !ok || !link.Up {
				return fmt.Errorf("the host's link is %+v, there %t (%w)", link, ok, err)
			}
			for _, a := range r.Interfaces[0].Addresses {
				to := netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
				if !slices.ContainsFunc(link.Routes, func(r request.Route) bool { return r.Dst == to }) {
					return fmt.Errorf("the host has no route to %s", to)
				}
			}
			if err := w.release(t.Context(), wants[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	w.empty(t)
}

// TestHostAccessRepairedMeanwhile repairs while an attach asks the LAN: it may choose another address yet, and then nobody would
// take the route to the first one back. Nor does the host have its own address until the LAN was asked.
func TestHostAccessRepairedMeanwhile(t *testing.T) {
	w := newWorld(t, reach("lan", `conflict = "rfc"`))
	want := w.box(t, "c").container(t, "network=lan")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := w.setup.Attach(ctx, want)
		done <- err
	}()
	nettest.Eventually(t, "the host has its link", func() bool { return len(w.hostLinks(t)) == 1 })
	r, err := w.setup.Repair(t.Context())
	if err != nil || !r.None() {
		t.Errorf("repair gave %+v (%v)", r, err)
	}
	if l := w.hostLinks(t)[0]; len(l.Routes) > 0 || len(global(l.Addresses)) > 0 {
		t.Errorf("the host has the routes %v, and %v before the LAN was asked for it", l.Routes, l.Addresses)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("the attach was over before")
	}
	w.empty(t)
}

// TestHostAccessCrash lets each step of an attach fail, see [TestCrashMatrix].
func TestHostAccessCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, reach("lan", "spoof-check = true"))
	c := w.plainBox(t, "c")
	p, err := w.setup.Plan(t.Context(), c.container(t, "network=lan"))
	if err != nil {
		t.Fatal(err)
	}
	w.crash(t, c, p, true)
}

// A workload has the same addresses whether the host has one beside it already or not.
func TestHostAccessKeepsPlaces(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	for _, name := range []string{"a", "b", "c", "d"} {
		c := w.box(t, name)
		alone := c.attach(t, "network=lan").Interfaces[0].Addresses
		c.detach(t)
		other := w.box(t, "other")
		other.attach(t, "network=lan,ip=10.77.0.3,ip=fd77::3")
		if diff := cmp.Diff(alone, c.attach(t, "network=lan").Interfaces[0].Addresses, byText()); diff != "" {
			t.Errorf("addresses of %s (-alone +beside another):\n%s", name, diff)
		}
		w.done(t, c, other)
	}
}

// TestHostAccessRemake cuts the wire and lays it anew: repair makes the host's link with its routes again along with the children.
func TestHostAccessRemake(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	c, d := w.box(t, "c"), w.box(t, "d")
	first, second := c.attach(t, "network=lan"), d.attach(t, "network=lan")
	for range 2 {
		w.Cut(t)
		if said := w.checked(t)["c"]; !strings.Contains(said, "the host's link "+plan.HostLinkName("lan", nettest.Parent)+" is gone") {
			t.Errorf("check says %q", said)
		}
		if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
			t.Errorf("repair without the parent: %+v (%v)", r, err)
		}
		w.Lay(t)
		if _, err := w.setup.Repair(t.Context()); err != nil {
			t.Error(err)
		}
		w.well(t)
		w.reachEachOther(t, c, first, w.hostLinks(t)[0])
		w.reachEachOther(t, d, second, w.hostLinks(t)[0])
	}
	w.done(t, c, d)
}

// A parent that is down carries nothing yet, and the host's link is made all the same: it works once the parent is up.
func TestHostAccessParentDown(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
	w.Host.Remember(t)
	c := w.box(t, "c")
	r := c.attach(t, "network=lan")
	change(t, w.Host, nettest.Parent, netlink.LinkSetUp)
	if _, err := w.setup.Repair(t.Context()); err != nil {
		t.Error(err)
	}
	w.reachEachOther(t, c, r, w.hostLinks(t)[0])
	c.detach(t)
	change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
	w.empty(t)
}
