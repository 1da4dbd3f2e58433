//go:build linux

package netsetup_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestSourceRouting asks a container on two LANs for each of its addresses, from behind the router between them.
func TestSourceRouting(t *testing.T) {
	t.Run("each address is answered by its own link", func(t *testing.T) {
		l := newLANs(t, twoLANs)
		b := l.both(t)
		near, far := watch(t, l.router, nettest.PeerName), watch(t, l.router, farEnd)
		asksBy(t, "tcp",
			question{"by the default route's link", l.client, "10.77.0.9:80", "c 198.51.100.5"},
			question{"by the other link", l.client, "10.88.0.9:80", "c 198.51.100.5"},
			question{"by the default route's link", l.client, "[fd77::9]:80", "c fd99::5"},
			question{"by the other link", l.client, "[fd88::9]:80", "c fd99::5"},
		)
		for _, a := range []string{"10.77.0.9", "10.88.0.9", "fd77::9", "fd88::9"} {
			l.client.Ping(t, addr(a))
			l.router.Ping(t, addr(a)) // a neighbour
		}
		// A neighbour of one LAN asks for the address on the other.
		l.router.GetsFrom(t, "tcp", netip.MustParseAddrPort("10.77.0.1:0"), "10.88.0.9:80", "c 10.77.0.1")
		l.router.GetsFrom(t, "tcp", netip.MustParseAddrPort("[fd77::1]:0"), "[fd88::9]:80", "c fd77::1")
		seen := map[string][]string{"near": near(), "far": far()}
		for _, c := range []struct{ lan, address, other string }{
			{"near", "10.77.0.9", "far"}, {"near", "fd77::9", "far"}, {"far", "10.88.0.9", "near"}, {"far", "fd88::9", "near"},
		} {
			if got := from(seen[c.lan], c.address); len(got) < 2 {
				t.Errorf("on the %s LAN there is %q from %s, want answers to router and client", c.lan, got, c.address)
			}
			if got := from(seen[c.other], c.address); len(got) > 0 {
				t.Errorf("on the %s LAN there is %q", c.other, got)
			}
		}
		l.done(t, b)
	})
	t.Run("without it the other link's answers get lost", func(t *testing.T) {
		l := newLANs(t, without(twoLANs))
		b := l.both(t)
		near, far := watch(t, l.router, nettest.PeerName), watch(t, l.router, farEnd)
		asksBy(t, "tcp",
			question{"by the default route's link", l.client, "10.77.0.9:80", "c 198.51.100.5"},
			question{"by the other link", l.client, "10.88.0.9:80", ""},
		)
		l.client.NoPing(t, addr("10.88.0.9"))
		l.client.Ping(t, addr("fd88::9")) // of IPv6 the router asks no such question
		if got := from(near(), "10.88.0.9"); len(got) == 0 {
			t.Error("no answer went by the wrong link")
		}
		if got := from(far(), "fd88::9"); len(got) > 0 {
			t.Errorf("answers went by the right link: %q", got)
		}
		rulesOfBox(t, b)
		l.done(t, b)
	})
	t.Run("one alone has no rules", func(t *testing.T) {
		l := newLANs(t, twoLANs)
		b := l.box(t, "c")
		b.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9")
		rulesOfBox(t, b)
		if text := b.Snapshot(t); strings.Contains(text, "conf/eth0/rp_filter 2") {
			t.Error("rp_filter was set")
		}
		l.done(t, b)
	})
}

// without switches source routing off for networks.
func without(networks string) string {
	return strings.ReplaceAll(networks, "driver", "source-routing = false\ndriver")
}

