//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestRemakeFollowsKilled kills repair at each thing that it does while a record follows its parent to another name. The next one makes
// it whole, with the host's link.
func TestRemakeFollowsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, selecting(byMAC))
	c := w.box(t, "c")
	r := c.attach(t, "network=lan")
	before, name := c.whole(t), nettest.Parent
	relay := func(t *testing.T) {
		change(t, w.Host, name, netlink.LinkDel)
		w.Lay(t)
		if name == nettest.Parent {
			name = "q0"
			w.rename(t, nettest.Parent, name)
		} else {
			name = nettest.Parent
		}
	}
	kills(t, func(t *testing.T, at int) (output, []string) {
		relay(t)
		o, deeds := w.traced(t, orders{Kill: at, Kinds: []string{"netlink", "set", "pwrite", "sync"}}, "", "repair")
		if _, err := w.setup.Repair(t.Context()); err != nil {
			t.Error(err)
		}
		w.well(t)
		if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
			t.Errorf("(-before +after)\n%s", diff)
		}
		links := w.hostLinks(t)
		if len(links) != 1 {
			t.Fatalf("the host's links are %+v", links)
		}
		w.reachEachOther(t, c, r, links[0])
		return o, deeds
	})
	if name != nettest.Parent {
		relay(t)
		if _, err := w.setup.Repair(t.Context()); err != nil {
			t.Error(err)
		}
	}
	w.done(t, c)
}
