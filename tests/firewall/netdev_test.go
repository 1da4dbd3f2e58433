//go:build linux

package firewall_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// child is a container with a macvlan child of the host's end of the wire, as eth0.
func child(t *testing.T, n *nettest.Net, name string, number byte) box {
	t.Helper()
	b := box{
		Space: n.Namespace(t, name), port: "lh" + name, mac: plan.MAC{2, 0x30, 0, 0, 3, number},
		ip4: netip.AddrFrom4([4]byte{10, 77, 0, number}), ip6: netip.AddrFrom16([16]byte{0xfd, 0x77, 15: number}),
	}
	n.Host.Do(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = b.port
		attrs.ParentIndex = linkOf(t, nettest.Parent).Attrs().Index
		attrs.HardwareAddr = net.HardwareAddr(b.mac)
		attrs.Namespace = netlink.NsPid(b.PID)
		check(t, netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}))
	})
	b.Do(t, func() {
		link := linkOf(t, b.port)
		check(t, netlink.LinkSetName(link, "eth0"))
		nettest.AddAddress(t, "eth0", netip.PrefixFrom(b.ip4, 24))
		check(t, netlink.LinkSetUp(link))
		nettest.AddAddress(t, "eth0", netip.PrefixFrom(b.ip6, 64))
	})
	return b
}

func (b box) guard() plan.AddGuard {
	return plan.AddGuard{Table: b.port, If: "eth0", Spoof: true, MAC: b.mac, Addresses: []netip.Addr{b.ip4, b.ip6}}
}

func (b box) unguard() plan.DelGuard { return plan.DelGuard{Table: b.port} }

// inside opens the firewall in a container.
func (b box) inside(t *testing.T) *firewall.Conn {
	t.Helper()
	return dial(t, b.Space)
}

func TestSpoofOfMacvlan(t *testing.T) {
	nettest.Need(t, nettest.NFT, nettest.Macvlan)
	n := nettest.New(t)
	one, two := child(t, n, "one", 11), child(t, n, "two", 12)
	one.Remember(t)
	conn := one.inside(t)
	for _, at := range []struct {
		name  string
		space *nettest.Space
		link  string
	}{{"to the wire", n.Neighbour, nettest.PeerName}, {"to another child", two.Space, "eth0"}} {
		t.Run(at.name, func(t *testing.T) {
			c := newCable(t, one.Space, at.space, at.link)
			s := one.sender(c.to)
			c.try(t, s.attempts(), s.marker(true), false)
			check(t, conn.Guard(one.guard()))
			t.Run("guarded", func(t *testing.T) { c.try(t, s.attempts(), s.marker(true), true) })
			t.Run("guarded, past the queues", func(t *testing.T) {
				check(t, unix.SetsockoptInt(c.out, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1))
				c.try(t, s.attempts(), s.marker(true), true)
			})
			t.Run("another child is not", func(t *testing.T) {
				free := newCable(t, two.Space, n.Neighbour, nettest.PeerName)
				other := two.sender(free.to)
				free.try(t, other.attempts(), other.marker(true), false)
			})
			free := one.guard()
			free.Addresses = nil
			check(t, conn.Guard(free))
			t.Run("no address", func(t *testing.T) {
				// The former one has heard the other child, too.
				newCable(t, one.Space, at.space, at.link).try(t, s.unaddressed(), s.marker(false), true)
			})
			check(t, conn.Unguard(one.unguard()))
			check(t, conn.Unguard(one.unguard()))
			one.Same(t)
		})
	}
	t.Run("own traffic", func(t *testing.T) {
		check(t, conn.Guard(one.guard()))
		comesUp(t, one)
		for _, to := range []netip.Addr{
			two.ip4, two.ip6, nettest.PeerPrefix4().Addr(), nettest.PeerPrefix6().Addr(), eui64(two.mac).WithZone("eth0"),
		} {
			one.Ping(t, to)
		}
		n.Neighbour.Ping(t, one.ip4)
		n.Neighbour.Ping(t, one.ip6)
		n.Neighbour.Transfer(t, one.Space, netip.AddrPortFrom(one.ip4, 7000), 1<<20)
		one.Transfer(t, n.Neighbour, netip.AddrPortFrom(nettest.PeerPrefix4().Addr(), 7000), 1<<20)
		check(t, conn.Unguard(one.unguard()))
	})
}

