//go:build linux

package netsetup_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestRestartOther: a workload that is started again under another id, as engines do, at once after its container has ended, while the
// kernel is still at the old namespace and nobody has called poststop. It gets its own address and MAC again, chosen or asked for.
func TestRestartOther(t *testing.T) {
	for _, ask := range []string{"network=lan", "network=lan,ip=10.77.0.9,mac=02:42:0a:4d:00:09"} {
		t.Run(ask, func(t *testing.T) {
			w := newWorld(t, lan)
			var first plan.Interface
			var c *box
			for i := range 8 {
				c = w.plainBox(t, fmt.Sprint("c", i))
				for n := range 10 {
					addBridge(t, c.Space, fmt.Sprintf("filler%d", n))
				}
				got := c.attach(t, ask, "name=web").Interfaces[0]
				if i == 0 {
					first = got
				}
				if fmt.Sprint(got.Addresses, got.MAC) != fmt.Sprint(first.Addresses, first.MAC) {
					t.Errorf("round %d: it has %v and %s, and had %v and %s", i, got.Addresses, got.MAC, first.Addresses, first.MAC)
				}
				c.reachesNeighbour(t)
				if all := w.records(t); len(all) != 1 {
					t.Errorf("round %d: there are %d records", i, len(all))
				}
				c.End()
			}
			c.ended(t)
			w.collects(t, 1)
			w.empty(t)
		})
	}
}

// TestRestartHeld: what a container had whose network namespace somebody else holds is not free, and the refusal says who does. One that
// may have another address gets one, at once.
func TestRestartHeld(t *testing.T) {
	w := newWorld(t, lan)
	old := w.plainBox(t, "old")
	old.attach(t, "network=lan,ip=10.77.0.9", "name=web")
	holder, end := join(t, old.Space)
	old.End()
	c := w.box(t, "c")
	began := time.Now()
	_, err := w.setup.Attach(t.Context(), c.container(t, "network=lan,ip=10.77.0.9", "name=web"))
	if want := fmt.Sprintf("/proc/%d/ns/net still holds its network namespace", holder.PID); err == nil || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), "container old") {
		t.Errorf("the error is %v, want %q", err, want)
	}
	c.attach(t, "network=lan", "name=web")
	if took := time.Since(began); took > time.Second {
		t.Errorf("both took %s", took)
	}
	c.detach(t)
	end()
	c.attach(t, "network=lan,ip=10.77.0.9", "name=web")
	c.Ping(t, nettest.PeerPrefix4().Addr())
	w.done(t, c)
}
