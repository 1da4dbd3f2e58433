//go:build linux

// Package kernel_test carries every step out on the real kernel, reads it back over netlink and takes it back.
package kernel_test

import (
	"net/netip"
	"os"
	"testing"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

// own is the name that a link of ours has before it gets the one asked for.
const own = "lh-abcdefghij"

func mac(last byte) plan.MAC { return plan.MAC{0x02, 0x11, 0x22, 0x33, 0x44, last} }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// openHost opens the test's host as lanhook opens the machine.
func openHost(t *testing.T, n *nettest.Net) *kernel.Host {
	t.Helper()
	var (
		h   *kernel.Host
		err error
	)
	n.Host.Do(t, func() { h, err = kernel.Open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// openNamespace opens a container's namespace until the test ends, or until the function is called.
func openNamespace(t *testing.T, h *kernel.Host, s *nettest.Space) (*kernel.Namespace, func()) {
	t.Helper()
	ns, err := h.Namespace(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	end := func() {
		if closed {
			return
		}
		closed = true
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return ns, end
}

// run carries steps out one after the other.
func run(t *testing.T, k *kernel.Kernel, steps ...plan.Step) {
	t.Helper()
	for _, s := range steps {
		if err := k.Apply(t.Context(), s); err != nil {
			t.Fatalf("%T: %v", s, err)
		}
	}
}

// link reads a link that must be there.
func link(t *testing.T, from interface {
	Link(name string) (kernel.State, bool, error)
}, name string,
) kernel.State {
	t.Helper()
	s, ok, err := from.Link(name)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Fatalf("there is no link %s", name)
	}
	return s
}

func noLink(t *testing.T, from interface {
	Link(name string) (kernel.State, bool, error)
}, name string,
) {
	t.Helper()
	if s, ok, err := from.Link(name); err != nil || ok {
		t.Errorf("link %s is there: %v (%v)", name, s, err)
	}
}

// parent is what a plan knows of the wire's host end.
func parent(t *testing.T, h *kernel.Host) plan.Link {
	t.Helper()
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{{IfName: "eth0", Parent: policy.Parent{Name: nettest.Parent}}})
	if err != nil {
		t.Fatal(err)
	}
	l, ok := facts.Uplink["eth0"]
	if !ok {
		t.Fatal("the parent was not found")
	}
	return l
}

// macvlan are the steps of a whole attachment with an address of each family.
func macvlan(p plan.Link, mode policy.Mode) []plan.Step {
	add := plan.AddMacvlan{
		Name: own, Parent: p.Name, ParentIndex: p.Index, Mode: mode, MAC: mac(1), MTU: p.MTU,
	}
	switch mode { //nolint:exhaustive // the others are ipvlan's
	case policy.ModePassthru:
		add.MAC = nil
	case policy.ModeSource:
		add.Sources = []plan.MAC{{0x02, 0x70, 0, 0, 0, 0x02}}
	case policy.ModeBridge, policy.ModePrivate, policy.ModeVEPA:
	}
	return []plan.Step{
		add,
		plan.SetSysctls{If: own, Values: []request.Sysctl{{Key: "net.ipv6.conf.IFNAME.accept_ra", Value: "0"}}},
		plan.SetLink{From: own, Name: "eth0", Alias: "lanhook test"},
		plan.AddAddress{If: "eth0", Address: prefix("10.77.0.9/24")},
		plan.AddAddress{If: "eth0", Address: prefix("fd77::9/64")},
		plan.AddRoute{If: "eth0", Route: request.Route{Dst: prefix("0.0.0.0/0"), Via: addr("10.77.0.1")}},
		plan.AddRoute{If: "eth0", Route: request.Route{Dst: prefix("::/0"), Via: addr("fd77::1"), Metric: 7}},
	}
}

// delMacvlan takes macvlan's link back.
func delMacvlan(m plan.MAC) plan.DelLink {
	return plan.DelLink{
		Side: plan.Container, Name: own, IfName: "eth0", Alias: "lanhook test", Kind: "macvlan", MAC: m,
	}
}
