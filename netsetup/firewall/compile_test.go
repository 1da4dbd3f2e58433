//go:build linux

package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(list ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range list {
		all = append(all, addr(s))
	}
	return all
}

func published(p request.Protocol, host string, count int, to string) plan.Publish {
	from := netip.MustParseAddrPort(host)
	return plan.Publish{Protocol: p, Addr: from.Addr(), Host: from.Port(), Count: count, To: netip.MustParseAddrPort(to)}
}

// sample are records with something of everything.
func sample() []plan.AddRules {
	return []plan.AddRules{
		{Record: "aaaaaaaaaa", Of: []plan.Rules{{
			Bridge: "lh-apps", Port: "lhaaaaaaaaaaa", Gate: plan.NAT, ICC: true, Isolate: true,
			Addresses:  addrs("172.30.0.2", "fd00:30::2"),
			Masquerade: addrs("fd00:30::2"),
			SNAT:       []plan.Translation{{From: addr("172.30.0.2"), To: addr("198.51.100.7")}},
			DNAT:       []plan.Translation{{From: addr("198.51.100.9"), To: addr("172.30.0.2")}},
			Publish: []plan.Publish{
				published(request.TCP, "0.0.0.0:8080", 2, "172.30.0.2:80"),
				published(request.UDP, "127.0.0.1:53", 1, "172.30.0.2:53"),
				published(request.SCTP, "[2001:db8::1]:36412", 1, "[fd00:30::2]:36412"),
			},
			Detour: addrs("172.30.0.2", "fd00:30::2"), Unbound: addrs("172.30.0.2", "fd00:30::2"),
			Spoof: true, MAC: plan.MAC{2, 0, 0, 0, 0, 1}, Out: policy.Rate{Bits: 1_000_000, Burst: 65536},
		}}},
		{Record: "bbbbbbbbbb", Of: []plan.Rules{
			{
				Bridge: "lh-lab", Port: "lhbbbbbbbbbba", Gate: plan.Routed, Addresses: addrs("10.9.0.2"),
				Publish: []plan.Publish{published(request.TCP, "0.0.0.0:443", 1, "10.9.0.2:8443")},
			},
			{Bridge: "lh-in", Port: "lhbbbbbbbbbbb", Gate: plan.Closed, ICC: true, Addresses: addrs("10.8.0.2")},
			{Bridge: "br0", Port: "lhbbbbbbbbbbc", Addresses: addrs("192.0.2.2"), Masquerade: addrs("192.0.2.2")},
		}},
	}
}

// setOf finds where an element belongs.
func setOf(t *testing.T, e element) set {
	t.Helper()
	for _, table := range tables() {
		for _, s := range table.sets {
			if table.family == e.family && s.name == e.set {
				return s
			}
		}
	}
	t.Fatalf("there is no set %s in family %d", e.set, e.family)
	return set{}
}

// lines are elements as nft(8) shows them, of one family.
func lines(t *testing.T, f nftables.TableFamily, elements []element) []string {
	t.Helper()
	var all []string
	for _, e := range elements {
		if e.family == f {
			s := setOf(t, e)
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", s.name, e.text(s), e.record)))
		}
	}
	return all
}

