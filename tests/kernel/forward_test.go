//go:build linux

package kernel_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

func TestForwardingFacts(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	both := plan.Families{V4: true, V6: true}
	n.Host.Do(t, func() {
		lo(t)
		nettest.AddAddress(t, nettest.Parent, prefix("10.77.0.2/24"))
		nettest.AddAddress(t, nettest.Parent, prefix("fd77::2/64"))
		nettest.WriteSysctl(t, "ipv4/ip_forward", "0")
		nettest.WriteSysctl(t, "ipv4/conf/"+nettest.CanaryVeth+"/forwarding", "0")
		nettest.WriteSysctl(t, "ipv6/conf/all/forwarding", "0")
	})
	n.Host.Remember(t)
	look := func(t *testing.T, q kernel.Query) plan.Facts {
		t.Helper()
		facts, err := h.Facts(t.Context(), nil, []kernel.Query{q})
		if err != nil {
			t.Fatal(err)
		}
		return plan.Facts{NotForwarding: facts.NotForwarding, NotForwarding6: facts.NotForwarding6, Local: facts.Local, Held: facts.Held}
	}
	check := func(t *testing.T, q kernel.Query, want plan.Facts) {
		t.Helper()
		if diff := cmp.Diff(want, look(t, q), byText()); diff != "" {
			t.Errorf("facts (-want +got):\n%s", diff)
		}
	}
	t.Run("nothing asked", func(t *testing.T) { check(t, kernel.Query{}, plan.Facts{}) })
	t.Run("no default route", func(t *testing.T) {
		check(t, kernel.Query{Forwards: both}, plan.Facts{NotForwarding6: true})
	})
	t.Run("local addresses", func(t *testing.T) {
		q := kernel.Query{Local: []netip.Addr{
			addr("10.77.0.2"), addr("10.77.0.1"), addr("fd77::2"), addr("fd77::1"), addr("127.0.0.1"), addr("192.0.2.1"), addr("::1"),
		}}
		q.Publish = []policy.Publish{
			{Protocol: request.TCP, Addr: addr("198.18.0.1"), Count: 1}, {Protocol: request.TCP, Addr: addr("::"), Count: 1},
		}
		check(t, q, plan.Facts{Local: map[netip.Addr]bool{
			addr("10.77.0.2"): true, addr("10.77.0.1"): false, addr("fd77::2"): true, addr("fd77::1"): false,
			addr("127.0.0.1"): true, addr("192.0.2.1"): false, addr("::1"): true, addr("198.18.0.1"): true,
		}})
	})
	t.Run("gateways on other links", func(t *testing.T) {
		q := kernel.Query{Bridge: "lh-apps", Gateways: []netip.Addr{
			addr("10.77.0.2"), addr("10.77.0.1"), addr("fd77::2"), addr("127.0.0.1"), addr("fe80::1"),
		}}
		check(t, q, plan.Facts{Held: map[netip.Addr]string{
			addr("10.77.0.2"): nettest.Parent, addr("fd77::2"): nettest.Parent, addr("127.0.0.1"): "lo",
		}})
		q.Bridge = nettest.CanaryBridge
		check(t, q, plan.Facts{}) // It is there.
	})
	t.Run("link of a published address", func(t *testing.T) {
		q := kernel.Query{Forwards: plan.Families{V4: true}, Local: []netip.Addr{addr("198.18.0.1"), addr("127.0.0.1"), addr("fd77::2")}}
		if got := look(t, q).NotForwarding; len(got) != 1 || got[0] != nettest.CanaryVeth {
			t.Errorf("not forwarding: %v, want %s", got, nettest.CanaryVeth)
		}
	})
	for name, hops := range map[string][]*netlink.NexthopInfo{
		"default route": {hop(t, n, nettest.Parent, "10.77.0.1")},
		"several hops":  {hop(t, n, nettest.Parent, "10.77.0.1"), hop(t, n, nettest.CanaryVeth, "198.18.0.9")},
	} {
		t.Run(name, func(t *testing.T) {
			_, all, _ := net.ParseCIDR("0.0.0.0/0")
			r := &netlink.Route{Dst: all, MultiPath: hops}
			n.Host.Do(t, func() {
				if err := netlink.RouteAdd(r); err != nil {
					t.Fatal(err)
				}
			})
			want := plan.Facts{NotForwarding: []string{nettest.Parent}, NotForwarding6: true}
			if len(hops) > 1 {
				want.NotForwarding = []string{nettest.Parent, nettest.CanaryVeth}
			}
			check(t, kernel.Query{Forwards: both}, want)
			run(t, h.KernelByID(-1, nil), plan.EnsureForwarding{Links: want.NotForwarding})
			want.NotForwarding = nil
			check(t, kernel.Query{Forwards: both}, want)
			n.Host.Do(t, func() {
				if err := netlink.RouteDel(r); err != nil {
					t.Fatal(err)
				}
				for _, link := range []string{nettest.Parent, nettest.CanaryVeth} {
					nettest.WriteSysctl(t, "ipv4/conf/"+link+"/forwarding", "0")
				}
			})
		})
	}
}

