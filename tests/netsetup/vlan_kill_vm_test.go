//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"fmt"
	"testing"
)

// killed are networks with sub-interfaces of each kind.
func killed() map[string]string {
	return map[string]string{
		"macvlan": vlanOf("tagged", "macvlan", `"p0"`, 50, "vlan = [100, 20]"),
		"ipvlan":  vlanOf("tagged", "ipvlan", `"p0.60"`, 50, ""),
		"vlan":    vlanOf("tagged", "vlan", `"p0"`, 50, "vlan = [100, 20]"),
	}
}

// TestVLANCrash lets each step of an attach fail, see [TestCrashMatrix].
func TestVLANCrash(t *testing.T) {
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

// TestVLANKilled kills createRuntime and poststop at each deed. gc leaves the host as it was.
func TestVLANKilled(t *testing.T) {
	wish := []string{"network=tagged"}
	for name, network := range killed() {
		w := newVLAN(t, network)
		for _, yes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s: hook, container stopped %t", name, yes), func(t *testing.T) { w.killHook(t, wish, yes, false) })
			t.Run(fmt.Sprintf("%s: poststop, namespace kept %t", name, yes), func(t *testing.T) { w.killPoststop(t, wish, yes) })
		}
	}
}
