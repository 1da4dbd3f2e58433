//go:build linux

package kernel_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// BenchmarkForget adds rules that are there, and takes back some that are not, so that most of it is to look for
// connections. The table of these is the machine's: net.netfilter.nf_conntrack_buckets says how many places it has.
func BenchmarkForget(b *testing.B) {
	nettest.Need(b, nettest.NFT)
	port := func(p request.Protocol) []plan.Publish {
		return []plan.Publish{{Protocol: p, Addr: addr("0.0.0.0"), Host: 53, Count: 1, To: netip.MustParseAddrPort("172.30.0.2:53")}}
	}
	n := nettest.New(b)
	var h *kernel.Host
	n.Host.Do(b, func() {
		var err error
		if h, err = kernel.Open(); err != nil {
			b.Fatal(err)
		}
	})
	b.Cleanup(func() { h.Close() })
	k := h.KernelByID(-1, nil)
	four, both := []netip.Addr{addr("172.30.0.2")}, []netip.Addr{addr("172.30.0.2"), addr("fd00:30::2")}
	rules := func(a []netip.Addr, p []plan.Publish) []plan.Rules {
		return []plan.Rules{{Bridge: "lh-apps", Port: "lhabcdefghija", Gate: plan.NAT, Addresses: a, Publish: p}}
	}
	standing := []plan.AddRules{{Record: "standing", Of: rules(four, port(request.UDP))}}
	if err := h.RenewRules(standing); err != nil {
		b.Fatal(err)
	}
	made := 0
	for _, entries := range []int{0, 1, 10000} {
		for ; made < entries; made++ {
			from := fmt.Sprintf("10.9.%d.%d:5000", made>>8, made&255)
			f := flow{unix.IPPROTO_TCP, from, "8.8.8.8:443", "8.8.8.8:443", from}
			n.Host.Do(b, func() { f.add(b) })
		}
		for _, c := range []struct {
			name string
			step plan.Step
		}{
			{"detach", plan.DelRules{Record: "abcdefghij", Of: rules(four, nil)}},
			{"detach with a port", plan.DelRules{Record: "abcdefghij", Of: rules(four, port(request.TCP))}},
			{"detach with a port and IPv6", plan.DelRules{Record: "abcdefghij", Of: rules(both, port(request.TCP))}},
			{"attach with a port of TCP", plan.AddRules{Record: "abcdefghij", Of: rules(four, port(request.TCP))}},
			{"attach with a port of UDP", plan.AddRules{Record: "abcdefghij", Of: rules(four, port(request.UDP))}},
		} {
			b.Run(fmt.Sprintf("%s/%d connections", c.name, entries), func(b *testing.B) {
				for b.Loop() {
					if err := k.Apply(b.Context(), c.step); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	if err := k.Apply(b.Context(), plan.ReleaseRules{}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkForwarding asks which links do not forward, on a host where all of them do, beside the links of containers.
func BenchmarkForwarding(b *testing.B) {
	n := nettest.New(b)
	var h *kernel.Host
	n.Host.Do(b, func() {
		var err error
		if h, err = kernel.Open(); err != nil {
			b.Fatal(err)
		}
		nettest.AddAddress(b, nettest.Parent, prefix("10.77.0.2/24"))
		nettest.WriteSysctl(b, "ipv4/conf/"+nettest.Parent+"/forwarding", "1")
	})
	b.Cleanup(func() { h.Close() })
	made := 0
	for _, links := range []int{0, 1000} {
		n.Host.Do(b, func() {
			for ; made < links; made += 2 {
				a := netlink.NewLinkAttrs()
				a.Name = fmt.Sprintf("a%d", made)
				if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: fmt.Sprintf("b%d", made)}); err != nil {
					b.Fatal(err)
				}
			}
		})
		for name, q := range map[string]kernel.Query{
			"default routes": {Forwards: plan.Families{V4: true}},
			"anywhere":       {Forwards: plan.Families{V4: true}, Anywhere: true},
		} {
			b.Run(fmt.Sprintf("%s/%d links", name, links), func(b *testing.B) {
				for b.Loop() {
					if _, err := h.Facts(b.Context(), nil, []kernel.Query{q}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	n.Host.Remember(b)
}
