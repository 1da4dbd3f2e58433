//go:build linux

package kernel_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestContainerFacts asks what a container has already, which the kernel is asked for in full only where it has a link.
func TestContainerFacts(t *testing.T) {
	eth0 := []string{"link add eth0 type veth peer name eth1", "link set eth0 up", "link set eth1 up"}
	lo := []string{"link set lo up", "address add 10.9.9.9/32 dev lo"}
	for _, c := range []struct {
		name string
		set  []string
		want plan.Facts
	}{
		{"nothing", nil, plan.Facts{}},
		{"an address of the loopback alone", lo, plan.Facts{}},
		{
			"a link without addresses", eth0,
			plan.Facts{Taken: map[string]bool{"eth0": true}},
		},
		{
			"an address of the loopback beside a link", slices.Concat(lo, eth0),
			plan.Facts{Taken: map[string]bool{"eth0": true}},
		},
		{
			"default routes, IPv6's without an address", slices.Concat(eth0, []string{
				"address add 10.9.9.9/24 dev eth1", "route add default via 10.9.9.1", "-6 route add default dev eth0",
			}),
			plan.Facts{
				Taken: map[string]bool{"eth0": true}, HasAddress: plan.Families{V4: true},
				HasDefault: plan.Families{V4: true, V6: true}, DefaultOn: plan.FamilyNames{V4: "eth1", V6: "eth0"},
			},
		},
		{
			"another name",
			[]string{
				"link add uplink0 type veth peer name eth1", "link property add dev uplink0 altname eth0", "address add fd09::9/64 dev uplink0",
			},
			plan.Facts{Taken: map[string]bool{"eth0": true}, HasAddress: plan.Families{V6: true}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := nettest.New(t)
			s := n.Namespace(t, "container")
			s.Do(t, func() {
				for _, line := range c.set {
					if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
						t.Fatalf("ip %s: %v: %s", line, err, out)
					}
				}
			})
			h := openHost(t, n)
			ns, _ := openNamespace(t, h, s)
			got, err := h.Facts(t.Context(), ns, []kernel.Query{{IfName: "eth0", Parent: policy.Parent{Name: nettest.Parent}}})
			if err != nil {
				t.Fatal(err)
			}
			got.Uplink = nil
			if diff := cmp.Diff(c.want, got, byText(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}
