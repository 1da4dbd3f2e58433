package plan_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// checkUndo looks that what steps leave is taken back, each by its own step, and in an order that can be carried out.
func checkUndo(t *testing.T, steps plan.Steps) {
	t.Helper()
	var want, got []string
	for _, s := range steps {
		switch s := s.(type) {
		case plan.EnsureBridge:
			want = append(want, "bridge "+s.Name)
		case plan.AddVeth:
			want = append(want, "link "+s.Name)
		case plan.AddMacvlan:
			want = append(want, "link "+s.Name)
		case plan.AddRules:
			want = append(want, plan.DelRules(s).String())
		case plan.AddGuard:
			want = append(want, "guard "+s.Table)
		case plan.ReservePorts:
			want = append(want, plan.ReleasePorts(s).String())
		case plan.AddRoute:
			if s.If == "" || !given(steps, s.If) {
				want = append(want, "route "+s.Route.String())
			}
		case plan.AddRouteRule:
			want = append(want, plan.DelRouteRule(s).String())
		}
	}
	last := 0
	for _, s := range plan.Undo(steps) {
		// What stands before needs what comes after: routes their links, links their rules, rules their bridges.
		var rank int
		switch s := s.(type) {
		case plan.DelRoute:
			got, rank = append(got, "route "+s.Route.String()), 0
		case plan.DelRouteRule:
			got, rank = append(got, s.String()), 0
		case plan.DelLink:
			got, rank = append(got, "link "+s.Name), 1
		case plan.DelGuard:
			got, rank = append(got, "guard "+s.Table), 2
		case plan.DelRules:
			got, rank = append(got, s.String()), 2
		case plan.ReleasePorts:
			got, rank = append(got, s.String()), 3
		case plan.ReleaseBridge:
			got, rank = append(got, "bridge "+s.Name), 3
		default:
			t.Errorf("undone by %s", s)
		}
		if rank < last {
			t.Errorf("%s comes too late", s)
		}
		last = rank
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("undo (-want +got):\n%s", diff)
	}
}

// given says whether a link of the record gets the name.
func given(steps plan.Steps, name string) bool {
	return slices.ContainsFunc(steps, func(step plan.Step) bool {
		s, ok := step.(plan.SetLink)
		return ok && s.Name == name
	})
}

// checkOrder looks that rules stand before any link is up and go with what is shared, that a queue is made while the
// link has its own name, and a guard as soon as it has the other.
func checkOrder(t *testing.T, steps plan.Steps) {
	t.Helper()
	up := map[string]bool{}
	linked := plan.Linked(steps)
	for i, s := range steps {
		shared := false
		switch s := s.(type) {
		case plan.EnsureBridge, plan.AddVeth, plan.ReservePorts, plan.AddRules:
			shared = true
		case plan.SetLink:
			up[s.From], up[s.Name] = true, true
		case plan.SetRate:
			if up[s.If] {
				t.Errorf("%s comes when the link has another name", s)
			}
		case plan.AddGuard:
			if !up[s.If] || !up[s.Table] {
				t.Errorf("%s comes before the link has its name", s)
			}
		}
		if shared && (i >= linked || len(up) > 0) {
			t.Errorf("%s comes too late", s)
		}
	}
}

// checkRules looks that rules speak of the container's own links and addresses, and that they, the result and the
// request say the same of ports.
func checkRules(t *testing.T, in plan.Input, made plan.Plan) {
	t.Helper()
	ports, filtered := map[string]plan.AddVeth{}, map[string]bool{}
	rules := map[string]plan.Rules{}
	var reserved []uint16
	for _, s := range made.Steps {
		switch s := s.(type) {
		case plan.EnsureBridge:
			filtered[s.Name] = s.Filtered
			if s.Localnet && !s.Filtered {
				t.Errorf("%s has route_localnet without rules", s.Name)
			}
		case plan.AddVeth:
			ports[s.Name] = s
		case plan.ReservePorts:
			reserved = s.Ports
		case plan.AddRules:
			if s.Record != in.Record {
				t.Errorf("the rules are of record %s", s.Record)
			}
			for _, r := range s.Of {
				rules[r.Port] = r
			}
		}
	}
	for i, a := range in.Attachments {
		own := "lh" + in.Record + string(rune('a'+i))
		r, ok := rules[own]
		if port := ports[own]; ok && (port.Bridge != r.Bridge || r.Gate != plan.Open && !filtered[r.Bridge]) {
			t.Errorf("rules of %s on %s are for %+v", own, r.Bridge, port)
		}
		if named := a.Network.Firewall && a.Network.Name != "" && in.Facts.Uplink[a.IfName].Kind == ""; named && r.Gate == plan.Open {
			t.Errorf("the bridge of %s is left open", a.IfName)
		}
		checkAddresses(t, r, in.Choices[i])
		want := expected(a, in.Choices[i])
		for _, got := range [][]plan.Publish{r.Publish, made.Interfaces[i].Publish} {
			if diff := cmp.Diff(want, got, byValue()); diff != "" {
				t.Errorf("%s publishes (-want +got):\n%s", a.IfName, diff)
			}
		}
		if diff := cmp.Diff(r.DNAT, made.Interfaces[i].DNAT, byValue()); diff != "" {
			t.Errorf("%s: rules and result (-rules +result):\n%s", a.IfName, diff)
		}
		if opened := len(r.Publish)+len(r.DNAT) > 0; opened && (r.Gate == plan.Closed || !ports[own].Hairpin) {
			t.Errorf("%s publishes by %+v with gate %s", a.IfName, ports[own], r.Gate)
		}
	}
	checkReserved(t, reserved, made)
}

