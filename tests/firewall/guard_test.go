//go:build linux

package firewall_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// bridgeName is the tests' bridge, which has the gateway's address.
const bridgeName = "lh-b0"

// box is a container on the bridge.
type box struct {
	*nettest.Space
	port string
	mac  plan.MAC
	ip4  netip.Addr
	ip6  netip.Addr
}

// boxes makes the bridge and as many containers with addresses.
func boxes(t *testing.T, n *nettest.Net, names ...string) []box {
	t.Helper()
	n.Host.Do(t, func() {
		// What is sent is to arrive as it is: fragments would be put together first.
		nettest.WriteSysctl(t, "bridge/bridge-nf-call-iptables", "0")
		nettest.WriteSysctl(t, "bridge/bridge-nf-call-ip6tables", "0")
		attrs := netlink.NewLinkAttrs()
		attrs.Name = bridgeName
		attrs.HardwareAddr = net.HardwareAddr{2, 0x30, 0, 0, 0, 1}
		check(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
		check(t, netlink.LinkSetUp(linkOf(t, bridgeName)))
		nettest.AddAddress(t, bridgeName, netip.MustParsePrefix("172.30.0.1/24"))
		nettest.AddAddress(t, bridgeName, netip.MustParsePrefix("fd30::1/64"))
	})
	t.Cleanup(func() { n.Host.Do(t, func() { check(t, netlink.LinkDel(linkOf(t, bridgeName))) }) })
	var list []box
	for i, name := range names {
		list = append(list, newBox(t, n, name, byte(10+i)))
	}
	return list
}

func newBox(t *testing.T, n *nettest.Net, name string, number byte) box {
	t.Helper()
	b := box{
		Space: n.Namespace(t, name), port: "lh" + name, mac: plan.MAC{2, 0x30, 0, 0, 1, number},
		ip4: netip.AddrFrom4([4]byte{172, 30, 0, number}), ip6: netip.AddrFrom16([16]byte{0xfd, 0x30, 15: number}),
	}
	n.Host.Do(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = b.port
		attrs.MasterIndex = linkOf(t, bridgeName).Attrs().Index
		check(t, netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(b.PID), PeerHardwareAddr: net.HardwareAddr(b.mac),
		}))
		check(t, netlink.LinkSetUp(linkOf(t, b.port)))
	})
	t.Cleanup(func() { n.Host.Do(t, func() { check(t, netlink.LinkDel(linkOf(t, b.port))) }) })
	b.Do(t, func() {
		nettest.AddAddress(t, "eth0", netip.PrefixFrom(b.ip4, 24))
		check(t, netlink.LinkSetUp(linkOf(t, "eth0")))
		nettest.AddAddress(t, "eth0", netip.PrefixFrom(b.ip6, 64))
	})
	return b
}

func (b box) sender(to plan.MAC) sender {
	return sender{
		mac: b.mac, own4: b.ip4, own6: b.ip6, linkLocal: eui64(b.mac), to: to, other: plan.MAC{2, 0x30, 0, 0, 1, 99},
	}
}

func (b box) rules() plan.Rules {
	return plan.Rules{Bridge: bridgeName, Port: b.port, MAC: b.mac, ICC: true, Isolate: true, Spoof: true, Addresses: []netip.Addr{b.ip4, b.ip6}}
}