func TestCompile(t *testing.T) {
	m, err := compile(sample())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"any4 tcp . 443 : 10.9.0.2 . 8443 bbbbbbbbbb",
		"any4 tcp . 8080 : 172.30.0.2 . 80 aaaaaaaaaa",
		"any4 tcp . 8081 : 172.30.0.2 . 81 aaaaaaaaaa",
		"bridges lh-apps",
		"bridges lh-in",
		"bridges lh-lab",
		"detour4 172.30.0.2 aaaaaaaaaa",
		"detour6 fd00:30::2 aaaaaaaaaa",
		"from lh-in : goto closed",
		"home4 10.8.0.2 . lh-in bbbbbbbbbb",
		"home4 10.9.0.2 . lh-lab bbbbbbbbbb",
		"home4 172.30.0.2 . lh-apps aaaaaaaaaa",
		"home4 192.0.2.2 . br0 bbbbbbbbbb",
		"home6 fd00:30::2 . lh-apps aaaaaaaaaa",
		"masquerade4 192.0.2.2 bbbbbbbbbb",
		"masquerade6 fd00:30::2 aaaaaaaaaa",
		"open lh-lab",
		"publish4 127.0.0.1 . udp . 53 : 172.30.0.2 . 53 aaaaaaaaaa",
		"publish6 2001:db8::1 . sctp . 36412 : fd00:30::2 . 36412 aaaaaaaaaa",
		"routed4 10.9.0.2 . tcp . 8443 bbbbbbbbbb",
		"same lh-apps . lh-apps",
		"same lh-in . lh-in",
		"settings lh-apps : nat icc",
		"settings lh-in : closed icc",
		"settings lh-lab : routed open",
		"snat4 172.30.0.2 : 198.51.100.7 aaaaaaaaaa",
		"to lh-apps : goto to_nat",
		"to lh-in : goto closed",
		"to lh-lab : goto to_routed",
		"unbound4 172.30.0.2 aaaaaaaaaa",
		"unbound6 fd00:30::2 aaaaaaaaaa",
		"whole4 198.51.100.9 : 172.30.0.2 aaaaaaaaaa",
	}
	if diff := cmp.Diff(want, lines(t, nftables.TableFamilyINet, m.elements)); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
}

