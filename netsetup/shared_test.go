package netsetup

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

func tag(id int) policy.Tag { return policy.Tag{ID: id, Protocol: policy.Dot1Q} }

// shared are steps of each kind that shares something.
func shared() plan.Steps {
	return plan.Steps{
		plan.EnsureVLAN{Name: "p0.100", Parent: "p0", Tag: tag(100)},
		plan.EnsureVLAN{Name: "p0.100.20", Parent: "p0.100", Tag: tag(20)},
		plan.EnsureBridge{Name: "br0"},
		plan.EnsureUplink{Bridge: "br0", Link: "p0.100.20", VLANs: []policy.VLANRange{{From: 5, To: 5}, {From: 20, To: 29}}},
		plan.ReservePorts{Ports: []uint16{80, 81}},
		plan.AddMacvlan{Name: "a", Parent: "p0.100"},
		plan.AddMacvlan{Name: "b", Parent: "p0.100"},
		plan.AddIPVLAN{Name: "c", Parent: "p1", Mode: policy.ModeL3S, Flag: policy.FlagVEPA},
		plan.AddRules{Record: "r"},
		plan.SetLink{From: "a", Name: "eth0"},
	}
}

func TestSharedBy(t *testing.T) {
	want := []string{
		"vlan/p0.100", "vlan/p0.100.20", "br0", "uplink/br0/5", "uplink/br0/20-29", "port/80", "port/81",
		"child/p0.100/macvlan", "child/p1/ipvlan-l3s-vepa", "rules/",
	}
	if d := cmp.Diff(want, sharedBy(shared())); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestRemovals(t *testing.T) {
	var got []string
	for _, step := range removals(shared()) {
		got = append(got, sharedNames(step)...)
	}
	want := []string{"port/80", "port/81", "uplink/br0/5", "uplink/br0/20-29", "br0", "vlan/p0.100.20", "vlan/p0.100"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestInOrder puts removals of several records in an order that each can be carried out in.
func TestInOrder(t *testing.T) {
	vlan := func(name, parent string) plan.Step { return plan.ReleaseVLAN{Name: name, Parent: parent} }
	all := plan.Steps{
		vlan("p0.1", "p0"), vlan("p0.1.2", "p0.1"),
		plan.ReleaseBridge{Name: "br0"},
		vlan("p1.1", "p1"),
		plan.ReleaseRules{},
		vlan("circle", "round"), vlan("round", "circle"),
	}
	var got []string
	for _, step := range inOrder(all) {
		got = append(got, sharedNames(step)[0])
	}
	for _, order := range [][]string{
		{"rules/", "br0"}, {"br0", "vlan/p0.1.2"}, {"vlan/p0.1.2", "vlan/p0.1"}, {"br0", "vlan/p1.1"},
	} {
		if slices.Index(got, order[0]) > slices.Index(got, order[1]) {
			t.Errorf("%s comes before %s in %v", order[1], order[0], got)
		}
	}
	if len(got) != len(all) {
		t.Errorf("of %d removals %v are left", len(all), got)
	}
}

func TestIdleOf(t *testing.T) {
	for name, test := range map[string]struct {
		step plan.Step
		idle []string
		want plan.Step
	}{
		"VLAN":                    {plan.ReleaseVLAN{Name: "p0.1"}, []string{"vlan/p0.1"}, plan.ReleaseVLAN{Name: "p0.1"}},
		"bridge of the same name": {plan.ReleaseVLAN{Name: "p0.1"}, []string{"p0.1"}, nil},
		"one of two ports":        {plan.ReleasePorts{Ports: []uint16{80, 81}}, []string{"port/81"}, plan.ReleasePorts{Ports: []uint16{81}}},
		"no port":                 {plan.ReleasePorts{Ports: []uint16{80, 81}}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, some := idleOf(test.step, func(name string) bool { return slices.Contains(test.idle, name) })
			if some != (test.want != nil) {
				t.Fatalf("some is %t", some)
			}
			if d := cmp.Diff(test.want, got); some && d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// TestIdleVLANs: VLANs stay on an uplink as long as a record names them, in whatever range.
func TestIdleVLANs(t *testing.T) {
	type ranges = []policy.VLANRange
	removal := plan.ReleaseUplink{Bridge: "br0", Link: "p0", VLANs: ranges{{From: 5, To: 5}, {From: 10, To: 20}}}
	for name, test := range map[string]struct {
		names, idle []string
		want        ranges
	}{
		"nobody else":           {[]string{"uplink/br0/5", "uplink/br0/10-20"}, []string{"uplink/br0/5", "uplink/br0/10-20"}, removal.VLANs},
		"a range within":        {[]string{"uplink/br0/12-13"}, nil, ranges{{From: 5, To: 5}, {From: 10, To: 11}, {From: 14, To: 20}}},
		"a range around":        {[]string{"uplink/br0/1-30"}, nil, nil},
		"another bridge's":      {[]string{"uplink/br01/5", "uplink/br/5", "br0", "port/5"}, nil, removal.VLANs},
		"that goes with it too": {[]string{"uplink/br0/5", "uplink/br0/20"}, []string{"uplink/br0/5"}, ranges{{From: 5, To: 5}, {From: 10, To: 19}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, some := idleVLANs(removal, test.names, func(name string) bool { return slices.Contains(test.idle, name) })
			if d := cmp.Diff(test.want, got.VLANs); d != "" || some != (test.want != nil) {
				t.Errorf("some is %t (-want +got)\n%s", some, d)
			}
		})
	}
}
