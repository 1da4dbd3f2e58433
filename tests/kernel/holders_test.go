//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// names are those of links, sorted.
func names(list []kernel.State) []string {
	var all []string
	for _, s := range list {
		all = append(all, s.Name)
	}
	slices.Sort(all)
	return all
}

// onLAN is a host with an address of each family on the wire.
func onLAN(t *testing.T) (*nettest.Net, *kernel.Host) {
	t.Helper()
	n := nettest.New(t)
	n.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.Parent, prefix("10.77.0.9/24"))
		nettest.AddAddress(t, nettest.Parent, prefix("fd77::9/64"))
	})
	n.Host.Remember(t)
	return n, openHost(t, n)
}

func TestHolders(t *testing.T) {
	n, h := onLAN(t)
	p := link(t, h, nettest.Parent)
	for _, want := range []netip.Prefix{prefix("10.77.0.9/24"), prefix("fd77::9/64")} {
		got, err := h.LinksWith(want.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].Name != nettest.Parent || !cmp.Equal(got[0].Addresses, []netip.Prefix{want}, cmp.Comparer(samePrefix)) {
			t.Errorf("%s is on %v, want it on %s alone", want, got, nettest.Parent)
		}
	}
	for _, nobodys := range []string{"10.77.0.10", "fd77::10"} {
		if got, err := h.LinksWith(addr(nobodys)); err != nil || len(got) > 0 {
			t.Errorf("%s is on %v (%v), want it on none", nobodys, names(got), err)
		}
	}
	got, err := h.LinksWithMAC(p.MAC)
	if diff := cmp.Diff([]string{nettest.Parent}, names(got)); diff != "" || err != nil {
		t.Errorf("%s is on others (%v; -want +got):\n%s", p.MAC, err, diff)
	}
	if got, err := h.LinksWithMAC(mac(77)); err != nil || len(got) > 0 {
		t.Errorf("a MAC address of nobody's is on %v (%v)", names(got), err)
	}
	n.Host.Same(t)
}

