//go:build linux

package netsetup_test

import (
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// shop and back are networks of containers, each with a bridge of lanhook's.
const (
	shop = `
[network.shop]
driver = "bridge"
  [[network.shop.subnet]]
  subnet = "172.31.0.0/24"
  [[network.shop.subnet]]
  subnet = "fd31::/64"
`
	back = `
[network.back]
driver = "bridge"
  [[network.back.subnet]]
  subnet = "172.29.0.0/24"
  [[network.back.subnet]]
  subnet = "fd32::/64"
`
)

// shopWith is shop with more keys, and backWith is back.
func shopWith(options string) string { return strings.Replace(shop, "driver", options+"\ndriver", 1) }

func backWith(options string) string { return strings.Replace(back, "driver", options+"\ndriver", 1) }

// foreign are rules of others on the host, which let pass what lanhook's let pass.
const foreign = `
table ip filter {
	chain FORWARD { type filter hook forward priority filter; policy accept; jump USER; }
	chain USER { }
}
table ip nat {
	chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local jump PORTS; }
	chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; ip saddr 172.17.0.0/16 oifname != "docker0" masquerade; }
	chain PORTS { tcp dport 9000 dnat to 172.17.0.2:80; }
}
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state established,related accept
		ct status dnat accept
		iifname "lh-*" accept
		oifname "lh-*" accept
	}
}
`

// site is a world in which the host is on a LAN with the neighbour, who knows a way to the containers:
//
//	neighbour 10.77.0.1 fd77::1 ═══ 10.77.0.2, .3 fd77::2, ::3 host ─ lh-shop, lh-back ─ containers
//	 └ 203.0.113.5, 2001:db8:9::5 behind it
//
// The host checks where packets come from as strictly as it can (rp_filter).
type site struct {
	*world
	// tables are what nft lists of others' tables.
	tables string
}

// newSite makes a site; call says whether bridges call the host's rules for packets.
func newSite(t *testing.T, networks string, call bool) *site {
	t.Helper()
	nettest.Need(t, nettest.NFT)
	s := &site{world: newWorld(t, networks)}
	s.Host.CallBridge(t, call)
	s.Host.Do(t, func() {
		for _, p := range []string{"10.77.0.2/24", "10.77.0.3/24", "fd77::2/64", "fd77::3/64"} {
			nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix(p))
		}
		nettest.WriteSysctl(t, "ipv4/conf/all/rp_filter", "1")
		nettest.WriteSysctl(t, "ipv4/conf/"+nettest.Parent+"/rp_filter", "1")
		nettest.WriteSysctl(t, "ipv4/conf/"+nettest.Parent+"/forwarding", "1")
		nettest.WriteSysctl(t, "ipv6/conf/all/forwarding", "1")
	})
	s.Neighbour.Do(t, func() {
		nettest.AddAddress(t, "lo", netip.MustParsePrefix("203.0.113.5/32"))
		nettest.AddAddress(t, "lo", netip.MustParsePrefix("2001:db8:9::5/128"))
	})
	for _, up := range []*nettest.Space{s.Host, s.Neighbour} {
		change(t, up, "lo", netlink.LinkSetUp)
	}
	s.route(t, s.Host, "0.0.0.0/0", "10.77.0.1")
	s.route(t, s.Host, "::/0", "fd77::1")
	s.route(t, s.Neighbour, "172.16.0.0/12", "10.77.0.2")
	s.route(t, s.Neighbour, "fd30::/12", "fd77::2")
	s.admin(t, foreign)
	s.Host.Remember(t)
	s.tables = s.others(t)
	return s
}

// route adds a route to a namespace.
func (s *site) route(t *testing.T, in *nettest.Space, to, via string) {
	t.Helper()
	in.Do(t, func() {
		_, dst, err := net.ParseCIDR(to)
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: addr(via).AsSlice()})
		}
		if err != nil {
			t.Fatalf("add route %s: %v", to, err)
		}
	})
}

// admin runs nft(8) on the host with a script.
func (s *site) admin(t *testing.T, script string) string {
	t.Helper()
	var out []byte
	s.Host.Do(t, func() {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		var err error
		if out, err = cmd.CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
	})
	return string(out)
}

