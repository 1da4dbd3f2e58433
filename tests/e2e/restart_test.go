//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rounds is how often a workload is started again.
const rounds = 10

// TestRuntimeAgain starts a workload over and over, each time at once after it was killed: as the same container and, as engines do
// that make containers anew, as another one of its name, whose predecessor is deleted before or only afterwards. It always has the same
// addresses and MAC, and is reached.
func TestRuntimeAgain(t *testing.T) {
	for _, program := range runtimes() {
		for name, c := range map[string]struct{ others, late bool }{
			"the same container":                      {},
			"another one of the name":                 {others: true},
			"another one before the first is deleted": {others: true, late: true},
		} {
			t.Run(program+" "+name, func(t *testing.T) {
				r := newOCI(t, program)
				root := rootfs(t, r.dir)
				lan := networkOf("lan")
				var first container
				for i := range rounds {
					id := "e2e-again"
					if c.others {
						id = fmt.Sprint(id, i)
					}
					bundle := r.bundle(t, newSpec(id, root, map[string]string{"io.lanhook.network": "lan", "io.lanhook.name": "e2e-again"}))
					now := r.start(t, id, bundle)
					if i == 0 {
						first = now
					}
					if diff := cmp.Diff(first.Interfaces, now.Interfaces, cmpPrefix()); diff != "" {
						t.Errorf("interfaces in round %d (-first +now):\n%s", i, diff)
					}
					lan.pings(t, now, r.exec(t, id))
					r.kill(t, id)
					if !c.late {
						r.delete(t, id)
					}
				}
				for i := range rounds {
					if c.late {
						r.delete(t, fmt.Sprint("e2e-again", i))
					}
				}
				r.gone(t)
			})
		}
	}
}

// TestPodmanAgain restarts a container over and over, and makes it anew under its name.
func TestPodmanAgain(t *testing.T) {
	for _, runtime := range runtimes() {
		t.Run(runtime, func(t *testing.T) {
			p := newPodman(t, runtime)
			lan := networkOf("lan")
			id := p.start(t, "e2e-again", "io.lanhook.network=lan", "io.lanhook.name=e2e-again")
			first := p.attached(t, id)
			for i := range rounds {
				if i%2 == 0 {
					p.run(t, "restart", "--time", "0", "e2e-again")
				} else {
					p.remove(t, "e2e-again")
					id = p.start(t, "e2e-again", "io.lanhook.network=lan", "io.lanhook.name=e2e-again")
				}
				now := p.attached(t, id)
				if diff := cmp.Diff(first.Interfaces, now.Interfaces, cmpPrefix()); diff != "" {
					t.Errorf("interfaces in round %d (-first +now):\n%s", i, diff)
				}
				lan.pings(t, now, p.exec(t, "e2e-again"))
			}
			p.remove(t, "e2e-again")
			p.gone(t)
		})
	}
}
