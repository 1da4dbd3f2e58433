//go:build linux

package netsetup_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

// bridgeCalls runs a test where frames that a bridge passes on go by the host's rules for packets, and where they do not.
func bridgeCalls(t *testing.T, test func(t *testing.T, call bool)) {
	t.Helper()
	for _, call := range []bool{false, true} {
		t.Run(fmt.Sprintf("bridge-nf-call %t", call), func(t *testing.T) { test(t, call) })
	}
}

// TestPortsReached asks for a published port from everywhere.
func TestPortsReached(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, call bool) {
		s := newSite(t, shop+back, call)
		web := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp")
		near, far := s.at(t, "near", "shop", "10"), s.at(t, "far", "back", "9")
		asks(t,
			question{"PP-01 by its own address", s.Host, "172.31.0.9:80", "web 172.31.0.1"},
			question{"PP-01 by its own address", s.Host, "[fd31::9]:80", "web fd31::1"},
			question{"PP-01 by the host's address", s.Host, "10.77.0.2:8080", "web *"},
			question{"PP-01 by another of them", s.Host, "10.77.0.3:8080", "web *"},
			question{"PP-01 by the host's address", s.Host, "[fd77::2]:8080", "web *"},
			question{"PP-01 by loopback", s.Host, "127.0.0.1:8080", "web 172.31.0.1"},
			question{"PP-02 by the gateway's address", s.Host, "172.31.0.1:8080", "web *"},
			question{"PP-02 by the gateway's address", s.Host, "[fd31::1]:8080", "web *"},
			question{"PP-16 from the LAN", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
			question{"PP-16 from the LAN", s.Neighbour, "[fd77::2]:8080", "web fd77::1"},
			question{"PP-16 from the LAN, the other address", s.Neighbour, "[fd77::3]:8080", "web fd77::1"},
			question{"PP-01 by itself", web.Space, "10.77.0.2:8080", "web 172.31.0.1"},
			question{"PP-01 by itself", web.Space, "[fd77::2]:8080", "web fd31::1"},
			question{"PP-01 by itself and the gateway", web.Space, "172.31.0.1:8080", "web 172.31.0.1"},
			question{"PP-15 a neighbour", near.Space, "10.77.0.2:8080", "web 172.31.0.1"},
			question{"PP-15 a neighbour", near.Space, "[fd77::2]:8080", "web fd31::1"},
			question{"PP-15 a neighbour by its gateway", near.Space, "172.31.0.1:8080", "web 172.31.0.1"},
			question{"PP-15 another network", far.Space, "10.77.0.2:8080", "web *"},
			question{"PP-15 another network", far.Space, "[fd77::2]:8080", "web *"},
			question{"PP-15 another network by its gateway", far.Space, "172.29.0.1:8080", "web *"},
			question{"no direct way from the LAN", s.Neighbour, "172.31.0.9:80", ""},
			question{"no direct way from the LAN", s.Neighbour, "[fd31::9]:80", ""},
			question{"a neighbour directly", near.Space, "172.31.0.9:80", "web 172.31.0.10"},
			question{"nothing else of the host's", s.Neighbour, "10.77.0.2:80", nettest.Refused},
			// Names of the host itself often stand for ::1 first: what cannot be served there must be refused at once.
			question{"loopback of IPv6 is refused", s.Host, "[::1]:8080", nettest.Refused},
		)
		s.over(t, web, near, far)
	})
}

// TestPortsSCTP begins an association with raw packets.
func TestPortsSCTP(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, call bool) {
		s := newSite(t, shop, call)
		web, near := s.at(t, "web", "shop", "9", "publish=8080:80/sctp"), s.at(t, "near", "shop", "10")
		for _, c := range []struct {
			name    string
			from    *nettest.Space
			to, saw string
		}{
			{"PP-03 from the LAN", s.Neighbour, "10.77.0.2:8080", "10.77.0.1"},
			{"PP-03 from the LAN", s.Neighbour, "[fd77::2]:8080", "fd77::1"},
			{"PP-03 the host", s.Host, "10.77.0.2:8080", "10.77.0.2"},
			{"PP-03 a neighbour", near.Space, "10.77.0.2:8080", "172.31.0.1"},
			{"PP-03 a neighbour", near.Space, "[fd77::2]:8080", "fd31::1"},
		} {
			t.Run(c.name+" "+c.to, func(t *testing.T) {
				saw, err := c.from.SCTP(t, netip.MustParseAddrPort(c.to), web.Space, 80)
				if err != nil || saw != addr(c.saw) {
					t.Errorf("the container saw %s (%v), want %s", saw, err, c.saw)
				}
			})
		}
		t.Run("PP-03 not by TCP", func(t *testing.T) { s.Neighbour.Gets(t, "tcp", "10.77.0.2:8080", nettest.Refused) })
		s.over(t, web, near)
	})
}