// tablesOf lists the tables of lanhook's, or those of all others.
func (s *site) tablesOf(t *testing.T, lanhook bool) string {
	t.Helper()
	var list strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(s.admin(t, "list tables")), "\n") {
		if strings.HasSuffix(line, " lanhook") == lanhook && line != "" {
			list.WriteString(s.nft(t, "--stateless", "list", line))
		}
	}
	return list.String()
}

// others lists the tables that are not lanhook's.
func (s *site) others(t *testing.T) string { return s.tablesOf(t, false) }

// mentions says how often a text stands in lanhook's tables.
func (s *site) mentions(t *testing.T, text string) int {
	t.Helper()
	return strings.Count(s.tablesOf(t, true), text)
}

// untouched fails the test unless all that was on the host before is there and the same while containers are attached: links,
// addresses, routes, settings, and the rules of others.
func (s *site) untouched(t *testing.T) {
	t.Helper()
	if diff := cmp.Diff(s.tables, s.others(t)); diff != "" {
		t.Errorf("rules of others (-before +now):\n%s", diff)
	}
	now := strings.Split(s.Host.Snapshot(t), "\n")
	for line := range strings.SplitSeq(s.Host.Remembered(), "\n") {
		ours := strings.HasPrefix(line, "nft ") || strings.HasPrefix(line, " ") || strings.Contains(line, "ip_local_reserved_ports")
		if !ours && !slices.Contains(now, line) {
			t.Errorf("gone or changed: %s", line)
		}
	}
}

// resetSettings has the host's settings be what they were.
func (s *site) resetSettings(t *testing.T) {
	t.Helper()
	s.Host.Do(t, func() {
		for line := range strings.SplitSeq(s.Host.Remembered(), "\n") {
			if setting, found := strings.CutPrefix(line, "setting "); found {
				name, value, _ := strings.Cut(setting, " ")
				nettest.WriteSysctl(t, name, value+"\n")
			}
		}
	})
}

// over fails the test unless nothing foreign is touched, and then detaches the containers and fails it unless nothing is
// left.
func (s *site) over(t *testing.T, boxes ...*box) {
	t.Helper()
	s.untouched(t)
	s.done(t, boxes...)
	if left := s.tablesOf(t, true); left != "" {
		t.Errorf("of lanhook's rules there are left:\n%s", left)
	}
}

// at starts a container that is attached to a network, with the number n as the last part of its addresses, and that serves
// port 80 by TCP and UDP.
func (s *site) at(t *testing.T, id, network, n string, annotations ...string) *box {
	t.Helper()
	b := s.box(t, id)
	b.attach(t, append(annotations, "network="+network+",ip="+prefix4(network)+n+",ip="+prefix6(network)+n)...)
	b.serves(t, 80)
	return b
}

// serves has a container answer on ports, in both families and by TCP and UDP.
func (b *box) serves(t *testing.T, ports ...uint16) {
	t.Helper()
	for _, port := range ports {
		b.Serve(t, "tcp", netip.AddrPortFrom(netip.IPv6Unspecified(), port))
		b.Serve(t, "udp", netip.AddrPortFrom(netip.IPv6Unspecified(), port))
	}
}

func prefix4(network string) string {
	if network == "back" {
		return "172.29.0."
	}
	return "172.31.0."
}

func prefix6(network string) string {
	if network == "back" {
		return "fd32::"
	}
	return "fd31::"
}

// question is what somebody asks and what he is answered, see [nettest.Space.Gets].
type question struct {
	name     string
	from     *nettest.Space
	to, want string
}

// asks puts questions by TCP and by UDP.
func asks(t *testing.T, list ...question) {
	t.Helper()
	asksBy(t, "tcp", list...)
	asksBy(t, "udp", list...)
}

// asksBy puts questions all at once: most of the time goes by where no answer is wanted.
func asksBy(t *testing.T, network string, list ...question) {
	t.Helper()
	wrong := make([]string, len(list))
	var all sync.WaitGroup
	for i, q := range list {
		all.Go(func() { wrong[i] = q.from.Wrong(t, network, netip.AddrPort{}, q.to, q.want) })
	}
	all.Wait()
	for i, q := range list {
		t.Run(q.name+" "+network+" "+q.to, func(t *testing.T) {
			if wrong[i] != "" {
				t.Error(wrong[i])
			}
		})
	}
}
