//go:build linux

package netsetup_test

import (
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/nettest"
)

// beyond has the neighbour serve at addresses that are not on the LAN.
func (s *site) beyond(t *testing.T) {
	t.Helper()
	for _, at := range []string{"203.0.113.5:7000", "[2001:db8:9::5]:7000"} {
		for _, network := range []string{"tcp", "udp"} {
			s.Neighbour.Serve(t, network, netip.MustParseAddrPort(at))
		}
	}
}

// TestMasquerade looks at the source that others see.
func TestMasquerade(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, call bool) {
		s := newSite(t, shop+back, call)
		s.beyond(t)
		one, two, three := s.at(t, "one", "shop", "9"), s.at(t, "two", "shop", "10"), s.at(t, "three", "back", "9")
		for _, b := range []*box{one, two, three} {
			asks(t, question{"BR-11 " + b.id, b.Space, "203.0.113.5:7000", "neighbour 10.77.0.2"})
			asks(t, question{"BR-11 " + b.id, b.Space, "[2001:db8:9::5]:7000", "neighbour fd77::*"})
			b.Ping(t, addr("203.0.113.5"))
			b.Ping(t, addr("2001:db8:9::5"))
		}
		asks(t, question{"BR-11 within", two.Space, "172.31.0.9:80", "one 172.31.0.10"},
			question{"BR-11 within", two.Space, "[fd31::9]:80", "one fd31::10"})
		t.Run("BR-11 multicast keeps its source", func(t *testing.T) {
			if from := multicast(t, one, two); from != addr("172.31.0.9") {
				t.Errorf("it came from %s", from)
			}
		})
		t.Run("BR-11 nothing for an address that is not attached", func(t *testing.T) {
			stray := netip.MustParseAddrPort("172.31.0.77:0")
			one.Do(t, func() { nettest.AddAddress(t, "eth0", netip.MustParsePrefix("172.31.0.77/24")) })
			one.GetsFrom(t, "udp", stray, "203.0.113.5:7000", "neighbour 172.31.0.77")
			one.Do(t, func() {
				l, err := netlink.LinkByName("eth0")
				if err == nil {
					err = netlink.AddrDel(l, &netlink.Addr{IPNet: &net.IPNet{IP: stray.Addr().AsSlice(), Mask: net.CIDRMask(24, 32)}})
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		})
		t.Run("BR-11 nothing leaves with the container's own source", func(t *testing.T) {
			s.admin(t, "table ip witness { chain c { type filter hook postrouting priority 300; oifname \"p0\" ip saddr 172.16.0.0/12 counter; }; "+
				"chain in { type filter hook prerouting priority -400; iifname \"lh-shop\" tcp flags rst counter; }; }")
			one.reset(t)
			list := s.admin(t, "list chain ip witness c") + s.admin(t, "list chain ip witness in")
			s.admin(t, "delete table ip witness")
			if !strings.Contains(list, "saddr 172.16.0.0/12 counter packets 0 ") || !strings.Contains(list, "flags rst counter packets 1 ") {
				t.Errorf("the host forwarded:\n%s", list)
			}
		})
		s.over(t, one, two, three)
	})
	t.Run("BR-11 off", func(t *testing.T) {
		s := newSite(t, shopWith("masquerade = false"), true)
		s.beyond(t)
		b := s.at(t, "one", "shop", "9")
		asks(t, question{"BR-11 its own source", b.Space, "203.0.113.5:7000", "neighbour 172.31.0.9"},
			question{"BR-11 its own source", b.Space, "[2001:db8:9::5]:7000", "neighbour fd31::9"},
			question{"BR-11 no direct way all the same", s.Neighbour, "172.31.0.9:80", ""})
		s.over(t, b)
	})
	t.Run("BR-11 of one subnet", func(t *testing.T) {
		s := newSite(t, shop+"  masquerade = false\n", true)
		s.beyond(t)
		b := s.at(t, "one", "shop", "9")
		asks(t, question{"BR-11 hidden", b.Space, "203.0.113.5:7000", "neighbour 10.77.0.2"},
			question{"BR-11 not hidden", b.Space, "[2001:db8:9::5]:7000", "neighbour fd31::9"})
		s.over(t, b)
	})
}

// reset has a container send the end of a TCP connection that there is not, which no rule for connections translates.
func (b *box) reset(t *testing.T) {
	t.Helper()
	b.Do(t, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		to := netip.MustParseAddr("203.0.113.5")
		// Ports, numbers, length and RST of a TCP header, and a checksum that is right for the container's address.
		segment := []byte{0x17, 0x70, 0x1b, 0x59, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x04, 0, 0, 0, 0, 0, 0}
		from, whom := addr("172.31.0.9").As4(), to.As4()
		sum := uint32(unix.IPPROTO_TCP + len(segment))
		for _, part := range [][]byte{from[:], whom[:], segment} {
			for i := 0; i < len(part); i += 2 {
				sum += uint32(part[i])<<8 | uint32(part[i+1])
			}
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		segment[16], segment[17] = byte(^sum>>8), byte(^sum)
		if err := unix.Sendto(fd, segment, 0, &unix.SockaddrInet4{Addr: whom}); err != nil {
			t.Fatal(err)
		}
	})
}

// multicast sends a datagram from one container to a group that another has joined, and gives the address it came from.
func multicast(t *testing.T, from, to *box) netip.Addr {
	t.Helper()
	group := &net.UDPAddr{IP: net.IPv4(239, 1, 2, 3), Port: 7001}
	var c *net.UDPConn
	to.Do(t, func() {
		eth0, err := net.InterfaceByName("eth0")
		if err == nil {
			c, err = net.ListenMulticastUDP("udp4", eth0, group)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	defer c.Close()
	for range 20 {
		from.Do(t, func() {
			out, err := net.DialUDP("udp4", nil, group)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			if _, err := out.Write([]byte("?")); err != nil {
				t.Fatal(err)
			}
		})
		if err := c.SetReadDeadline(time.Now().Add(250 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, source, err := c.ReadFromUDPAddrPort(make([]byte, 8)); err == nil {
			return source.Addr().Unmap()
		}
	}
	t.Fatal("no datagram came")
	return netip.Addr{}
}

// TestFixedSource hides containers behind an address of the administrator's choice.
func TestFixedSource(t *testing.T) {
	t.Parallel()
	for name, networks := range map[string]string{
		"BR-25 of the network": shopWith(`snat = ["10.77.0.3", "fd77::3"]`),
		"BR-25 of the subnets": `
[network.shop]
driver = "bridge"
  [[network.shop.subnet]]
  subnet = "172.31.0.0/24"
  snat   = "10.77.0.3"
  [[network.shop.subnet]]
  subnet = "fd31::/64"
  snat   = "fd77::3"
`,
	} {
		t.Run(name, func(t *testing.T) {
			bridgeCalls(t, func(t *testing.T, call bool) {
				s := newSite(t, networks+back, call)
				s.beyond(t)
				one, two := s.at(t, "one", "shop", "9", "publish=8080:80,8080:80/udp"), s.at(t, "two", "shop", "10")
				other := s.at(t, "other", "back", "9")
				asks(t,
					question{"BR-25 IPv4", one.Space, "203.0.113.5:7000", "neighbour 10.77.0.3"},
					question{"BR-25 IPv6", one.Space, "[2001:db8:9::5]:7000", "neighbour fd77::3"},
					question{"BR-25 another network", other.Space, "203.0.113.5:7000", "neighbour 10.77.0.2"},
					question{"BR-25 within", two.Space, "172.31.0.9:80", "one 172.31.0.10"},
					question{"BR-25 published", s.Neighbour, "10.77.0.2:8080", "one 10.77.0.1"},
					question{"BR-25 by itself", one.Space, "10.77.0.2:8080", "one 172.31.0.1"},
				)
				if from := multicast(t, one, two); from != addr("172.31.0.9") {
					t.Errorf("BR-25 multicast came from %s", from)
				}
				one.detach(t)
				if n := s.mentions(t, "172.31.0.9 "); n > 0 {
					t.Errorf("BR-25 %d rules are left", n)
				}
				s.over(t, two, other)
			})
		})
	}
}

// TestWholeAddress gives all of a host's address to a container.
func TestWholeAddress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ networks, annotation string }{
		"of the network": {shopWith("dnat = [\"10.77.0.3\", \"fd77::3\"]\nsnat = [\"10.77.0.3\", \"fd77::3\"]"), ""},
		"asked for":      {shopWith(`snat = ["10.77.0.3", "fd77::3"]`), ",dnat=10.77.0.3,dnat=fd77::3"},
	} {
		t.Run(name, func(t *testing.T) {
			bridgeCalls(t, func(t *testing.T, call bool) {
				s := newSite(t, c.networks+back, call)
				s.beyond(t)
				web := s.box(t, "web")
				web.attach(t, "network=shop,ip=172.31.0.9,ip=fd31::9"+c.annotation)
				web.serves(t, 80, 443)
				other := s.at(t, "other", "back", "9", "publish=8080:80,8080:80/udp")
				asks(t,
					question{"PP-16 from the LAN", s.Neighbour, "10.77.0.3:443", "web 10.77.0.1"},
					question{"PP-16 from the LAN", s.Neighbour, "[fd77::3]:443", "web fd77::1"},
					question{"PP-16 another port", s.Neighbour, "10.77.0.3:80", "web 10.77.0.1"},
					question{"PP-15 by itself", web.Space, "10.77.0.3:443", "web 172.31.0.1"},
					question{"PP-15 by another", other.Space, "[fd77::3]:443", "web *"},
					question{"PP-16 a port that another has", s.Neighbour, "10.77.0.3:8080", "other 10.77.0.1"},
					question{"PP-16 the host's other address", s.Neighbour, "10.77.0.2:443", nettest.Refused},
					question{"BR-25 what it begins", web.Space, "203.0.113.5:7000", "neighbour 10.77.0.3"},
				)
				s.Neighbour.Ping(t, addr("10.77.0.3"))
				s.Neighbour.Ping(t, addr("fd77::3"))
				s.box(t, "late").refused(t, "10.77.0.3", "network=shop,dnat=10.77.0.3")
				s.over(t, web, other)
			})
		})
	}
}

// TestRouted has a network whose addresses the LAN knows a way to.
func TestRouted(t *testing.T) {
	t.Parallel()
	bridgeCalls(t, func(t *testing.T, call bool) {
		s := newSite(t, shopWith(`gateway-mode = "routed"`)+back, call)
		s.beyond(t)
		web := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp")
		web.serves(t, 443)
		other := s.at(t, "other", "back", "9")
		asks(t,
			question{"BR-32 a published port", s.Neighbour, "172.31.0.9:80", "web 10.77.0.1"},
			question{"BR-32 a published port", s.Neighbour, "[fd31::9]:80", "web fd77::1"},
			question{"BR-32 another port", s.Neighbour, "172.31.0.9:443", ""},
			question{"BR-32 by the host's address", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
			question{"BR-32 out, with its own source", web.Space, "203.0.113.5:7000", "neighbour 172.31.0.9"},
			question{"BR-32 out, with its own source", web.Space, "[2001:db8:9::5]:7000", "neighbour fd31::9"},
			question{"BR-19 another network, directly", other.Space, "172.31.0.9:80", ""},
			question{"BR-19 another network, published", other.Space, "10.77.0.2:8080", "web *"},
		)
		s.Neighbour.Ping(t, addr("172.31.0.9"))
		s.Neighbour.Ping(t, addr("fd31::9"))
		other.NoPing(t, addr("172.31.0.9"))
		s.over(t, web, other)
	})
}

// TestForwarding begins on a host that forwards nothing.
func TestForwarding(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop, true)
	s.secondLAN(t)
	settings := map[string][2]string{
		"ipv4/conf/" + nettest.Parent + "/forwarding":     {"0", "1"},
		"ipv6/conf/all/forwarding":                        {"0", "1"},
		"ipv6/conf/" + nettest.Parent + "/accept_ra":      {"1", "2"},
		"ipv4/conf/" + nettest.CanaryVeth + "/forwarding": {"0", "1"}, // it has an address
		"ipv4/conf/lan1/forwarding":                       {"0", "1"},
		"ipv4/conf/lo/forwarding":                         {"0", "0"},
		"ipv4/conf/default/forwarding":                    {"0", "0"},
		"ipv4/ip_forward":                                 {"0", "0"},
	}
	s.Host.Do(t, func() {
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			nettest.WriteSysctl(t, name, settings[name][0])
		}
	})
	web := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp")
	for name, want := range settings {
		if got := readSetting(t, s.Host, name); got != want[1] {
			t.Errorf("BR-32 %s is %s, want %s", name, got, want[1])
		}
	}
	asks(t, question{"BR-32 in", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
		question{"BR-32 in by another link", s.Neighbour, "10.79.0.2:8080", "web 10.79.0.1"},
		question{"BR-32 in", s.Neighbour, "[fd77::2]:8080", "web fd77::1"})
	web.Ping(t, addr("203.0.113.5"))
	web.Ping(t, addr("2001:db8:9::5"))
	web.Ping(t, addr("10.79.0.1"))
	web.detach(t)
	for name, want := range settings {
		if got := readSetting(t, s.Host, name); got != want[1] {
			t.Errorf("BR-32 after the detach %s is %s, want %s", name, got, want[1])
		}
	}
	s.resetSettings(t)
	s.empty(t)
}

// TestForwardingOneLink: a port of one address needs no other link than that address's and the default route's.
func TestForwardingOneLink(t *testing.T) {
	t.Parallel()
	s := newSite(t, shopWith("masquerade = false"), true)
	s.secondLAN(t)
	off := func() {
		s.Host.Do(t, func() {
			for _, link := range []string{nettest.Parent, nettest.CanaryVeth, "lan1"} {
				nettest.WriteSysctl(t, "ipv4/conf/"+link+"/forwarding", "0")
			}
		})
	}
	for _, c := range []struct{ publish, canary, lan1 string }{
		{"10.77.0.2:8080:80", "0", "0"},
		{"10.79.0.2:8080:80", "0", "1"},
		{"0.0.0.0:8080:80", "1", "1"},
	} {
		off()
		web := s.at(t, "web", "shop", "9", "publish="+c.publish)
		check := func(when string) {
			for link, want := range map[string]string{nettest.Parent: "1", nettest.CanaryVeth: c.canary, "lan1": c.lan1} {
				if got := readSetting(t, s.Host, "ipv4/conf/"+link+"/forwarding"); got != want {
					t.Errorf("BR-32 %s: %s, forwarding of %s is %s, want %s", c.publish, when, link, got, want)
				}
			}
		}
		check("attached")
		off()
		if _, err := s.setup.Repair(t.Context()); err != nil {
			t.Error(err)
		}
		check("repaired")
		host, _, _ := strings.Cut(c.publish, ":")
		if host != "0.0.0.0" {
			s.Neighbour.Gets(t, "tcp", host+":8080", "web *")
		}
		web.detach(t)
	}
	s.resetSettings(t)
	s.empty(t)
}

// TestForwardingKeptOut: the rule of docs/firewall.md keeps a link from forwarding, but for answers and published ports.
func TestForwardingKeptOut(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "firewall.md"))
	if err != nil {
		t.Fatal(err)
	}
	const begin = "table inet dmz {"
	_, rest, ok := strings.Cut(string(page), "```text\n"+begin)
	table, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("the page has no example of a link that is kept from forwarding")
	}
	s := newSite(t, shopWith(`gateway-mode = "routed"`), true)
	s.secondLAN(t)
	s.route(t, s.Neighbour, "172.31.0.9/32", "10.79.0.2")
	web := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp")
	direct := question{"BR-32 directly", s.Neighbour, "172.31.0.9:80", "web 10.79.0.1"}
	asks(t, direct)
	s.admin(t, strings.ReplaceAll(begin+table, "dmz0", "lan1"))
	direct.name, direct.want = "BR-32 kept out", ""
	asks(t, direct, question{"BR-32 published", s.Neighbour, "10.79.0.2:8080", "web 10.79.0.1"})
	web.Ping(t, addr("10.79.0.1"))
	s.admin(t, "delete table inet dmz")
	web.detach(t)
	s.resetSettings(t)
	s.empty(t)
}

// secondLAN has the host be on another LAN with the neighbour, 10.79.0.0/24, by link lan1. The host must in the end be like
// now.
func (s *site) secondLAN(t *testing.T) {
	t.Helper()
	s.Host.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name, a.HardwareAddr = "lan1", []byte{0x02, 0x72, 0, 0, 0, 1}
		pair := &netlink.Veth{LinkAttrs: a, PeerName: "lan1", PeerNamespace: netlink.NsPid(s.Neighbour.PID)}
		if err := netlink.LinkAdd(pair); err != nil {
			t.Fatal(err)
		}
		nettest.AddAddress(t, "lan1", netip.MustParsePrefix("10.79.0.2/24"))
	})
	s.Neighbour.Do(t, func() { nettest.AddAddress(t, "lan1", netip.MustParsePrefix("10.79.0.1/24")) })
	for _, up := range []*nettest.Space{s.Neighbour, s.Host} {
		change(t, up, "lan1", netlink.LinkSetUp)
	}
	nettest.Eventually(t, "lan1 has its own address", func() bool { return len(s.hostLink(t, "lan1").Addresses) > 1 })
	s.Host.Remember(t)
}
