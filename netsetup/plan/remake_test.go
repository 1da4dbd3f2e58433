package plan_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// TestRemade: of a plan for three children, each step belongs to the one that it is about, to all, or to none.
func TestRemade(t *testing.T) {
	route := func(dst string) request.Route { return request.Route{Dst: netip.MustParsePrefix(dst)} }
	blackhole := route("10.9.0.0/16")
	blackhole.Type = request.Blackhole
	common := plan.Steps{
		plan.EnsureVLAN{Name: "p0.5", Parent: "p0", Tag: policy.Tag{ID: 5, Protocol: policy.Dot1Q}},
		plan.AddVeth{Name: "lhxd", Peer: "lhxd", Bridge: "br0"},
		plan.AddRules{Record: "x"},
		plan.SetLink{From: "lhxd", Name: "eth3"},
		plan.AddRoute{Route: route("10.8.0.0/16")},
		plan.AddRoute{Route: blackhole},
		plan.AddRouteRule{From: netip.MustParseAddr("10.0.0.1"), Table: 300, Priority: 1},
		plan.AwaitAddresses{Links: []plan.Await{{If: "eth0"}}},
		plan.AddAddress{If: "eth3", Address: netip.MustParsePrefix("10.3.0.1/24")},
	}
	of := map[string]plan.Steps{}
	steps := common
	for own, add := range map[string]plan.Step{
		"lhxa": plan.AddMacvlan{Name: "lhxa", Parent: "p0", ParentIndex: 7, Index: 2},
		"lhxb": plan.AddIPVLAN{Name: "lhxb", Parent: "p0.5", Index: 3},
		"lhxc": plan.AddVLAN{Name: "lhxc", Parent: "p1", ParentIndex: 9, Index: 4},
	} {
		name := "eth" + string('0'+own[3]-'a')
		of[own] = plan.Steps{
			add,
			plan.SetRate{Side: plan.Container, If: own},
			plan.SetSysctls{If: own},
			plan.AddAddress{If: own, Address: netip.MustParsePrefix("10.0.0.1/24")},
			plan.SetLink{From: own, Name: name},
			plan.AddAddress{If: name, Address: netip.MustParsePrefix("10.0.0.2/24")},
			plan.AddGuard{Table: own, If: name},
			plan.AddRoute{If: name, Route: route("10.7.0.0/16")},
		}
		steps = append(steps, of[own]...)
	}
	children := plan.Children(steps)
	if len(children) != 3 {
		t.Fatalf("there are the children %+v", children)
	}
	for _, c := range children {
		if diff := cmp.Diff(text(of[c.Own]), text(plan.Remade(steps, c))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.Own, diff)
		}
		moved := plan.OnParent(steps, c.Own, 70, nil, 20)
		for i, now := range plan.Children(moved) {
			want := children[i]
			if now.Own == c.Own {
				want.ParentIndex, want.Index = 70, 20
			}
			if now != want {
				t.Errorf("%s on another parent: %+v, want %+v", c.Own, now, want)
			}
		}
		beside := plan.RemadeBeside(plan.Steps{
			plan.SetSysctls{If: c.IfName},
			plan.AddRoute{If: c.IfName, Route: route("10.6.0.0/16")},
			plan.AddRoute{Route: route("10.8.0.0/16")},
			plan.AddRoute{Route: blackhole},
			plan.SetSysctls{If: "eth9"},
			plan.AddRoute{If: "eth9", Route: route("10.6.0.0/16")},
		}, c)
		if len(beside) != 3 {
			t.Errorf("beside %s: %s", c.Own, text(beside))
		}
	}
}

// TestRebased: each child follows its own parent, with the sub-interfaces below it and the host's link beside it; those of others stay,
// even where two links have changed their names.
func TestRebased(t *testing.T) {
	tag := func(id int) policy.Tag { return policy.Tag{ID: id, Protocol: policy.Dot1Q} }
	host := netip.MustParseAddr("10.0.0.9")
	steps := plan.Steps{
		plan.EnsureVLAN{Name: "p0.5", Parent: "p0", Tag: tag(5)},
		plan.EnsureVLAN{Name: "p0.5.6", Parent: "p0.5", Tag: tag(6)},
		plan.EnsureVLAN{Name: "p0.7", Parent: "p0", Tag: tag(7)},
		plan.EnsureHostLink{Name: "lhh-a", Parent: "p0", Scope: "lan:p0"},
		plan.EnsureHostLink{Name: "lhh-b", Parent: "p1", Scope: "lan:p1"},
		plan.EnsureHostLink{Name: "lhh-c", Parent: "p0.5.6", Scope: "lan:p0.5.6"},
		plan.EnsureHostLink{Name: "lhh-e", Parent: "p0", Scope: "lan:p0"},
		plan.AddMacvlan{Name: "lhxa", Parent: "p0"},
		plan.AddIPVLAN{Name: "lhxb", Parent: "p1"},
		plan.AddMacvlan{Name: "lhxc", Parent: "p0.5.6"},
		plan.AddVLAN{Name: "lhxd", Parent: "p0.7", Tag: tag(8)},
		plan.AddMacvlan{Name: "lhxe", Parent: "p0"},
		plan.SetLink{From: "lhxa", Name: "eth0"},
		plan.SetLink{From: "lhxb", Name: "eth1"},
		plan.SetLink{From: "lhxc", Name: "eth2"},
		plan.SetLink{From: "lhxd", Name: "eth3"},
		plan.SetLink{From: "lhxe", Name: "eth4"},
		plan.AddHostAddresses{Link: "lhh-a"},
		plan.AddHostRoute{Link: "lhh-c", To: host},
		plan.AddHostRoute{Link: "lhh-e", To: host},
	}
	want := slices.Clone(steps)
	subs := []plan.Sub{{Name: "p1.5", Parent: "p1", Tag: tag(5)}, {Name: "p1.5.6", Parent: "p1.5", Tag: tag(6)}}
	want[0], want[1] = plan.EnsureVLAN(subs[0]), plan.EnsureVLAN(subs[1])
	want[3] = plan.EnsureHostLink{Name: "lhh-A", Parent: "p1", Scope: "lan:p1"}
	want[4] = plan.EnsureHostLink{Name: "lhh-B", Parent: "p0", Scope: "lan:p0"}
	want[5] = plan.EnsureHostLink{Name: "lhh-C", Parent: "p1.5.6", Scope: "lan:p1.5.6"}
	want[7] = plan.AddMacvlan{Name: "lhxa", Parent: "p1"}
	want[8] = plan.AddIPVLAN{Name: "lhxb", Parent: "p0"}
	want[9] = plan.AddMacvlan{Name: "lhxc", Parent: "p1.5.6"}
	want[17] = plan.AddHostAddresses{Link: "lhh-A"}
	want[18] = plan.AddHostRoute{Link: "lhh-C", To: host}
	all := plan.Children(steps)
	got := plan.Rebased(steps, []plan.Rebase{
		{Child: all[0], From: "p0", To: "p1", FromScope: "lan:p0", ToScope: "lan:p1", FromHost: "lhh-a", ToHost: "lhh-A"},
		{Child: all[1], From: "p1", To: "p0", FromScope: "lan:p1", ToScope: "lan:p0", FromHost: "lhh-b", ToHost: "lhh-B"},
		{
			Child: all[2], From: "p0", To: "p1", Subs: subs,
			FromScope: "lan:p0.5.6", ToScope: "lan:p1.5.6", FromHost: "lhh-c", ToHost: "lhh-C",
		},
	})
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