// TestCompileLater: what the last record says of a bridge holds, and an IPv4 address is one however it is written.
func TestCompileLater(t *testing.T) {
	one := func(record string, gate plan.Gate, icc bool) plan.AddRules {
		return plan.AddRules{Record: record, Of: []plan.Rules{{
			Bridge: "lh-a", Port: "lh" + record, Gate: gate, ICC: icc, Isolate: true, Masquerade: addrs("::ffff:10.0.0.1"),
		}}}
	}
	m, err := compile([]plan.AddRules{one("first", plan.NAT, true), one("second", plan.Routed, false)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"bridges lh-a", "masquerade4 10.0.0.1 second", "settings lh-a : routed", "to lh-a : goto to_routed"}
	if diff := cmp.Diff(want, lines(t, nftables.TableFamilyINet, m.elements)); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
}

func TestCompileRefuses(t *testing.T) {
	valid := published(request.TCP, "0.0.0.0:80", 1, "10.0.0.1:80")
	with := func(change func(p *plan.Publish)) plan.Rules {
		p := valid
		change(&p)
		return plan.Rules{Publish: []plan.Publish{p}}
	}
	many := plan.Rules{}
	for range 3 {
		many.Publish = append(many.Publish, published(request.TCP, "0.0.0.0:1", 65535, "10.0.0.1:1"))
	}
	for name, test := range map[string]struct {
		rules  plan.Rules
		record string
		want   string
	}{
		"record without a name": {record: " ", want: "cannot be a comment"},
		"long record":           {record: strings.Repeat("x", 128), want: "128 bytes cannot be a comment"},
		"long bridge":           {rules: plan.Rules{Bridge: strings.Repeat("x", 16)}, want: "is no name of a link"},
		"port with a slash":     {rules: plan.Rules{Port: "a/b"}, want: `"a/b" is no name of a link`},
		"gate":                  {rules: plan.Rules{Gate: plan.Closed + 1}, want: "there is no gate 4"},
		"no address":            {rules: plan.Rules{Addresses: make([]netip.Addr, 1)}, want: "is no address"},
		"zone":                  {rules: plan.Rules{Masquerade: addrs("fe80::1%eth0")}, want: `"fe80::1%eth0" is no address`},
		"detour of a zone":      {rules: plan.Rules{Detour: addrs("fe80::1%eth0")}, want: `"fe80::1%eth0" is no address`},
		"two families": {
			rules: plan.Rules{SNAT: []plan.Translation{{From: addr("10.0.0.1"), To: addr("fd00::1")}}}, want: "cannot become fd00::1",
		},
		"protocol":         {rules: with(func(p *plan.Publish) { p.Protocol = 3 }), want: "there is no protocol 3"},
		"port 0":           {rules: with(func(p *plan.Publish) { p.Host = 0 }), want: "ports 0 and 80 cannot be the first of 1"},
		"none":             {rules: with(func(p *plan.Publish) { p.Count = 0 }), want: "the first of 0"},
		"beyond the last":  {rules: with(func(p *plan.Publish) { p.Count = 65457 }), want: "the first of 65457"},
		"family of a port": {rules: with(func(p *plan.Publish) { p.Addr = addr("::") }), want: "ports of :: cannot go to 10.0.0.1"},
		"too many":         {rules: many, want: "more than 65536 ports"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.rules.Bridge == "" {
				test.rules.Bridge = "lh-a"
			}
			if test.rules.Port == "" {
				test.rules.Port = "lhport"
			}
			record := strings.TrimSpace(test.record)
			if test.record == "" {
				record = "aaaaaaaaaa"
			}
			_, err := compile([]plan.AddRules{{Record: record, Of: []plan.Rules{test.rules}}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

// FuzzCompile reads steps as they are in a record, and looks at what is made of them.
func FuzzCompile(f *testing.F) {
	for _, some := range [][]plan.AddRules{sample(), sample()[:1], sample()[1:], nil} {
		var steps plan.Steps
		for _, a := range some {
			steps = append(steps, a)
		}
		data, err := steps.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var steps plan.Steps
		if steps.UnmarshalBinary(data) != nil {
			return
		}
		var all []plan.AddRules
		records := map[string]bool{}
		ports := 0
		for _, s := range steps {
			if a, ok := s.(plan.AddRules); ok {
				all = append(all, a)
				records[a.Record] = true
				ports += portsOf(a)
			}
		}
		if ports > 1<<12 {
			return // Nothing new, and slow.
		}
		m, err := compile(all)
		if err != nil {
			return
		}
		again, err := compile(all)
		if err != nil || !slices.Equal(m.elements, again.elements) {
			t.Fatalf("compiled twice it is not the same: %v", err)
		}
		elementsFit(t, m.elements, records)
	})
}

// portsOf is how many ports a record publishes.
func portsOf(a plan.AddRules) int {
	n := 0
	for _, r := range a.Of {
		for _, p := range r.Publish {
			n += max(p.Count, 0) & 0xffff
		}
	}
	return n
}

// elementsFit checks that the kernel takes the elements: each has a place of its own in a set that there is, the sizes of
// its types, and an owner; and they are in order, so that one message is of one set.
func elementsFit(t *testing.T, elements []element, records map[string]bool) {
	t.Helper()
	shared := []string{setBridges, setSame, setOpen, setFrom, setTo, setSettings}
	for i, e := range elements {
		s := setOf(t, e)
		if len(e.key) != int(typeOf(s.key).Bytes) {
			t.Errorf("key of %d bytes in %s", len(e.key), s)
		}
		switch {
		case s.verdicts() && e.value == "":
		case s.isMap() != (e.value != ""), s.isMap() && len(e.value) != int(typeOf(s.data).Bytes), e.chain != "":
			t.Errorf("value of %d bytes, chain %q in %s", len(e.value), e.chain, s)
		}
		if !records[e.record] && (e.record != "" || !slices.Contains(shared, e.set)) {
			t.Errorf("element of %s has the owner %q", s, e.record)
		}
		if len(e.record) >= maxComment {
			t.Errorf("comment of %d bytes", len(e.record))
		}
		if i > 0 && compare(elements[i-1], e) >= 0 {
			t.Errorf("elements of %s out of order", s)
		}
	}
	for _, some := range messages(elements) {
		size := 0
		for _, e := range some {
			if !e.sameSet(some[0]) {
				t.Errorf("one message for %s and %s", some[0].set, e.set)
			}
			size += e.size()
		}
		if size > maxElements {
			t.Errorf("elements of %d bytes in one message", size)
		}
	}
}
