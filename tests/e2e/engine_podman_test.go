//go:build linux

package e2e

import (
	"slices"
	"testing"
)

// podmanRuntime is podman with lanhook-runtime as its runtime and without hooks of its own. Then poststop is the runtime's
// to call, not podman's.
type podmanRuntime struct{ *podman }

func (p *podmanRuntime) start(t *testing.T, name, annotation string) string {
	t.Helper()
	return p.podman.start(t, name, p.quote(annotation)...)
}

// quote keeps podman from cutting the annotations at their commas.
func (p *podmanRuntime) quote(annotation string) []string {
	var quoted []string
	for _, a := range asked("io.lanhook.network", annotation) {
		quoted = append(quoted, `"`+a+`"`)
	}
	return quoted
}

func (p *podmanRuntime) begin(name, annotation string) func() (string, error) {
	return begin("podman", slices.Concat(p.flags, p.startArgs(name, p.quote(annotation)...))...)
}

func (p *podmanRuntime) restart(t *testing.T, id string) {
	t.Helper()
	p.run(t, "restart", "--time", "0", id)
}

func (p *podmanRuntime) stop(t *testing.T, id string) {
	t.Helper()
	p.run(t, "stop", "--time", "0", id)
}

func (p *podmanRuntime) remove(t *testing.T, id string) {
	t.Helper()
	p.run(t, "rm", "--force", "--ignore", "--time", "0", id)
}

// clears says that the container's monitor calls podman, and that the runtime's delete.
func (p *podmanRuntime) clears() bool { return true }

func (p *podmanRuntime) workload(_, id string) string { return id }

// survives says nothing: podman has no daemon that could be killed.
func (p *podmanRuntime) survives() bool { return true }

func TestEnginePodman(t *testing.T) {
	s := newSite(t)
	p := &podman{host: s.host, root: rootfs(t, s.dir), flags: podmanFlags(t, s.host, runtimeName)}
	w := way{"runtime", &podmanRuntime{p}}
	// An engine of the age of Debian's runtimes.
	s.lives(t, newEngine(t, "containerd", "1.6"), []way{w})
	for _, program := range runtimes() {
		s.runtime(t, s.runtimePath(t, newEngine(t, "containerd", "1.6"), program))
		t.Run(program+" kill process", func(t *testing.T) { s.killProcess(t, w) })
		t.Run(program+" kill monitor", func(t *testing.T) { s.killMonitor(t, w) })
		t.Run(program+" kill runtime", func(t *testing.T) { s.killRuntime(t, w) })
		t.Run(program+" refused", func(t *testing.T) { s.refused(t, w) })
		t.Run(program+" mistaken", func(t *testing.T) { s.mistaken(t, w) })
	}
}

// killMonitor ends conmon and then the container: nobody is left to call poststop.
func (s *site) killMonitor(t *testing.T, c contender) {
	t.Helper()
	s.unchanged(t, c, "e2e-monitor")
	pid := s.attached(t, c.start(t, "e2e-monitor", "apps")).PID
	kill(t, parent(t, pid))
	kill(t, pid)
	s.freed(t, false)
	c.remove(t, "e2e-monitor")
	s.gone(t)
}
