//go:build linux

package netsetup_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestRepair has somebody change what containers share on the host. check finds it, and repair puts it right.
func TestRepair(t *testing.T) {
	w := newWorld(t, web+apps)
	w.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.9/24"))
		if err := netlink.RouteAdd(&netlink.Route{Gw: nettest.PeerPrefix4().Addr().AsSlice()}); err != nil {
			t.Fatal(err)
		}
	})
	w.forwards(t)
	one, two := w.box(t, "one"), w.box(t, "two")
	one.attach(t, "network=web,ip=172.31.0.9,ip=fd31::9", "publish=8080:80,40000-40001:40-41/udp")
	two.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9", "publish=8081:80")
	rules := w.ruleset(t)
	w.well(t)
	ours := "inet lanhook"
	for _, c := range []struct {
		name, nft string
		// change is another change than one of rules.
		change func(t *testing.T)
		// one, two and host are what check says of the containers and the host.
		one, two, host string
	}{
		{name: "PP-23 nothing is left", nft: "delete table " + ours + "; delete table bridge lanhook", host: "table inet lanhook is missing"},
		{name: "PP-23 a table is left empty", nft: "flush table " + ours, host: "rule 1 of chain "},
		{name: "PP-19 a port is gone", nft: "delete element " + ours + " any4 { tcp . 8080 }", one: "of map any4"},
		{name: "PP-19 a port goes elsewhere", nft: "delete element " + ours + " any4 { tcp . 8081 }; " +
			"add element " + ours + " any4 { tcp . 8081 : 192.0.2.1 . 80 }", two: "of map any4"},
		{name: "a stranger's element", nft: "add element " + ours + " any4 { tcp . 9999 : 192.0.2.1 . 80 }", host: "is nobody's"},
		{name: "a bridge that is down", change: func(t *testing.T) {
			change(t, w.Host, "lh-web", netlink.LinkSetDown)
		}, one: "bridge lh-web is down"},
		{name: "a bridge without its address", change: func(t *testing.T) {
			change(t, w.Host, "lh-apps", func(l netlink.Link) error {
				a, err := netlink.ParseAddr("172.30.0.1/24")
				if err != nil {
					return err
				}
				return netlink.AddrDel(l, a)
			})
		}, two: "address 172.30.0.1/24 of bridge lh-apps is gone"},
		{name: "a port that is not kept", change: func(t *testing.T) {
			w.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv4/ip_local_reserved_ports", "40001,50000") })
		}, one: "port 40000 is no more kept from the host's own connections"},
		{name: "forwarding turned off", change: func(t *testing.T) {
			w.Host.Do(t, func() {
				nettest.WriteSysctl(t, "ipv4/conf/"+nettest.Parent+"/forwarding", "0")
			})
		}, host: "link p0 of the host does not forward IPv4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(t)
			} else {
				w.nft(t, c.nft)
			}
			checked := w.checked(t)
			for who, want := range map[string]string{"one": c.one, "two": c.two, "": c.host} {
				if got := checked[who]; want == "" && got != "" || !strings.Contains(got, want) {
					t.Errorf("check of %q says %q, want %q", who, got, want)
				}
			}
			r, err := w.setup.Repair(t.Context())
			said := strings.Join(slices.Concat(r.Rules, r.Links, r.Settings), "\n")
			if want := c.one + c.two + c.host; err != nil || r.None() || !strings.Contains(said, want) {
				t.Errorf("repair gave %+v (%v), want %q", r, err, want)
			}
			w.well(t)
			if diff := gocmp.Diff(rules, w.ruleset(t)); diff != "" {
				t.Errorf("rules (-before +after):\n%s", diff)
			}
		})
	}
	if got := w.reserved(t); got != "40000-40001,50000" {
		t.Errorf("reserved are %q", got)
	}
	one.detach(t)
	two.detach(t)
	if got := w.reserved(t); got != "50000" {
		t.Errorf("reserved are %q", got)
	}
	w.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv4/ip_local_reserved_ports", "\n") })
	w.empty(t)
}

// TestRepairNothing repairs a host on which nothing is attached, and where nothing is lanhook's.
func TestRepairNothing(t *testing.T) {
	w := newWorld(t, web)
	w.well(t)
	w.nft(t, "table inet lanhook { chain admin { counter; }; }")
	w.Host.Remember(t)
	w.well(t)
	w.collects(t, 0)
	b := w.box(t, "b")
	b.attach(t, "network=web", "publish=8080:80")
	w.well(t)
	w.done(t, b)
}

// TestRulesHeal: who attaches next finds the tables gone, and brings all back.
func TestRulesHeal(t *testing.T) {
	for name, commands := range map[string]string{
		"PP-23 all tables": "delete table inet lanhook; delete table bridge lanhook",
		"one table":        "delete table bridge lanhook",
		"a set":            "flush chain inet lanhook prerouting; flush chain inet lanhook output; flush chain inet lanhook publish; delete map inet lanhook any4",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, web+apps)
			one, two, three := w.box(t, "one"), w.box(t, "two"), w.box(t, "three")
			one.attach(t, "network=web", "publish=8080:80")
			three.attach(t, "network=apps", "publish=8082:80")
			two.attach(t, "network=web", "publish=8081:80")
			rules := w.ruleset(t)
			two.detach(t)
			w.nft(t, commands)
			two.attach(t, "network=web", "publish=8081:80")
			if diff := gocmp.Diff(len(rules), len(w.ruleset(t))); diff != "" {
				t.Errorf("lines of rules (-before +after):\n%s", diff)
			}
			w.well(t)
			w.nft(t, commands)
			w.done(t, one, two, three)
		})
	}
}

