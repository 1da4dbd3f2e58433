//go:build linux

package netsetup_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestWhyVLANs asks for an address where the network's containers are, or says that the host is not there.
func TestWhyVLANs(t *testing.T) {
	asks := func(t *testing.T, w *world, who, unasked string) {
		t.Helper()
		a, err := w.setup.Why(t.Context(), netsetup.Question{Addr: addr("10.10.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range a.Owners {
			if o.Answers {
				got = append(got, o.Link)
			}
		}
		if strings.Join(got, " ") != who {
			t.Errorf("%v answer, want %q", got, who)
		}
		if a.Unasked == nil && unasked != "" || a.Unasked != nil && a.Unasked.Error() != unasked {
			t.Errorf("not asked: %v, want %q", a.Unasked, unasked)
		}
	}
	tenth := floors[:strings.Index(floors, "[network.twenty]")]
	const nowhere = "containers on network ten are in VLAN 10 of %s, and this host has no link there"
	t.Run("of lanhook's bridge", func(t *testing.T) {
		w := newFloors(t, tenth)
		tagged(t, w.Neighbour, nettest.PeerName, 10, "10.10.0.1/24")
		asks(t, w, "", fmt.Sprintf(nowhere, nettest.Parent))
		c := w.box(t, "c")
		c.attach(t, "network=ten,ip=10.10.0.8")
		asks(t, w, "", fmt.Sprintf(nowhere, "lan0"))
		w.done(t, c)
	})
	t.Run("of the administrator's, by a sub-interface", func(t *testing.T) {
		w := newFloors(t, tenth)
		w.adminVLANs(t, `ip link set lan0 type bridge vlan_filtering 1; ip link set p0 master lan0; bridge vlan add dev p0 vid 10
			ip link add link lan0 name office type vlan id 10; echo 1 > /proc/sys/net/ipv6/conf/office/disable_ipv6; ip link set office up`)
		tagged(t, w.Neighbour, nettest.PeerName, 10, "10.10.0.1/24")
		asks(t, w, "", fmt.Sprintf(nowhere, "lan0"))
		w.Host.Do(t, func() {
			if out, err := exec.Command("bridge", "vlan", "add", "dev", "lan0", "vid", "10", "self").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		})
		w.Host.Remember(t)
		asks(t, w, "office", "")
	})
	t.Run("of the administrator's, without a tag", func(t *testing.T) {
		w := newFloors(t, tenth)
		w.adminVLANs(t, `ip link set lan0 type bridge vlan_filtering 1; ip link set p0 master lan0; bridge vlan add dev p0 vid 10
			bridge vlan add dev lan0 vid 10 pvid untagged self`)
		tagged(t, w.Neighbour, nettest.PeerName, 10, "10.10.0.1/24")
		asks(t, w, "lan0", "")
	})
}