func eui64(m plan.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

func linkOf(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	check(t, err)
	return l
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hosted opens the firewall on the host, whose tables are gone with the test.
func hosted(t *testing.T, n *nettest.Net) *firewall.Conn {
	t.Helper()
	c := dial(t, n.Host)
	t.Cleanup(func() { release(t, c) })
	return c
}

func record(name string, of ...plan.Rules) plan.AddRules { return plan.AddRules{Record: name, Of: of} }

func TestSpoofOnBridge(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	list := boxes(t, n, "one", "two")
	one, two := list[0], list[1]
	conn := hosted(t, n)
	c := newCable(t, one.Space, two.Space, "eth0")
	s := one.sender(c.to)
	all, marker := s.attempts(), s.marker(true)

	check(t, conn.Renew([]plan.AddRules{record("recordtwo2", two.rules())}))
	t.Run("unguarded", func(t *testing.T) { c.try(t, all, marker, false) })
	check(t, conn.Add(record("recordone1", one.rules())))
	t.Run("guarded", func(t *testing.T) { c.try(t, all, marker, true) })
	t.Run("the other way", func(t *testing.T) {
		back := newCable(t, two.Space, one.Space, "eth0")
		back.try(t, two.sender(back.to).attempts(), two.sender(back.to).marker(true), true)
	})
	t.Run("own traffic", func(t *testing.T) { ownTraffic(t, n, one, two) })
	t.Run("no address", func(t *testing.T) {
		free := one.rules()
		free.Addresses = nil
		check(t, conn.Renew([]plan.AddRules{record("recordone1", free), record("recordtwo2", two.rules())}))
		newCable(t, one.Space, two.Space, "eth0").try(t, s.unaddressed(), s.marker(false), true)
	})
	t.Run("deleted", func(t *testing.T) {
		check(t, conn.Renew([]plan.AddRules{record("recordone1", one.rules()), record("recordtwo2", two.rules())}))
		check(t, conn.Delete(plan.DelRules(record("recordone1", one.rules()))))
		newCable(t, one.Space, two.Space, "eth0").try(t, all, marker, false)
		back := newCable(t, two.Space, one.Space, "eth0")
		if back.passes(t, two.sender(back.to).ip4(theirs4()), two.sender(back.to).marker(true)) {
			t.Error("the other's guard went with it")
		}
	})
}

// ownTraffic is what two containers do by themselves when they come up and meet.
func ownTraffic(t *testing.T, n *nettest.Net, one, two box) {
	t.Helper()
	comesUp(t, one)
	for _, to := range []netip.Addr{two.ip4, two.ip6, gateway4(), addr("fd30::1"), eui64(two.mac).WithZone("eth0")} {
		one.Ping(t, to)
	}
	n.Host.Ping(t, one.ip4)
	n.Host.Ping(t, one.ip6)
	two.Ping(t, one.ip6)
	two.Transfer(t, one.Space, netip.AddrPortFrom(one.ip4, 7000), 1<<20)
}

// comesUp takes a container's link down and up again, with duplicate address detection: an address that nobody has answered
// for is not tentative any more.
func comesUp(t *testing.T, b box) {
	t.Helper()
	b.Do(t, func() {
		nettest.WriteSysctl(t, "ipv6/conf/eth0/accept_dad", "1")
		link := linkOf(t, "eth0")
		check(t, netlink.LinkSetDown(link))
		check(t, netlink.LinkSetUp(link))
		check(t, netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: b.ip6.AsSlice(), Mask: net.CIDRMask(64, 128)}}))
	})
	nettest.Eventually(t, "duplicate address detection is done", func() bool {
		done := false
		b.Do(t, func() {
			list, err := netlink.AddrList(linkOf(t, "eth0"), netlink.FAMILY_V6)
			check(t, err)
			done = len(list) == 2
			for _, a := range list {
				done = done && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0
			}
		})
		return done
	})
}

// A frame to a reserved address is not forwarded, but the bridge would learn its sender. (From one to STP's or LLDP's it
// does so past every hook, unless the bridge is told not to: no_linklocal_learn.)
func TestSpoofTeachesNoBridge(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	one := boxes(t, n, "one")[0]
	conn := hosted(t, n)
	c := newCable(t, one.Space, n.Host, one.port)
	learned := func(last byte) bool {
		// The least significant byte tells the tries apart.
		other := plan.MAC{2, 0x30, 0, 0, 2, last}
		c.send(t, ethernet(plan.MAC{1, 0x80, 0xc2, 0, 0, 0x03}, other, 0x888e, mark("frame")))
		found := false
		n.Host.Do(t, func() {
			list, err := netlink.NeighList(linkOf(t, one.port).Attrs().Index, unix.AF_BRIDGE)
			check(t, err)
			for _, e := range list {
				found = found || e.HardwareAddr.String() == other.String()
			}
		})
		return found
	}
	check(t, conn.Renew([]plan.AddRules{record("recordtwo2")}))
	if !learned(1) {
		t.Error("an unguarded port teaches the bridge nothing, so this test shows nothing")
	}
	check(t, conn.Renew([]plan.AddRules{record("recordone1", one.rules())}))
	if learned(2) {
		t.Error("the bridge has learned a foreign address from a guarded port")
	}
}

func TestRateOfSender(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	list := boxes(t, n, "one", "two", "three")
	conn := hosted(t, n)
	arrives := func(from, at box) uint64 {
		from.Ping(t, at.ip4)
		before := at.Received(t, "eth0")
		from.Burst(t, netip.AddrPortFrom(at.ip4, 9))
		return at.Received(t, "eth0") - before
	}
	one, two, three := list[0], list[1], list[2]
	limited := one.rules()
	limited.Out = slow()
	all := []plan.AddRules{record("recordone1", limited), record("recordtwo2", two.rules())}
	check(t, conn.Renew(all))
	if got := arrives(one, three); got > far || got < slow().Burst/2 {
		t.Errorf("%d bytes arrived at once, want about %d", got, slow().Bits/8+slow().Burst)
	}
	if got := arrives(two, three); got < nettest.BurstSize {
		t.Errorf("%d bytes of %d arrived from a port without a rate", got, nettest.BurstSize)
	}
	check(t, conn.Delete(plan.DelRules(all[0])))
	if got := arrives(one, three); got < nettest.BurstSize {
		t.Errorf("%d bytes of %d arrived after the rate was deleted", got, nettest.BurstSize)
	}
	check(t, conn.Add(all[0]))
	check(t, conn.Add(all[0]))
	if got := arrives(one, three); got > far {
		t.Errorf("%d bytes arrived at once after the rate was added twice", got)
	}
}

