//go:build linux

package netsetup_test

import (
	"net/netip"
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

// wire is the neighbour's LAN, on which containers have their own addresses.
const wire = `
[network.wire]
driver = "macvlan"
parent = "` + nettest.Parent + `"
  [[network.wire.subnet]]
  subnet  = "10.77.0.0/24"
  gateway = "10.77.0.1"
  [[network.wire.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::1"
`

// TestPortsDetour publishes ports of containers that would answer by another way than the bridge.
func TestPortsDetour(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, call bool) {
		t.Run("PP-22 the default route by a macvlan", func(t *testing.T) {
			s := newSite(t, shop+wire, call)
			web := s.box(t, "web")
			web.attach(t, "network=wire,ip=10.77.0.9,ip=fd77::9", "network.eth1=shop,ip=172.31.0.9,ip=fd31::9", "publish=8080:80,8080:80/udp")
			web.serves(t, 80)
			near := s.at(t, "near", "shop", "10")
			s.answersBySource(t, "web 172.31.0.1", "web fd31::1")
			asks(t,
				question{"PP-15 a neighbour", near.Space, "10.77.0.2:8080", "web 172.31.0.1"},
				question{"PP-15 a neighbour", near.Space, "[fd77::2]:8080", "web fd31::1"},
				question{"PP-01 by itself", web.Space, "172.31.0.1:8080", "web 172.31.0.1"},
				question{"a neighbour directly", near.Space, "172.31.0.9:80", "web 172.31.0.10"},
				question{"its own LAN address", s.Neighbour, "10.77.0.9:80", "web 10.77.0.1"},
			)
			if got := s.others(t); got != s.tables {
				t.Errorf("rules of others are\n%s\nwere\n%s", got, s.tables)
			}
			s.done(t, web, near) // a parent with children is promiscuous, so not all of the host is the same before
		})
		for _, name := range []string{"default-route=false", "default-route=200"} {
			t.Run("the default route by another bridge, here "+name, func(t *testing.T) {
				s := newSite(t, shopWith("spoof-check = true")+backWith("spoof-check = true"), call)
				web := s.box(t, "web")
				web.attach(t, "network=back,ip=172.29.0.9,ip=fd32::9,"+name,
					"network.eth1=shop,ip=172.31.0.9,ip=fd31::9,default-route=100", "publish=8080:80,8080:80/udp")
				web.serves(t, 80)
				far := s.at(t, "far", "shop", "10")
				s.answersBySource(t, "web 172.29.0.1", "web fd32::1")
				asks(t, question{"PP-15 another network", far.Space, "10.77.0.2:8080", "web 172.29.0.1"},
					question{"PP-15 another network", far.Space, "[fd77::2]:8080", "web fd32::1"})
				s.over(t, web, far)
			})
		}
		t.Run("PP-22 the default route by a macvlan, without source routing", func(t *testing.T) {
			s := newSite(t, shopWith("source-routing = false")+wire, call)
			web := s.box(t, "web")
			web.attach(t, "network=wire,ip=10.77.0.9,ip=fd77::9", "network.eth1=shop,ip=172.31.0.9,ip=fd31::9", "publish=8080:80,8080:80/udp")
			web.serves(t, 80)
			s.detours(t, "web 172.31.0.1", "web fd31::1")
			s.done(t, web)
		})
	})
	t.Run("the default route by this bridge", func(t *testing.T) {
		s := newSite(t, shopWith("spoof-check = true")+backWith("spoof-check = true"), true)
		web := s.box(t, "web")
		web.attach(t, "network=back,ip=172.29.0.9,ip=fd32::9,default-route=100",
			"network.eth1=shop,ip=172.31.0.9,ip=fd31::9,default-route=200", "publish=8080:80,8080:80/udp")
		web.serves(t, 80)
		asks(t, question{"PP-16 from the LAN", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
			question{"PP-16 from the LAN", s.Neighbour, "[fd77::2]:8080", "web fd77::1"})
		s.over(t, web)
	})
}

// answersBySource asks a container for port 8080 that has a way back by the bridge for what is from its address there: by TCP
// it sees who asks, and datagrams it answers by way of the host, which has the addresses want4 and want6.
func (s *site) answersBySource(t *testing.T, want4, want6 string) {
	t.Helper()
	asksBy(t, "tcp",
		question{"PP-16 from the LAN", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
		question{"PP-16 from the LAN", s.Neighbour, "[fd77::2]:8080", "web fd77::1"},
		question{"PP-01 by the host", s.Host, "10.77.0.2:8080", "web 10.77.0.2"},
		question{"PP-01 by the host", s.Host, "[fd77::3]:8080", "web fd77::3"},
		question{"PP-01 by loopback", s.Host, "127.0.0.1:8080", want4},
	)
	s.Neighbour.GetsFrom(t, "tcp", netip.MustParseAddrPort("203.0.113.5:0"), "10.77.0.2:8080", "web 203.0.113.5")
	s.Neighbour.GetsFrom(t, "tcp", netip.MustParseAddrPort("[2001:db8:9::5]:0"), "[fd77::2]:8080", "web 2001:db8:9::5")
	s.detoursBy(t, "udp", want4, want6)
}

// detours asks for port 8080 from where a container would answer by another link, or to another router: the LAN, what is
// behind its router, and the host itself.
func (s *site) detours(t *testing.T, want4, want6 string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		s.detoursBy(t, network, want4, want6)
	}
}

func (s *site) detoursBy(t *testing.T, network, want4, want6 string) {
	t.Helper()
	asksBy(t, network,
		question{"PP-16 from the LAN", s.Neighbour, "10.77.0.2:8080", want4},
		question{"PP-16 from the LAN", s.Neighbour, "[fd77::2]:8080", want6},
		question{"PP-01 by the host", s.Host, "10.77.0.2:8080", want4},
		question{"PP-01 by the host", s.Host, "[fd77::3]:8080", want6},
		question{"PP-01 by loopback", s.Host, "127.0.0.1:8080", want4},
	)
	s.Neighbour.GetsFrom(t, network, netip.MustParseAddrPort("203.0.113.5:0"), "10.77.0.2:8080", want4)
	s.Neighbour.GetsFrom(t, network, netip.MustParseAddrPort("[2001:db8:9::5]:0"), "[fd77::2]:8080", want6)
}
