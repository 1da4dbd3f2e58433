//go:build linux

package netsetup_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestIsolatedNetworks has two networks on one host.
func TestIsolatedNetworks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, networks string
		// reach says whether containers of one reach those of the other.
		reach bool
	}{
		{"BR-19 kept apart", shop + back, false},
		{"BR-19 one of them open", shopWith("isolate = false") + back, false},
		{"BR-19 both open", shopWith("isolate = false") + backWith("isolate = false"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bridgeCalls(t, func(t *testing.T, call bool) {
				s := newSite(t, c.networks, call)
				one, near, other := s.at(t, "one", "shop", "9"), s.at(t, "near", "shop", "10"), s.at(t, "other", "back", "9")
				want := func(name string) string {
					if c.reach {
						return name + " *"
					}
					return ""
				}
				asks(t,
					question{"one to other", one.Space, "172.29.0.9:80", want("other")},
					question{"one to other", one.Space, "[fd32::9]:80", want("other")},
					question{"other to one", other.Space, "172.31.0.9:80", want("one")},
					question{"other to one", other.Space, "[fd31::9]:80", want("one")},
					question{"within one", near.Space, "172.31.0.9:80", "one 172.31.0.10"},
					question{"within one", near.Space, "[fd31::9]:80", "one fd31::10"},
					question{"the LAN to either", s.Neighbour, "172.31.0.9:80", ""},
					question{"the LAN to either", s.Neighbour, "[fd32::9]:80", ""},
					question{"the host to either", s.Host, "172.29.0.9:80", "other 172.29.0.1"},
				)
				near.Ping(t, addr("172.31.0.9"))
				near.Ping(t, addr("fd31::9"))
				if !c.reach {
					one.NoPing(t, addr("172.29.0.9"))
					other.NoPing(t, addr("fd31::9"))
				}
				s.over(t, one, near, other)
			})
		})
	}
}

// TestIsolatedContainers has a network whose containers do not reach each other.
func TestIsolatedContainers(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, call bool) {
		s := newSite(t, shopWith("icc = false")+back, call)
		s.Neighbour.Serve(t, "tcp", netip.MustParseAddrPort("203.0.113.5:7000"))
		web, near := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp"), s.at(t, "near", "shop", "10")
		for _, id := range []string{"web", "near"} {
			if !s.isolatedPort(t, s.port(t, id)) {
				t.Errorf("BR-09 the port of %s is not isolated", id)
			}
		}
		near.NoPing(t, addr("172.31.0.9"))
		near.NoPing(t, addr("fd31::9"))
		near.Ping(t, addr("172.31.0.1"))
		near.Ping(t, addr("fd31::1"))
		asks(t,
			question{"BR-20 a neighbour", near.Space, "172.31.0.9:80", ""},
			question{"BR-20 a neighbour", near.Space, "[fd31::9]:80", ""},
			question{"BR-20 the host", s.Host, "172.31.0.9:80", "web 172.31.0.1"},
			question{"BR-20 published", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
			question{"BR-20 published", s.Neighbour, "[fd77::2]:8080", "web fd77::1"},
		)
		asksBy(t, "tcp", question{"BR-20 out", near.Space, "203.0.113.5:7000", "neighbour 10.77.0.2"})
		// Neither by the host as a router between them.
		s.route(t, near.Space, "172.31.0.9/32", "172.31.0.1")
		s.route(t, near.Space, "fd31::9/128", "fd31::1")
		asks(t,
			question{"BR-20 a neighbour, by the host", near.Space, "172.31.0.9:80", ""},
			question{"BR-20 a neighbour, by the host", near.Space, "[fd31::9]:80", ""},
		)
		s.over(t, web, near)
	})
	t.Run("BR-09 off", func(t *testing.T) {
		s := newSite(t, shop, false)
		web, near := s.at(t, "web", "shop", "9"), s.at(t, "near", "shop", "10")
		if s.isolatedPort(t, s.port(t, "web")) {
			t.Error("the port is isolated")
		}
		near.Ping(t, addr("172.31.0.9"))
		near.Ping(t, addr("fd31::9"))
		s.over(t, web, near)
	})
}

func (s *site) isolatedPort(t *testing.T, name string) bool {
	t.Helper()
	isolated := false
	s.Host.Do(t, func() {
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := netlink.LinkGetProtinfo(l)
		if err != nil {
			t.Fatal(err)
		}
		isolated = info.Isolated
	})
	return isolated
}

