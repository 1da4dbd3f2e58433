//go:build linux

package netsetup_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestHostAccessOfLostContainers: with the records lost, gc and the end of others leave the host's link to the containers that still
// run, and gc removes it when they have ended, whoever else has links on the parent by then.
func TestHostAccessOfLostContainers(t *testing.T) {
	w := newWorld(t, reach("lan", "")+strings.Replace(reach("other", ""), "host-access = true", "", 1))
	c := w.plainBox(t, "c")
	r := c.attach(t, "network=lan")
	w.lose(t)
	known := w.box(t, "known")
	known.attach(t, "network=other,ip=10.77.0.99,ip=fd77::63")
	for _, dry := range []bool{true, false} {
		got, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{DryRun: dry})
		if err != nil || len(got.HostLinks) > 0 {
			t.Errorf("gc removed %v (%v)", got.HostLinks, err)
		}
	}
	w.reachEachOther(t, c, r, w.hostLinks(t)[0])
	d := w.box(t, "d")
	w.reachEachOther(t, d, d.attach(t, "network=lan,ip=10.77.0.98,ip=fd77::62"), w.hostLinks(t)[0])
	d.detach(t)
	w.reachEachOther(t, c, r, w.hostLinks(t)[0])
	c.End()
	name := plan.HostLinkName("lan", nettest.Parent)
	nettest.Eventually(t, "nothing of the lost container is left", func() bool {
		got, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{})
		return err == nil && slices.Equal(got.HostLinks, []string{name})
	})
	w.done(t, known)
}

// TestCollectForgets: what others on the LAN were found to have is forgotten by gc when it does not count any more.
func TestCollectForgets(t *testing.T) {
	w := newWorld(t, lan4)
	find := func(addr string, age time.Duration) store.Foreign {
		return store.Foreign{
			Scope: "lan:p0", Addr: netip.MustParseAddr(addr), MAC: plan.MAC{0xd0, 0, 0, 0, 0, 1},
			Seen: time.Now().Add(-age),
		}
	}
	old, young := find("10.77.0.50", 11*time.Minute), find("10.77.0.51", 9*time.Minute)
	if err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutForeign([]store.Foreign{old, young}, time.Time{})
	}); err != nil {
		t.Fatal(err)
	}
	has := func(f store.Foreign) (there bool) {
		err := w.setup.Store.View(t.Context(), func(tx *store.Tx) (err error) {
			_, there, err = tx.Foreign(f.Scope, f.Addr)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return there
	}
	for _, dry := range []bool{true, false} {
		if _, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{DryRun: dry}); err != nil {
			t.Error(err)
		}
		if has(old) != dry || !has(young) {
			t.Errorf("after gc, dry run %t: the old one is there %t, the young one %t", dry, has(old), has(young))
		}
	}
}
