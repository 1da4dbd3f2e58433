//go:build linux

package nettest_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

// recorder notes what happens to a test instead of letting it happen.
type recorder struct {
	testing.TB

	failed, skipped bool
	said            strings.Builder
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.say(format, args)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = true
	r.say(format, args)
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = true
	r.say(format, args)
	runtime.Goexit()
}

func (r *recorder) say(format string, args []any) {
	r.said.WriteString(format)
	for _, a := range args {
		if s, ok := a.(string); ok {
			r.said.WriteString(" " + s)
		}
	}
}

// record runs fn with a recorder, which may end it.
func record(t *testing.T, fn func(testing.TB)) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(r)
	}()
	<-done
	return r
}

func link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func nft(commands string) error {
	out, err := exec.Command("nft", commands).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Each kind of thing that an attach could leave behind is noticed.
func TestSameNotices(t *testing.T) {
	n := nettest.New(t)
	route := func() *netlink.Route {
		return &netlink.Route{LinkIndex: link(t, nettest.CanaryVeth).Attrs().Index, Dst: netlink.NewIPNet([]byte{10, 5, 5, 5})}
	}
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.Family = 99, 99, netlink.FAMILY_V4
	for what, c := range map[string]struct{ do, undo func() error }{
		"link newlink": {
			func() error {
				return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "newlink"}})
			},
			func() error { return netlink.LinkDel(link(t, "newlink")) },
		},
		"link p0 kind veth mac 02:70:00:00:00:01 flags 0x101 ": {
			func() error { return netlink.SetPromiscOn(link(t, nettest.Parent)) },
			func() error { return netlink.SetPromiscOff(link(t, nettest.Parent)) },
		},
		"alias \"changed\"": {
			func() error { return netlink.LinkSetAlias(link(t, nettest.Parent), "changed") },
			func() error { return netlink.LinkSetAlias(link(t, nettest.Parent), "") },
		},
		"address 10.5.5.5/32": {
			func() error {
				nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.5.5.5/32"))
				return nil
			},
			func() error {
				return netlink.AddrDel(link(t, nettest.Parent), &netlink.Addr{IPNet: netlink.NewIPNet([]byte{10, 5, 5, 5})})
			},
		},
		"route 10.5.5.5/32": {
			func() error { return netlink.RouteAdd(route()) }, func() error { return netlink.RouteDel(route()) },
		},
		"rule 99": {
			func() error { return netlink.RuleAdd(rule) }, func() error { return netlink.RuleDel(rule) },
		},
		"setting ipv4/conf/p0/forwarding 1": {
			func() error { nettest.WriteSysctl(t, "ipv4/conf/p0/forwarding", "1"); return nil },
			func() error { nettest.WriteSysctl(t, "ipv4/conf/p0/forwarding", "0"); return nil },
		},
		"setting ipv4/ip_local_reserved_ports 40000": {
			func() error { nettest.WriteSysctl(t, "ipv4/ip_local_reserved_ports", "40000"); return nil },
			func() error { nettest.WriteSysctl(t, "ipv4/ip_local_reserved_ports", "\n"); return nil },
		},
		"40001 comment \"c\"": {
			func() error {
				return nft("add set inet lh_canary s { type inet_service; }; add element inet lh_canary s { 40001 comment \"c\" }")
			},
			func() error { return nft("delete set inet lh_canary s") },
		},
	} {
		t.Run(what, func(t *testing.T) {
			change := func(fn func() error) {
				n.Host.Do(t, func() {
					if err := fn(); err != nil {
						t.Fatal(err)
					}
				})
			}
			before := n.Host.Snapshot(t)
			if strings.Contains(before, what) {
				t.Fatalf("%q is there before", what)
			}
			change(c.do)
			if got := n.Host.Snapshot(t); !strings.Contains(got, what) {
				t.Errorf("%q is not in the snapshot:\n%s", what, got)
			}
			change(c.undo)
			n.Host.Same(t)
		})
	}
	t.Run("and fails the test", func(t *testing.T) {
		n.Host.Do(t, func() {
			if err := netlink.LinkSetAlias(link(t, nettest.Parent), "changed"); err != nil {
				t.Fatal(err)
			}
		})
		if r := record(t, func(tb testing.TB) { n.Host.Same(tb) }); !r.failed || !strings.Contains(r.said.String(), "changed") {
			t.Errorf("failed %v: %s", r.failed, r.said.String())
		}
		n.Host.Do(t, func() {
			if err := netlink.LinkSetAlias(link(t, nettest.Parent), ""); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestPing(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	n.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.2/24"))
		nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("fd77::2/64"))
	})
	n.Host.Remember(t)
	for _, to := range []netip.Addr{nettest.PeerPrefix4().Addr(), nettest.PeerPrefix6().Addr()} {
		n.Host.Ping(t, to)
		c.NoPing(t, to)
		if r := record(t, func(tb testing.TB) { n.Host.NoPing(tb, to) }); !r.failed {
			t.Errorf("%s answers, and the test did not fail", to)
		}
	}
	if r := record(t, func(tb testing.TB) { c.Ping(tb, nettest.PeerPrefix4().Addr()) }); !r.failed {
		t.Error("nobody answers, and the test did not fail")
	}
}

// What a lane has promised is not skipped.
func TestNeed(t *testing.T) {
	nettest.Need(t, nettest.Veth)
	const none = nettest.Feature("none")
	t.Setenv(nettest.Have, "veth")
	if r := record(t, func(tb testing.TB) { nettest.Need(tb, nettest.Veth, none) }); !r.skipped || r.failed {
		t.Errorf("not promised and missing: skipped %v, failed %v", r.skipped, r.failed)
	}
	t.Setenv(nettest.Have, "veth,none")
	if r := record(t, func(tb testing.TB) { nettest.Need(tb, nettest.Veth, none) }); r.skipped || !r.failed {
		t.Errorf("promised and missing: skipped %v, failed %v", r.skipped, r.failed)
	}
}

func TestNamespaceEnds(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	if _, err := os.Stat(c.Path()); err != nil {
		t.Error(err)
	}
	c.End()
	c.End()
	if _, err := os.Stat(c.Path()); err == nil {
		t.Error("the namespace has a path after its end")
	}
}
