//go:build linux && (amd64 || arm64)

package netsetup_test

import "testing"

// TestHostAccessKilled kills createRuntime and poststop at each deed, of a container that is the only one that the host reaches.
func TestHostAccessKilled(t *testing.T) {
	wish := []string{"network=lan"}
	w := newWorld(t, reach("lan", ""))
	t.Run("createRuntime", func(t *testing.T) { w.killHook(t, wish, false, true, "netlink", "set") })
	t.Run("createRuntime, container stopped", func(t *testing.T) { w.killHook(t, wish, true, true, "netlink") })
	t.Run("poststop", func(t *testing.T) { w.killPoststop(t, wish, false) })
	t.Run("poststop, namespace kept", func(t *testing.T) { w.killPoststop(t, wish, true, "netlink") })
}
