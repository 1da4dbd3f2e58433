package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy/request"
)

// TestRows: an id is cut wherever it stands, also as the name of a container that nobody gave one. A name of its length
// is not.
func TestRows(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	name := strings.Repeat("n", len(id))
	eth0 := []plan.Interface{{Name: "eth0", Network: "lan"}}
	eth1 := []plan.Interface{{
		Name: "eth1", Network: "apps",
		Publish: []plan.Publish{
			{Protocol: request.TCP, Addr: netip.IPv4Unspecified(), Host: 8080, Count: 1, To: netip.MustParseAddrPort("172.30.0.2:80")},
			{Protocol: request.UDP, Addr: netip.IPv6Unspecified(), Host: 5000, Count: 3, To: netip.MustParseAddrPort("[fd30::2]:6000")},
		},
		DNAT: []plan.Translation{{From: netip.MustParseAddr("192.0.2.9"), To: netip.MustParseAddr("172.30.0.2")}},
	}}
	got := rows([]store.Record{
		{Container: id, Workload: id, State: store.Attached, Interfaces: eth0},
		{Container: id, Workload: name, State: store.Attached},
		{Container: "web", Workload: "web", State: store.Attached, Interfaces: eth1},
	})
	want := [][]string{
		{"0123456789ab", "0123456789ab", "eth0", "lan", "-", "", "attached", "-"},
		{"0123456789ab", name, "-", "-", "-", "-", "attached", "-"},
		{
			"web", "web", "eth1", "apps", "-", "", "attached",
			"0.0.0.0:8080->80/tcp, [::]:5000-5002->6000-6002/udp, 192.0.2.9->all",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the lines of ls differ (-want +got):\n%s", diff)
	}
}
