package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// TestRows: an id is cut wherever it stands, also as the name of a container that nobody gave one. A name of its length
// is not.
func TestRows(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	name := strings.Repeat("n", len(id))
	eth0 := []plan.Interface{{Name: "eth0", Network: "lan"}}
	got := rows([]store.Record{
		{Container: id, Workload: id, State: store.Attached, Interfaces: eth0},
		{Container: id, Workload: name, State: store.Attached},
	})
	want := [][]string{
		{"0123456789ab", "0123456789ab", "eth0", "lan", "-", "", "attached"},
		{"0123456789ab", name, "-", "-", "-", "-", "attached"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the lines of ls differ (-want +got):\n%s", diff)
	}
}