// TestIsolatedInternal has networks that nothing leaves and nothing enters, whatever a container does.
func TestIsolatedInternal(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, call bool) {
		s := newSite(t, shopWith("internal = true")+back, call)
		s.Neighbour.Serve(t, "tcp", netip.MustParseAddrPort("[::]:7000"))
		db, near := s.at(t, "db", "shop", "9"), s.at(t, "near", "shop", "10")
		web := s.at(t, "web", "back", "9", "publish=8080:80,8080:80/udp")
		db.unreachable(t, "203.0.113.5", "2001:db8:9::5")
		db.Ping(t, addr("172.31.0.1"))
		db.Ping(t, addr("fd31::1"))
		s.route(t, db.Space, "0.0.0.0/0", "172.31.0.1")
		s.route(t, db.Space, "::/0", "fd31::1")
		asksBy(t, "tcp",
			question{"BR-17 out, with a route of its own", db.Space, "203.0.113.5:7000", ""},
			question{"BR-17 out, with a route of its own", db.Space, "[2001:db8:9::5]:7000", ""})
		asks(t,
			question{"BR-17 another network", db.Space, "172.29.0.9:80", ""},
			question{"BR-17 what another network publishes", db.Space, "172.31.0.1:8080", ""},
			question{"BR-17 from another network", web.Space, "172.31.0.9:80", ""},
			question{"BR-17 from the LAN", s.Neighbour, "172.31.0.9:80", ""},
			question{"BR-17 from the LAN", s.Neighbour, "[fd31::9]:80", ""},
			question{"BR-17 the host", s.Host, "172.31.0.9:80", "db 172.31.0.1"},
			question{"BR-17 within", near.Space, "172.31.0.9:80", "db 172.31.0.10"},
			question{"BR-17 within", near.Space, "[fd31::9]:80", "db fd31::10"},
			question{"BR-17 the other network is published all the same", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
		)
		s.over(t, db, near, web)
	})
	t.Run("BR-17 publishes nothing", func(t *testing.T) {
		s := newSite(t, shopWith("internal = true"), true)
		s.box(t, "db").refused(t, "shop", "network=shop", "publish=8080:80")
	})
	t.Run("BR-38 without an address of the host's", func(t *testing.T) {
		bridgeCalls(t, func(t *testing.T, call bool) {
			s := newSite(t, shopWith(`gateway-mode = "isolated"`), call)
			one, two := s.at(t, "one", "shop", "9"), s.at(t, "two", "shop", "10")
			one.has(t, "eth0 veth", "  172.31.0.9/24", "  fd31::9/64")
			if got := global(s.hostLink(t, "lh-shop").Addresses); len(got) > 0 {
				t.Errorf("BR-38 the bridge has %v", got)
			}
			asks(t, question{"BR-38 each other", two.Space, "172.31.0.9:80", "one 172.31.0.10"},
				question{"BR-38 each other", two.Space, "[fd31::9]:80", "one fd31::10"})
			one.unreachable(t, "172.29.0.1", "2001:db8:9::5")
			s.over(t, one, two)
		})
	})
}

// TestIsolatedFamily publishes a port of a container that has switched one family off.
func TestIsolatedFamily(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop, true)
	web := s.box(t, "web")
	r := web.attach(t, "network=shop,ip=172.31.0.9,sysctl=net.ipv6.conf.IFNAME.disable_ipv6=1", "publish=8080:80,8080:80/udp")
	web.serves(t, 80)
	asks(t,
		question{"BR-42 the family that is on", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
		question{"BR-42 the family that is off", s.Neighbour, "[fd77::2]:8080", nettest.Refused},
	)
	web.has(t, "eth0 veth", "  172.31.0.9/24", "  0.0.0.0/0 via 172.31.0.1")
	for _, p := range r.Interfaces[0].Publish {
		if p.Addr.Is6() || p.To.Addr().Is6() {
			t.Errorf("BR-42 published is %+v", p)
		}
	}
	for _, l := range s.leases(t, "shop") {
		if l.Addr.Is6() {
			t.Errorf("BR-42 leased is %+v", l)
		}
	}
	if rules := s.tablesOf(t, true); strings.Contains(rules, "fd31:") {
		t.Errorf("BR-42 rules:\n%s", rules)
	}
	s.over(t, web)
}