// TestPortsTwoNetworks publishes ports of a container that has its default route elsewhere.
func TestPortsTwoNetworks(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop+backWith("bind = [\"10.77.0.3\", \"fd77::3\"]"), true)
	web := s.box(t, "web")
	r := web.attach(t, "network=shop,ip=172.31.0.9,ip=fd31::9", "network.eth1=back,ip=172.29.0.9,ip=fd32::9", "publish=8080:80,8080:80/udp")
	web.serves(t, 80)
	if n := len(r.Interfaces[0].Publish) + len(r.Interfaces[1].Publish); n != 4 || len(r.Interfaces[1].Publish) > 0 {
		t.Errorf("published are %+v", r.Interfaces)
	}
	asks(t,
		question{"PP-16 two networks", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
		question{"PP-16 two networks", s.Neighbour, "[fd77::2]:8080", "web fd77::1"},
	)
	s.over(t, web)
	second := s.box(t, "second")
	second.attach(t, "network=shop,ip=172.31.0.9,default-route=false", "network.eth1=back,ip=172.29.0.9,ip=fd32::9", "publish=8081:81")
	second.serves(t, 81)
	asksBy(t, "tcp", question{"PP-16 the default route elsewhere", s.Neighbour, "10.77.0.2:8081", "second 10.77.0.1"})
	s.over(t, second)
}

// othersRules are rulesets as others make them, and what must still work beside them: "" where theirs let nothing pass
// that is forwarded.
func othersRules() map[string]struct{ script, published, out string } {
	const (
		lan, masked = "web 10.77.0.1", "neighbour 10.77.0.2"
		drop        = "chain ip filter FORWARD { policy drop; }\n"
	)
	return map[string]struct{ script, published, out string }{
		"a policy of drop, as Docker's and ufw's": {drop, "", ""},
		"a policy of drop with exceptions": {drop + `
			add rule ip filter USER iifname "lh-*" accept
			add rule ip filter USER oifname "lh-*" accept`, lan, masked},
		"firewalld without a zone for the bridge": {`
			flush chain inet firewalld filter_FORWARD
			add rule inet firewalld filter_FORWARD ct state established,related accept
			add rule inet firewalld filter_FORWARD ct status dnat accept
			add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited`, lan, ""},
		"kube-proxy": {`table ip kube-proxy {
			chain post { type nat hook postrouting priority srcnat; meta mark & 0x4000 == 0x4000 masquerade random; }
			chain pre { type nat hook prerouting priority dstnat; fib daddr type local tcp dport 30080 dnat to 10.244.0.5:80; }
			chain forwarded { type filter hook forward priority filter; ct state invalid drop; }
		}`, lan, masked},
		"the same port, and all that leaves": {`
			add rule ip nat PORTS tcp dport 8080 dnat to 172.31.0.10:80
			add rule ip nat POSTROUTING oifname "p0" snat to 10.77.0.3`, lan, masked},
	}
}

// TestPortsBesideOthers has rules of others on the host, made before and after lanhook's.
func TestPortsBesideOthers(t *testing.T) {
	t.Parallel()
	for name, others := range othersRules() {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("PP-20 %s, there first %t", name, first), func(t *testing.T) {
				s := newSite(t, shop, true)
				if first {
					s.admin(t, others.script)
					s.tables = s.others(t)
					s.Host.Remember(t)
				}
				web := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp")
				if !first {
					s.admin(t, others.script)
					s.tables = s.others(t)
				}
				s.Neighbour.Serve(t, "tcp", netip.MustParseAddrPort("203.0.113.5:7000"))
				asksBy(t, "tcp", question{"from the LAN", s.Neighbour, "10.77.0.2:8080", others.published},
					question{"out", web.Space, "203.0.113.5:7000", others.out},
					question{"the host to the container", s.Host, "172.31.0.9:80", "web 172.31.0.1"})
				s.untouched(t)
				web.detach(t)
				if got := s.others(t); got != s.tables {
					t.Errorf("rules of others are\n%s\nwere\n%s", got, s.tables)
				}
				if first {
					s.empty(t)
				} else {
					s.Host.Remember(t)
				}
			})
		}
	}
}

// TestPortsAdmin: the chain admin comes before all of lanhook's rules, and stays.
func TestPortsAdmin(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop, true)
	s.admin(t, `table inet lanhook {
		set admin-friends { type ipv4_addr; elements = { 10.77.0.1 }; }
		chain admin { ip saddr @admin-friends ip daddr 172.31.0.10 accept; meta nfproto ipv6 drop; }
	}`)
	s.Host.Remember(t)
	web, near := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp"), s.at(t, "near", "shop", "10")
	if !strings.Contains(s.tablesOf(t, true), "jump admin") {
		t.Error("nothing jumps to the chain admin")
	}
	asks(t, question{"PP-20 published", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
		question{"PP-20 dropped by admin", s.Neighbour, "[fd77::2]:8080", ""},
		question{"PP-20 accepted by admin", s.Neighbour, "172.31.0.10:80", "near 10.77.0.1"},
		question{"PP-20 not accepted by admin", s.Neighbour, "172.31.0.9:80", ""})
	s.untouched(t)
	s.done(t, web, near)
	s.nft(t, "delete table inet lanhook")
	s.Host.Remember(t)
}