// What is said of ports is kept, compared and taken back like everything else.
func TestPortsOfBridge(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	conn := hosted(t, n)
	port := func(name string, last byte) plan.Rules {
		return plan.Rules{
			Bridge: bridgeName, Port: name, Spoof: true, MAC: plan.MAC{2, 0x30, 0, 0, 1, last}, Out: slow(),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, 30, 0, last})},
		}
	}
	one, two := record("recordone1", port("lhone", 1)), record("recordtwo2", port("lhtwo", 2))
	both := []plan.AddRules{one, two}
	differs := func(t *testing.T, all []plan.AddRules, want ...string) {
		t.Helper()
		got, err := conn.Drift(all)
		check(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("drift (-want +got):\n%s", diff)
		}
	}

	plain := record("recordone1", plan.Rules{Bridge: bridgeName, Port: "lhone", Addresses: one.Of[0].Addresses})
	check(t, conn.Renew([]plan.AddRules{plain}))
	if got := tables(t, n.Host); got != "table inet lanhook" {
		t.Errorf("tables %s", got)
	}
	var stale *firewall.StaleError
	if err := conn.Add(two); !errors.As(err, &stale) {
		t.Errorf("error %v, want that the tables are stale", err)
	}
	check(t, conn.Renew([]plan.AddRules{one}))
	differs(t, []plan.AddRules{one})
	check(t, conn.Add(two))
	differs(t, both)
	fresh := nft(t, n.Host, "list table bridge lanhook")
	check(t, conn.Delete(plan.DelRules(two)))
	differs(t, []plan.AddRules{one})
	check(t, conn.Delete(plan.DelRules(two)))
	check(t, conn.Renew(both))
	if again := nft(t, n.Host, "list table bridge lanhook"); again != fresh {
		t.Errorf("renewed, the table is\n%s\nand was\n%s", again, fresh)
	}

	nft(t, n.Host, "delete element bridge lanhook macs { lhtwo . 02:30:00:00:01:02 }")
	nft(t, n.Host, "add element bridge lanhook source4 { lhone . 172.30.0.77 }")
	nft(t, n.Host, "flush chain bridge lanhook rate_lhone")
	nft(t, n.Host, "flush chain bridge lanhook guard_join")
	differs(t, both,
		"rule 1 of chain guard_join of table bridge lanhook is missing",
		"rule 2 of chain guard_join of table bridge lanhook is missing",
		"rule 1 of chain rate_lhone of table bridge lanhook is missing",
		"element lhtwo . 02:30:00:00:01:02 of set macs of record recordtwo2 is missing",
		"element lhone . 172.30.0.77 of set source4 is nobody's",
	)
	check(t, conn.Renew(both))
	differs(t, both)
	check(t, conn.Renew([]plan.AddRules{plain}))
	if got := tables(t, n.Host); got != "table inet lanhook" {
		t.Errorf("tables %s", got)
	}
	broken := one
	broken.Of = []plan.Rules{{Bridge: bridgeName, Port: "lhone", Spoof: true}}
	if err := conn.Add(broken); err == nil {
		t.Error("a port is guarded without a MAC address")
	}
}

// slow lets a burst through, with what is due in a second, and then so little that the rest of what [nettest.Space.Burst]
// sends would take 16 seconds. A machine that stands still for half of them would fail the test; nothing is measured.
func slow() policy.Rate { return policy.Rate{Bits: 1e6, Burst: 64 << 10} }

// far is far below what a burst is, and far above what slow lets through at once.
const far = nettest.BurstSize / 2

// datagrams is how many of IPv4 a container's kernel has seen, from /proc/net/snmp.
func datagrams(t *testing.T, b box) uint64 {
	t.Helper()
	var raw []byte
	b.Do(t, func() {
		var err error
		raw, err = os.ReadFile("/proc/thread-self/net/snmp")
		check(t, err)
	})
	// A line of names, then one of numbers: "Ip: 2 64 InReceives …".
	lines := strings.Split(string(raw), "\n")
	names, numbers := strings.Fields(lines[0]), strings.Fields(lines[1])
	n, err := strconv.ParseUint(numbers[slices.Index(names, "InReceives")], 10, 64)
	check(t, err)
	return n
}