// What comes in by any of the host's links with an address is to be forwarded, but not by lanhook's own bridges.
func TestForwardingAnywhere(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	const inside = "lh-inside"
	n.Host.Do(t, func() {
		lo(t)
		bridge := netlink.NewLinkAttrs()
		bridge.Name, bridge.Group = inside, plan.Group
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: bridge}); err != nil {
			t.Fatal(err)
		}
		nettest.AddAddress(t, inside, prefix("172.30.0.1/24"))
		nettest.AddAddress(t, nettest.Parent, prefix("10.77.0.2/24"))
		nettest.AddAddress(t, nettest.Parent, prefix("10.78.0.2/24"))
		nettest.AddAddress(t, nettest.CanaryBridge, prefix("fd78::2/64"))
		nettest.AddAddress(t, "lo", prefix("192.0.2.9/32"))
		nettest.WriteSysctl(t, "ipv4/ip_forward", "0")
		nettest.WriteSysctl(t, "ipv4/conf/"+nettest.CanaryVeth+"/forwarding", "0")
	})
	anywhere := kernel.Query{Forwards: plan.Families{V4: true}, Anywhere: true}
	for _, c := range []struct {
		name    string
		queries []kernel.Query
		want    []string
	}{
		{"BR-32 all", []kernel.Query{anywhere}, []string{nettest.Parent, nettest.CanaryVeth}},
		{"one of two", []kernel.Query{{Forwards: plan.Families{V4: true}}, anywhere}, []string{nettest.Parent, nettest.CanaryVeth}},
		{"IPv6 only", []kernel.Query{{Forwards: plan.Families{V6: true}, Anywhere: true}}, nil},
		{"nothing passes", []kernel.Query{{Anywhere: true}}, nil},
		{"BR-32 one address", []kernel.Query{{Forwards: plan.Families{V4: true}, Local: []netip.Addr{addr("10.78.0.2")}}}, []string{nettest.Parent}},
		{"the address of a bridge of ours", []kernel.Query{{Forwards: plan.Families{V4: true}, Local: []netip.Addr{addr("172.30.0.1")}}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts, err := h.Facts(t.Context(), nil, c.queries)
			if diff := cmp.Diff(c.want, facts.NotForwarding); err != nil || diff != "" {
				t.Errorf("not forwarding (%v, -want +got):\n%s", err, diff)
			}
		})
	}
	run(t, h.KernelByID(-1, nil), plan.EnsureForwarding{Links: []string{nettest.Parent, nettest.CanaryVeth}})
	for link, want := range map[string]string{
		inside: "0", "lo": "0", nettest.CanaryBridge: "0", nettest.Parent: "1", nettest.CanaryVeth: "1", "all": "0", "default": "0",
	} {
		if got := setting(t, n.Host, "ipv4/conf/"+link+"/forwarding"); got != want {
			t.Errorf("forwarding of %s is %s, want %s", link, got, want)
		}
	}
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{anywhere})
	if err != nil || facts.NotForwarding != nil {
		t.Errorf("not forwarding: %v (%v)", facts.NotForwarding, err)
	}
	n.Host.Remember(t)
}

func hop(t *testing.T, n *nettest.Net, link, via string) *netlink.NexthopInfo {
	t.Helper()
	h := &netlink.NexthopInfo{Gw: net.ParseIP(via)}
	n.Host.Do(t, func() {
		l, err := netlink.LinkByName(link)
		if err != nil {
			t.Fatal(err)
		}
		h.LinkIndex = l.Attrs().Index
	})
	return h
}

// A host that forwards IPv6 listens to routers as before.
func TestEnsureForwarding(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	n.Host.Do(t, func() {
		for _, setting := range []string{
			"ipv6/conf/all/forwarding=0", // which is written to all links
			"ipv6/conf/" + nettest.Parent + "/accept_ra=1",
			"ipv6/conf/" + nettest.CanaryVeth + "/accept_ra=0",
			"ipv6/conf/" + nettest.CanaryBridge + "/accept_ra=1",
			"ipv6/conf/" + nettest.CanaryBridge + "/forwarding=1",
			"ipv4/conf/" + nettest.Parent + "/forwarding=0",
			"ipv4/conf/" + nettest.CanaryBridge + "/forwarding=0",
		} {
			name, value, _ := strings.Cut(setting, "=")
			nettest.WriteSysctl(t, name, value)
		}
	})
	run(t, h.KernelByID(-1, nil), plan.EnsureForwarding{Links: []string{nettest.Parent, "none"}, V6: true})
	for name, want := range map[string]string{
		"ipv6/conf/all/forwarding":                          "1",
		"ipv6/conf/" + nettest.Parent + "/forwarding":       "1",
		"ipv6/conf/" + nettest.Parent + "/accept_ra":        "2",
		"ipv6/conf/" + nettest.CanaryVeth + "/accept_ra":    "0",
		"ipv6/conf/" + nettest.CanaryBridge + "/accept_ra":  "1",
		"ipv4/conf/" + nettest.Parent + "/forwarding":       "1",
		"ipv4/conf/" + nettest.CanaryBridge + "/forwarding": "0",
	} {
		if got := setting(t, n.Host, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{{Forwards: plan.Families{V6: true}}})
	if err != nil || facts.NotForwarding6 {
		t.Errorf("facts say that IPv6 is not forwarded (%v)", err)
	}
	n.Host.Remember(t) // It is not undone.
}
