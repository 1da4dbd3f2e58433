//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"slices"
	"strings"
	"testing"
)

// TestNamesKilled kills the hook, or poststop, of a container with files at each deed, while another container of the
// network knows it by name. gc removes what is left, and the name.
func TestNamesKilled(t *testing.T) {
	t.Parallel()
	wish := []string{"network=apps,ip=172.30.0.3,ip=fd30::3"}
	alone := []string{"172.30.0.2 a", "fd30::2 a"}
	args := func(stage, key string) []string {
		return []string{"hook", stage, "--by", "lanhook-runtime", "--guest", key}
	}
	for _, stage := range []string{"createRuntime", "poststop"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, named)
			a := w.plainBox(t, "a")
			a.attachNamed(t, "network=apps,ip=172.30.0.2,ip=fd30::2")
			deeds := killsQuiet(t, func(t *testing.T, at int) (o output, deeds []string) {
				c := w.plainBox(t, "c")
				key := c.made(t)
				if stage == "createRuntime" {
					o, deeds = w.traced(t, orders{Kill: at}, c.state(t, "creating", wish...), args(stage, key)...)
					if o.code == 0 {
						a.reads(t, append(alone, "172.30.0.3 c", "fd30::3 c")...)
					}
					c.ended(t)
					if o.code != 0 {
						// Killed before it took the files over, they are the runtime's, which ends as well.
						w.orphan(t, c)
					}
				} else {
					w.must(t, c.state(t, "creating", wish...), args("createRuntime", key)...)
					c.ended(t)
					o, deeds = w.traced(t, orders{Kill: at}, c.state(t, "stopped"), args(stage, key)...)
				}
				w.must(t, "", "gc")
				// A name may stay behind when the kill came between the record's end and the files': the next that
				// comes or goes on the network takes it away.
				next := w.plainBox(t, "next")
				next.attach(t, "network=apps")
				next.stop(t)
				a.reads(t, alone...)
				w.noFilesBut(t, a)
				w.listed(t, 1)
				return o, deeds
			})
			rewrites := func(d string) bool { return strings.HasPrefix(d, "pwrite "+a.hostsFile()) }
			if !t.Failed() && !slices.ContainsFunc(deeds, rewrites) {
				t.Errorf("no hosts file of another among %q", deeds)
			}
			a.stop(t)
			w.noFiles(t)
			w.empty(t)
		})
	}
}