func checkAddresses(t *testing.T, r plan.Rules, c plan.Choice) {
	t.Helper()
	all := slices.Concat(r.Addresses, r.Masquerade, r.Detour, r.Unbound)
	for _, tr := range r.SNAT {
		all = append(all, tr.From)
		if slices.Contains(r.Masquerade, tr.From) {
			t.Errorf("%s is hidden twice", tr.From)
		}
	}
	for _, tr := range r.DNAT {
		all = append(all, tr.To)
	}
	for _, p := range r.Publish {
		all = append(all, p.To.Addr())
	}
	for _, addr := range all {
		if !slices.ContainsFunc(c.Addresses, func(p netip.Prefix) bool { return p.Addr() == addr }) {
			t.Errorf("the rules of %s speak of %s, which is not the container's", r.Port, addr)
		}
	}
}

// expected are the ports of an attachment of the families that the container has, each to its first address.
func expected(a policy.Attachment, c plan.Choice) []plan.Publish {
	var all []plan.Publish
	for i, p := range a.Publish {
		j := slices.IndexFunc(c.Addresses, func(own netip.Prefix) bool { return own.Addr().Is4() == p.Addr.Is4() })
		if j < 0 {
			continue
		}
		all = append(all, plan.Publish{
			Protocol: p.Protocol, Addr: p.Addr, Host: c.Ports[i], Count: p.Count,
			To: netip.AddrPortFrom(c.Addresses[j].Addr(), p.Container),
		})
	}
	return all
}

// checkReserved counts the ports that [input] says the host may take: 8002, and 8004 to 8008, of which 8004 is ours.
func checkReserved(t *testing.T, got []uint16, made plan.Plan) {
	t.Helper()
	var want []uint16
	for port := uint16(8000); port < 8020; port++ {
		published := slices.ContainsFunc(made.Interfaces, func(i plan.Interface) bool {
			return slices.ContainsFunc(i.Publish, func(p plan.Publish) bool {
				return p.Host <= port && int(port) < int(p.Host)+p.Count
			})
		})
		if published && (port == 8002 || port >= 8004 && port <= 8008) {
			want = append(want, port)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reserved ports (-want +got):\n%s", diff)
	}
}

// A part of the rules is a line of its own, and String is the same words on one.
func TestLines(t *testing.T) {
	rules := plan.Rules{
		Port: "lhaaaaaaaaaaa", Bridge: "lh-apps", Gate: plan.NAT,
		Addresses: []netip.Addr{netip.MustParseAddr("172.30.0.2"), netip.MustParseAddr("fd00:30::2")},
		Publish: []plan.Publish{
			{
				Protocol: request.TCP, Addr: netip.IPv4Unspecified(), Host: 8080, Count: 1,
				To: netip.MustParseAddrPort("172.30.0.2:80"),
			},
			{
				Protocol: request.UDP, Addr: netip.IPv4Unspecified(), Host: 5353, Count: 2,
				To: netip.MustParseAddrPort("172.30.0.2:53"),
			},
		},
		Out: policy.Rate{Bits: 5_000_000, Burst: 73728},
	}
	want := []string{
		"host: add rules for lhaaaaaaaaaaa on lh-apps nat no icc not isolated",
		"    address 172.30.0.2 address fd00:30::2",
		"    publish 0.0.0.0:8080/tcp to 172.30.0.2:80",
		"    publish 0.0.0.0:5353-5354/udp to 172.30.0.2:53-54",
		"    sending 5000000 bit/s burst 73728 bytes",
	}
	step := plan.AddRules{Of: []plan.Rules{rules}}
	if diff := cmp.Diff(want, plan.Lines(step)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if got, one := strings.Join(strings.Fields(strings.Join(plan.Lines(step), " ")), " "), step.String(); got != one {
		t.Errorf("lines %q, in one line %q", got, one)
	}
	twice := plan.Lines(plan.DelRules{Of: []plan.Rules{rules, rules}})
	if len(twice) != 2*len(want) || twice[0] != twice[len(want)] {
		t.Errorf("two interfaces: %q, want the same lines twice", twice)
	}
	if got := plan.Lines(plan.ReleaseRules{}); len(got) != 1 || got[0] != (plan.ReleaseRules{}).String() {
		t.Errorf("another step: %q, want what String says", got)
	}
}
