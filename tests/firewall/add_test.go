//go:build linux

package firewall_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
)

// TestAdd adds to tables that are there, which comes to the same as to make them anew.
func TestAdd(t *testing.T) {
	h, c := host(t)
	a, b := rules("aaaaaaaaaa", "2", 8080), rules("bbbbbbbbbb", "3", 8081)
	renew(t, c, a)
	for range 2 {
		if err := c.Add(b); err != nil {
			t.Fatal(err)
		}
		asRecorded(t, c, a, b)
	}
	got := nft(t, h, "list ruleset")
	renew(t, c, a, b)
	if diff := cmp.Diff(nft(t, h, "list ruleset"), got); diff != "" {
		t.Errorf("added is not as made anew (-want +got):\n%s", diff)
	}
	if err := c.Delete(plan.DelRules(b)); err != nil {
		t.Fatal(err)
	}
	asRecorded(t, c, a)
	release(t, c)
}

// TestAddStale: where the tables are not what they should be nothing is added, and the error says so. The socket can be
// used afterwards.
func TestAddStale(t *testing.T) {
	a := rules("aaaaaaaaaa", "2", 8080)
	guarded := a
	guarded.Of = append([]plan.Rules(nil), a.Of...)
	guarded.Of[0].Spoof, guarded.Of[0].MAC = true, plan.MAC{2, 0, 0, 0, 0, 1}
	tests := []struct {
		name, damage string
		add          plan.AddRules
		errno        error
	}{
		{"table missing", "delete table inet lanhook", a, unix.ENOENT},
		{"only the administrator's chain", "delete table inet lanhook; add table inet lanhook; add chain inet lanhook admin", a, unix.ENOENT},
		{"set missing", "flush chain inet lanhook publish; delete map inet lanhook any4", a, unix.ENOENT},
		{"gate missing", "flush map inet lanhook to; flush chain inet lanhook to_nat; delete chain inet lanhook to_nat", a, unix.ENOENT},
		{"port has another value", "add element inet lanhook any4 { tcp . 8080 : 172.30.0.9 . 80 }", a, unix.EEXIST},
		{"bridge has another gate", "flush map inet lanhook to; add element inet lanhook to { lh-apps : goto closed }", a, unix.EEXIST},
		{"bridge table missing", "", guarded, unix.ENOENT},
	}
	h, c := host(t)
	base := plan.AddRules{Record: "zzzzzzzzzz", Of: []plan.Rules{{Bridge: "lh-apps", Port: "lhzzz", Gate: plan.NAT, ICC: true, Isolate: true}}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			renew(t, c, base)
			if test.damage != "" {
				nft(t, h, test.damage)
			}
			before := nft(t, h, "list ruleset")
			err := c.Add(test.add)
			var stale *firewall.StaleError
			if !errors.As(err, &stale) || !errors.Is(err, test.errno) {
				t.Errorf("error is %v, want a StaleError with %v", err, test.errno)
			}
			if diff := cmp.Diff(before, nft(t, h, "list ruleset")); diff != "" {
				t.Errorf("the rules have changed:\n%s", diff)
			}
			renew(t, c, base, test.add)
		})
	}
	release(t, c)
}

// TestAddChangesBridge: a network's policy may have changed since its bridge got its first container.
func TestAddChangesBridge(t *testing.T) {
	_, c := host(t)
	a, b := rules("aaaaaaaaaa", "2", 8080), rules("bbbbbbbbbb", "3", 8081)
	renew(t, c, a)
	for _, icc := range []bool{false, true} {
		for _, isolate := range []bool{false, true} {
			b.Of[0].ICC, b.Of[0].Isolate = icc, isolate
			var stale *firewall.StaleError
			if err := c.Add(b); !errors.As(err, &stale) || !errors.Is(err, unix.EEXIST) {
				t.Errorf("error is %v, want a StaleError with %v", err, unix.EEXIST)
			}
			renew(t, c, a, b)
			// Nor does the older container change it back.
			if err := c.Add(b); err != nil {
				t.Error(err)
			}
			asRecorded(t, c, a, b)
		}
	}
	release(t, c)
}

