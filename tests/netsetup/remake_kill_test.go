//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestRemakeKilled kills repair at each thing that it does while it makes a child anew. The next one makes it whole.
func TestRemakeKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, remakes)
	c := w.box(t, "c")
	c.attach(t, "network=lan")
	before := c.whole(t)
	kills(t, func(t *testing.T, at int) (output, []string) {
		w.Cut(t)
		w.Lay(t)
		o, deeds := w.traced(t, orders{Kill: at, Kinds: []string{"netlink", "set", "pwrite", "sync"}}, "", "repair")
		if _, err := w.setup.Repair(t.Context()); err != nil {
			t.Error(err)
		}
		w.well(t)
		if diff := gocmp.Diff(before, c.whole(t)); diff != "" {
			t.Errorf("(-before +after)\n%s", diff)
		}
		c.Ping(t, nettest.PeerPrefix4().Addr())
		return o, deeds
	})
	w.done(t, c)
}
