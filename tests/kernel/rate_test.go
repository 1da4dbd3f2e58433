//go:build linux

package kernel_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// slow lets a burst through and then so little that the rest of what [nettest.Space.Burst] sends would take 16 seconds.
// A machine that stands still for half of them would fail the test; nothing is measured.
func slow() policy.Rate { return policy.Rate{Bits: 1e6, Burst: 64 << 10} }

// far is far below what a burst is, and far above what slow lets through at once.
const far = nettest.BurstSize / 2

func TestRateOfBridgePort(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	v := veth(1)
	run(t, k, bridge(), v, plan.SetLink{From: v.Peer, Name: "eth0", Alias: "a"},
		plan.AddAddress{If: "eth0", Address: prefix("172.30.0.2/16")})
	to := netip.MustParseAddrPort("172.30.0.2:9")
	arrives := func() uint64 {
		n.Host.Ping(t, to.Addr())
		before := c.Received(t, "eth0")
		n.Host.Burst(t, to)
		return c.Received(t, "eth0") - before
	}

	t.Run("without a rate all arrives", func(t *testing.T) {
		if got := arrives(); got < nettest.BurstSize {
			t.Errorf("%d bytes of %d arrived", got, nettest.BurstSize)
		}
	})
	t.Run("with a rate the burst arrives", func(t *testing.T) {
		run(t, k, plan.SetRate{Side: plan.Host, If: v.Name, Rate: slow()})
		if got := arrives(); got > far || got < slow().Burst/2 {
			t.Errorf("%d bytes arrived at once, want about %d", got, slow().Burst)
		}
	})
	t.Run("set again", func(t *testing.T) {
		for _, r := range []struct {
			rate  policy.Rate
			burst uint32
		}{
			{policy.Rate{Bits: 80e9, Burst: 1 << 20}, 1 << 20},
			{policy.Rate{Bits: 8e3, Burst: 64 << 10}, 64 << 10},
			{policy.Rate{Bits: 1, Burst: 1}, 1450 + 18},
		} {
			run(t, k, plan.SetRate{Side: plan.Host, If: v.Name, Rate: r.rate})
			q := queue(t, n.Host, v.Name)
			bytes := max(r.rate.Bits/8, 1)
			if q.Rate != bytes || q.Limit != uint32(bytes/20)+r.burst {
				t.Errorf("%v: rate %d bytes/s and limit %d, want %d and %d", r.rate, q.Rate, q.Limit, bytes, uint32(bytes/20)+r.burst)
			}
		}
	})
	t.Run("a segment is longer than the burst", func(t *testing.T) {
		// A virtual link carries TCP segments of 64 KiB, which would never fit.
		run(t, k, plan.SetRate{Side: plan.Host, If: v.Name, Rate: policy.Rate{Bits: 1e9, Burst: 4000}})
		n.Host.Transfer(t, c, netip.MustParseAddrPort("172.30.0.2:7000"), 1<<20)
	})
	t.Run("no such link", func(t *testing.T) {
		err := k.Apply(t.Context(), plan.SetRate{Side: plan.Host, If: "lh-none", Rate: slow()})
		var e *kernel.Error
		if !errors.As(err, &e) || !errors.Is(err, syscall.ENODEV) {
			t.Errorf("error %v, want ENODEV", err)
		}
	})
	run(t, k, plan.DelLink{Side: plan.Host, Name: v.Name, Kind: "veth", MAC: v.MAC}, plan.ReleaseBridge{Name: "lh-apps"})
}

// The queue of a link in the container is set before the link gets its name and comes up.
func TestRateOfMacvlan(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	to := netip.AddrPortFrom(nettest.PeerPrefix4().Addr(), 9)
	for _, limited := range []bool{false, true} {
		k := h.Kernel(ns)
		steps := macvlan(parent(t, h), policy.ModeBridge)
		if limited {
			steps = append([]plan.Step{steps[0], plan.SetRate{Side: plan.Container, If: own, Rate: slow()}}, steps[1:]...)
		}
		run(t, k, steps...)
		c.Ping(t, to.Addr())
		before := n.Neighbour.Received(t, nettest.PeerName)
		c.Burst(t, to)
		got := n.Neighbour.Received(t, nettest.PeerName) - before
		switch {
		case !limited && got < nettest.BurstSize:
			t.Errorf("%d bytes of %d arrived", got, nettest.BurstSize)
		case limited && (got > far || got < slow().Burst/2):
			t.Errorf("with a rate %d bytes arrived at once, want about %d", got, slow().Burst)
		}
		run(t, k, delMacvlan(mac(1)))
	}
}

// queue is the one at the root of a link.
func queue(t *testing.T, s *nettest.Space, name string) *netlink.Tbf {
	t.Helper()
	var tbf *netlink.Tbf
	s.Do(t, func() {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		list, err := netlink.QdiscList(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range list {
			if found, ok := q.(*netlink.Tbf); ok {
				tbf = found
			}
		}
	})
	if tbf == nil {
		t.Fatalf("link %s has no queue of kind tbf", name)
	}
	return tbf
}
