//go:build linux

package e2e

import (
	"strings"
	"testing"
)

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

// TestEngineDockerForward is Docker with a firewall of its own, which drops what is forwarded by others' bridges. lanhook
// doctor says so, and with the rules of docs/firewall.md in Docker's chain published ports answer.
func TestEngineDockerForward(t *testing.T) {
	for _, version := range dockerVersions() {
		t.Run(version.docker, func(t *testing.T) {
			s := newSite(t)
			e := newEngine(t, "docker", version.docker)
			s.runtime(t, s.runtimePath(t, e, "runc"))
			s.dockerLeaves(t)
			s.startContainerd(t, version.containerd)
			s.startDocker(t, e, map[string]any{
				"bip": dockerBridge, "containerd": containerdSocket, "iptables": true, "ip-forward": true,
			})
			d := s.dockerWays(t, e)[0]
			id := d.start(t, "e2e-publish", published)
			serve(d.exec(t, id))
			if got := hears(t, "", "10.77.0.1"); got != "10.77.0.1" {
				t.Errorf("the host is not forwarded, and the container sees %q", got)
			}
			if got := hears(t, "neighbour", "10.77.0.1"); got != "" {
				t.Errorf("Docker lets pass what the neighbour sends: the container sees %q", got)
			}
			// What doctor finds wrong is its exit code.
			stdout, stderr, _ := try(s.bin, "doctor", "--state-dir", s.state, "--policy", s.policy)
			if want := "DOCKER-USER"; !strings.Contains(stdout+stderr, want) {
				t.Errorf("doctor says nothing of %s:\n%s%s", want, stdout, stderr)
			}
			for _, iptables := range []string{"iptables", "ip6tables"} {
				if _, _, err := try(iptables, "--list", "DOCKER-USER"); err == nil {
					run(t, iptables, "-I", "DOCKER-USER", "-o", "lh-+", "-j", "ACCEPT")
					run(t, iptables, "-I", "DOCKER-USER", "-i", "lh-+", "-o", "p0", "-j", "ACCEPT")
				}
			}
			s.reached(t, id, d.exec(t, id))
			networkOf("apps").pings(t, s.attached(t, id), d.exec(t, id))
			d.remove(t, id)
			s.gone(t)
			s.unpublished(t)
		})
	}
}

// dockerLeaves takes away what Docker leaves when it stops: its bridge, its tables and its settings.
func (s *site) dockerLeaves(t *testing.T) {
	t.Helper()
	before := run(t, "nft", "list", "tables")
	t.Cleanup(func() {
		run(t, "ip", "link", "del", "docker0")
		for line := range strings.Lines(run(t, "nft", "list", "tables")) {
			if !strings.Contains(before, line) {
				run(t, "sh", "-c", "nft delete "+line)
			}
		}
		// To turn off forwarding of all links turns it off for each.
		run(t, "sysctl", "-w", "net.ipv4.ip_forward=0", "net.ipv4.conf.p0.forwarding=1", "net.ipv4.conf.lh-foreign.forwarding=1")
	})
}
