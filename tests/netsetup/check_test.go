//go:build linux

package netsetup_test

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/store"
)

// check is what differs from one record, and what does of all that records share.
func (w *world) check(t *testing.T, rec store.Record) ([]netsetup.Drift, error) {
	t.Helper()
	c, err := w.setup.Check(t.Context(), []store.Record{rec})
	if err != nil {
		return nil, err
	}
	drift := c.Of[0]
	for _, what := range c.Host {
		drift = append(drift, netsetup.Drift{What: what, Repair: true})
	}
	return drift, nil
}

func TestCheck(t *testing.T) {
	w := newWorld(t, lan+apps)
	for _, c := range []struct {
		name, network string
		undo          func(t *testing.T, b *box)
		want          string
	}{
		{"MV-20 address removed", "lan,ip=10.77.0.9", func(t *testing.T, b *box) {
			change(t, b.Space, "eth0", func(l netlink.Link) error {
				a, err := netlink.ParseAddr("10.77.0.9/24")
				if err != nil {
					return err
				}
				return netlink.AddrDel(l, a)
			})
		}, "eth0: address 10.77.0.9/24 is gone"},
		{"MV-20 link down", "lan", func(t *testing.T, b *box) {
			change(t, b.Space, "eth0", netlink.LinkSetDown)
		}, "eth0: the link is down"},
		{"MV-20 MTU changed", "lan", func(t *testing.T, b *box) {
			change(t, b.Space, "eth0", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1400) })
		}, "eth0: the MTU is 1400, not 1500"},
		{"BR-08 link removed", "apps", func(t *testing.T, b *box) {
			change(t, b.Space, "eth0", netlink.LinkDel)
		}, "eth0: the link is gone"},
		{"BR-08 address removed", "apps,ip=172.30.0.9", func(t *testing.T, b *box) {
			change(t, b.Space, "eth0", func(l netlink.Link) error {
				a, err := netlink.ParseAddr("172.30.0.9/24")
				if err != nil {
					return err
				}
				return netlink.AddrDel(l, a)
			})
		}, "eth0: address 172.30.0.9/24 is gone"},
		{"BR-08 route removed", "apps", func(t *testing.T, b *box) {
			change(t, b.Space, "eth0", func(netlink.Link) error {
				return netlink.RouteDel(&netlink.Route{Gw: addr("172.30.0.1").AsSlice()})
			})
		}, "eth0: route 0.0.0.0/0 via 172.30.0.1 is gone"},
		{"BR-08 address of the bridge removed", "apps", func(t *testing.T, b *box) {
			change(t, b.w.Host, "lh-apps", func(l netlink.Link) error {
				a, err := netlink.ParseAddr("172.30.0.1/24")
				if err != nil {
					return err
				}
				return netlink.AddrDel(l, a)
			})
		}, ": address 172.30.0.1/24 of bridge lh-apps is gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := w.box(t, "c")
			b.attach(t, "network="+c.network)
			rec := w.records(t)[0]
			drift, err := w.check(t, rec)
			if err != nil || len(drift) > 0 {
				t.Errorf("just attached: %v (%v)", drift, err)
			}
			c.undo(t, b)
			if drift, err = w.check(t, rec); err != nil {
				t.Error(err)
			}
			var lines []string
			for _, d := range drift {
				lines = append(lines, d.IfName+": "+d.What)
			}
			if !strings.Contains(strings.Join(lines, "\n"), c.want) {
				t.Errorf("drift %q, want %q", lines, c.want)
			}
			w.done(t, b)
		})
	}
}
