//go:build linux

package e2e

import "testing"

// publishes is a container with a published port: a restart keeps it, and whoever ends the container gives it back.
func (s *site) publishes(t *testing.T, c contender) {
	t.Helper()
	s.unchanged(t, c, "e2e-publish")
	id := c.start(t, "e2e-publish", published)
	s.reached(t, id, c.exec(t, id))
	c.restart(t, id)
	s.reached(t, id, c.exec(t, id))
	kill(t, s.attached(t, id).PID)
	s.freed(t, c.clears())
	s.unpublished(t)
	c.remove(t, id)
	s.gone(t)
}

// taken is a port that a process of the host has, and then another container.
func (s *site) taken(t *testing.T, c contender, program string) {
	t.Helper()
	s.unchanged(t, c, "e2e-first", "e2e-second")
	refused := func(name, why string) {
		t.Helper()
		s.refusal(t, program, why, func() (string, error) { return c.begin(name, published)() })
		c.remove(t, name)
	}
	whileTaken(t, func() { refused("e2e-first", takenByTest(t)) })
	s.gone(t)
	id := c.start(t, "e2e-first", published)
	refused("e2e-second", "container "+id)
	c.remove(t, id)
	second := c.start(t, "e2e-second", published)
	c.remove(t, second)
	s.gone(t)
	s.unpublished(t)
}
