//go:build linux

package firewall_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// BenchmarkAdd adds and deletes what a container with one published port needs, beside others. What it measures is the hot
// path of an attach.
func BenchmarkAdd(b *testing.B) {
	for _, others := range []int{0, 1_000, 10_000} {
		b.Run(fmt.Sprintf("beside_%d_ports", others), func(b *testing.B) {
			n := nettest.New(b)
			c := dial(b, n.Host)
			all := []plan.AddRules{{Record: "first", Of: []plan.Rules{{
				Bridge: "lh-a", Port: "lh-p0", Gate: plan.NAT, ICC: true, Isolate: true, Addresses: []netip.Addr{addr("172.30.0.3")},
			}}}}
			if others > 0 {
				all[0].Of[0].Publish = []plan.Publish{{
					Protocol: request.TCP, Addr: addr("0.0.0.0"), Host: 10000, Count: others, To: netip.MustParseAddrPort("172.30.0.3:10000"),
				}}
			}
			if err := c.Renew(all); err != nil {
				b.Fatal(err)
			}
			s := plan.AddRules{Record: "abcdefghij", Of: []plan.Rules{{
				Bridge: "lh-a", Port: "lh-p1", Gate: plan.NAT, ICC: true, Isolate: true,
				Addresses:  []netip.Addr{addr("172.30.0.2"), addr("fd00:30::2")},
				Masquerade: []netip.Addr{addr("172.30.0.2"), addr("fd00:30::2")},
				Publish: []plan.Publish{
					{Protocol: request.TCP, Addr: addr("0.0.0.0"), Host: 8080, Count: 1, To: netip.MustParseAddrPort("172.30.0.2:80")},
				},
			}}}
			b.Run("add", func(b *testing.B) {
				for b.Loop() {
					if err := c.Add(s); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := c.Delete(plan.DelRules(s)); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
			b.Run("dial_and_add", func(b *testing.B) {
				n.Host.Do(b, func() {
					for b.Loop() {
						own, err := firewall.Dial()
						if err == nil {
							err = errors.Join(own.Add(s), own.Close())
						}
						if err != nil {
							b.Fatal(err)
						}
					}
				})
			})
			b.Run("delete", func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					if err := c.Add(s); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					if err := c.Delete(plan.DelRules(s)); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("renew", func(b *testing.B) {
				for b.Loop() {
					if err := c.Renew(all); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("drift", func(b *testing.B) {
				for b.Loop() {
					if d, err := c.Drift(all); err != nil || d != nil {
						b.Fatal(d, err)
					}
				}
			})
			if err := c.Release(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
