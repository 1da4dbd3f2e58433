//go:build linux

// Package nettest gives tests of the real kernel a host, containers and a neighbour on the same wire to play with. All
// are network namespaces of their own: nothing a test does is seen by the machine that it runs on, and tests may run
// side by side.
//
//	host ── p0 ═══ wire ═══ p1 ── neighbour          container, container, …
//	 └ canaries: links, addresses, routes and an nft table that are nobody's business
//
// What the host has after a test must be what it had before, or the test fails.
package nettest

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Parent is the host's end of the wire and PeerName the neighbour's. Both are up.
const (
	Parent   = "p0"
	PeerName = "p1"
)

// Names of foreign things on every host that look as if they were lanhook's.
const (
	CanaryBridge = "lh-canary"
	CanaryVeth   = "lh-canary0"
)

// PeerPrefix4 and PeerPrefix6 are what the neighbour has on its end of the wire.
func PeerPrefix4() netip.Prefix { return netip.MustParsePrefix("10.77.0.1/24") }

// PeerPrefix6 is PeerPrefix4 for IPv6.
func PeerPrefix6() netip.Prefix { return netip.MustParsePrefix("fd77::1/64") }

// Net is one test's network.
type Net struct {
	Host      *Space
	Neighbour *Space
}

// canary6 is an address of somebody else's on the host.
const canary6 = "2001:2::1"

// New makes a network for one test and takes it down when the test ends. Before, it fails the test when the host is not
// what it was when New returned; see [Space.Remember]. Without the right to make namespaces the test is skipped.
func New(t testing.TB) *Net {
	t.Helper()
	Need(t, Veth, Bridge)
	n := &Net{Host: newSpace(t, "host"), Neighbour: newSpace(t, "neighbour")}
	n.lay(t)
	n.Host.Do(t, func() { canaries(t) })
	n.Host.Do(t, func() {
		// A host of containers forwards IPv6, for which the kernel has one switch only, and lanhook does not turn it off again.
		if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
			WriteSysctl(t, "ipv6/conf/all/forwarding", "1")
		}
	})
	// The kernel makes the local route of an IPv6 address when it finds the time (addrconf_dad_work), much later than the
	// address on a machine that is busy, and a link-local address when it sees the link's carrier (linkwatch_event).
	n.settle(t, CanaryBridge, CanaryVeth, "lh-canary1", Parent)
	Eventually(t, "the foreign address has its route", func() bool {
		return strings.Contains(n.Host.Snapshot(t), "route "+canary6+"/128 ")
	})
	n.Host.Remember(t)
	return n
}

// Cut takes the wire away with both its ends, as if the host's card were pulled out.
func (n *Net) Cut(t testing.TB) {
	t.Helper()
	n.Host.Do(t, func() { check(t, "cut the wire", netlink.LinkDel(must(t, linkByName(Parent)))) })
}

// Lay lays the wire anew after [Net.Cut], with the names, MAC addresses and addresses that it had. The host is remembered with it.
func (n *Net) Lay(t testing.TB) {
	t.Helper()
	n.lay(t)
	n.settle(t, Parent)
	n.Host.Remember(t)
}

func (n *Net) lay(t testing.TB) {
	t.Helper()
	n.Host.Do(t, func() { n.wire(t) })
	n.Neighbour.Do(t, func() {
		l := must(t, linkByName(PeerName))
		check(t, "bring up "+PeerName, netlink.LinkSetUp(l))
		AddAddress(t, PeerName, PeerPrefix4())
		AddAddress(t, PeerName, PeerPrefix6())
	})
}

// settle waits until links of the host have their link-local addresses, and the routes of these.
func (n *Net) settle(t testing.TB, links ...string) {
	t.Helper()
	Eventually(t, "the links have their routes", func() bool {
		before := n.Host.Snapshot(t)
		for _, link := range links {
			if !regexp.MustCompile(`(?m)^route fe80:\S+/128 via <nil> on ` + link + ` table 255 type 2 `).MatchString(before) {
				return false
			}
		}
		return true
	})
}

// Namespace makes a namespace for a container, with a process in it. It ends with the test, or with [Space.End].
func (n *Net) Namespace(t testing.TB, name string) *Space {
	t.Helper()
	return newSpace(t, name)
}

// wire lays the pair between host and neighbour. It runs on the host.
func (n *Net) wire(t testing.TB) {
	t.Helper()
	file := n.Neighbour.open(t)
	defer file.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Parent
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0x70, 0, 0, 0, 0x01}
	check(t, "lay the wire", netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: PeerName, PeerNamespace: netlink.NsFd(file.Fd()),
		PeerHardwareAddr: net.HardwareAddr{0x02, 0x70, 0, 0, 0, 0x02},
	}))
	check(t, "bring up "+Parent, netlink.LinkSetUp(must(t, linkByName(Parent))))
}

// canaries makes foreign things on the host.
func canaries(t testing.TB) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = CanaryBridge
	// Without an address of its own a bridge takes its ports', and is another one after a port has come and gone.
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0x70, 0, 0, 0, 0x03}
	check(t, "add a foreign bridge", netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	attrs = netlink.NewLinkAttrs()
	attrs.Name = CanaryVeth
	check(t, "add a foreign veth", netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "lh-canary1"}))
	// A port that stays gives the bridge a carrier from the start, and with it an IPv6 address that never changes.
	bridge := must(t, linkByName(CanaryBridge))
	check(t, "add a foreign port", netlink.LinkSetMaster(must(t, linkByName("lh-canary1")), bridge))
	for _, name := range []string{CanaryBridge, CanaryVeth, "lh-canary1"} {
		check(t, "bring up "+name, netlink.LinkSetUp(must(t, linkByName(name))))
	}
	AddAddress(t, CanaryVeth, netip.MustParsePrefix("198.18.0.1/24"))
	// What comes in by a link with an address may be for a container, so an attach would turn this on.
	WriteSysctl(t, "ipv4/conf/"+CanaryVeth+"/forwarding", "1")
	AddAddress(t, CanaryVeth, netip.MustParsePrefix(canary6+"/64"))
	_, dst, _ := net.ParseCIDR("198.19.0.0/16")
	check(t, "add a foreign route", netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.IPv4(198, 18, 0, 2)}))
	if nft, err := exec.LookPath("nft"); err == nil {
		out, err := exec.Command(nft, "add table inet lh_canary { chain c { counter; }; }").CombinedOutput()
		if err != nil {
			// No nftables in this kernel: then there is nothing to keep safe either.
			t.Logf("no foreign nft table: %v: %s", err, out)
		}
	}
}

// AddAddress puts an address on a link of the thread's namespace. It is for use within [Space.Do].
func AddAddress(t testing.TB, link string, p netip.Prefix) {
	t.Helper()
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	check(t, "add address "+p.String()+" to "+link, netlink.AddrAdd(must(t, linkByName(link)), a))
}

// Eventually waits until ok returns true, for things that the kernel does in the background, and fails the test
// after five seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within five seconds", what)
		}
	}
}

type result[T any] struct {
	value T
	err   error
}

func linkByName(name string) result[netlink.Link] {
	l, err := netlink.LinkByName(name)
	return result[netlink.Link]{l, err}
}

func must[T any](t testing.TB, r result[T]) T {
	t.Helper()
	check(t, "set the test up", r.err)
	return r.value
}

func check(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
