package main

import (
	"testing"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/store"
)

// TestTotal: gc does not say that it took nothing back when it took files.
func TestTotal(t *testing.T) {
	for want, c := range map[string]netsetup.Collected{
		"0 records and 0 bridges":                              {},
		"1 record and 2 bridges":                               {Records: make([]store.Record, 1), Bridges: []string{"lh-a", "lh-b"}},
		"0 records and 0 bridges and the files of 1 container": {Guests: []string{"bdf2d1f34a3e5be2"}},
	} {
		if got := total(c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
