//go:build linux

package netsetup_test

import (
	"fmt"
	"net/netip"
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
	t.Run("next, of one who is none of its sources", func(t *testing.T) {
		w := newWorld(t, strings.Replace(conflicting("next"), "parent", "mode = \"source\"\nsource = [\"02:70:00:00:00:99\"]\nparent", 1))
		w.box(t, "c").refused(t, inUse, "network=pair,ip=10.77.0.1")
		w.empty(t)
	})
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
			if kept := fmt.Sprint(w.recordsOf(t, "c")[0].Warnings); strings.Contains(kept, inUse) != (conflict == "warn") {
				t.Errorf("the record keeps %s", kept)
			}
			c.detach(t)
			w.empty(t)
		})
	}
}

// TestConflictWarnsOnce asks again and again because of one network, and says of the other once what it is to be warned of.
func TestConflictWarnsOnce(t *testing.T) {
	w := newWorld(t, conflicting("warn")+`
[network.kept]
driver = "macvlan"
parent = "p0"
reserve = { printer = "10.78.0.77" }

  [[network.kept.subnet]]
  subnet = "10.78.0.0/24"
`)
	w.Neighbour.Do(t, func() { nettest.AddAddress(t, nettest.PeerName, netip.MustParsePrefix("10.78.0.77/24")) })
	c := w.box(t, "c")
	r := c.attach(t, "name=printer", "network=pair,ip=10.77.0.1", "network.eth1=kept")
	if n := strings.Count(fmt.Sprint(r.Warnings), "address 10.77.0.1 is in use"); n != 1 {
		t.Errorf("it is said %d times:\n%v", n, r.Warnings)
	}
	w.done(t, c)
}
