//go:build linux

package netsetup_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestPortsAddresses publishes on single addresses of the host.
func TestPortsAddresses(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop+back, true)
	web := s.at(t, "web", "shop", "9", "publish=10.77.0.3:8081:80,10.77.0.3:8081:80/udp,[fd77::3]:8082:80,[fd77::3]:8082:80/udp")
	other := s.at(t, "other", "shop", "10", "publish=10.77.0.2:8081:80,10.77.0.2:8081:80/udp")
	asks(t,
		question{"PP-05 the address", s.Neighbour, "10.77.0.3:8081", "web 10.77.0.1"},
		question{"PP-05 the address of IPv6", s.Neighbour, "[fd77::3]:8082", "web fd77::1"},
		question{"PP-05 not the other family", s.Neighbour, "[fd77::3]:8081", nettest.Refused},
		question{"PP-05 not the other family", s.Neighbour, "10.77.0.3:8082", nettest.Refused},
		question{"PP-05 by the host", s.Host, "10.77.0.3:8081", "web *"},
		question{"PP-05 by itself", web.Space, "10.77.0.3:8081", "web 172.31.0.1"},
		question{"PP-06 the other address", s.Neighbour, "[fd77::2]:8082", nettest.Refused},
		question{"PP-06 the gateway's", s.Host, "172.31.0.1:8081", nettest.Refused},
		question{"PP-06 loopback", s.Host, "127.0.0.1:8081", nettest.Refused},
		question{"PP-10 the same port of another address", s.Neighbour, "10.77.0.2:8081", "other 10.77.0.1"},
		question{"PP-10 the same port of another address, by itself", web.Space, "10.77.0.2:8081", "other *"},
	)
	s.over(t, web, other)
}

// TestPortsLoopback publishes on addresses that only the host itself reaches.
func TestPortsLoopback(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, call bool) {
		s := newSite(t, shop+back, call)
		web := s.at(t, "web", "shop", "9", "publish=127.0.0.1:8082:80,127.0.0.1:8082:80/udp,127.0.1.2:1716:80,127.0.1.2:1716:80/udp")
		far := s.at(t, "far", "back", "9", "publish=127.0.1.3:1716:80,127.0.1.3:1716:80/udp")
		asks(t,
			question{"PP-06 bound to loopback", s.Host, "127.0.0.1:8082", "web 172.31.0.1"},
			question{"PP-06 another address of the host", s.Host, "10.77.0.2:8082", nettest.Refused},
			question{"PP-06 from the LAN", s.Neighbour, "10.77.0.2:8082", nettest.Refused},
			question{"PP-06 from a container", web.Space, "172.31.0.1:8082", nettest.Refused},
			question{"PP-10 one address of loopback", s.Host, "127.0.1.2:1716", "web *"},
			question{"PP-10 another address of loopback", s.Host, "127.0.1.3:1716", "far *"},
			question{"PP-10 a third address of loopback", s.Host, "127.0.1.4:1716", nettest.Refused},
		)
		t.Run("PP-06 from the LAN, sent to 127.0.0.1", func(t *testing.T) { s.lanToLoopback(t, "127.0.0.1:8082") })
		s.over(t, web, far)
		mapped := s.at(t, "mapped", "shop", "9", "publish=[::ffff:127.0.0.1]:8083:80,[::ffff:127.0.0.1]:8083:80/udp")
		asks(t, question{"PP-21 written as IPv6", s.Host, "127.0.0.1:8083", "mapped 172.31.0.1"},
			question{"PP-21 from the LAN", s.Neighbour, "10.77.0.2:8083", nettest.Refused})
		s.over(t, mapped)
	})
	t.Run("PP-06 loopback of IPv6 is refused before", func(t *testing.T) {
		s := newSite(t, shop, true)
		s.box(t, "web").refused(t, "::1", "network=shop", "publish=[::1]:8082:80")
	})
	t.Run("PP-05 an address that the host does not have is refused before", func(t *testing.T) {
		s := newSite(t, shop, true)
		s.box(t, "web").refused(t, "192.0.2.7", "network=shop", "publish=192.0.2.7:8082:80")
	})
}

// lanToLoopback has the neighbour, who gives up his own 127.0.0.1 for it, send packets to the host's. They arrive, and
// nobody answers.
func (s *site) lanToLoopback(t *testing.T, to string) {
	t.Helper()
	s.admin(t, "table ip lh_witness { chain c { type filter hook prerouting priority -400; iifname \"p0\" ip daddr 127.0.0.1 counter; }; }")
	change(t, s.Neighbour, "lo", func(l netlink.Link) error {
		return netlink.AddrDel(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(8, 32)}})
	})
	s.Neighbour.Do(t, func() { nettest.WriteSysctl(t, "ipv4/conf/all/route_localnet", "1") })
	s.route(t, s.Neighbour, "127.0.0.1/32", "10.77.0.2")
	from := netip.MustParseAddrPort("10.77.0.1:0")
	s.Neighbour.GetsFrom(t, "tcp", from, to, "")
	s.Neighbour.GetsFrom(t, "udp", from, to, "")
	if list := s.admin(t, "list table ip lh_witness"); strings.Contains(list, "packets 0 ") {
		t.Errorf("nothing came to the host:\n%s", list)
	}
	s.admin(t, "delete table ip lh_witness")
}