// A frame says for itself what it is; what its sender says beside is not believed.
func TestSpoofOfProtocol(t *testing.T) {
	nettest.Need(t, nettest.NFT, nettest.Macvlan)
	n := nettest.New(t)
	one := child(t, n, "one", 11)
	c := newCable(t, one.Space, n.Neighbour, nettest.PeerName)
	s := one.sender(c.to)
	claim := func(protocol uint16) func(t *testing.T, frame []byte) {
		return func(t *testing.T, frame []byte) { c.sendAs(t, frame, protocol) }
	}
	spoofed := map[string][]byte{
		"IPv4":                 s.ip4(theirs4()),
		"IPv6":                 s.ip6(theirs6()),
		"ARP":                  s.frame(typeARP, arp(2, s.mac, gateway4(), theirs4())),
		"router advertisement": s.icmp6(s.linkLocal, routerTell, make([]byte, 12)),
	}
	for _, guarded := range []bool{false, true} {
		if guarded {
			check(t, one.inside(t).Guard(one.guard()))
		}
		for name, frame := range spoofed {
			for protocol, number := range map[string]uint16{"IPv4": typeIPv4, "IPv6": typeIPv6, "ARP": typeARP, "another": 0x88b5} {
				if got := c.passesBy(t, claim(number), frame, s.marker(true)); got == guarded {
					t.Errorf("%s that is said to be %s passes: %v, guarded: %v", name, protocol, got, guarded)
				}
			}
		}
	}
}

// A guard is bound to the name that its link has by then.
func TestGuardAgain(t *testing.T) {
	nettest.Need(t, nettest.NFT, nettest.Macvlan)
	n := nettest.New(t)
	one := child(t, n, "one", 11)
	one.Remember(t)
	conn := one.inside(t)
	nft(t, one.Space, "add table netdev theirs { chain c { type filter hook ingress device eth0 priority 0; }; }")
	theirs := nft(t, one.Space, "list table netdev theirs")
	check(t, conn.Guard(one.guard()))
	first := nft(t, one.Space, "list ruleset")
	changed := one.guard()
	changed.In = slow()
	check(t, conn.Guard(changed))
	if now := nft(t, one.Space, "list ruleset"); !strings.Contains(now, "limit rate over") {
		t.Errorf("no limit in:\n%s", now)
	}
	check(t, conn.Guard(one.guard()))
	if again := nft(t, one.Space, "list ruleset"); again != first {
		t.Errorf("the second time the rules are\n%s\nand were\n%s", again, first)
	}
	check(t, conn.Unguard(one.unguard()))
	if got := nft(t, one.Space, "list ruleset"); got != theirs {
		t.Errorf("what is left is\n%s\nwant\n%s", got, theirs)
	}
	nft(t, one.Space, "delete table netdev theirs")
	for name, broken := range map[string]plan.AddGuard{
		"no name":        {Table: "lhone", Spoof: true, MAC: one.mac},
		"no table":       {If: "eth0", Spoof: true, MAC: one.mac},
		"a long name":    {Table: "lhone", If: "abcdefghijklmnop", Spoof: true, MAC: one.mac},
		"no MAC address": {Table: "lhone", If: "eth0", Spoof: true},
	} {
		if err := conn.Guard(broken); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRateOfReceiver(t *testing.T) {
	nettest.Need(t, nettest.NFT, nettest.Macvlan)
	n := nettest.New(t)
	one := child(t, n, "one", 11)
	conn := one.inside(t)
	to := netip.AddrPortFrom(one.ip4, 9)
	// What the hook drops the link has received all the same; what comes further is counted above it.
	arrives := func() uint64 {
		n.Neighbour.Ping(t, one.ip4)
		before := datagrams(t, one)
		n.Neighbour.Burst(t, to)
		return datagrams(t, one) - before
	}
	const all = nettest.BurstSize / nettest.BurstPayload
	if got := arrives(); got < all {
		t.Errorf("%d datagrams of %d arrived without a rate", got, all)
	}
	check(t, conn.Guard(plan.AddGuard{Table: one.port, If: "eth0", In: slow()}))
	if got := arrives(); got > all/2 || got < all/64 {
		t.Errorf("%d datagrams of %d arrived at once, want about %d", got, all, (slow().Bits/8+slow().Burst)/nettest.BurstPayload)
	}
	check(t, conn.Unguard(one.unguard()))
	if got := arrives(); got < all {
		t.Errorf("%d datagrams of %d arrived when the rate was gone", got, all)
	}
}

func BenchmarkGuard(b *testing.B) {
	nettest.Need(b, nettest.NFT)
	n := nettest.New(b)
	c := dial(b, n.Host)
	guard := plan.AddGuard{
		Table: "lhbench", If: nettest.Parent, Spoof: true, MAC: plan.MAC{2, 0, 0, 0, 0, 1}, In: slow(),
		Addresses: []netip.Addr{addr("172.30.0.2"), addr("fd30::2")},
	}
	for b.Loop() {
		if err := c.Guard(guard); err != nil {
			b.Fatal(err)
		}
		if err := c.Unguard(plan.DelGuard{Table: guard.Table}); err != nil {
			b.Fatal(err)
		}
	}
}
