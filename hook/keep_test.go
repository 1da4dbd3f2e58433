package main

import (
	"testing"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/store"
)

// TestTotal: gc does not say that it took nothing back when it took files.
func TestTotal(t *testing.T) {
	for want, c := range map[string]netsetup.Collected{
		"":                         {},
		"1 record and 2 bridges":   {Records: make([]store.Record, 1), Bridges: []string{"lh-a", "lh-b"}},
		"1 record and 1 VLAN":      {Records: make([]store.Record, 1), VLANs: []string{"eth0.50"}},
		"the files of 1 container": {Guests: []string{"bdf2d1f34a3e5be2"}},
	} {
		if got := total(c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestByHand: check sends nobody to containers for what gc or repair does, now or when a parent is there again.
func TestByHand(t *testing.T) {
	for name, test := range map[string]struct {
		of   []netsetup.Drift
		want bool
	}{
		"nothing":    {},
		"repairable": {of: []netsetup.Drift{{What: "VLAN eth0.50 is down", Repair: true}}},
		"dead":       {of: []netsetup.Drift{{What: "the container's namespace is gone", Collect: true}}},
		"its parent": {of: []netsetup.Drift{{What: "the link is gone with its parent eth0", Waits: true}}},
		"by hand":    {of: []netsetup.Drift{{What: "uplink eth1 is down"}}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := has(netsetup.Checked{Of: [][]netsetup.Drift{test.of}}, byHand); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
