//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// published are the rules of a container on lh-apps with a port.
func published() plan.AddRules {
	return plan.AddRules{Record: "abcdefghij", Of: []plan.Rules{{
		Bridge: "lh-apps", Port: veth(1).Name, Gate: plan.NAT, ICC: true, Isolate: true,
		Addresses: []netip.Addr{addr("172.30.0.2")}, Masquerade: []netip.Addr{addr("172.30.0.2")},
		Publish: []plan.Publish{{
			Protocol: request.UDP, Addr: addr("0.0.0.0"), Host: 5353, Count: 1, To: netip.MustParseAddrPort("172.30.0.2:53"),
		}},
	}}}
}

func tables(t *testing.T, s *nettest.Space) bool {
	t.Helper()
	return strings.Contains(s.Snapshot(t), "table inet lanhook")
}

func TestRules(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	s := published()
	all := []plan.AddRules{s}

	t.Run("no table, and nobody to renew", func(t *testing.T) {
		err := k.Apply(t.Context(), s)
		if _, stale := errors.AsType[*firewall.StaleError](err); !stale {
			t.Errorf("error %v, want one of type StaleError", err)
		}
		n.Host.Same(t)
	})
	t.Run("renewing fails", func(t *testing.T) {
		k.Renew = func(context.Context) error { return errTest }
		if err := k.Apply(t.Context(), s); !errors.Is(err, errTest) {
			t.Errorf("error %v, want that of renewing", err)
		}
		n.Host.Same(t)
	})
	renewed := 0
	k.Renew = func(context.Context) error {
		renewed++
		return h.RenewRules(all)
	}
	t.Run("renewed once", func(t *testing.T) {
		run(t, k, s, s)
		if renewed != 1 || !tables(t, n.Host) {
			t.Errorf("renewed %d times, want 1", renewed)
		}
		drift(t, h, all)
	})
	t.Run("renewing does not help", func(t *testing.T) {
		release(t, k, n)
		k.Renew = func(context.Context) error { return nil }
		err := k.Apply(t.Context(), s)
		if _, stale := errors.AsType[*firewall.StaleError](err); !stale {
			t.Errorf("error %v, want one of type StaleError", err)
		}
		k.Renew = func(context.Context) error { return h.RenewRules(all) }
	})
	t.Run("deleted, and again", func(t *testing.T) {
		run(t, k, s, plan.DelRules(s), plan.DelRules(s))
		if got := section(n.Host.Snapshot(t), "table inet lanhook"); strings.Contains(got, s.Record) {
			t.Errorf("there is something of %s in:\n%s", s.Record, got)
		}
	})
	t.Run("drift", func(t *testing.T) {
		words, err := h.RuleDrift(all)
		if err != nil || !strings.Contains(strings.Join(words, "\n"), s.Record) {
			t.Errorf("drift %q (%v), want words about %s", words, err, s.Record)
		}
	})
	t.Run("deleted without a table", func(t *testing.T) {
		release(t, k, n)
		run(t, k, plan.DelRules(s), plan.ReleaseRules{}, plan.ReleaseBridge{Name: "lh-apps", Filtered: true})
	})
}

func release(t *testing.T, k *kernel.Kernel, n *nettest.Net) {
	t.Helper()
	run(t, k, plan.ReleaseRules{})
	n.Host.Same(t)
}

func drift(t *testing.T, h *kernel.Host, all []plan.AddRules) {
	t.Helper()
	if words, err := h.RuleDrift(all); err != nil || len(words) > 0 {
		t.Errorf("drift %q (%v), want none", words, err)
	}
}

