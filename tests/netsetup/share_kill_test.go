//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"fmt"
	"testing"
)

// podWish is what the containers of a pod ask for: all share eth0, and some have an eth1 of their own.
const podWish = "network=lan,ip=10.77.0.9,ip=fd77::9"

// TestMemberKilled kills createRuntime of a container that joins, and that has an interface of its own beside that, at
// each deed. gc takes back what was begun; what it joined stays for who needs it, and no longer.
func TestMemberKilled(t *testing.T) {
	t.Parallel()
	for _, left := range []bool{false, true} {
		t.Run(fmt.Sprintf("owner stopped %t", left), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, lan+apps)
			p := w.pod(t)
			kills(t, func(t *testing.T, at int) (output, []string) {
				p.start(t, "a", podWish)
				same := p.unchanged(t)
				if left {
					p.start(t, "b", podWish)
					p.stop(t, "a")
				}
				c := p.run(t, "c")
				o, deeds := w.traced(t, orders{Kill: at}, c.state(t, "creating", podWish, "network.eth1=apps"), "hook", "createRuntime")
				w.must(t, "", "gc")
				if o.code == programKilled && len(w.recordsOf(t, "c")) == 0 {
					same()
				}
				// The runtime that was killed takes the container with it.
				p.kill("c")
				if left {
					p.kill("b")
					w.must(t, "", "gc")
				} else {
					p.stop(t, "a")
				}
				w.must(t, "", "gc")
				if all := w.recordsOf(t, "c"); len(all) == 1 && len(all[0].Interfaces) == 1 {
					// It was attached, and its namespace lives: its end is poststop's.
					w.must(t, c.stopped("c"), "hook", "poststop")
				}
				p.over(t)
				return o, deeds
			})
		})
	}
}

// TestLastKilled kills poststop at each deed: of an owner with members, of a member, of the last, and of a sandbox. What
// the container's end did not do is done by the end of the others, by gc, or by the next poststop.
func TestLastKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, victim string
		// first are those that stop before, and next those that stop after the kill.
		first, next []string
		sandbox     bool
	}{
		{name: "owner with members", victim: "a", next: []string{"b", "c"}},
		{name: "member", victim: "b", next: []string{"c", "a"}},
		{name: "the last but one", victim: "b", first: []string{"a"}, next: []string{"c"}},
		{name: "the last", victim: "c", first: []string{"a", "b"}},
		{name: "sandbox", victim: "a", sandbox: true},
		{name: "sandbox, the last", victim: "a", first: []string{"b", "c"}, sandbox: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, lan+apps)
			p := w.pod(t)
			deeds := killsQuiet(t, func(t *testing.T, at int) (output, []string) {
				sandbox := p.run(t, "a")
				want := sandbox.container(t, podWish)
				want.Sandbox = c.sandbox
				if _, err := w.setup.Attach(t.Context(), want); err != nil {
					t.Fatal(err)
				}
				p.start(t, "b", podWish)
				p.start(t, "c", podWish, "network.eth1=apps")
				for _, id := range c.first {
					p.stop(t, id)
				}
				p.kill(c.victim)
				o, deeds := w.traced(t, orders{Kill: at}, p.stopped(c.victim), "hook", "poststop")
				w.must(t, "", "gc")
				for _, id := range c.next {
					p.reachesNeighbour(t)
					p.stop(t, id)
				}
				w.must(t, "", "gc")
				if len(w.recordsOf(t, c.victim)) > 0 {
					// It was killed before it wrote anything, and what has a namespace that lives is not gc's.
					w.must(t, p.stopped(c.victim), "hook", "poststop")
				}
				p.over(t)
				for _, id := range []string{"a", "b", "c"} {
					p.stop(t, id)
				}
				p.over(t)
				return o, deeds
			})
			if len(deeds) < 10 {
				t.Errorf("there were only the deeds %q", deeds)
			}
		})
	}
}
