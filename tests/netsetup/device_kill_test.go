//go:build linux && (amd64 || arm64)

package netsetup_test

import "testing"

// TestDeviceKilled kills createRuntime and poststop at each deed while the namespace lives, and gc gives the device back.
func TestDeviceKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, card)
	w.withCard(t)
	t.Run("createRuntime", func(t *testing.T) {
		kills(t, func(t *testing.T, at int) (output, []string) {
			c := w.plainBox(t, "c")
			before := c.Snapshot(t)
			o, deeds := w.traced(t, orders{Kill: at}, c.state(t, "creating", "network=card,mac=02:78:00:00:00:99"), "hook", "createRuntime")
			w.must(t, "", "gc")
			if len(w.records(t)) > 0 {
				w.attachedWhole(t)
				w.must(t, "", "detach", "c")
			}
			same(t, before, c.Space)
			w.listed(t, 0)
			w.empty(t)
			c.End()
			return o, deeds
		})
	})
	t.Run("poststop", func(t *testing.T) {
		kills(t, func(t *testing.T, at int) (output, []string) {
			c := w.plainBox(t, "c")
			before := c.Snapshot(t)
			w.must(t, c.state(t, "creating", "network=card"), "hook", "createRuntime")
			other, end := join(t, c.Space)
			defer end()
			c.End()
			o, deeds := w.traced(t, orders{Kill: at}, c.state(t, "stopped"), "hook", "poststop")
			w.must(t, c.state(t, "stopped"), "hook", "poststop")
			same(t, before, other)
			w.listed(t, 0)
			w.empty(t)
			return o, deeds
		})
	})
}