// What rules say of a bridge goes with it, and not before.
func TestReleaseFiltered(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	k.Renew = func(context.Context) error { return h.RenewRules([]plan.AddRules{published()}) }
	ensure := bridge()
	ensure.Filtered = true
	release := plan.ReleaseBridge{Name: "lh-apps", Filtered: true}
	named := func() bool {
		return strings.Contains(section(n.Host.Snapshot(t), "table inet lanhook"), `"lh-apps"`)
	}
	run(t, k, ensure, veth(1), published(), plan.DelRules(published()), release)
	if link(t, h, "lh-apps"); !named() {
		t.Error("the rules are gone while the bridge has a port")
	}
	run(t, k, plan.DelLink{Side: plan.Host, Name: veth(1).Name, Kind: "veth", MAC: veth(1).MAC}, release)
	if noLink(t, h, "lh-apps"); named() {
		t.Error("the rules are there after the bridge")
	}
	run(t, k, release, plan.ReleaseRules{})
}

// section is what follows a line of a snapshot.
func section(snapshot, from string) string {
	_, after, _ := strings.Cut(snapshot, from)
	return after
}

func TestGuard(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, end := openNamespace(t, h, c)
	k := h.Kernel(ns)
	v := veth(1)
	v.Bridge = nettest.CanaryBridge
	guard := plan.AddGuard{
		Table: v.Peer, If: "eth0", Spoof: true, MAC: v.PeerMAC, Addresses: []netip.Addr{addr("172.30.0.2")},
	}
	del := plan.DelGuard{Table: v.Peer}
	guarded := func() bool { return strings.Contains(c.Snapshot(t), "table netdev "+v.Peer) }
	run(t, k, v, plan.SetLink{From: v.Peer, Name: "eth0", Alias: "a"}, guard)
	if !guarded() || strings.Contains(n.Host.Snapshot(t), "table netdev") {
		t.Error("the guard is not in the container alone")
	}
	run(t, k, del, del)
	if guarded() {
		t.Error("the guard is not gone")
	}
	run(t, k, guard)

	t.Run("by the number of the namespace", func(t *testing.T) {
		id, err := ns.NSID()
		if err != nil {
			t.Fatal(err)
		}
		open := func() (*kernel.Namespace, error) { return h.Namespace(c.Path()) }
		run(t, h.KernelByID(id, open), del)
		if guarded() {
			t.Error("the guard is not gone")
		}
		if err := h.KernelByID(id, nil).Apply(t.Context(), del); err == nil {
			t.Error("a namespace that nothing leads to is no error")
		}
		run(t, k, plan.DelLink{Side: plan.Host, Name: v.Name, Kind: "veth", MAC: v.MAC})
		end()
		c.End()
		nettest.Eventually(t, "the end of the namespace", func() bool {
			alive, err := h.Alive(id)
			return err == nil && !alive
		})
		run(t, h.KernelByID(id, open), del)
	})
}

// TestSocketsLinger wants sockets that a deletion would make a close wait for to be closed by the kernel, all the same.
func TestSocketsLinger(t *testing.T) {
	nettest.Need(t, nettest.NFT, nettest.Bridge, nettest.Veth)
	n := nettest.New(t)
	var h *kernel.Host
	n.Host.Do(t, func() {
		var err error
		if h, err = kernel.Open(); err != nil {
			t.Fatal(err)
		}
	})
	if err := h.RenewRules([]plan.AddRules{published()}); err != nil {
		t.Fatal(err)
	}
	if netfilterSockets(t, n.Host) == 0 {
		t.Fatal("no socket of netfilter's is open: the test looks for the wrong ones")
	}
	run(t, h.KernelByID(-1, nil), plan.DelRules(published()), plan.ReleaseRules{})
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); netfilterSockets(t, n.Host) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a socket of netfilter's is still open 5 s after its user closed it")
		}
	}
}

// netfilterSockets is how many of them a namespace has: lines of protocol 12, see netlink_seq_show in net/netlink/af_netlink.c,
// but for the kernel's own, whose port is 0.
func netfilterSockets(t *testing.T, s *nettest.Space) int {
	t.Helper()
	n := 0
	s.Do(t, func() {
		raw, err := os.ReadFile("/proc/thread-self/net/netlink")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) > 2 && f[1] == "12" && f[2] != "0" {
				n++
			}
		}
	})
	return n
}
