//go:build linux && (amd64 || arm64)

package netsetup_test

import "testing"

// TestBridgeVLANCrash lets each step of an attach to a bridge with an uplink fail, see [TestCrashMatrix].
func TestBridgeVLANCrash(t *testing.T) {
	w := newFloors(t, floors)
	c := w.withLink(t)
	p, err := w.setup.Plan(t.Context(), c.container(t, "network=twenty,route=10.62.0.0/16 via 10.89.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	w.crash(t, c, p, true)
}

// TestBridgeVLANKilled kills createRuntime at each message to the kernel, see [TestTaggedKilled], while the container goes on, and
// poststop. With a container that has stopped it is [TestBridgeVLANBesideKilled].
func TestBridgeVLANKilled(t *testing.T) {
	wish := []string{"network=twenty"}
	w := newFloors(t, floors)
	t.Run("hook", func(t *testing.T) { w.killHook(t, wish, false, false, "netlink") })
	t.Run("poststop", func(t *testing.T) { w.killPoststop(t, wish, false, "netlink") })
}

// TestBridgeVLANBesideKilled kills createRuntime at each message to the kernel while a container of another VLAN is there: gc takes
// from the uplink what was begun, and nothing else.
func TestBridgeVLANBesideKilled(t *testing.T) {
	w := newFloors(t, floors)
	stays := w.plainBox(t, "stays")
	stays.attach(t, "network=ten,ip=10.10.0.200")
	kills(t, func(t *testing.T, at int) (output, []string) {
		c := w.plainBox(t, "c")
		o, deeds := w.traced(t, orders{Kill: at, Kinds: []string{"netlink"}}, c.state(t, "creating", "network=twenty"), "hook", "createRuntime")
		c.ended(t)
		w.must(t, "", "gc")
		w.listed(t, 1)
		w.carries(t, "p0", "10")
		w.must(t, "", "check")
		c.End()
		return o, deeds
	})
	if err := w.release(t.Context(), "stays"); err != nil {
		t.Error(err)
	}
	w.empty(t)
}
