//go:build linux

package netsetup_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

// conflicting is a LAN of two addresses, of which the neighbour has the first one.
func conflicting(conflict string) string {
	return fmt.Sprintf(`
[network.pair]
driver = "macvlan"
parent = "p0"
conflict = %q

  [[network.pair.subnet]]
  subnet = "10.77.0.0/24"
  range = "10.77.0.1-10.77.0.2"
  gateway = "10.77.0.254"
`, conflict)
}

// TestConflict has a neighbour answer for an address that a container would get.
func TestConflict(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	const inUse = "eth0: address 10.77.0.1 is in use on the LAN, by 02:70:00:00:00:02"
	for _, id := range []string{"a", "b", "c", "d"} {
		t.Run("next, for "+id, func(t *testing.T) {
			w := newWorld(t, conflicting("next"))
			c := w.box(t, id)
			r := c.attach(t, "network=pair")
			if got := r.Interfaces[0].Addresses[0].String(); got != "10.77.0.2/24" {
				t.Errorf("got %s, want the other one", got)
			}
			c.Ping(t, nettest.PeerPrefix4().Addr())
			w.box(t, "second").refused(t, "no address is free", "network=pair")
			c.detach(t)
			w.empty(t)
		})
	}
	for _, conflict := range []string{"next", "fail", "rfc"} {
		t.Run(conflict+", asked for", func(t *testing.T) {
			w := newWorld(t, conflicting(conflict))
			w.box(t, "c").refused(t, inUse, "network=pair,ip=10.77.0.1")
			w.empty(t)
		})
	}
	for _, conflict := range []string{"warn", "off"} {
		t.Run(conflict, func(t *testing.T) {
			w := newWorld(t, conflicting(conflict))
			c := w.box(t, "c")
			r := c.attach(t, "network=pair,ip=10.77.0.1")
			if warned := fmt.Sprint(r.Warnings); strings.Contains(warned, inUse) != (conflict == "warn") {
				t.Errorf("warnings: %s", warned)
			}
			c.detach(t)
			w.empty(t)
		})
	}
}
