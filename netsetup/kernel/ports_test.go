//go:build linux

package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func TestParsePorts(t *testing.T) {
	for word, want := range map[string]plan.Ports{
		"80": {From: 80, To: 80}, "1-65535": {From: 1, To: 65535}, "0": {}, "80-80": {From: 80, To: 80},
		"": {}, "-": {}, "90-80": {}, "65536": {}, "80-": {}, "-80": {}, "a": {}, "80 ": {}, "80-90-100": {},
	} {
		got, err := parsePorts(word)
		bad := want == plan.Ports{} && word != "0"
		if got != want || (err != nil) != bad {
			t.Errorf("%q: %v (%v), want %v", word, got, err, want)
		}
	}
}

func TestPortSet(t *testing.T) {
	var s portSet
	s.add([]plan.Ports{{From: 0, To: 1}, {From: 63, To: 64}, {From: 65535, To: 65535}})
	s.put([]uint16{2, 100, 65534}, true)
	s.put([]uint16{0, 63, 99}, false)
	want := []plan.Ports{{From: 1, To: 2}, {From: 64, To: 64}, {From: 100, To: 100}, {From: 65534, To: 65535}}
	if diff := cmp.Diff(want, s.ranges()); diff != "" {
		t.Errorf("ranges (-want +got):\n%s", diff)
	}
}