// rulesOfBox fails the test unless the container has rules from these addresses.
func rulesOfBox(t *testing.T, b *box, want ...string) {
	t.Helper()
	ns, closeNS := b.open(t)
	defer closeNS()
	rules, err := ns.Rules()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rules {
		if !plan.OwnTable(r.Table) || r.Priority != 27752 {
			t.Errorf("there is a rule %+v", r)
		}
		got = append(got, r.From.String())
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestARP has two interfaces of one container on one LAN.
func TestARP(t *testing.T) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprintf("source routing off %t", off), func(t *testing.T) {
			networks := twoLANs
			if off {
				networks = without(networks)
			}
			l := newLANs(t, networks)
			b := l.box(t, "c")
			r := b.attach(t, "network=near,ip=10.77.0.8", "network.eth1=near,ip=10.77.0.9")
			seen := watch(t, l.router, nettest.PeerName)
			asksARP(t, l.router, nettest.PeerName, addr("10.77.0.1"), addr("10.77.0.8"))
			asksARP(t, l.router, nettest.PeerName, addr("10.77.0.1"), addr("10.77.0.9"))
			var want []string
			for i, a := range []string{"10.77.0.8", "10.77.0.9"} {
				for j := range r.Interfaces {
					if i == j || off {
						want = append(want, fmt.Sprintf("arp %s is-at %s", a, r.Interfaces[j].MAC))
					}
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.DeleteFunc(seen(), func(l string) bool { return !strings.HasPrefix(l, "arp ") })); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			l.done(t, b)
		})
	}
}

// defaults are the default routes of a container, in the kernel's order: "eth0 10.77.0.1 metric 0".
func (b *box) defaults(t *testing.T) []string {
	t.Helper()
	type found struct {
		metric int
		text   string
	}
	var lines []string
	b.Do(t, func() {
		for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			list, err := netlink.RouteListFiltered(f, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
			if err != nil {
				t.Fatal(err)
			}
			var all []found
			for _, r := range list {
				ones := 0
				if r.Dst != nil {
					ones, _ = r.Dst.Mask.Size()
				}
				if ones != 0 || r.Gw == nil {
					continue
				}
				l, err := netlink.LinkByIndex(r.LinkIndex)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, found{r.Priority, fmt.Sprintf("%s %s metric %d", l.Attrs().Name, r.Gw, r.Priority)})
			}
			slices.SortFunc(all, func(x, y found) int { return x.metric - y.metric })
			for _, f := range all {
				lines = append(lines, f.text)
			}
		}
	})
	return lines
}

func (b *box) hasDefaults(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.defaults(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("default routes (-want +got):\n%s", diff)
	}
}

// TestDefaultRoutes looks who has the default routes, and that the next one is taken when the first one's link goes.
func TestDefaultRoutes(t *testing.T) {
	metric := func(network, n string) string {
		return strings.Replace(twoLANs, "[network."+network+"]", "[network."+network+"]\nmetric = "+n, 1)
	}
	for _, c := range []struct {
		name, policy string
		options      []string
		want         []string
	}{
		{"MV-13 the first of equals", twoLANs, nil, []string{
			"eth0 10.77.0.1 metric 0", "eth1 10.88.0.1 metric 2048", "eth0 fd77::1 metric 1024", "eth1 fd88::1 metric 2048",
		}},
		{"asked for", twoLANs, []string{"", ",default-route=true"}, []string{
			"eth1 10.88.0.1 metric 0", "eth0 10.77.0.1 metric 2048", "eth1 fd88::1 metric 1024", "eth0 fd77::1 metric 2048",
		}},
		{"with a priority", twoLANs, []string{"", ",default-route=50"}, []string{
			"eth1 10.88.0.1 metric 50", "eth0 10.77.0.1 metric 2048", "eth1 fd88::1 metric 50", "eth0 fd77::1 metric 2048",
		}},
		{"both with a priority", twoLANs, []string{",default-route=70", ",default-route=50"}, []string{
			"eth1 10.88.0.1 metric 50", "eth0 10.77.0.1 metric 70", "eth1 fd88::1 metric 50", "eth0 fd77::1 metric 70",
		}},
		{"MV-11 one without", twoLANs, []string{",default-route=false"}, []string{
			"eth1 10.88.0.1 metric 0", "eth1 fd88::1 metric 1024",
		}},
		{"MV-13 a network's metric", metric("near", "300"), nil, []string{
			"eth1 10.88.0.1 metric 0", "eth0 10.77.0.1 metric 300", "eth1 fd88::1 metric 1024", "eth0 fd77::1 metric 2048",
		}},
		{"one gateway for each family", strings.NewReplacer("\n  gateway = \"fd77::1\"", "", "\n  gateway = \"10.88.0.1\"", "").Replace(twoLANs), nil, []string{
			"eth0 10.77.0.1 metric 0", "eth1 fd88::1 metric 1024",
		}},
		{"MV-12 an internal network", strings.Replace(twoLANs, "[network.near]", "[network.near]\ninternal = true", 1), nil, []string{
			"eth1 10.88.0.1 metric 0", "eth1 fd88::1 metric 1024",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLANs(t, c.policy)
			b := l.both(t, c.options...)
			b.hasDefaults(t, c.want...)
			l.done(t, b)
		})
	}
	t.Run("taken over when the owner's link goes", func(t *testing.T) {
		l := newLANs(t, twoLANs)
		b := l.both(t)
		near, far := watch(t, l.router, nettest.PeerName), watch(t, l.router, farEnd)
		b.Ping(t, addr("198.51.100.5"))
		b.Ping(t, addr("fd99::5"))
		if got := slices.Concat(from(near(), "10.77.0.9"), from(far(), "10.88.0.9")); !slices.Equal(got, []string{"10.77.0.9 to 198.51.100.5"}) {
			t.Errorf("it sent %q", got)
		}
		change(t, b.Space, "eth0", netlink.LinkDel)
		b.Ping(t, addr("198.51.100.5"))
		b.Ping(t, addr("fd99::5"))
		b.hasDefaults(t, "eth1 10.88.0.1 metric 2048", "eth1 fd88::1 metric 2048")
		l.done(t, b)
	})
	t.Run("for one family alone", func(t *testing.T) {
		l := newLANs(t, strings.Replace(twoLANs, "\n  gateway = \"fd77::1\"", "", 1))
		b := l.both(t)
		b.hasDefaults(t, "eth0 10.77.0.1 metric 0", "eth1 10.88.0.1 metric 2048", "eth1 fd88::1 metric 1024")
		b.Ping(t, addr("198.51.100.5"))
		b.Ping(t, addr("fd99::5"))
		change(t, b.Space, "eth0", netlink.LinkDel)
		b.Ping(t, addr("198.51.100.5"))
		b.Ping(t, addr("fd99::5"))
		l.done(t, b)
	})
}

