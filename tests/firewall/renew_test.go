//go:build linux

package firewall_test

import (
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/firewall"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// everything are records with something of everything.
func everything() []plan.AddRules {
	a := rules("aaaaaaaaaa", "2", 8080)
	of := &a.Of[0]
	of.Masquerade = of.Masquerade[1:]
	of.SNAT = []plan.Translation{{From: addr("172.30.0.2"), To: addr("198.51.100.7")}}
	of.DNAT = []plan.Translation{{From: addr("198.51.100.9"), To: addr("172.30.0.2")}}
	of.Publish = append(of.Publish,
		plan.Publish{Protocol: request.UDP, Addr: addr("127.0.0.1"), Host: 53, Count: 3, To: netip.MustParseAddrPort("172.30.0.2:53")},
		plan.Publish{Protocol: request.SCTP, Addr: addr("::"), Host: 36412, Count: 1, To: netip.MustParseAddrPort("[fd00:30::2]:36412")},
	)
	of.Detour = []netip.Addr{addr("172.30.0.2"), addr("fd00:30::2")}
	of.Unbound = of.Detour
	of.Spoof, of.MAC, of.Out = true, plan.MAC{2, 0, 0, 0, 0, 1}, policy.Rate{Bits: 1_000_000, Burst: 65536}
	b := plan.AddRules{Record: "bbbbbbbbbb", Of: []plan.Rules{
		{
			Bridge: "lh-lab", Port: "lhbbbbbbbbbba", Gate: plan.Routed, Addresses: []netip.Addr{addr("10.9.0.2")},
			Publish: []plan.Publish{
				{Protocol: request.TCP, Addr: addr("192.0.2.1"), Host: 443, Count: 1, To: netip.MustParseAddrPort("10.9.0.2:8443")},
			},
		},
		{Bridge: "lh-in", Port: "lhbbbbbbbbbbb", Gate: plan.Closed, ICC: true, Addresses: []netip.Addr{addr("10.8.0.2")}},
		{Bridge: "br0", Port: "lhbbbbbbbbbbc", Addresses: []netip.Addr{addr("192.0.2.2")}},
	}}
	return []plan.AddRules{a, b}
}

// TestRenew makes the tables, finds them as they should be, makes them again and releases them.
func TestRenew(t *testing.T) {
	h, c := host(t)
	renew(t, c, everything()...)
	first := nft(t, h, "list ruleset")
	renew(t, c, everything()...)
	if diff := cmp.Diff(first, nft(t, h, "list ruleset")); diff != "" {
		t.Errorf("renewed, the rules are not the same:\n%s", diff)
	}
	if got := tables(t, h); got != "table inet lanhook, table bridge lanhook" {
		t.Errorf("tables are %q", got)
	}
	// Without a port that is guarded or bounded there is nothing to do in the bridge table.
	renew(t, c, everything()[1])
	if got := tables(t, h); got != "table inet lanhook" {
		t.Errorf("tables are %q", got)
	}
	if d := drift(t, c); !slices.Equal(d, []string{"table inet lanhook is there, but no record needs it"}) {
		t.Errorf("without records the differences are %q", d)
	}
	release(t, c)
	release(t, c)
	asRecorded(t, c)
}

// TestRenewHeals damages the tables in every way, and has it told and mended.
func TestRenewHeals(t *testing.T) {
	all := everything()
	h, c := host(t)
	renew(t, c, all...)
	want := nft(t, h, "list ruleset")
	for _, test := range []struct{ damage, drift string }{
		{"delete table inet lanhook", "table inet lanhook is missing"},
		{"delete table bridge lanhook", "table bridge lanhook is missing"},
		{"flush table inet lanhook", "rule 1 of chain forward of table inet lanhook is missing"},
		{"flush chain inet lanhook to_nat", "rule 2 of chain to_nat of table inet lanhook is missing"},
		{"insert rule inet lanhook forward accept", "rule 1 of chain forward of table inet lanhook is not lanhook's"},
		{"add rule inet lanhook closed drop", "the rules of chain closed of table inet lanhook are in another order, or some are there twice"},
		{"flush chain inet lanhook forward; delete chain inet lanhook forward", "chain forward of table inet lanhook is missing"},
		{
			"add chain inet lanhook forward { type filter hook forward priority filter; policy drop; }",
			"chain forward of table inet lanhook is on another hook, or of another priority or policy",
		},
		{
			"flush chain inet lanhook output; delete chain inet lanhook output; " +
				"add chain inet lanhook output { type nat hook output priority 7; }",
			"chain output of table inet lanhook is on another hook, or of another priority or policy",
		},
		{"add table inet lanhook { flags dormant; }", "table inet lanhook is dormant, so that none of its rules is in force"},
		{"add table bridge lanhook { flags dormant; }", "table bridge lanhook is dormant, so that none of its rules is in force"},
		{"add chain inet lanhook mine", "chain mine of table inet lanhook is not lanhook's"},
		{"add set inet lanhook mine { type ifname; }", "set mine of table inet lanhook is not lanhook's"},
		{
			"delete element inet lanhook any4 { tcp . 8080 }",
			"element tcp . 8080 : 172.30.0.2 . 80 of map any4 of record aaaaaaaaaa is missing",
		},
		{
			"delete element inet lanhook publish4 { 192.0.2.1 . tcp . 443 }; " +
				"add element inet lanhook publish4 { 192.0.2.1 . tcp . 443 : 10.9.0.3 . 8443 }",
			"element 192.0.2.1 . tcp . 443 : 10.9.0.2 . 8443 of map publish4 of record bbbbbbbbbb is " +
				"192.0.2.1 . tcp . 443 : 10.9.0.3 . 8443",
		},
		{
			`add element inet lanhook masquerade4 { 172.30.0.99 comment "cccccccccc" }`,
			"element 172.30.0.99 of set masquerade4 of record cccccccccc is nobody's",
		},
		{"delete element inet lanhook detour4 { 172.30.0.2 }", "element 172.30.0.2 of set detour4 of record aaaaaaaaaa is missing"},
		{"add element inet lanhook open { lh-apps }", "element lh-apps of set open is nobody's"},
		{"delete element inet lanhook bridges { lh-lab }", "element lh-lab of set bridges is missing"},
		{
			"delete element inet lanhook to { lh-in }; add element inet lanhook to { lh-in : accept }",
			"element lh-in : goto closed of map to is lh-in : goto verdict 1",
		},
		{
			`delete element inet lanhook home4 { 10.8.0.2 . lh-in }; add element inet lanhook home4 { 10.8.0.2 . lh-in comment "zz" }`,
			`element 10.8.0.2 . lh-in of set home4 of record bbbbbbbbbb bears the id "zz"`,
		},
		{
			"flush chain inet lanhook to_routed; delete set inet lanhook routed4; " +
				"add set inet lanhook routed4 { type ipv4_addr; }",
			"set routed4 of table inet lanhook is of another type",
		},
		{"flush chain inet lanhook to_routed; delete set inet lanhook routed6", "set routed6 of table inet lanhook is missing"},
	} {
		t.Run(test.damage, func(t *testing.T) {
			nft(t, h, test.damage)
			if d := drift(t, c, all...); !slices.Contains(d, test.drift) {
				t.Errorf("differences are not with %q:\n%s", test.drift, strings.Join(d, "\n"))
			}
			renew(t, c, all...)
			if diff := cmp.Diff(sorted(want), sorted(nft(t, h, "list ruleset"))); diff != "" {
				t.Errorf("the rules are not as before (-want +got):\n%s", diff)
			}
		})
	}
	release(t, c)
}

// TestRenewAwakes renews a table that is dormant and of which chains are missing or elsewhere: the kernel registers hooks
// only while a table is awake.
func TestRenewAwakes(t *testing.T) {
	h, c := host(t)
	renew(t, c, everything()...)
	want := nft(t, h, "list ruleset")
	for _, damage := range []string{
		"add table inet lanhook { flags dormant; }",
		"flush chain inet lanhook forward; delete chain inet lanhook forward",
		"flush chain inet lanhook output; delete chain inet lanhook output",
		"add chain inet lanhook forward { type filter hook forward priority 9; policy drop; }",
		"add table bridge lanhook { flags dormant; }",
	} {
		nft(t, h, damage)
	}
	renew(t, c, everything()...)
	if diff := cmp.Diff(sorted(want), sorted(nft(t, h, "list ruleset"))); diff != "" {
		t.Errorf("the rules are not as before (-want +got):\n%s", diff)
	}
	nft(t, h, "add table inet lanhook { flags dormant; }")
	release(t, c)
	// As an administrator's file might have it, before lanhook ever ran.
	nft(t, h, "table inet lanhook { flags dormant; chain admin { counter; }; }")
	renew(t, c, everything()...)
	release(t, c)
	nft(t, h, "delete table inet lanhook")
}

// sorted are a listing's lines without their order: what was made anew stands elsewhere.
func sorted(listing string) []string {
	lines := strings.Split(listing, "\n")
	slices.Sort(lines)
	return lines
}

// TestAdministrator keeps what is the administrator's, by its name, through everything.
func TestAdministrator(t *testing.T) {
	h, c := host(t)
	// As from /etc/nftables.conf, before lanhook ever ran.
	nft(t, h, `table inet lanhook {
		set admin_good { type ipv4_addr; elements = { 192.0.2.77 } }
		chain admin { ip saddr @admin_good accept; ip saddr 192.0.2.0/24 drop; }
		chain admin_input { type filter hook input priority 5; policy accept; tcp dport 22 accept; }
	}`)
	before := nft(t, h, "list ruleset")
	all := everything()
	if err := c.Add(all[0]); err == nil {
		t.Error("rules could be added to a table without sets")
	}
	for range 2 {
		renew(t, c, all...)
		got := nft(t, h, "list ruleset")
		for _, want := range []string{
			"ip saddr @admin_good accept\n\t\tip saddr 192.0.2.0/24 drop", "elements = { 192.0.2.77 }",
			"type filter hook input priority filter + 5; policy accept;\n\t\ttcp dport 22 accept", "jump admin",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in the rules:\n%s", want, got)
			}
		}
	}
	release(t, c)
	asRecorded(t, c)
	if diff := cmp.Diff(before, nft(t, h, "list ruleset")); diff != "" {
		t.Errorf("released, the administrator's is not as it was (-want +got):\n%s", diff)
	}
	// An empty chain of the name is not worth a table.
	nft(t, h, "delete chain inet lanhook admin_input; flush chain inet lanhook admin; delete set inet lanhook admin_good")
	release(t, c)
	if got := tables(t, h); got != "" {
		t.Errorf("tables are %q", got)
	}
}

