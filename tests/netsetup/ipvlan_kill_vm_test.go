//go:build linux && (amd64 || arm64)

package netsetup_test

import "testing"

// guardedNear is near with all that a guard and queues can do.
func guardedNear() string { return ipvlanWith(near, "spoof-check = true\nrate = \"1gbit\"") }

// TestIPVLANCrash lets each step of an attach fail, see [TestCrashMatrix].
func TestIPVLANCrash(t *testing.T) {
	w := newIPVLAN(t, guardedNear())
	c := w.withLink(t)
	p, err := w.setup.Plan(t.Context(), c.container(t, "network=near,route=10.62.0.0/16 via 10.89.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	w.crash(t, c, p, true)
}

// TestIPVLANKilled kills createRuntime and poststop at each message to the kernel: what they do with settings and with the state
// is the same for every driver, and [TestHookKilled] has it. The namespace lives on; when it ends, the kernel takes everything away.
func TestIPVLANKilled(t *testing.T) {
	wish := []string{"network=near"}
	w := newIPVLAN(t, guardedNear())
	t.Run("hook", func(t *testing.T) { w.killHook(t, wish, false, false, "netlink") })
	t.Run("poststop", func(t *testing.T) { w.killPoststop(t, wish, true, "netlink") })
}
