//go:build linux

package netsetup_test

import (
	"fmt"
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestConflictDrivers has a neighbour answer for addresses on links of all kinds that are on a LAN: one is refused that it has,
// and one is had that it has not.
func TestConflictDrivers(t *testing.T) {
	nettest.Need(t, nettest.IPVLAN, nettest.VLAN, nettest.VLANFiltering, nettest.NFT)
	tagged := func(t *testing.T, w *world) { w.inVLAN(t, 50) }
	untagged := func(t *testing.T, w *world) { w.inVLAN(t) }
	for name, c := range map[string]struct {
		policy string
		before func(*testing.T, *world)
	}{
		"ipvlan":              {vlanOf("own", "ipvlan", `"p0"`, 50, ""), untagged},
		"ipvlan private":      {vlanOf("own", "ipvlan", `"p0"`, 50, `flag = "private"`), untagged},
		"ipvlan on a VLAN":    {vlanOf("own", "ipvlan", `"p0"`, 50, "vlan = 50"), tagged},
		"macvlan on a VLAN":   {vlanOf("own", "macvlan", `"p0"`, 50, "vlan = 50"), tagged},
		"vlan":                {vlanOf("own", "vlan", `"p0"`, 50, "vlan = 50"), tagged},
		"vlan, spoof-check":   {vlanOf("own", "vlan", `"p0"`, 50, "vlan = 50\nspoof-check = true"), tagged},
		"bridge":              {uplinked("vlan = 50"), tagged},
		"bridge, spoof-check": {uplinked("vlan = 50\nspoof-check = true"), tagged},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.policy)
			c.before(t, w)
			w.Host.Remember(t)
			b := w.box(t, "c")
			b.refused(t, "address 10.50.0.1 is in use on the LAN, by 02:70:00:00:00:02", "network=own,ip=10.50.0.1")
			b.refused(t, "address fd50::1 is in use on the LAN, by 02:70:00:00:00:02", "network=own,ip=fd50::1")
			b.attach(t, "network=own,ip=10.50.0.9,ip=fd50::9")
			b.Ping(t, addr("10.50.0.1"))
			b.Ping(t, addr("fd50::1"))
			b.detach(t)
			w.empty(t)
		})
	}
}

// uplinked is a bridge that reaches the neighbour's VLAN 50.
func uplinked(keys string) string {
	return fmt.Sprintf(`
[network.own]
driver = "bridge"
bridge = "lan0"
uplink = "p0"
%s
  [[network.own.subnet]]
  subnet = "10.50.0.0/24"
  [[network.own.subnet]]
  subnet = "fd50::/64"
`, keys)
}
