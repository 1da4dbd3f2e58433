//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// lanPolicy has networks on a bond that rewrites MAC addresses, on a VLAN in which the host has the router's address, and on a link
// that is another bridge's.
const lanPolicy = `version = 1
[network.bond]
driver = "macvlan"
parent = "doc-bond"
[network.below]
driver = "ipvlan"
parent = "doc-bond"
vlan   = 7
ipam   = "none"
[network.tag]
driver = "macvlan"
parent = "doc0"
vlan   = 20
  [[network.tag.subnet]]
  subnet  = "192.168.20.0/24"
  gateway = "192.168.20.1"
[network.uplink]
driver = "bridge"
uplink = "doc1"
vlan   = 4
[[rule]]
match    = { id = "*" }
networks = ["*"]
`

// TestDoctorLinks lets doctor look at kinds of links that few kernels have all of.
func TestDoctorLinks(t *testing.T) {
	h := newHost(t)
	if _, stderr, err := try("ip", "link", "add", "doc-bond", "type", "bond", "mode", "balance-alb"); err != nil {
		if slices.Contains(strings.Split(os.Getenv("LANHOOK_TEST_HAVE"), ","), "bond") {
			t.Fatalf("make a bond: %v\n%s", err, stderr)
		}
		t.Skipf("SKIPPED, NOT TESTED: the kernel has no bonds: %s", stderr)
	}
	for _, line := range []string{
		"link add doc0 type dummy", "link add doc1 type dummy", "link add doc2 type dummy",
		"link set doc2 master doc-bond", "link set doc-bond up", "link set doc0 up", "link set doc1 up",
		"link add link doc0 name doc0.20 type vlan id 20", "link set doc0.20 up", "address add 192.168.20.1/24 dev doc0.20",
		"link add doc-bridge type bridge", "link set doc1 master doc-bridge",
	} {
		run(t, "ip", strings.Fields(line)...)
	}
	t.Cleanup(func() {
		for _, name := range []string{"doc-bridge", "doc-bond", "doc0", "doc1", "doc2"} {
			run(t, "ip", "link", "del", name)
		}
	})
	policy := filepath.Join(h.dir, "lan.toml")
	write(t, policy, lanPolicy)
	stdout, stderr, err := try(h.bin, "doctor", "--policy", policy, "--state-dir", h.state)
	if err == nil {
		t.Error("doctor finds nothing that fails")
	}
	for _, want := range []string{
		`fail +parent +parent doc-bond of network bond is, or lies on, a bond in mode balance-alb, which `,
		`warn +parent +the host has 192.168.20.1/24 on doc0.20, in the VLAN of network tag itself: `,
		`fail +parent +uplink doc1 of network uplink is a port of another bridge: no container gets on it`,
		`ok +promiscuous +doc0.20 is not promiscuous, and need not be: `,
		`fail +subnet +the gateway 192.168.20.1 of network tag is the host's own address on doc0.20: `,
		`ok +hypervisor +this is a QEMU machine: frames of MAC addresses that are not its own pass `,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(stdout) {
			t.Errorf("doctor says nothing like %q:\n%s%s", want, stdout, stderr)
		}
	}
	if strings.Contains(stdout, "network below") {
		t.Errorf("doctor finds something wrong with ipvlan on a bond:\n%s", stdout)
	}
}
