//go:build linux

package kernel_test

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// ownTable is a number that only lanhook's tables have.
const ownTable = 1<<30 | 77<<6

func TestRouteRules(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	c.Remember(t)
	for _, from := range []string{"10.1.0.2", "fd01::2"} {
		t.Run(from, func(t *testing.T) {
			add := plan.AddRouteRule{From: addr(from), Table: ownTable, Priority: 27752}
			other := add
			other.Table++
			run(t, k, add, other)
			want := []kernel.Rule{kernel.Rule(add), kernel.Rule(other)}
			rulesAre(t, ns, want...)
			if text := c.Snapshot(t); !strings.Contains(text, "rule 27752 ") {
				t.Errorf("the priority is none of ours:\n%s", text)
			}
			if err := k.Apply(t.Context(), add); err == nil {
				t.Error("a second one of the same was made")
			}
			run(t, k, plan.DelRouteRule(add))
			rulesAre(t, ns, want[1])
			run(t, k, plan.DelRouteRule(add), plan.DelRouteRule(other), plan.DelRouteRule(other))
			rulesAre(t, ns)
			c.Same(t)
		})
	}
	t.Run("somebody else's rule stays", func(t *testing.T) {
		c.Do(t, func() {
			r := netlink.NewRule()
			r.Src, r.Table, r.Priority = netlink.NewIPNet(addr("10.1.0.2").AsSlice()), 1000, 27752
			if err := netlink.RuleAdd(r); err != nil {
				t.Fatal(err)
			}
		})
		run(t, k, plan.DelRouteRule{From: addr("10.1.0.2"), Table: ownTable, Priority: 27752})
		rulesAre(t, ns, kernel.Rule{From: addr("10.1.0.2"), Table: 1000, Priority: 27752})
		c.Do(t, func() {
			r := netlink.NewRule()
			r.Src, r.Table, r.Priority = netlink.NewIPNet(addr("10.1.0.2").AsSlice()), 1000, 27752
			if err := netlink.RuleDel(r); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("undone by the namespace's number", func(t *testing.T) {
		b := n.Namespace(t, "short")
		bns, closeB := openNamespace(t, h, b)
		add := plan.AddRouteRule{From: addr("10.1.0.2"), Table: ownTable, Priority: 27752}
		run(t, h.Kernel(bns), add)
		id, err := bns.NSID()
		if err != nil {
			t.Fatal(err)
		}
		open := func() (*kernel.Namespace, error) { return h.Namespace(b.Path()) }
		run(t, h.KernelByID(id, open), plan.DelRouteRule(add))
		rulesAre(t, bns)
		run(t, h.Kernel(bns), add)
		unreachable := func() (*kernel.Namespace, error) { return nil, fmt.Errorf("nobody is in it: %w", fs.ErrNotExist) }
		run(t, h.KernelByID(id, unreachable), plan.DelRouteRule(add))
		rulesAre(t, bns, kernel.Rule(add))
		closeB()
		b.End()
		nettest.Eventually(t, "the end of the namespace", func() bool {
			alive, err := h.Alive(id)
			return err == nil && !alive
		})
		// Nothing is opened, and nothing left to do.
		run(t, h.KernelByID(id, open), plan.DelRouteRule(add))
	})
}

// TestOwnTables makes what a link needs to answer by itself, in both families.
func TestOwnTables(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	v := veth(1)
	v.Bridge = nettest.CanaryBridge
	run(t, k, v, plan.SetSysctls{If: v.Peer, Values: []request.Sysctl{
		{Key: "net.ipv4.conf.IFNAME.arp_ignore", Value: "1"},
		{Key: "net.ipv4.conf.IFNAME.arp_announce", Value: "2"},
		{Key: "net.ipv4.conf.IFNAME.rp_filter", Value: "2"},
	}}, plan.SetLink{From: v.Peer, Name: "eth0", Alias: "a"},
		plan.AddAddress{If: "eth0", Address: prefix("10.1.0.2/24")}, plan.AddAddress{If: "eth0", Address: prefix("fd01::2/64")})
	for name, want := range map[string]string{"arp_ignore": "1", "arp_announce": "2", "rp_filter": "2", "arp_notify": "0"} {
		if got := setting(t, c, "ipv4/conf/eth0/"+name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	c.Remember(t)
	other := h.Kernel(ns) // knows nothing of the link, as what another record does
	for _, r := range []request.Route{
		{Dst: prefix("10.1.0.0/24"), Table: ownTable},
		{Dst: prefix("0.0.0.0/0"), Via: addr("10.1.0.1"), Table: ownTable},
		{Dst: prefix("0.0.0.0/0"), Via: addr("10.1.0.1"), Table: ownTable, Metric: 50},
		{Dst: prefix("fd01::/64"), Table: ownTable},
		{Dst: prefix("::/0"), Via: addr("fd01::1"), Table: ownTable},
		{Type: request.Blackhole, Dst: prefix("10.9.0.0/16"), Table: ownTable},
		{Type: request.Unreachable, Dst: prefix("fd09::/64"), Table: ownTable},
	} {
		t.Run(r.String(), func(t *testing.T) {
			on := "eth0"
			if r.Type != request.Unicast {
				on = ""
			}
			run(t, other, plan.AddRoute{If: on, Route: r})
			if text := c.Snapshot(t); !strings.Contains(text, " table 1073746752 ") || !strings.Contains(text, " protocol 108") {
				t.Errorf("the route is not there:\n%s", text)
			}
			run(t, other, plan.DelRoute{Route: r}, plan.DelRoute{Route: r})
			c.Same(t)
		})
	}
	t.Run("a link of another record that is gone", func(t *testing.T) {
		run(t, other, plan.AddRoute{If: "eth9", Route: request.Route{Dst: prefix("10.1.0.0/24"), Table: ownTable}},
			plan.SetSysctls{If: "eth9", Values: []request.Sysctl{{Key: "net.ipv4.conf.IFNAME.arp_ignore", Value: "1"}}})
		c.Same(t)
	})
}

func rulesAre(t *testing.T, ns *kernel.Namespace, want ...kernel.Rule) {
	t.Helper()
	got, err := ns.Rules()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}