// TestPolicyChanges: of a bridge on which containers of an earlier policy are, the newest policy holds.
func TestPolicyChanges(t *testing.T) {
	w := newWorld(t, web)
	one, two := w.box(t, "one"), w.box(t, "two")
	one.attach(t, "network=web", "publish=8080:80")
	w.usePolicy(t, strings.Replace(web, "rate ", "icc = false\nisolate = false\nrate ", 1))
	two.attach(t, "network=web", "publish=8081:80")
	w.well(t)
	w.flush(t)
	if r, err := w.setup.Repair(t.Context()); err != nil || r.None() {
		t.Errorf("repair gave %+v (%v)", r, err)
	}
	w.well(t)
	w.done(t, one, two)
}

// TestPolicyCloses: what the newest policy has made of a bridge, closed for one, it stays when the container of that policy
// ends, and when the rules are renewed then.
func TestPolicyCloses(t *testing.T) {
	w := newWorld(t, apps)
	one, two, three := w.box(t, "one"), w.box(t, "two"), w.box(t, "three")
	one.attach(t, "network=apps", "publish=8080:80")
	for _, c := range []struct{ option, gate string }{
		{"internal = true", "closed"},
		{`gateway-mode = "routed"`, "to_routed"},
		{"icc = false", "to_nat"},
		{`gateway-mode = "isolated"`, "closed"},
		{"", "to_nat"},
		{`gateway-mode = "isolated"`, "closed"},
		{"internal = true", "closed"},
		{`gateway-mode = "isolated"`, "closed"},
	} {
		w.usePolicy(t, appsWith(c.option))
		two.attach(t, "network=apps")
		three.attach(t, "network=apps")
		w.well(t)
		three.detachAny(t)
		two.detachAny(t)
		for _, when := range []string{"the newer ones have gone", "all was flushed"} {
			w.well(t)
			if got := w.nft(t, "list map inet lanhook to"); !strings.Contains(got, "goto "+c.gate) {
				t.Errorf("%s: when %s, the gate is not %s:\n%s", c.option, when, c.gate, got)
			}
			if got := global(w.hostLink(t, "lh-apps").Addresses); (len(got) == 0) != strings.Contains(c.option, "isolated") {
				t.Errorf("BR-38 %s: when %s, the bridge has the addresses %v", c.option, when, got)
			}
			w.flush(t)
			if _, err := w.setup.Repair(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	w.done(t, one)
}

// TestLastGuarded: when the last container that is guarded ends, nothing is left that check would complain of.
func TestLastGuarded(t *testing.T) {
	w := newWorld(t, web+apps)
	one, two := w.box(t, "one"), w.box(t, "two")
	one.attach(t, "network=apps")
	two.attach(t, "network=web")
	two.detachAny(t)
	w.well(t)
	w.nft(t, "add element bridge lanhook guarded { nobody }")
	if got := w.checked(t)[""]; !strings.Contains(got, "is nobody's") {
		t.Errorf("check says %q of an element that is nobody's", got)
	}
	if _, err := w.setup.Repair(t.Context()); err != nil {
		t.Error(err)
	}
	w.well(t)
	w.done(t, one)
}

// TestCollectRules has gc find tables that no record needs, and leave what the administrator has in them.
func TestCollectRules(t *testing.T) {
	w := newWorld(t, web)
	b := w.plainBox(t, "b")
	b.attach(t, "network=web", "publish=8080:80")
	port := w.port(t, "b")
	b.ended(t)
	nettest.Eventually(t, "the link is gone", func() bool { return !slices.Contains(w.links(t), port) })
	w.nft(t, "add rule inet lanhook admin counter")
	// With the record goes all that tells of the tables.
	ref := w.records(t)[0].Ref()
	if err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.Delete(ref) }); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		c, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{DryRun: dry})
		if err != nil || !c.Rules || !slices.Equal(c.Bridges, []string{"lh-web"}) {
			t.Errorf("gc gave %+v (%v)", c, err)
		}
	}
	if c, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{}); err != nil || c.Rules {
		t.Errorf("gc again gave %+v (%v)", c, err)
	}
	if got := w.nft(t, "list", "table", "inet", "lanhook"); !strings.Contains(got, "chain admin") || strings.Contains(got, "chain publish") {
		t.Errorf("left is %s", got)
	}
	w.nft(t, "delete table inet lanhook")
	w.empty(t)
}

// TestCollectElsewhere deletes a record of another boot, and leaves alone what bears the same names here.
func TestCollectElsewhere(t *testing.T) {
	w := newWorld(t, web)
	b := w.box(t, "b")
	b.attach(t, "network=web,ip=172.31.0.9,ip=fd31::9", "publish=40000:80")
	rec := w.records(t)[0]
	rules, reserved := w.ruleset(t), w.reserved(t)
	rec.Container, rec.ID, rec.BootID, rec.Leases, rec.Interfaces = "old", store.NewID(), "another boot", nil, nil
	if err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.Put(rec) }); err != nil {
		t.Fatal(err)
	}
	w.collects(t, 1)
	if diff := gocmp.Diff(rules, w.ruleset(t)); diff != "" || w.reserved(t) != reserved {
		t.Errorf("reserved %q, rules (-before +after):\n%s", w.reserved(t), diff)
	}
	w.done(t, b)
}
