//go:build linux

package kernel_test

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

func TestRoutes(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	v := veth(1)
	v.Bridge = nettest.CanaryBridge
	run(t, k, v, plan.SetLink{From: v.Peer, Name: "eth0", Alias: "a"},
		plan.AddAddress{If: "eth0", Address: prefix("10.1.0.2/24")}, plan.AddAddress{If: "eth0", Address: prefix("fd01::2/64")})
	c.Remember(t)

	for name, r := range map[string]request.Route{
		"MV-10 through the gateway's link": {Dst: prefix("10.8.0.0/16"), Via: addr("10.1.0.1")},
		"MV-10 IPv6":                       {Dst: prefix("fd08::/64"), Via: addr("fd01::1")},
		"MV-13 metric":                     {Dst: prefix("0.0.0.0/0"), Via: addr("10.1.0.1"), Metric: 200},
		"MV-13 metric of IPv6":             {Dst: prefix("::/0"), Via: addr("fd01::1"), Metric: 200},
		"BR-24 blackhole":                  {Type: request.Blackhole, Dst: prefix("10.9.0.0/16")},
		"BR-24 blackhole IPv6":             {Type: request.Blackhole, Dst: prefix("fd09::/64")},
		"BR-24 unreachable":                {Type: request.Unreachable, Dst: prefix("10.9.0.0/16"), Metric: 3},
		"BR-24 prohibit":                   {Type: request.Prohibit, Dst: prefix("fd09::/64")},
		"IP-20 table and scope":            {Dst: prefix("10.8.0.0/16"), Via: addr("10.1.0.1"), Table: 5000, Scope: 200},
		"source":                           {Dst: prefix("10.8.0.0/16"), Via: addr("10.1.0.1"), Src: addr("10.1.0.2")},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, k, plan.AddRoute{Route: r})
			if r.Type == request.Unicast {
				want := r
				if want.Table == 0 {
					want.Table = 254
				}
				if want.Metric == 0 && r.Dst.Addr().Is6() {
					want.Metric = 1024
				}
				if diff := cmp.Diff([]request.Route{want}, link(t, ns, "eth0").Routes, byText()); diff != "" {
					t.Errorf("routes (-want +got):\n%s", diff)
				}
			} else if snapshot := c.Snapshot(t); !strings.Contains(snapshot, "route "+r.Dst.String()) {
				t.Errorf("no route to %s in:\n%s", r.Dst, snapshot)
			}
			if err := k.Apply(t.Context(), plan.AddRoute{Route: r}); !errors.Is(err, syscall.EEXIST) {
				t.Errorf("again: error %v, want EEXIST", err)
			}
			run(t, k, plan.DelRoute{Route: r}, plan.DelRoute{Route: r})
			c.Same(t)
		})
	}
	t.Run("on the link, gateway outside its subnet", func(t *testing.T) {
		r := request.Route{Dst: prefix("10.8.0.0/16"), Via: addr("10.200.0.1"), OnLink: true}
		run(t, k, plan.AddRoute{If: "eth0", Route: r})
		if got := link(t, ns, "eth0").Routes; len(got) != 1 || !got[0].OnLink {
			t.Errorf("routes %+v", got)
		}
		// It goes with its link, and is none that a step removes.
		c.Do(t, func() {
			if err := netlink.RouteDel(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(10, 8, 0, 0), Mask: net.CIDRMask(16, 32)}}); err != nil {
				t.Fatal(err)
			}
		})
		c.Same(t)
	})
	t.Run("gateway out of reach", func(t *testing.T) {
		err := k.Apply(t.Context(), plan.AddRoute{If: "eth0", Route: request.Route{Dst: prefix("10.8.0.0/16"), Via: addr("10.200.0.1")}})
		if !errors.Is(err, syscall.ENETUNREACH) || !strings.Contains(err.Error(), "no link of the container reaches the gateway") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("somebody else's route stays", func(t *testing.T) {
		theirs := &netlink.Route{Dst: &net.IPNet{IP: net.IPv4(10, 8, 0, 0), Mask: net.CIDRMask(16, 32)}, Gw: addr("10.1.0.1").AsSlice(), Protocol: 3}
		c.Do(t, func() {
			if err := netlink.RouteAdd(theirs); err != nil {
				t.Fatal(err)
			}
		})
		run(t, k, plan.DelRoute{Route: request.Route{Dst: prefix("10.8.0.0/16"), Via: addr("10.1.0.1")}})
		if got := link(t, ns, "eth0").Routes; len(got) != 1 {
			t.Errorf("routes %+v, want theirs", got)
		}
		c.Do(t, func() {
			if err := netlink.RouteDel(theirs); err != nil {
				t.Fatal(err)
			}
		})
	})
}
