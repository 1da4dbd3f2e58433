//go:build linux

package kernel_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// flow is a tracked connection: its first packet, and who answers it to whom.
type flow struct {
	protocol          uint8
	from, to          string
	answers, answered string
}

func (f flow) add(t testing.TB) {
	t.Helper()
	side := func(from, to string) *netlink.IPTuple {
		a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
		return &netlink.IPTuple{
			Protocol: f.protocol, SrcIP: net.IP(a.Addr().AsSlice()), DstIP: net.IP(b.Addr().AsSlice()), SrcPort: a.Port(), DstPort: b.Port(),
		}
	}
	c := &netlink.ConntrackFlow{
		FamilyType: unix.AF_INET, Forward: *side(f.from, f.to), Reverse: *side(f.answers, f.answered), TimeOut: 600,
	}
	table := netlink.InetFamily(unix.AF_INET)
	if netip.MustParseAddrPort(f.from).Addr().Is6() {
		c.FamilyType, table = unix.AF_INET6, unix.AF_INET6
	}
	if f.protocol == unix.IPPROTO_TCP {
		c.ProtoInfo = &netlink.ProtoInfoTCP{State: 3}
	}
	if err := netlink.ConntrackCreate(netlink.ConntrackTable, table, c); err != nil {
		t.Fatalf("%v: %v", f, err)
	}
}

func flows(t *testing.T, s *nettest.Space) []flow {
	t.Helper()
	var list []flow
	s.Do(t, func() {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			all, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range all {
				text := func(ip net.IP, port uint16) string {
					a, _ := netip.AddrFromSlice(ip)
					return netip.AddrPortFrom(a.Unmap(), port).String()
				}
				o, r := f.Forward, f.Reverse
				list = append(list, flow{
					o.Protocol, text(o.SrcIP, o.SrcPort), text(o.DstIP, o.DstPort), text(r.SrcIP, r.SrcPort), text(r.DstIP, r.DstPort),
				})
			}
		}
	})
	return list
}

const (
	tcp = unix.IPPROTO_TCP
	udp = unix.IPPROTO_UDP
)

// each puts flows into the table, runs a step and compares what is left.
func each(t *testing.T, n *nettest.Net, all map[string]flow, gone []string, step func()) {
	t.Helper()
	n.Host.Do(t, func() {
		for _, f := range all {
			f.add(t)
		}
	})
	step()
	var want, got []string
	left := flows(t, n.Host)
	for name, f := range all {
		if slices.Contains(left, f) {
			got = append(got, name)
		}
		if !slices.Contains(gone, name) {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	n.Host.Do(t, func() {
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			t.Fatal(err)
		}
	})
}

// What a container had, in either direction and translated or not, is forgotten with its rules, and nothing else.
func TestForgetHolder(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	all := map[string]flow{
		"out":                {tcp, "172.30.0.2:5000", "8.8.8.8:443", "8.8.8.8:443", "172.30.0.2:5000"},
		"out, masqueraded":   {udp, "172.30.0.2:5001", "8.8.8.8:53", "8.8.8.8:53", "198.18.0.1:5001"},
		"in, published":      {tcp, "192.0.2.9:6000", "198.18.0.1:8080", "172.30.0.2:80", "192.0.2.9:6000"},
		"in, routed":         {udp, "192.0.2.9:6001", "172.30.0.2:53", "172.30.0.2:53", "192.0.2.9:6001"},
		"IPv6 out":           {tcp, "[fd00:30::2]:5000", "[2001:db8::9]:443", "[2001:db8::9]:443", "[fd00:30::2]:5000"},
		"IPv6 in, published": {tcp, "[2001:db8::9]:6000", "[2001:2::1]:8080", "[fd00:30::2]:80", "[2001:db8::9]:6000"},
		"neighbour's":        {tcp, "172.30.0.3:5000", "8.8.8.8:443", "8.8.8.8:443", "198.18.0.1:5000"},
		"host's":             {tcp, "198.18.0.1:5005", "8.8.8.8:443", "8.8.8.8:443", "198.18.0.1:5005"},
		"IPv6 of another":    {udp, "[fd00:30::3]:5000", "[2001:db8::9]:53", "[2001:db8::9]:53", "[fd00:30::3]:5000"},
		"other ports":        {tcp, "192.0.2.9:6000", "198.18.0.1:9090", "172.30.0.4:80", "192.0.2.9:6000"},
	}
	addresses := []netip.Addr{addr("172.30.0.2"), addr("fd00:30::2")}
	port := []plan.Publish{{Protocol: request.TCP, Addr: addr("0.0.0.0"), Host: 8080, Count: 1, To: netip.MustParseAddrPort("172.30.0.2:80")}}
	out := []string{"out", "out, masqueraded", "IPv6 out"}
	whole := append(slices.Clone(out), "in, published", "in, routed", "IPv6 in, published")
	for name, c := range map[string]struct {
		rules plan.Rules
		gone  []string
	}{
		"PP-16 published": {plan.Rules{Gate: plan.NAT, Publish: port}, whole},
		"whole address": {
			plan.Rules{Gate: plan.NAT, DNAT: []plan.Translation{{From: addr("198.18.0.1"), To: addr("172.30.0.2")}}}, whole,
		},
		"nothing published":                  {plan.Rules{Gate: plan.NAT}, out},
		"routed":                             {plan.Rules{Gate: plan.Routed}, out},
		"another's bridge, published":        {plan.Rules{Publish: port}, whole},
		"another's bridge, masqueraded":      {plan.Rules{Masquerade: addresses[:1]}, out},
		"another's bridge, without a rule":   {plan.Rules{}, nil},
		"BR-17 nothing goes out or comes in": {plan.Rules{Gate: plan.Closed}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.rules.Bridge, c.rules.Port, c.rules.Addresses = "lh-apps", "lhabcdefghija", addresses
			each(t, n, all, c.gone, func() { run(t, k, plan.DelRules{Record: "abcdefghij", Of: []plan.Rules{c.rules}}) })
		})
	}
}