func TestLinksOverlapping(t *testing.T) {
	_, h := onLAN(t)
	for p, want := range map[string][]string{
		"10.77.0.200/32": {nettest.Parent}, "10.64.0.0/10": {nettest.Parent}, "fd77::200/128": {nettest.Parent},
		"10.78.0.0/16": nil, "fd78::/64": nil,
	} {
		got, err := h.LinksOverlapping(prefix(p))
		if diff := cmp.Diff(want, names(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", p, err, diff)
		}
	}
}

func TestAsk(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	n.Host.Do(t, func() { nettest.AddAddress(t, nettest.Parent, prefix("10.77.0.9/24")) })
	n.Host.Remember(t)
	index := link(t, h, nettest.Parent).Index
	theirs := plan.MAC{2, 0x70, 0, 0, 0, 2}
	want := map[netip.Addr]plan.MAC{nettest.PeerPrefix4().Addr(): theirs, nettest.PeerPrefix6().Addr(): theirs}
	nobodys := []netip.Addr{addr("10.77.0.9"), addr("10.77.0.200"), addr("fd77::200")}
	all := slices.Concat(nobodys, slices.Collect(maps.Keys(want)))
	got, err := h.Ask(t.Context(), map[int][]netip.Addr{index: all})
	if diff := cmp.Diff(map[int]map[netip.Addr]plan.MAC{index: want}, got, cmp.Comparer(sameAddr)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// One that is not there keeps nobody from asking on the others.
	got, err = h.Ask(t.Context(), map[int][]netip.Addr{index: all, 999: nobodys})
	if err == nil || !strings.Contains(err.Error(), "link 999") || len(got) != 1 || len(got[index]) != len(want) {
		t.Errorf("beside a link that is not there answer %v (%v)", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Ask(ctx, map[int][]netip.Addr{index: nobodys}); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is cut off: %v", err)
	}
	n.Host.Same(t)
}

// TestAskBeside asks on two links of one LAN at the same time: neither takes the other's question for somebody who has the address.
func TestAskBeside(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	h := openHost(t, n)
	parent := link(t, h, nettest.Parent).Index
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.Flags = "beside", parent, net.FlagUp
	n.Host.Do(t, func() {
		if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
			t.Fatal(err)
		}
	})
	n.Host.Remember(t)
	beside := link(t, h, "beside").Index
	all := []netip.Addr{addr("10.77.0.200"), addr("fd77::200"), nettest.PeerPrefix4().Addr()}
	theirs := map[netip.Addr]plan.MAC{all[2]: {2, 0x70, 0, 0, 0, 2}}
	got, err := h.Ask(t.Context(), map[int][]netip.Addr{parent: all, beside: all})
	want := map[int]map[netip.Addr]plan.MAC{parent: theirs, beside: theirs}
	if diff := cmp.Diff(want, got, cmp.Comparer(sameAddr)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestAskMany asks on more links than at once, for another address on each, and hears of each from its own neighbour.
func TestAskMany(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	far := n.Namespace(t, "far")
	const links = 70
	on := func(do func(i int, here, there string)) {
		for i := range links {
			do(i, fmt.Sprint("here", i), fmt.Sprint("there", i))
		}
	}
	theirs := func(i int) (netip.Addr, plan.MAC) {
		return netip.AddrFrom4([4]byte{10, 79, byte(i), 1}), plan.MAC{2, 0x79, 0, 0, 0, byte(i)}
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	n.Host.Do(t, func() {
		on(func(i int, here, there string) {
			_, mac := theirs(i)
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.Flags = here, net.FlagUp
			must(netlink.LinkAdd(&netlink.Veth{
				LinkAttrs: attrs, PeerName: there, PeerNamespace: netlink.NsPid(far.PID), PeerHardwareAddr: net.HardwareAddr(mac),
			}))
		})
	})
	t.Cleanup(func() {
		n.Host.Do(t, func() {
			on(func(_ int, here, _ string) {
				must(netlink.LinkDel(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: here}}))
			})
		})
	})
	far.Do(t, func() {
		on(func(i int, _, there string) {
			addr, _ := theirs(i)
			nettest.AddAddress(t, there, netip.PrefixFrom(addr, 24))
			l, err := netlink.LinkByName(there)
			must(err)
			must(netlink.LinkSetUp(l))
		})
	})
	questions, want := map[int][]netip.Addr{}, map[int]map[netip.Addr]plan.MAC{}
	on(func(i int, here, _ string) {
		index := link(t, h, here).Index
		addr, mac := theirs(i)
		questions[index], want[index] = []netip.Addr{addr}, map[netip.Addr]plan.MAC{addr: mac}
	})
	got, err := h.Ask(t.Context(), questions)
	if diff := cmp.Diff(want, got, cmp.Comparer(sameAddr)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func samePrefix(a, b netip.Prefix) bool { return a == b }

func TestNeighbours(t *testing.T) {
	n, h := onLAN(t)
	has := func(want kernel.Neighbour) func() bool {
		return func() bool {
			got, err := h.Neighbours()
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(got, func(o kernel.Neighbour) bool { return cmp.Equal(o, want, cmp.Comparer(sameAddr)) })
		}
	}
	var theirs plan.MAC
	n.Neighbour.Do(t, func() {
		links, err := netlink.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if addrs, err := netlink.AddrList(l, netlink.FAMILY_V4); err == nil && len(addrs) > 0 && addrs[0].IP.Equal(nettest.PeerPrefix4().Addr().AsSlice()) {
				theirs = plan.MAC(l.Attrs().HardwareAddr)
			}
		}
	})
	for _, a := range []netip.Addr{nettest.PeerPrefix4().Addr(), nettest.PeerPrefix6().Addr()} {
		want := kernel.Neighbour{Addr: a, MAC: theirs, Link: nettest.Parent, Confirmed: true}
		if has(want)() {
			t.Fatalf("%v is a neighbour before anybody has asked", want)
		}
		n.Host.Ping(t, a)
		nettest.Eventually(t, a.String()+" is a neighbour", has(want))
	}
	if err := n.Host.Reach(t, addr("10.77.0.200"), 100*time.Millisecond); err == nil {
		t.Fatal("10.77.0.200 is there")
	}
	all, err := h.Neighbours()
	if err != nil || slices.ContainsFunc(all, func(o kernel.Neighbour) bool { return o.Addr == addr("10.77.0.200") }) {
		t.Errorf("who does not answer is a neighbour: %v (%v)", all, err)
	}
	n.Host.Remember(t)
}

func sameAddr(a, b netip.Addr) bool { return a == b }