// TestLater attaches the second network later, as another record of the namespace: the first one's interface was alone.
func TestLater(t *testing.T) {
	const nearAlone, farLater = "network=near,ip=10.77.0.9,ip=fd77::9", "network.eth1=far,ip=10.88.0.9,ip=fd88::9"
	answers := func(t *testing.T, l *lans) {
		t.Helper()
		asksBy(t, "tcp",
			question{"the first", l.client, "10.77.0.9:80", "c 198.51.100.5"}, question{"the second", l.client, "10.88.0.9:80", "c 198.51.100.5"},
			question{"the first", l.client, "[fd77::9]:80", "c fd99::5"}, question{"the second", l.client, "[fd88::9]:80", "c fd99::5"},
		)
		l.router.GetsFrom(t, "tcp", netip.MustParseAddrPort("10.88.0.1:0"), "10.77.0.9:80", "c 10.88.0.1")
		l.router.GetsFrom(t, "tcp", netip.MustParseAddrPort("[fd88::1]:0"), "[fd77::9]:80", "c fd88::1")
	}
	start := func(t *testing.T) (*lans, *box, string) {
		t.Helper()
		l := newLANs(t, twoLANs)
		b := l.box(t, "c")
		b.attach(t, nearAlone)
		b.serves(t, 80)
		rulesOfBox(t, b)
		var before string
		nettest.Eventually(t, "the first link is at rest", func() bool {
			last := before
			before = b.Snapshot(t)
			return before == last && strings.Contains(before, "route fd77::9/128 ")
		})
		b.attach(t, farLater)
		rulesOfBox(t, b, "10.77.0.9", "10.88.0.9", "fd77::9", "fd88::9")
		b.hasDefaults(t, "eth0 10.77.0.1 metric 0", "eth1 10.88.0.1 metric 2048", "eth0 fd77::1 metric 1024", "eth1 fd88::1 metric 2048")
		answers(t, l)
		return l, b, before
	}
	t.Run("the second is detached first", func(t *testing.T) {
		l, b, before := start(t)
		for _, rec := range l.recordsOf(t, "c") {
			if rec.Interfaces[0].Name == "eth1" {
				if err := l.setup.Release(t.Context(), rec.Ref()); err != nil {
					t.Error(err)
				}
			}
		}
		same(t, before, b.Space)
		l.done(t, b)
	})
	t.Run("the first is detached first", func(t *testing.T) {
		l, b, _ := start(t)
		for _, rec := range l.recordsOf(t, "c") {
			if rec.Interfaces[0].Name == "eth0" {
				if err := l.setup.Release(t.Context(), rec.Ref()); err != nil {
					t.Error(err)
				}
			}
		}
		b.hasDefaults(t, "eth1 10.88.0.1 metric 2048", "eth1 fd88::1 metric 2048")
		b.Ping(t, addr("198.51.100.5"))
		b.Ping(t, addr("fd99::5"))
		l.done(t, b)
	})
	t.Run("another container of the pod", func(t *testing.T) {
		l := newLANs(t, twoLANs)
		p := l.pod(t)
		p.start(t, "a", nearAlone)
		p.start(t, "b", farLater)
		rulesOfBox(t, p.box, "10.77.0.9", "10.88.0.9", "fd77::9", "fd88::9")
		p.hasDefaults(t, "eth0 10.77.0.1 metric 0", "eth1 10.88.0.1 metric 2048", "eth0 fd77::1 metric 1024", "eth1 fd88::1 metric 2048")
		p.stop(t, "a")
		p.hasDefaults(t, "eth1 10.88.0.1 metric 2048", "eth1 fd88::1 metric 2048")
		p.Ping(t, addr("198.51.100.5"))
		p.stop(t, "b")
		p.over(t)
	})
	t.Run("at once with another container of the pod", func(t *testing.T) {
		l := newLANs(t, twoLANs)
		p := l.pod(t)
		wants := []netsetup.Container{p.run(t, "a").container(t, nearAlone), p.run(t, "b").container(t, farLater)}
		together(t, len(wants), func(i int) error {
			_, err := l.setup.Attach(t.Context(), wants[i])
			return err
		})
		rulesOfBox(t, p.box, "10.77.0.9", "10.88.0.9", "fd77::9", "fd88::9")
		p.stop(t, "a")
		p.stop(t, "b")
		p.over(t)
	})
}