// TestPortsWildcards publishes on all addresses of one family and of both.
func TestPortsWildcards(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop, true)
	const both = "publish=0.0.0.0:8084:80,0.0.0.0:8084:80/udp,[::]:8086:80,[::]:8086:80/udp,8080:80,8080:80/udp"
	web := s.at(t, "web", "shop", "9", both)
	asks(t,
		question{"PP-07 0.0.0.0", s.Neighbour, "10.77.0.2:8084", "web 10.77.0.1"},
		question{"PP-07 0.0.0.0 is not IPv6", s.Neighbour, "[fd77::2]:8084", nettest.Refused},
		question{"PP-07 ::", s.Neighbour, "[fd77::2]:8086", "web fd77::1"},
		question{"PP-07 :: is not IPv4", s.Neighbour, "10.77.0.2:8086", nettest.Refused},
		question{"PP-07 no address is both", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
		question{"PP-07 no address is both", s.Neighbour, "[fd77::2]:8080", "web fd77::1"},
	)
	s.over(t, web)
	t.Run("PP-07 the network's own address", func(t *testing.T) {
		s := newSite(t, shopWith(`bind = "10.77.0.3"`), true)
		web := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp")
		asks(t, question{"bound", s.Neighbour, "10.77.0.3:8080", "web 10.77.0.1"},
			question{"not bound", s.Neighbour, "10.77.0.2:8080", nettest.Refused},
			question{"the other family", s.Neighbour, "[fd77::3]:8080", nettest.Refused})
		s.over(t, web)
	})
}

// TestPortsRanges publishes several ports at once.
func TestPortsRanges(t *testing.T) {
	t.Parallel()
	t.Run("PP-04 a range", func(t *testing.T) {
		s := newSite(t, shop, true)
		web := s.box(t, "web")
		web.attach(t, "network=shop", "publish=8080-8082:90-92,8080-8082:90-92/udp")
		// Only one of the container's ports answers at a time: no other host port leads there.
		for i, network := range []string{"tcp", "udp", "tcp"} {
			end := web.Serve(t, network, netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(90+i)))
			for j := range 3 {
				want := "web *"
				if i != j {
					want = nettest.Refused
				}
				s.Neighbour.Gets(t, network, fmt.Sprintf("10.77.0.2:%d", 8080+j), want)
			}
			end()
		}
		s.Neighbour.Gets(t, "tcp", "10.77.0.2:8083", nettest.Refused)
		s.Neighbour.Gets(t, "tcp", "10.77.0.2:8079", nettest.Refused)
		s.over(t, web)
	})
	t.Run("PP-08 the same number of two protocols", func(t *testing.T) {
		s := newSite(t, shop, true)
		web := s.box(t, "web")
		web.attach(t, "network=shop", "publish=8080:81/tcp,8080:82/udp")
		web.serves(t, 81, 82)
		for _, to := range []string{"10.77.0.2:8080", "[fd77::2]:8080"} {
			s.Neighbour.Gets(t, "tcp", to, "web *")
			s.Neighbour.Gets(t, "udp", to, "web *")
		}
		if tcp, udp := s.mentions(t, "tcp . 8080 "), s.mentions(t, "udp . 8080 "); tcp != 2 || udp != 2 {
			t.Errorf("there are %d rules for tcp and %d for udp, want 2 each", tcp, udp)
		}
		s.over(t, web)
	})
	t.Run("PP-17 a hundred ports", func(t *testing.T) {
		s := newSite(t, shop, true)
		web := s.box(t, "web")
		list := []string{"8100-8159:9100-9159"}
		for i := range 40 {
			list = append(list, fmt.Sprintf("%d:%d", 8000+2*i, 9000+i))
		}
		web.attach(t, "network=shop", "publish="+strings.Join(list, ","))
		web.serves(t, 9000, 9039, 9159)
		for _, to := range []string{"10.77.0.2:8000", "[fd77::2]:8078", "[fd77::2]:8159"} {
			s.Neighbour.Gets(t, "tcp", to, "web *")
		}
		if got := s.mentions(t, "tcp . 8"); got != 200 {
			t.Errorf("there are %d ports in the rules, want 200", got)
		}
		s.over(t, web)
	})
	t.Run("PP-18 none", func(t *testing.T) {
		s := newSite(t, shop, true)
		web := s.at(t, "web", "shop", "9")
		if got := s.mentions(t, "tcp . "); got != 0 {
			t.Errorf("there are %d ports in the rules", got)
		}
		asks(t, question{"not published", s.Neighbour, "10.77.0.2:80", nettest.Refused},
			question{"nor directly", s.Neighbour, "172.31.0.9:80", ""})
		s.over(t, web)
	})
}
