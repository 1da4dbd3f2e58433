//go:build linux

package kernel_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// command runs a program on the test's host.
func command(t *testing.T, s *nettest.Space, line string) {
	t.Helper()
	words := strings.Fields(line)
	s.Do(t, func() {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	})
}

func TestForwardDrop(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	h := openHost(t, n)
	check := func(t *testing.T, want ...string) {
		t.Helper()
		got, err := h.ForwardDrop()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v chains (-want +got):\n%s", err, diff)
		}
	}
	t.Run("none", func(t *testing.T) { check(t) })
	t.Run("nftables", func(t *testing.T) {
		for _, line := range []string{
			"nft add table inet theirs",
			"nft add chain inet theirs pass { type filter hook forward priority 0 ; policy accept ; }",
			"nft add chain inet theirs deny { type filter hook forward priority 0 ; policy drop ; }",
			"nft add chain inet theirs input { type filter hook input priority 0 ; policy drop ; }",
			"nft add chain inet theirs plain",
			"nft add table bridge theirs",
			"nft add chain bridge theirs forward { type filter hook forward priority 0 ; policy drop ; }",
		} {
			command(t, n.Host, line)
		}
		run(t, h.KernelByID(-1, nil), plan.ReleaseRules{})
		check(t, "chain bridge theirs forward", "chain inet theirs deny")
		command(t, n.Host, "nft delete table inet theirs")
		command(t, n.Host, "nft delete table bridge theirs")
	})
	t.Run("firewalld", func(t *testing.T) {
		for _, line := range []string{
			"nft add table inet firewalld",
			"nft add chain inet firewalld filter_FORWARD { type filter hook forward priority 10 ; policy accept ; }",
			"nft add rule inet firewalld filter_FORWARD ct state established accept",
			"nft add rule inet firewalld filter_FORWARD iifname lo drop",
		} {
			command(t, n.Host, line)
		}
		check(t)
		command(t, n.Host, "nft add rule inet firewalld filter_FORWARD counter reject with icmpx type admin-prohibited")
		check(t, "chain inet firewalld filter_FORWARD")
		command(t, n.Host, "nft add rule inet firewalld filter_FORWARD counter log drop")
		check(t, "chain inet firewalld filter_FORWARD")
		command(t, n.Host, "nft add rule inet firewalld filter_FORWARD accept")
		check(t)
		command(t, n.Host, "nft delete table inet firewalld")
	})
	for _, c := range []struct{ program, want string }{
		{"iptables-nft", "chain ip filter FORWARD"},
		{"ip6tables-nft", "chain ip6 filter FORWARD"},
		{"iptables-legacy", "iptables-legacy chain filter FORWARD"},
		{"ip6tables-legacy", "ip6tables-legacy chain filter FORWARD"},
	} {
		t.Run(c.program, func(t *testing.T) {
			if _, err := exec.LookPath(c.program); err != nil {
				t.Skipf("SKIPPED, NOT TESTED: %v", err)
			}
			if _, err := os.Stat("/proc/net/ip_tables_names"); err != nil && strings.HasSuffix(c.program, "legacy") {
				t.Skipf("SKIPPED, NOT TESTED: the kernel has no older tables: %v", err)
			}
			command(t, n.Host, c.program+" -A FORWARD -o p0 -j ACCEPT")
			check(t)
			command(t, n.Host, c.program+" -P FORWARD DROP")
			check(t, c.want)
			command(t, n.Host, c.program+" -P FORWARD ACCEPT")
			check(t)
			command(t, n.Host, c.program+" -F FORWARD")
			if strings.HasSuffix(c.program, "nft") {
				command(t, n.Host, c.program+" -A FORWARD -i p0 -j DROP")
				check(t)
				command(t, n.Host, c.program+" -A FORWARD -j DROP")
				check(t, c.want)
				command(t, n.Host, c.program+" -F FORWARD")
				command(t, n.Host, c.program+" -A FORWARD -j REJECT")
				check(t, c.want)
				command(t, n.Host, c.program+" -F FORWARD")
			}
		})
	}
	n.Host.Remember(t) // iptables leaves empty tables.
}
