//go:build linux && (amd64 || arm64)

package netsetup_test

import "testing"

// killed are networks with sub-interfaces of each kind: children on one within another, and one that is the container's own.
func killed() map[string]string {
	return map[string]string{
		"macvlan": vlanOf("tagged", "macvlan", `"p0"`, 50, "vlan = [100, 20]"),
		"vlan":    vlanOf("tagged", "vlan", `"p0"`, 50, "vlan = [100, 20]"),
	}
}

// TestTaggedCrash lets each step of an attach fail, see [TestCrashMatrix].
func TestTaggedCrash(t *testing.T) {
	for name, network := range killed() {
		t.Run(name, func(t *testing.T) {
			w := newVLAN(t, network)
			c := w.withLink(t)
			p, err := w.setup.Plan(t.Context(), c.container(t, "network=tagged,route=10.62.0.0/16 via 10.89.0.1"))
			if err != nil {
				t.Fatal(err)
			}
			w.crash(t, c, p, true)
		})
	}
}

// TestTaggedKilled kills createRuntime and poststop at each message to the kernel: what they do with settings and with the state is
// the same for every driver, and [TestHookKilled] has it. gc leaves the host as it was.
func TestTaggedKilled(t *testing.T) {
	wish := []string{"network=tagged"}
	for name, network := range killed() {
		t.Run(name, func(t *testing.T) {
			w := newVLAN(t, network)
			t.Run("hook", func(t *testing.T) { w.killHook(t, wish, false, false, "netlink") })
			if name == "macvlan" { // the last one's sub-interfaces outlive its namespace
				t.Run("hook, container stopped", func(t *testing.T) { w.killHook(t, wish, true, false, "netlink") })
			}
			t.Run("poststop", func(t *testing.T) { w.killPoststop(t, wish, true, "netlink") })
		})
	}
}
