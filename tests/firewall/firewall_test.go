//go:build linux

// Package firewall_test puts rules into a real kernel and reads them back with nft(8), which knows nothing of lanhook.
package firewall_test

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// dial opens a socket on the test's host.
func dial(t testing.TB, host *nettest.Space) *firewall.Conn {
	t.Helper()
	var (
		c   *firewall.Conn
		err error
	)
	host.Do(t, func() { c, err = firewall.Dial() })
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

// nft runs nft(8) on the test's host.
func nft(t testing.TB, host *nettest.Space, args ...string) string {
	t.Helper()
	var (
		out []byte
		err error
	)
	host.Do(t, func() { out, err = exec.Command("nft", args...).CombinedOutput() })
	if err != nil {
		t.Fatalf("nft %v: %v: %s", args, err, out)
	}
	return string(out)
}

func TestSmoke(t *testing.T) {
	n := nettest.New(t)
	c := dial(t, n.Host)
	s := plan.AddRules{Record: "abcdefghij", Of: []plan.Rules{{
		Bridge: "lh-a", Port: "lh-p1", Gate: plan.NAT, ICC: true, Isolate: true,
		Addresses:  []netip.Addr{addr("172.30.0.2"), addr("fd00:30::2")},
		Masquerade: []netip.Addr{addr("172.30.0.2")},
		Publish: []plan.Publish{
			{Protocol: request.TCP, Addr: addr("0.0.0.0"), Host: 8080, Count: 2, To: netip.MustParseAddrPort("172.30.0.2:80")},
			{Protocol: request.UDP, Addr: addr("::1"), Host: 53, Count: 1, To: netip.MustParseAddrPort("[fd00:30::2]:53")},
		},
	}}}
	t.Log(c.Add(s))
	if err := c.Renew([]plan.AddRules{s}); err != nil {
		t.Fatal(err)
	}
	t.Log(c.Drift([]plan.AddRules{s}))
	nft(t, n.Host, "flush", "chain", "inet", "lanhook", "publish")
	nft(t, n.Host, "delete", "element", "inet", "lanhook", "any4", "{ tcp . 8081 }")
	nft(t, n.Host, "add", "element", "inet", "lanhook", "any4", "{ tcp . 8082 : 1.2.3.4 . 80 }")
	nft(t, n.Host, "add", "chain", "inet", "lanhook", "xx")
	t.Log(c.Drift([]plan.AddRules{s}))
	t.Log(c.Renew([]plan.AddRules{s}))
	t.Log(c.Drift([]plan.AddRules{s}))
	t.Log(c.Add(s))
	t.Log(c.Delete(plan.DelRules(s)))
	t.Log(c.DropBridge("lh-a"))
	t.Log(nft(t, n.Host, "list", "table", "inet", "lanhook"))
	t.Log(c.Drift(nil))
	t.Log(c.Release())
	t.Log(c.Drift(nil))
}
