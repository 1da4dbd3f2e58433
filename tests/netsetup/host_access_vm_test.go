//go:build linux

package netsetup_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// reachIPVLAN is reach for ipvlan in a mode; where the host routes there is no gateway.
func reachIPVLAN(name, mode, keys string) string {
	text := strings.Replace(reach(name, keys+"\nmode = \""+mode+"\""), "macvlan", "ipvlan", 1)
	if mode == "l2" {
		return text
	}
	for _, gw := range []string{"10.77.0.1", "fd77::1"} {
		text = strings.Replace(text, "gateway = \""+gw+"\"", "", 1)
	}
	return text
}

// TestHostAccessIPVLAN (A1): as [TestHostAccess], for a child of ipvlan beside those of containers.
func TestHostAccessIPVLAN(t *testing.T) {
	for _, mode := range []string{"l2", "l3", "l3s"} {
		t.Run(mode, func(t *testing.T) {
			w := newIPVLAN(t, reachIPVLAN("near", mode, ""))
			w.onLAN(t)
			ways := w.lanWays(t)
			one, two := w.box(t, "one"), w.box(t, "two")
			first := one.attach(t, "network=near,ip=10.77.0.30,ip=fd77::30")
			links := w.hostLinks(t)
			if len(links) != 1 || links[0].Kind != "ipvlan" || links[0].Mode.String() != mode || links[0].Flag != policy.FlagBridge {
				t.Fatalf("the host's links are %+v", links)
			}
			w.reachEachOther(t, one, first, links[0])
			second := two.attach(t, "network=near,ip=10.77.0.31,ip=fd77::31")
			w.reachEachOther(t, two, second, links[0])
			if diff := cmp.Diff(ways, w.lanWays(t)); diff != "" {
				t.Errorf("the host's ways (-before +now):\n%s", diff)
			}
			if mode == "l2" {
				one.reachesNeighbour(t)
			}
			w.well(t)
			one.detach(t)
			w.reachEachOther(t, two, second, links[0])
			w.done(t, two)
		})
	}
}

// Networks of one ipvlan parent have a link of the host each.
func TestHostAccessIPVLANTwice(t *testing.T) {
	far := strings.NewReplacer("10.77.0.0", "10.79.0.0", "fd77::/64", "fd79::/64", "gateway", "#", "near", "far").Replace(reachIPVLAN("near", "l2", ""))
	w := newIPVLAN(t, reachIPVLAN("near", "l2", "")+far)
	one, two := w.box(t, "one"), w.box(t, "two")
	first, second := one.attach(t, "network=near"), two.attach(t, "network=far")
	links := w.hostLinks(t)
	if len(links) != 2 {
		t.Fatalf("the host's links are %+v", links)
	}
	w.reachEachOther(t, one, first, links[0])
	w.reachEachOther(t, two, second, links[1])
	w.done(t, one, two)
}

// TestHostAccessVLAN has the host reach containers on VLANs, whose sub-interface goes after the host's link on it.
func TestHostAccessVLAN(t *testing.T) {
	for _, driver := range []string{"macvlan", "ipvlan"} {
		for _, vlan := range []string{"60", "[100, 20]"} {
			t.Run(driver+" "+vlan, func(t *testing.T) {
				w := newVLAN(t, vlanOf("tagged", driver, `"p0"`, 50, "host-access = true\nvlan = "+vlan))
				w.onLAN(t)
				ways := w.lanWays(t)
				ids := []int{60}
				if vlan != "60" {
					ids = []int{100, 20}
				}
				w.inVLAN(t, ids...)
				one, two := w.box(t, "one"), w.box(t, "two")
				first, second := one.attach(t, "network=tagged"), two.attach(t, "network=tagged")
				l := w.hostLinks(t)[0]
				w.reachEachOther(t, one, first, l)
				one.reachesIn(t)
				if diff := cmp.Diff(ways, w.lanWays(t)); diff != "" {
					t.Errorf("the host's ways (-before +now):\n%s", diff)
				}
				one.detach(t)
				w.reachEachOther(t, two, second, l)
				w.done(t, two)
			})
		}
	}
}

// With the state lost, gc leaves the host's link with its sub-interface to a container that runs, and takes both when it has ended; a dry
// run names both.
func TestHostAccessVLANLost(t *testing.T) {
	for _, driver := range []string{"macvlan", "ipvlan"} {
		t.Run(driver, func(t *testing.T) {
			w := newVLAN(t, vlanOf("tagged", driver, `"p0.60"`, 50, "host-access = true"))
			c := w.plainBox(t, "c")
			r := c.attach(t, "network=tagged")
			w.reachEachOther(t, c, r, w.hostLinks(t)[0])
			w.lose(t)
			collect := func(dry bool) netsetup.Collected {
				t.Helper()
				found, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{DryRun: dry})
				if err != nil {
					t.Fatal(err)
				}
				return found
			}
			if found := collect(false); len(found.VLANs)+len(found.HostLinks) > 0 {
				t.Errorf("while the container runs, gc removes %+v", found)
			}
			w.reachEachOther(t, c, r, w.hostLinks(t)[0])
			c.End()
			nettest.Eventually(t, "the end of the container's link", func() bool { return len(collect(true).VLANs) > 0 })
			dry := collect(true)
			if diff := cmp.Diff(dry, collect(false)); diff != "" || !slices.Equal(dry.VLANs, []string{"p0.60"}) || len(dry.HostLinks) != 1 {
				t.Errorf("the dry run found %+v, gc removed other things (-dry +real):\n%s", dry, diff)
			}
			w.empty(t)
		})
	}
}

// TestHostAccessVLANCrash lets each step of an attach fail, see [TestCrashMatrix].
func TestHostAccessVLANCrash(t *testing.T) {
	w := newVLAN(t, vlanOf("tagged", "ipvlan", `"p0"`, 50, "host-access = true\nvlan = 60"))
	c := w.plainBox(t, "c")
	p, err := w.setup.Plan(t.Context(), c.container(t, "network=tagged"))
	if err != nil {
		t.Fatal(err)
	}
	w.crash(t, c, p, true)
}