// TestEngineDefault attaches a container that an engine has given an interface with a default route.
func TestEngineDefault(t *testing.T) {
	l := newLANs(t, twoLANs)
	engine := l.Namespace(t, "engine")
	b := l.plainBox(t, "c")
	pair(t, b.Space, "eth0", engine, "e0")
	b.Do(t, func() {
		nettest.AddAddress(t, "eth0", netip.MustParsePrefix("172.17.0.2/16"))
		nettest.AddAddress(t, "eth0", netip.MustParsePrefix("fd17::2/64"))
	})
	engine.Do(t, func() {
		nettest.AddAddress(t, "e0", netip.MustParsePrefix("172.17.0.1/16"))
		nettest.AddAddress(t, "e0", netip.MustParsePrefix("fd17::1/64"))
	})
	addRoute(t, b.Space, "0.0.0.0/0", "172.17.0.1")
	addRoute(t, b.Space, "::/0", "fd17::1")
	b.Remember(t)
	b.attach(t, "network.lan0=near,ip=10.77.0.9,ip=fd77::9")
	b.serves(t, 80)
	b.hasDefaults(t, "eth0 172.17.0.1 metric 0", "eth0 fd17::1 metric 1024")
	rulesOfBox(t, b, "10.77.0.9", "fd77::9")
	asksBy(t, "tcp",
		question{"from behind the router", l.client, "10.77.0.9:80", "c 198.51.100.5"},
		question{"from behind the router", l.client, "[fd77::9]:80", "c fd99::5"},
		question{"from the engine's side", engine, "172.17.0.2:80", "c 172.17.0.1"},
		question{"from the engine's side", engine, "[fd17::2]:80", "c fd17::1"},
	)
	l.done(t, b)
	// Docker's own interface comes only after the hook.
	late := l.box(t, "late")
	late.attach(t, "network.lan0=near,ip=10.77.0.9,ip=fd77::9,default-route=false")
	rulesOfBox(t, late, "10.77.0.9", "fd77::9")
	l.done(t, late)
}

// TestBlackholes has routes by which nothing is sent anywhere, whatever the source.
func TestBlackholes(t *testing.T) {
	l := newLANs(t, twoLANs)
	b := l.both(t, ",route=unreachable 198.51.100.0/24,route=unreachable fd99::/64")
	for _, a := range []string{"198.51.100.5", "fd99::5"} {
		b.NoPing(t, addr(a))
	}
	asksBy(t, "tcp",
		question{"by the first", l.client, "10.77.0.9:80", ""}, question{"by the second", l.client, "10.88.0.9:80", ""},
		question{"by the second", l.client, "[fd88::9]:80", ""},
	)
	l.router.GetsFrom(t, "tcp", netip.MustParseAddrPort("10.77.0.1:0"), "10.88.0.9:80", "c 10.77.0.1")
	l.done(t, b)
}