// What was sent to a port of UDP before it was published would never reach the container.
func TestForgetUntranslated(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	h := openHost(t, n)
	all := map[string]flow{
		"to the port":               {udp, "192.0.2.9:6000", "198.18.0.1:53", "198.18.0.1:53", "192.0.2.9:6000"},
		"to the port, second":       {udp, "192.0.2.9:6001", "198.18.0.1:54", "198.18.0.1:54", "192.0.2.9:6001"},
		"to the port, translated":   {udp, "192.0.2.9:6002", "198.18.0.1:53", "172.30.0.9:53", "192.0.2.9:6002"},
		"to the container":          {udp, "192.0.2.9:6003", "198.18.0.1:53", "172.30.0.2:53", "192.0.2.9:6003"},
		"of TCP":                    {tcp, "192.0.2.9:6000", "198.18.0.1:53", "198.18.0.1:53", "192.0.2.9:6000"},
		"to elsewhere":              {udp, "172.30.0.3:6000", "8.8.8.8:53", "8.8.8.8:53", "198.18.0.1:6000"},
		"to another port":           {udp, "192.0.2.9:6000", "198.18.0.1:99", "198.18.0.1:99", "192.0.2.9:6000"},
		"IPv6 to the port":          {udp, "[2001:db8::9]:6000", "[2001:2::1]:53", "[2001:2::1]:53", "[2001:db8::9]:6000"},
		"IPv6 to elsewhere":         {udp, "[fd00:30::3]:6000", "[2001:db8::8]:53", "[2001:db8::8]:53", "[fd00:30::3]:6000"},
		"IPv6 to another":           {udp, "[2001:db8::9]:6000", "[2001:2::7]:53", "[2001:2::7]:53", "[2001:db8::9]:6000"},
		"from the port":             {udp, "198.18.0.1:53", "192.0.2.9:7000", "192.0.2.9:7000", "198.18.0.1:53"},
		"to another of the host's":  {udp, "192.0.2.9:6000", "198.18.0.7:53", "198.18.0.7:53", "192.0.2.9:6000"},
		"to another's second port":  {udp, "192.0.2.9:6000", "198.18.0.7:54", "198.18.0.7:54", "192.0.2.9:6000"},
		"to another's further port": {udp, "192.0.2.9:6000", "198.18.0.7:99", "198.18.0.7:99", "192.0.2.9:6000"},
	}
	n.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.CanaryVeth, prefix("198.18.0.7/24"))
		nettest.AddAddress(t, nettest.CanaryVeth, prefix("2001:2::7/64"))
	})
	n.Host.Remember(t)
	publish := func(protocol request.Protocol, host string, port uint16, count int, to string) plan.Rules {
		return plan.Rules{Publish: []plan.Publish{{
			Protocol: protocol, Addr: addr(host), Host: port, Count: count, To: netip.AddrPortFrom(addr(to), 53),
		}}}
	}
	everywhere := []string{"to the port", "to the port, translated", "to another of the host's"}
	for name, c := range map[string]struct {
		rules []plan.Rules
		gone  []string
	}{
		"all addresses": {[]plan.Rules{publish(request.UDP, "0.0.0.0", 53, 1, "172.30.0.2")}, everywhere},
		"one address": {
			[]plan.Rules{publish(request.UDP, "198.18.0.1", 53, 1, "172.30.0.2")}, []string{"to the port", "to the port, translated"},
		},
		"range": {
			[]plan.Rules{publish(request.UDP, "0.0.0.0", 53, 2, "172.30.0.2")},
			append(slices.Clone(everywhere), "to the port, second", "to another's second port"),
		},
		"IPv6": {[]plan.Rules{publish(request.UDP, "::", 53, 1, "fd00:30::2")}, []string{"IPv6 to the port", "IPv6 to another"}},
		"both families": {
			[]plan.Rules{publish(request.UDP, "0.0.0.0", 53, 1, "172.30.0.2"), publish(request.UDP, "::", 53, 1, "fd00:30::2")},
			append(slices.Clone(everywhere), "IPv6 to the port", "IPv6 to another"),
		},
		"one address of IPv6": {[]plan.Rules{publish(request.UDP, "2001:2::1", 53, 1, "fd00:30::2")}, []string{"IPv6 to the port"}},
		"whole address": {
			[]plan.Rules{{DNAT: []plan.Translation{{From: addr("198.18.0.7"), To: addr("172.30.0.2")}}}},
			[]string{"to another of the host's", "to another's second port", "to another's further port"},
		},
		"TCP": {[]plan.Rules{publish(request.TCP, "0.0.0.0", 53, 1, "172.30.0.2")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range c.rules {
				c.rules[i].Bridge, c.rules[i].Port = "lh-apps", fmt.Sprintf("lhabcdefghij%c", 'a'+i)
			}
			s := plan.AddRules{Record: "abcdefghij", Of: c.rules}
			k := h.KernelByID(-1, nil)
			k.Renew = func(context.Context) error { return h.RenewRules([]plan.AddRules{s}) }
			each(t, n, all, c.gone, func() { run(t, k, s) })
			each(t, n, all, c.gone, func() { run(t, k, s) }) // by adding what is there
			each(t, n, all, c.gone, func() {
				if err := h.RenewRules([]plan.AddRules{s}); err != nil {
					t.Fatal(err)
				}
			})
			run(t, k, plan.ReleaseRules{})
		})
	}
}

