//go:build linux

package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	var ten []time.Duration
	for i := range 10 {
		ten = append(ten, time.Duration(i+1))
	}
	for _, c := range []struct {
		name   string
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{"nothing", nil, 0.5, 0},
		{"one value is every percentile", []time.Duration{7}, 0.9, 7},
		{"the middle of three", []time.Duration{1, 5, 9}, 0.5, 5},
		{"least", ten, 0, 1},
		{"most", ten, 1, 10},
		{"10th", ten, 0.1, 2},
		{"90th", ten, 0.9, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := percentile(c.sorted, c.p); got != c.want {
				t.Errorf("percentile(%v, %v) = %d, want %d", c.sorted, c.p, got, c.want)
			}
		})
	}
}

// measured is a run in which everything took ms milliseconds, and floor half as long, but for what is named.
func measured(ms int, named map[what]int) measurements {
	m := measurements{}
	add := func(w what) {
		wall := ms
		if w.Contender == "floor" {
			wall /= 2
		}
		if n, ok := named[w]; ok {
			wall = n
		}
		m.add(w, sample{wall: time.Duration(wall) * time.Millisecond, memory: 8 << 10})
	}
	for _, d := range []driver{macvlan, bridge} {
		for _, operation := range []string{attachOp, detachOp} {
			for _, name := range []string{"floor", "lanhook", "netavark", "CNI"} {
				add(what{d, operation, none, name})
			}
			add(what{d, operation, many, "lanhook"})
			add(what{d, operation, many, "floor"})
		}
		add(what{d, "gc", many, "lanhook"})
	}
	for _, w := range []what{{asked, "", none, ""}, {macvlan, "", besideAsked, ""}, {reached, "", none, ""}, {reached, "", first, ""}, {macvlan, "", besideReached, ""}} {
		add(what{w.Driver, attachOp, w.Scene, "lanhook"})
	}
	for _, operation := range []string{attachOp, detachOp} {
		for _, name := range []string{"lanhook", "netavark", "CNI"} {
			add(what{published, operation, none, name})
		}
		add(what{published, operation, many, "lanhook"})
	}
	add(what{published, flowOp, none, "lanhook"})
	add(what{published, flowOp, many, "lanhook"})
	for _, name := range []string{bareRuntime, nothing, network} {
		add(what{"", createOp, none, name})
	}
	add(what{macvlan, attachOp, burst, "lanhook"})
	add(what{"", runOp, burst, "empty"})
	return m
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		name   string
		named  map[what]int
		size   int64
		missed []string
	}{
		{
			name: "peers as fast as lanhook",
			size: 5_000_000,
			missed: []string{
				"macvlan attach, lanhook / netavark", "macvlan attach, lanhook / CNI", "bridge attach, lanhook / CNI",
				"macvlan detach, lanhook / netavark", "macvlan detach, lanhook / CNI",
				"bridge detach, lanhook / netavark", "bridge detach, lanhook / CNI",
				"published attach, lanhook / netavark", "published attach, lanhook / CNI",
				"published detach, lanhook / netavark", "published detach, lanhook / CNI",
			},
		},
		{
			name: "slow peers and a slow crowd",
			named: map[what]int{
				{macvlan, attachOp, none, "netavark"}: 20, {macvlan, attachOp, none, "CNI"}: 30,
				{macvlan, detachOp, none, "netavark"}: 50, {macvlan, detachOp, none, "CNI"}: 50,
				{bridge, attachOp, none, "CNI"}: 20, {bridge, attachOp, many, "floor"}: 4,
				{bridge, detachOp, none, "netavark"}: 49, {bridge, detachOp, none, "CNI"}: 50,
				{bridge, detachOp, many, "lanhook"}:     12,
				{published, attachOp, none, "netavark"}: 40, {published, attachOp, none, "CNI"}: 100,
				{published, detachOp, none, "netavark"}: 100, {published, detachOp, none, "CNI"}: 99,
				{published, attachOp, many, "lanhook"}: 12, {published, flowOp, many, "lanhook"}: 12,
				{macvlan, "gc", many, "lanhook"}:      1001,
				{asked, attachOp, none, "lanhook"}:    71,
				{reached, attachOp, first, "lanhook"}: 16,
				{macvlan, attachOp, burst, "lanhook"}: 41,
				{"", createOp, none, network}:         13,
			},
			size: 5_100_000,
			missed: []string{
				"bridge detach, lanhook / netavark", "bridge detach, lanhook with 1000 attached / with none",
				"bridge attach, lanhook beyond floor with 1000 attached / with none",
				`macvlan attach, lanhook with conflict = "next", beyond "off"`,
				"macvlan attach, lanhook with host-access for the first / without",
				"published detach, lanhook / CNI",
				"connection to a published port, with 1000 ports published / with two",
				"gc of 1000 dead macvlan containers",
				"100 macvlan attaches at once / 100 empty Go programs at once",
				"create by lanhook-runtime, a network asked for, beyond the runtime's own", "size of lanhook",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var missed []string
			for _, target := range measured(10, c.named).targets(config{crowd: 1000}, c.size) {
				if !target.Met {
					missed = append(missed, target.Name)
				}
			}
			if diff := cmp.Diff(c.missed, missed); diff != "" {
				t.Errorf("missed targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuestTargets(t *testing.T) {
	m := measurements{}
	for _, d := range guestDrivers() {
		wall := 15 * time.Millisecond
		if d == vlan {
			wall += time.Millisecond
		}
		m.add(what{d, attachOp, none, "lanhook"}, sample{wall: wall})
		m.add(what{d, attachOp, none, "ip"}, sample{wall: 10 * time.Millisecond})
	}
	var missed []string
	for _, target := range m.summary(config{guest: true}, 0).Targets {
		if !target.Met {
			missed = append(missed, target.Name)
		}
	}
	if diff := cmp.Diff([]string{"vlan attach, lanhook / ip -batch"}, missed); diff != "" {
		t.Errorf("missed targets (-want +got):\n%s", diff)
	}
}

func TestPrint(t *testing.T) {
	m := measured(10, map[what]int{{macvlan, attachOp, none, "floor"}: 2})
	var out strings.Builder
	if err := m.summary(config{crowd: 1000, rounds: 1}, 4_900_000).print(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for _, want := range []string{
		"macvlan attach, none attached 2.00 10.00 10.00 10.00",
		"macvlan detach, 1000 attached 5.00 10.00 - -",
		"bridge attach, with 1000 attached / with none x 1.00 x 1.00",
		"gc of 1000 bridge containers 10.00",
		"macvlan attach, lanhook / floor 5.00 2.50 times MISS",
		"size of lanhook 4.90 5.00 MB PASS",
	} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Join(strings.Fields(l), " ") == want }) {
			t.Errorf("no line %q in:\n%s", want, &out)
		}
	}
}

func TestCheck(t *testing.T) {
	one := func(id, addr string) listed {
		var l listed
		l.Container = id
		l.Interfaces = append(l.Interfaces, struct{ Addresses []netip.Prefix }{
			[]netip.Prefix{netip.MustParsePrefix(addr)},
		})
		return l
	}
	for _, c := range []struct {
		name string
		list []listed
		n    int
		want string
	}{
		{"as many as expected", []listed{one("a", "10.66.16.1/16"), one("b", "10.66.16.2/16")}, 2, ""},
		{"none", nil, 0, ""},
		{"one missing", []listed{one("a", "10.66.16.1/16")}, 2, "lanhook ls has 1 containers, want 2"},
		{
			"one address twice",
			[]listed{one("a", "10.66.16.1/16"), one("b", "10.66.16.1/24")},
			2,
			"lanhook ls: 10.66.16.1 belongs to a and to b",
		},
		{
			"no interface",
			[]listed{{Container: "a"}},
			1,
			"lanhook ls: container a has not one interface with one address",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := check(c.list, c.n); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("check says %q, want %q", got, c.want)
			}
		})
	}
}
