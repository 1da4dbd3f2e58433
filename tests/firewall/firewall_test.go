//go:build linux

// Package firewall_test puts rules into a real kernel and reads them back with nft(8), which knows nothing of lanhook.
package firewall_test

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// dial opens a socket in a namespace.
func dial(t testing.TB, in *nettest.Space) *firewall.Conn {
	t.Helper()
	nettest.Need(t, nettest.NFT)
	var (
		c   *firewall.Conn
		err error
	)
	in.Do(t, func() { c, err = firewall.Dial() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// host makes a test's host with a socket on it. What lanhook has put there is gone again at the end of the test, or the
// test fails.
func host(t testing.TB) (*nettest.Space, *firewall.Conn) {
	t.Helper()
	n := nettest.New(t)
	c := dial(t, n.Host)
	return n.Host, c
}

// nft runs nft(8) in a namespace. It puts words together to one command.
func nft(t testing.TB, in *nettest.Space, words ...string) string {
	t.Helper()
	var (
		out []byte
		err error
	)
	in.Do(t, func() { out, err = exec.Command("nft", words...).CombinedOutput() })
	if err != nil {
		t.Fatalf("nft %s: %v: %s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

// rules are those of a container that publishes a port to 172.30.0.LAST:80, on lh-apps.
func rules(record string, last string, hostPort uint16) plan.AddRules {
	v4, v6 := addr("172.30.0."+last), addr("fd00:30::"+last)
	return plan.AddRules{Record: record, Of: []plan.Rules{{
		Bridge: "lh-apps", Port: "lh" + record, Gate: plan.NAT, ICC: true, Isolate: true,
		Addresses: []netip.Addr{v4, v6}, Masquerade: []netip.Addr{v4, v6},
		Publish: []plan.Publish{
			{Protocol: request.TCP, Addr: addr("0.0.0.0"), Host: hostPort, Count: 1, To: netip.AddrPortFrom(v4, 80)},
		},
	}}}
}

// renew must succeed, and leave nothing to find.
func renew(t testing.TB, c *firewall.Conn, all ...plan.AddRules) {
	t.Helper()
	if err := c.Renew(all); err != nil {
		t.Fatal(err)
	}
	asRecorded(t, c, all...)
}

// asRecorded fails the test when there is a difference between the kernel and the records.
func asRecorded(t testing.TB, c *firewall.Conn, all ...plan.AddRules) {
	t.Helper()
	if d := drift(t, c, all...); len(d) > 0 {
		t.Errorf("the kernel differs:\n%s", strings.Join(d, "\n"))
	}
}

func drift(t testing.TB, c *firewall.Conn, all ...plan.AddRules) []string {
	t.Helper()
	d, err := c.Drift(all)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func release(t testing.TB, c *firewall.Conn) {
	t.Helper()
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
}

// tables are the names of those of lanhook's that are there.
func tables(t testing.TB, in *nettest.Space) string {
	t.Helper()
	var list []string
	for line := range strings.Lines(nft(t, in, "list tables")) {
		if line = strings.TrimSpace(line); strings.HasSuffix(line, " lanhook") {
			list = append(list, line)
		}
	}
	return strings.Join(list, ", ")
}

// elements is what nft(8) shows of a set or map of table inet lanhook, without the head.
func elements(t testing.TB, in *nettest.Space, set string) string {
	t.Helper()
	_, list, _ := strings.Cut(nft(t, in, "list "+set), "elements = {")
	list, _, _ = strings.Cut(list, "}")
	return strings.Join(strings.Fields(list), " ")
}