// A table with many connections is read in many pieces.
func TestForgetAmongMany(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	all := map[string]flow{}
	var gone []string
	for i := range 2100 { // more than is listed whole for two families
		name := fmt.Sprintf("to the port from %d", i)
		gone = append(gone, name)
		all[name] = flow{udp, fmt.Sprintf("192.0.2.9:%d", 1000+i), "198.18.0.1:53", "198.18.0.1:53", fmt.Sprintf("192.0.2.9:%d", 1000+i)}
		all[fmt.Sprintf("to elsewhere from %d", i)] = flow{
			udp, fmt.Sprintf("172.30.0.3:%d", 1000+i), "8.8.8.8:53", "8.8.8.8:53", fmt.Sprintf("198.18.0.1:%d", 1000+i),
		}
	}
	s := published()
	s.Of[0].Publish[0].Host = 53
	six := s.Of[0].Publish[0]
	six.Addr, six.To = addr("::"), netip.MustParseAddrPort("[fd00:30::2]:53")
	s.Of[0].Publish, s.Of[0].Addresses = append(s.Of[0].Publish, six), append(s.Of[0].Addresses, six.To.Addr())
	k.Renew = func(context.Context) error { return h.RenewRules([]plan.AddRules{s}) }
	each(t, n, all, gone, func() { run(t, k, s) })
	run(t, k, plan.ReleaseRules{})
}
