//go:build linux

package netsetup_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/nettest"
)

// far is the wire to the second LAN: the host's end, and its name at the router.
const (
	far    = "far0"
	farEnd = "far1"
)

// lans is a host on two LANs with one router between them, which is a neighbour on each, and behind it a client:
//
//	host p0   ═══ p1   10.77.0.1 fd77::1 ┐
//	     far0 ═══ far1 10.88.0.1 fd88::1 ┴ router 198.51.100.1 fd99::1 ═══ 198.51.100.5 fd99::5 client
//
// The router drops what comes in by another link than that by which it would answer (rp_filter), as routers do.
type lans struct {
	*world
	router, client *nettest.Space
}

// twoLANs are networks on these two.
const twoLANs = `
[network.near]
driver = "macvlan"
parent = "` + nettest.Parent + `"
  [[network.near.subnet]]
  subnet  = "10.77.0.0/24"
  gateway = "10.77.0.1"
  [[network.near.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::1"

[network.far]
driver = "macvlan"
parent = "` + far + `"
  [[network.far.subnet]]
  subnet  = "10.88.0.0/24"
  gateway = "10.88.0.1"
  [[network.far.subnet]]
  subnet  = "fd88::/64"
  gateway = "fd88::1"
`

func newLANs(t *testing.T, networks string) *lans {
	t.Helper()
	w := newWorld(t, networks)
	l := &lans{world: w, router: w.Neighbour, client: w.Namespace(t, "client")}
	pair(t, w.Host, far, w.Neighbour, farEnd)
	pair(t, l.router, "c0", l.client, "c1")
	l.router.Do(t, func() {
		for link, all := range map[string][]string{
			farEnd: {"10.88.0.1/24", "fd88::1/64"}, "c0": {"198.51.100.1/24", "fd99::1/64"},
		} {
			for _, p := range all {
				nettest.AddAddress(t, link, netip.MustParsePrefix(p))
			}
			nettest.WriteSysctl(t, "ipv4/conf/"+link+"/rp_filter", "1")
		}
		nettest.WriteSysctl(t, "ipv4/conf/"+nettest.PeerName+"/rp_filter", "1")
		nettest.WriteSysctl(t, "ipv4/ip_forward", "1")
		nettest.WriteSysctl(t, "ipv6/conf/all/forwarding", "1")
	})
	l.client.Do(t, func() {
		nettest.AddAddress(t, "c1", netip.MustParsePrefix("198.51.100.5/24"))
		nettest.AddAddress(t, "c1", netip.MustParsePrefix("fd99::5/64"))
	})
	addRoute(t, l.client, "0.0.0.0/0", "198.51.100.1")
	addRoute(t, l.client, "::/0", "fd99::1")
	w.Host.Remember(t)
	return l
}

// both attaches a container to both LANs.
func (l *lans) both(t *testing.T, options ...string) *box {
	t.Helper()
	b := l.box(t, "c")
	more := append(options, "", "")
	b.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9"+more[0], "network.eth1=far,ip=10.88.0.9,ip=fd88::9"+more[1])
	b.serves(t, 80)
	return b
}

// pair lays a wire between two namespaces, up at both ends, and waits until the kernel has given these their link-local
// addresses, which it does some time after.
func pair(t *testing.T, a *nettest.Space, aName string, b *nettest.Space, bName string) {
	t.Helper()
	other := netlink.NsPid(b.PID)
	a.Do(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = aName
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: other}); err != nil {
			t.Fatalf("lay a wire from %s to %s: %v", aName, bName, err)
		}
	})
	change(t, a, aName, netlink.LinkSetUp)
	change(t, b, bName, netlink.LinkSetUp)
	for name, s := range map[string]*nettest.Space{aName: a, bName: b} {
		local := regexp.MustCompile(`(?m)^route fe80:\S+/128 via <nil> on ` + name + ` table 255 type 2 `)
		nettest.Eventually(t, name+" has its own address", func() bool { return local.MatchString(s.Snapshot(t)) })
	}
}

// addRoute adds a route as an administrator does.
func addRoute(t *testing.T, s *nettest.Space, to, via string) {
	t.Helper()
	s.Do(t, func() {
		_, dst, err := net.ParseCIDR(to)
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: addr(via).AsSlice()})
		}
		if err != nil {
			t.Fatalf("add route %s: %v", to, err)
		}
	})
}

// watch gives a function that ends the watch of a link and says what came in by it: "arp ADDRESS is-at MAC" for answers of
// ARP, "ADDRESS to ADDRESS" for packets of TCP and of ping, each once.
func watch(t *testing.T, s *nettest.Space, link string) func() []string {
	t.Helper()
	fd := -1
	s.Do(t, func() {
		l, err := net.InterfaceByName(link)
		if err != nil {
			t.Fatal(err)
		}
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network byte order
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err == nil {
			err = errors.Join(
				unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index}),
				unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
			)
		}
		if err != nil {
			t.Fatalf("watch %s: %v", link, err)
		}
	})
	var seen []string
	var done sync.WaitGroup
	stop := make(chan struct{})
	done.Go(func() {
		frame := make([]byte, 2048)
		for {
			n, from, err := unix.Recvfrom(fd, frame, 0)
			if err != nil {
				select {
				case <-stop: // only once nothing more is there
					return
				default:
					continue
				}
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if line := frameText(frame[:n]); line != "" && !slices.Contains(seen, line) {
				seen = append(seen, line)
			}
		}
	})
	end := sync.OnceFunc(func() {
		close(stop)
		done.Wait()
		_ = unix.Close(fd)
		slices.Sort(seen)
	})
	t.Cleanup(end)
	return func() []string {
		end()
		return seen
	}
}

func frameText(f []byte) string {
	if len(f) < 14 {
		return ""
	}
	kind, body := binary.BigEndian.Uint16(f[12:]), f[14:]
	ip := func(b []byte) netip.Addr {
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	switch {
	case kind == unix.ETH_P_ARP && len(body) >= 28 && body[7] == 2:
		return fmt.Sprintf("arp %s is-at %s", ip(body[14:18]), net.HardwareAddr(body[8:14]))
	case kind == unix.ETH_P_IP && len(body) >= 20 && (body[9] == unix.IPPROTO_TCP || body[9] == unix.IPPROTO_ICMP):
		return fmt.Sprintf("%s to %s", ip(body[12:16]), ip(body[16:20]))
	case kind == unix.ETH_P_IPV6 && len(body) >= 41 && (body[6] == unix.IPPROTO_TCP || body[6] == unix.IPPROTO_ICMPV6 && body[40] == 129):
		return fmt.Sprintf("%s to %s", ip(body[8:24]), ip(body[24:40]))
	}
	return ""
}

// from are those lines of a watch that begin with an address.
func from(lines []string, address string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, address+" ") })
}

// asksARP sends ARP requests for an address by a link, and waits for answers.
func asksARP(t *testing.T, s *nettest.Space, link string, own, whom netip.Addr) {
	t.Helper()
	s.Do(t, func() {
		l, err := net.InterfaceByName(link)
		if err != nil {
			t.Fatal(err)
		}
		arp := binary.NativeEndian.Uint16([]byte{0x08, 0x06})
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(arp))
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		f := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, l.HardwareAddr, []byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1},
			l.HardwareAddr, own.AsSlice(), make([]byte, 6), whom.AsSlice())
		for range 3 {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Protocol: arp, Ifindex: l.Index}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}