// TestDelete takes back what is the record's own, whatever has become of it.
func TestDelete(t *testing.T) {
	a, b := rules("aaaaaaaaaa", "2", 8080), rules("bbbbbbbbbb", "3", 8081)
	other := rules("cccccccccc", "4", 8080)
	h, c := host(t)
	for _, test := range []struct {
		name, damage string
		left         []plan.AddRules
	}{
		{"all there", "", []plan.AddRules{b}},
		{"some gone", "delete element inet lanhook any4 { tcp . 8080 }", []plan.AddRules{b}},
		{
			"port is another's by now",
			"delete element inet lanhook any4 { tcp . 8080 }; " +
				`add element inet lanhook any4 { tcp . 8080 comment "cccccccccc" : 172.30.0.4 . 80 }; ` +
				`add element inet lanhook masquerade4 { 172.30.0.4 comment "cccccccccc" }; ` +
				`add element inet lanhook masquerade6 { fd00:30::4 comment "cccccccccc" }; ` +
				`add element inet lanhook home4 { 172.30.0.4 . lh-apps comment "cccccccccc" }; ` +
				`add element inet lanhook home6 { fd00:30::4 . lh-apps comment "cccccccccc" }`,
			[]plan.AddRules{b, other},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			renew(t, c, a, b)
			if test.damage != "" {
				nft(t, h, test.damage)
			}
			for range 2 {
				if err := c.Delete(plan.DelRules(a)); err != nil {
					t.Fatal(err)
				}
			}
			asRecorded(t, c, test.left...)
		})
	}
	for _, damage := range []string{
		"flush chain inet lanhook publish; delete map inet lanhook any4", "delete table inet lanhook",
	} {
		renew(t, c, a)
		nft(t, h, damage)
		if err := c.Delete(plan.DelRules(a)); err != nil {
			t.Errorf("delete after %s: %v", damage, err)
		}
	}
	release(t, c)
}

// TestDeleteAll deletes records with something of everything, and the bridges: what is left are empty tables.
func TestDeleteAll(t *testing.T) {
	h, c := host(t)
	renew(t, c)
	all := everything()
	renew(t, c, all...)
	for _, a := range all {
		if err := c.Delete(plan.DelRules(a)); err != nil {
			t.Fatal(err)
		}
	}
	for _, bridge := range []string{"lh-apps", "lh-lab", "lh-in", "br0", "none"} {
		if err := c.DropBridge(bridge); err != nil {
			t.Error(err)
		}
	}
	if err := c.DropBridge("a-name-that-is-too-long"); err == nil {
		t.Error("a bridge of a name that cannot be was dropped")
	}
	got := nft(t, h, "list tables")
	for _, family := range []string{"inet", "bridge"} {
		for _, word := range []string{"elements = ", "rate_"} {
			if list := nft(t, h, "list table "+family+" lanhook"); strings.Contains(list, word) {
				t.Errorf("there is still %q in %s:\n%s", word, got, list)
			}
		}
	}
	release(t, c)
}

// TestConcurrent has many add, delete and renew at once, each with a socket of its own as different processes have.
func TestConcurrent(t *testing.T) {
	const workers, rounds = 8, 12
	n, c := host(t)
	base := rules("base", "200", 10_000)
	renew(t, c, base)
	var conns []*firewall.Conn
	var want []plan.AddRules
	for i := range workers {
		conns = append(conns, dial(t, n))
		want = append(want, rules(fmt.Sprintf("worker%d", i), fmt.Sprint(i+2), uint16(20_000+i)))
	}
	var wait sync.WaitGroup
	for i, own := range conns {
		wait.Go(func() {
			for range rounds {
				if err := own.Add(want[i]); err != nil {
					t.Error(err)
				}
				if err := own.Delete(plan.DelRules(want[i])); err != nil {
					t.Error(err)
				}
			}
			if err := own.Add(want[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	asRecorded(t, c, append(want, base)...)
	release(t, c)
}
