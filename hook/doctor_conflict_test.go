package main

import (
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

func TestOnLANs(t *testing.T) {
	self, err := process.Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	alive := store.Process(self)
	ended := alive
	ended.Start++
	record := func(name, driver string, change func(r *store.Record)) store.Record {
		r := store.Record{
			Container: name + "-id", Workload: name, State: store.Attached, Process: alive,
			Interfaces: []plan.Interface{{Driver: driver, Uplink: "ens192", MAC: plan.MAC{2, 0, 0, 0, 0, 1}, Addresses: prefixes("192.168.1.9/24"), Learned: prefixes("fd00::9/64")}},
		}
		if change != nil {
			change(&r)
		}
		return r
	}
	got, bridged, err := onLANs([]store.Record{
		record("web", "macvlan", nil), record("ip", "ipvlan", nil),
		record("l3", "ipvlan", func(r *store.Record) {
			r.Steps = plan.Steps{plan.AddIPVLAN{Parent: "ens192", Mode: policy.ModeL3}}
		}),
		record("l2", "ipvlan", func(r *store.Record) {
			r.Steps = plan.Steps{plan.AddIPVLAN{Parent: "ens192", Mode: policy.ModeL2}, plan.AddIPVLAN{Parent: "ens224", Mode: policy.ModeL3S}}
		}),
		record("bridged", "bridge", nil),
		record("uplink", "bridge", func(r *store.Record) {
			r.Interfaces[0].Uplink, r.Steps = "lan0", plan.Steps{plan.EnsureUplink{Bridge: "lan0", Link: "ens256"}}
		}),
		record("card", "host-device", nil),
		record("ended", "macvlan", func(r *store.Record) { r.Process = ended }),
		record("pending", "macvlan", func(r *store.Record) { r.State = store.Pending }),
		record("left", "macvlan", func(r *store.Record) { r.Left = true }),
		record("by its path", "macvlan", func(r *store.Record) { r.Process, r.NetNS.NSID = store.Process{}, 7 }),
		record("gone", "macvlan", func(r *store.Record) { r.Process, r.NetNS.NSID = store.Process{}, 8 }),
	}, func(nsid int) (bool, error) { return nsid == 7, nil })
	if err != nil || bridged != 2 {
		t.Fatalf("%d addresses on bridges (%v)", bridged, err)
	}
	var want []attached
	for _, name := range []string{"web", "ip", "l2", "by its path"} {
		for _, p := range prefixes("192.168.1.9/24", "fd00::9/64") {
			want = append(want, attached{p.Addr(), plan.MAC{2, 0, 0, 0, 0, 1}, name, "ens192"})
		}
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, got, same, cmp.AllowUnexported(attached{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	addrs := map[string][]netip.Addr{}
	for _, a := range want {
		addrs["ens192"] = append(addrs["ens192"], a.addr)
	}
	if diff := cmp.Diff(addrs, byUplink(got), same); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOthers(t *testing.T) {
	mine, other := plan.MAC{2, 0, 0, 0, 0, 1}, plan.MAC{2, 0, 0, 0, 0, 2}
	web := attached{netip.MustParseAddr("192.168.1.9"), mine, "web", "ens192"}
	mail := attached{netip.MustParseAddr("192.168.1.10"), mine, "mail", "ens192"}
	ok := func(means string) []engine.Finding {
		return []engine.Finding{{Check: "conflict", Level: engine.OK, Means: means}}
	}
	have := func(link string, mac plan.MAC) map[string]map[netip.Addr]plan.MAC {
		return map[string]map[netip.Addr]plan.MAC{link: {web.addr: mac}}
	}
	for _, c := range []struct {
		name string
		all  []attached
		have map[string]map[netip.Addr]plan.MAC
		want []engine.Finding
		on   int
	}{
		{"no containers", nil, nil, ok("no container that runs has an address on a LAN"), 0},
		{"on bridges", nil, nil, ok("no container that runs has an address on a LAN by macvlan or ipvlan; nobody was asked for the 2 addresses of " +
			"containers on bridges with an uplink"), 2},
		{"on all", []attached{web}, nil, ok("nobody else answers for the address of containers on macvlan and ipvlan; nobody was asked for the " +
			"address of containers on bridges with an uplink"), 1},
		{"nobody", []attached{web}, nil, ok("nobody else answers for the address of containers on macvlan and ipvlan"), 0},
		{"nobody, for two", []attached{web, mail}, nil, ok("nobody else answers for the 2 addresses of containers on macvlan and ipvlan"), 0},
		{"itself", []attached{web}, have("ens192", mine), ok("nobody else answers for the address of containers on macvlan and ipvlan"), 0},
		{"on another link", []attached{web}, have("ens224", other), ok("nobody else answers for the address of containers on macvlan and ipvlan"), 0},
		{"somebody", []attached{web, mail}, have("ens192", other), []engine.Finding{{
			Check: "conflict", Level: engine.Fail,
			Means: "02:00:00:00:00:02 answers for 192.168.1.9 on ens192, which container web has: who sends there reaches now one of them and " +
				"now the other",
			Do: "find that host by its MAC address and give it another address, or keep this one back by exclude and start the container again",
		}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, others(c.all, c.on, c.have)); diff != "" {
				t.Errorf("the findings differ (-want +got):\n%s", diff)
			}
		})
	}
}
