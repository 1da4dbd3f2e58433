//go:build linux

package netsetup

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
)

// TestWithLearned tells apart why a link has no address of a router's.
func TestWithLearned(t *testing.T) {
	p := netip.MustParsePrefix("2001:db8::9/64")
	for name, c := range map[string]struct {
		learned []netip.Prefix
		doubted kernel.Doubted
		want    string
	}{
		"learned":           {[]netip.Prefix{p}, kernel.Doubted{}, "<nil>"},
		"learned after all": {[]netip.Prefix{p}, kernel.Doubted{Addr: p.Addr()}, "<nil>"},
		"no router":         {nil, kernel.Doubted{}, "eth0: no router has given an IPv6 address yet"},
		"somebody's": {nil, kernel.Doubted{Addr: p.Addr(), Duplicate: true, MAC: plan.MAC{2, 0, 0, 0, 0, 9}}, "eth0: 02:00:00:00:00:09 on the LAN " +
			"has 2001:db8::9, which follows from a router's prefix and its MAC address: it has no such IPv6 address"},
		"somebody's whom the kernel heard": {nil, kernel.Doubted{Addr: netip.MustParseAddr("fe80::9"), Duplicate: true}, "eth0: somebody else on " +
			"the LAN has fe80::9, which follows from its MAC address, so that it asks no router"},
		"still asked for": {nil, kernel.Doubted{Addr: p.Addr()}, "eth0: the kernel still asks the LAN whether somebody has 2001:db8::9: there is " +
			"no IPv6 before it knows"},
	} {
		t.Run(name, func(t *testing.T) {
			steps := plan.Steps{plan.AwaitAddresses{Links: []plan.Await{{If: "eth0"}}}}
			all, err := withLearned([]plan.Interface{{Name: "eth0"}}, steps, func(string) ([]netip.Prefix, kernel.Doubted) {
				return c.learned, c.doubted
			})
			if d := cmp.Diff([]string{fmt.Sprint(c.learned), c.want}, []string{fmt.Sprint(all[0].Learned), fmt.Sprint(err)}); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