// TestCheckRules finds what somebody has taken away.
func TestCheckRules(t *testing.T) {
	l := newLANs(t, twoLANs)
	b := l.both(t)
	rec := l.records(t)[0]
	if drift, err := l.check(t, rec); err != nil || len(drift) > 0 {
		t.Errorf("just attached: %v (%v)", drift, err)
	}
	ns, closeNS := b.open(t)
	rules, err := ns.Rules()
	if err != nil || len(rules) != 4 {
		t.Fatalf("rules: %v (%v)", rules, err)
	}
	closeNS()
	b.Do(t, func() {
		for _, r := range rules {
			rule := netlink.NewRule()
			rule.Src, rule.Table, rule.Priority = netlink.NewIPNet(r.From.AsSlice()), r.Table, r.Priority
			if err := netlink.RuleDel(rule); err != nil {
				t.Fatal(err)
			}
		}
		list, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: rules[0].Table}, netlink.RT_FILTER_TABLE)
		if err != nil || len(list) != 2 {
			t.Fatalf("routes of the table: %v (%v)", list, err)
		}
		for _, r := range list {
			if err := netlink.RouteDel(&r); err != nil {
				t.Fatal(err)
			}
		}
	})
	drift, err := l.check(t, rec)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range drift {
		lines = append(lines, d.IfName+": "+d.What)
	}
	table := func(from string) int {
		return rules[slices.IndexFunc(rules, func(r kernel.Rule) bool { return r.From == addr(from) })].Table
	}
	near, far := table("10.77.0.9"), table("10.88.0.9")
	lost := near
	if rules[0].Table == far {
		lost = far
	}
	want := []string{
		fmt.Sprintf(": rule from 10.77.0.9 to table %d is gone", near), fmt.Sprintf(": rule from fd77::9 to table %d is gone", near),
		fmt.Sprintf(": rule from 10.88.0.9 to table %d is gone", far), fmt.Sprintf(": rule from fd88::9 to table %d is gone", far),
	}
	for _, w := range want {
		if !slices.Contains(lines, w) {
			t.Errorf("no %q among %q", w, lines)
		}
	}
	routes := slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return !strings.Contains(l, fmt.Sprintf(" table %d is gone", lost)) || strings.Contains(l, "rule")
	})
	if len(routes) != 2 || len(lines) != 6 {
		t.Errorf("drift is %q, want two routes of table %d and four rules", lines, lost)
	}
	l.done(t, b)
}

// TestRouterContainer has a container that is the router of one LAN: it has no default route there, and who asks by it for
// its address on the other one is answered where he is.
func TestRouterContainer(t *testing.T) {
	l := newLANs(t, strings.NewReplacer(`"10.88.0.1"`, `"10.88.0.100"`, `"fd88::1"`, `"fd88::100"`).Replace(twoLANs)+`
[[rule]]
match    = {}
networks = ["*"]
ip       = ["10.77.0.9/32", "fd77::9/128", "10.88.0.100/32", "fd88::100/128"]
`)
	addRoute(t, l.router, "10.77.0.9/32", "10.88.0.100")
	addRoute(t, l.router, "fd77::9/128", "fd88::100")
	b := l.box(t, "c")
	b.attach(t, "network=near,ip=10.77.0.9,ip=fd77::9", "network.eth1=far,ip=10.88.0.100,ip=fd88::100")
	b.serves(t, 80)
	b.hasDefaults(t, "eth0 10.77.0.1 metric 0", "eth0 fd77::1 metric 1024")
	near := watch(t, l.router, nettest.PeerName)
	l.router.GetsFrom(t, "tcp", netip.MustParseAddrPort("10.88.0.1:0"), "10.77.0.9:80", "c 10.88.0.1")
	l.router.GetsFrom(t, "tcp", netip.MustParseAddrPort("[fd88::1]:0"), "[fd77::9]:80", "c fd88::1")
	if got := near(); len(from(got, "10.77.0.9"))+len(from(got, "fd77::9")) > 0 {
		t.Errorf("it was answered by the other LAN: %q", got)
	}
	l.done(t, b)
}