// TestAdministratorUses: a rule of the administrator's that looks into a set of ours, or jumps to a chain that is nobody's,
// does not keep lanhook from its work.
func TestAdministratorUses(t *testing.T) {
	h, c := host(t)
	all := everything()
	renew(t, c, all...)
	nft(t, h, "add chain inet lanhook mine; add rule inet lanhook admin ip saddr @masquerade4 jump mine")
	if err := c.Renew(all); err != nil {
		t.Fatal(err)
	}
	if d := drift(t, c, all...); !slices.Equal(d, []string{"chain mine of table inet lanhook is not lanhook's"}) {
		t.Errorf("differences are %q", d)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if got := elements(t, h, "set inet lanhook masquerade6"); got != "" {
		t.Errorf("released, elements are left: %s", got)
	}
	// The sets could not go. The next container adds to them, and needs the rules.
	next := rules("cccccccccc", "9", 90)
	if err := c.Add(next); err != nil {
		t.Fatal(err)
	}
	if d := drift(t, c, next); !slices.Equal(d, []string{"chain mine of table inet lanhook is not lanhook's"}) {
		t.Errorf("released and added to, differences are %q", d)
	}
	nft(t, h, "delete table inet lanhook")
}

// TestOwner: rights do not help against a program that has the table for itself, and the hint does not say so.
func TestOwner(t *testing.T) {
	h, c := host(t)
	cmd := exec.Command("nft", "-i")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.Do(t, func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("add table inet lanhook { flags owner; }\n")); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "the table is there", func() bool { return tables(t, h) != "" })
	// nft says who holds the table only in words that differ by version; it is the one that holds it.
	for what, err := range map[string]error{"add": c.Add(everything()[1]), "renew": c.Renew(everything()), "release": c.Release()} {
		var e *firewall.Error
		if what == "add" {
			if _, stale := errors.AsType[*firewall.StaleError](err); stale {
				continue // The kernel looks for sets before it looks whose the table is.
			}
		}
		if !errors.As(err, &e) || !strings.Contains(e.Hint(), "has table inet lanhook for itself") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
	nettest.Eventually(t, "the table went with its owner", func() bool { return tables(t, h) == "" })
	renew(t, c, everything()...)
	release(t, c)
}

// TestMany renews a table with more ports than fit one message, or a socket's usual buffer.
func TestMany(t *testing.T) {
	h, c := host(t)
	a := rules("aaaaaaaaaa", "2", 80)
	a.Of[0].Publish = []plan.Publish{
		{Protocol: request.TCP, Addr: addr("0.0.0.0"), Host: 1, Count: 30_000, To: netip.MustParseAddrPort("172.30.0.2:1")},
		{Protocol: request.UDP, Addr: addr("::"), Host: 1, Count: 30_000, To: netip.MustParseAddrPort("[fd00:30::2]:1")},
	}
	renew(t, c, a)
	if err := c.Add(a); err != nil {
		t.Errorf("add what is there: %v", err)
	}
	if err := c.Delete(plan.DelRules(a)); err != nil {
		t.Error(err)
	}
	if got := elements(t, h, "map inet lanhook any4") + elements(t, h, "map inet lanhook any6"); got != "" {
		t.Errorf("deleted, %d bytes of elements are left", len(got))
	}
	if err := c.Add(a); err != nil {
		t.Error(err)
	}
	asRecorded(t, c, a)
	release(t, c)
}
