package plan_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// choices are bytes from which an input is made; when they are at their end, zeros follow.
type choices []byte

func (c *choices) next(n int) int {
	if len(*c) == 0 {
		return 0
	}
	b := (*c)[0]
	*c = (*c)[1:]
	return int(b) % n
}

func (c *choices) often() bool { return c.next(8) != 7 }

func (c *choices) seldom() bool { return c.next(8) == 7 }

// input makes an input from bytes: some networks, some attachments to them, with what their order and numbers give.
func input(seed []byte) plan.Input {
	c := choices(seed)
	in := plan.Input{
		Record: "abcdefghij", HostID: "host",
		Facts: plan.Facts{
			Uplink: map[string]plan.Link{}, Local: map[netip.Addr]bool{},
			Ephemeral: plan.Ports{From: 8002, To: 8008}, Reserved: []plan.Ports{{From: 8003, To: 8004}},
		},
		OwnReserved: []uint16{8004},
	}
	if c.next(2) == 1 {
		in.Facts.NotForwarding, in.Facts.NotForwarding6 = []string{"ens192"}, true
	}
	bridges := map[string]bridge{}
	for i := range 1 + c.next(16) {
		a, choice := attachment(&c, i, bridges)
		publish(&c, &a, &choice)
		for _, host := range hosts(a) {
			in.Facts.Local[host] = !c.seldom()
		}
		switch {
		case a.Network.Driver == policy.Macvlan && c.often():
			in.Facts.Uplink[a.IfName] = plan.Link{Index: 3, Name: "ens192", MAC: plan.MAC{2, 1, 0, 0, 0, 1}, MTU: 1500, Up: c.often()}
		case bridges[a.Network.Bridge].uplink.Up:
			in.Facts.Uplink[a.IfName] = bridges[a.Network.Bridge].uplink
		}
		in.Attachments, in.Choices = append(in.Attachments, a), append(in.Choices, choice)
	}
	in.Facts.NoIPv6 = c.seldom()
	if c.seldom() {
		in.Facts.Listeners = []plan.Listener{{Addr: netip.IPv4Unspecified(), Port: 8001, PID: 1, Name: "init"}}
	}
	several(&c, &in)
	return in
}

// several adds what matters where there are several interfaces.
func several(c *choices, in *plan.Input) {
	for _, a := range in.Attachments {
		a.Network.SourceRouting = c.often()
	}
	for i := range c.next(4) {
		o := plan.Other{
			IfName: fmt.Sprintf("net%d", i), Addresses: []netip.Prefix{netip.MustParsePrefix("10.99.0.9/24"), netip.MustParsePrefix("fd99::9/64")},
			Routes: []request.Route{
				{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.99.0.1"), Metric: c.next(2) * 5000},
				{Type: request.Blackhole, Dst: netip.MustParsePrefix("10.201.0.0/16")},
			},
		}
		if c.next(2) == 1 {
			o.Ruled = append(o.Ruled, o.Addresses[0].Addr())
		}
		in.Others = append(in.Others, o)
		in.Facts.HasAddress = plan.Families{V4: true, V6: true}
		in.Facts.HasDefault, in.Facts.DefaultOn = plan.Families{V4: true}, plan.FamilyNames{V4: []string{"net0", "eth99"}[c.next(2)]}
	}
}

// bridge is what all attachments to one bridge have in common: the policy sees to that.
type bridge struct {
	firewall, icc, isolate, internal bool
	mode                             policy.GatewayMode
	// uplink is not up where there is no bridge yet.
	uplink plan.Link
}

func bridgeOf(c *choices, name string) bridge {
	b := bridge{firewall: c.often(), internal: c.next(4) == 3, mode: policy.GatewayMode(1 + c.next(3))}
	b.icc, b.isolate = b.firewall && c.often(), b.firewall && c.often()
	if c.seldom() {
		b.uplink = plan.Link{
			Index: 4, Name: name, Kind: "bridge", MTU: 1500, Up: true, Group: plan.Group * uint32(c.next(2)), Localnet: c.often(),
		}
	}
	return b
}

func attachment(c *choices, i int, bridges map[string]bridge) (policy.Attachment, plan.Choice) {
	n := &policy.Network{
		Name: fmt.Sprintf("net%d", c.next(3)), Driver: policy.Driver(1 + c.next(2)), Mode: policy.Mode(1 + c.next(5)),
		DefaultRoute: c.next(4) != 0, MTU: c.next(3) * 700, Metric: c.next(3), SpoofCheck: c.next(2) == 1,
	}
	if n.Driver == policy.Bridge {
		n.Bridge, n.Mode = "lh-"+n.Name, 0
		b, ok := bridges[n.Bridge]
		if !ok {
			b = bridgeOf(c, n.Bridge)
			bridges[n.Bridge] = b
		}
		n.Firewall, n.ICC, n.Isolate, n.Internal, n.GatewayMode = b.firewall, b.icc, b.isolate, b.internal, b.mode
		if c.seldom() {
			n.Name = ""
		}
	}
	a := policy.Attachment{IfName: fmt.Sprintf("eth%d", i), Network: n}
	choice := plan.Choice{MAC: plan.MAC{2, 0, 0, 0, 0, byte(i)}}
	for j := range c.next(3) {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(j), 9}), 24)
		snat := netip.MustParseAddr("192.0.2.1")
		if c.next(2) == 0 {
			var b [16]byte
			b[0] = 0xfd
			binary.BigEndian.PutUint16(b[2:], uint16(i*16+j))
			b[15] = 9
			p, snat = netip.PrefixFrom(netip.AddrFrom16(b), 64), netip.MustParseAddr("2001:db8::1")
		}
		s := policy.Subnet{Prefix: p.Masked(), Masquerade: c.next(2) == 1}
		if c.often() {
			s.Gateway = p.Masked().Addr().Next()
		}
		if s.Masquerade && c.seldom() {
			s.SNAT = snat
		}
		n.Subnets = append(n.Subnets, s)
		choice.Addresses = append(choice.Addresses, p)
	}
	if c.next(3) == 0 {
		a.Routes = []request.Route{{Type: request.RouteType(c.next(4)), Dst: netip.MustParsePrefix("10.200.0.0/16")}}
	}
	a.Rates = policy.Rates{In: policy.Rate{Bits: uint64(c.next(2))}, Out: policy.Rate{Bits: uint64(c.next(2))}}
	if n.Mode == policy.ModePassthru {
		choice.MAC = nil
	}
	return a, choice
}

// publish adds ports and host addresses of families that may be there or not.
func publish(c *choices, a *policy.Attachment, choice *plan.Choice) {
	addrs := []string{"0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"}
	if a.Network.Driver != policy.Bridge && c.often() {
		return
	}
	for k := range c.next(4) {
		a.Publish = append(a.Publish, policy.Publish{
			Protocol: request.Protocol(c.next(3)), Addr: netip.MustParseAddr(addrs[c.next(len(addrs))]),
			Container: 80, Count: 1 + c.next(3), Asked: c.next(3),
		})
		choice.Ports = append(choice.Ports, uint16(8000+2*k))
	}
	if c.next(4) == 3 {
		a.DNAT = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	}
}

// hosts are the host's addresses that an attachment names.
func hosts(a policy.Attachment) []netip.Addr {
	all := slices.Clone(a.DNAT)
	for _, p := range a.Publish {
		all = append(all, p.Addr)
	}
	for _, s := range a.Network.Subnets {
		all = append(all, s.SNAT)
	}
	return all
}

// FuzzBuild looks that a plan is the same for the same input and keeps what [checkPlan] says.
func FuzzBuild(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Add([]byte{15, 1, 0, 0, 1, 1, 0, 0, 2, 1, 0, 3, 1, 2, 1, 1, 4, 1, 0, 1, 2, 0, 0, 1, 3})
	for _, seed := range []string{
		// Ports of both families, masquerade and a fixed address, and ports that are reserved.
		"\x00\x05\f\a\b\x04\x0e\x00\x00\b\b\x03\x00\t\x0e\x0e\x0e\x0f\a\x05\a\x06\x05\x02\x0e\x06\b\n\a\x02\f\a\x02",
		// Guards and rates of macvlans.
		"\x00\v\x0e\x02\x03\b\r\f\x05\f\r\a\v",
		// A whole address, rates, a port that is guarded, forwarding.
		"\x01\x00\x06\x05\b\x0f\a\a\t\x02\t\x04\x05\x05\f\x03\r\a\x01\v\r\n\x03\t\x04\x0f\v\x02\f\r\x01\f\n\v\n\n\a\f\n\n\v\n\x05\x00",
		// Bridges that are closed, ports that are kept from each other.
		"\x00\b\x00\x05\x0f\x02\b\x04\r\x01\x02\x0e\a",
		// A routed bridge, with ports of all the host's addresses.
		"\x00\x0e\x04\x0f\x03\x01\v\r\x05\r\x0e\n\x0f\x03\t\x0e\r\r\x04\t\x04\x0e\x04\v",
		// A port of a family in which the container has no address.
		"\x00\v\a\x01\x05\n\t\x0e\x06\n\f\x03\x01\x0f\x01\r\t\x01\t\x00\x0f",
		// A port of 127.0.0.1 on a bridge that does not let it out.
		"\x00\a\r\x03\t\f\b\x06\r\x05\t\n\x05\x04\t\x0f\x01\r\x04\x04\x0e\x00\x03\x05\x0f\n\x0f",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, seed []byte) {
		in := input(seed)
		made, err := plan.Build(in)
		again, errAgain := plan.Build(input(seed))
		if diff := cmp.Diff(made, again, byValue()); fmt.Sprint(err) != fmt.Sprint(errAgain) || diff != "" {
			t.Fatalf("two plans of one input differ: %v, %v\n%s", err, errAgain, diff)
		}
		if err == nil {
			checkPlan(t, in, made)
		}
	})
}

func byValue() cmp.Option {
	return cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})
}

// TestBuildProperties makes many plans and looks that enough of them can be made and have something to look at.
func TestBuildProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[string]int{}
	for range 10_000 {
		seed := make([]byte, r.IntN(120))
		for i := range seed {
			seed[i] = byte(r.IntN(256))
		}
		in := input(seed)
		made, err := plan.Build(in)
		if err != nil {
			continue
		}
		checkPlan(t, in, made)
		if t.Failed() {
			t.Fatalf("seed %x:\n%s", seed, text(made.Steps))
		}
		for _, s := range made.Steps {
			seen[fmt.Sprintf("%T", s)]++
		}
		for _, i := range made.Interfaces {
			seen["publish"] += len(i.Publish)
			seen["dnat"] += len(i.DNAT)
		}
	}
	for _, want := range []string{
		"plan.EnsureBridge", "plan.EnsureForwarding", "plan.AddVeth", "plan.AddMacvlan", "plan.AddRules", "plan.ReservePorts",
		"plan.SetRate", "plan.AddGuard", "plan.SetLink", "plan.AddRoute", "plan.AddRouteRule", "publish", "dnat",
	} {
		if seen[want] < 20 {
			t.Errorf("%s was seen %d times only", want, seen[want])
		}
	}
}

// checkPlan looks that a plan's names fit the kernel and are its own, that its journal is the same when it is read back,
// that each step which leaves something is undone, that steps stand where they must, and that rules and result say the
// same of the container's own addresses only.
func checkPlan(t *testing.T, in plan.Input, made plan.Plan) {
	t.Helper()
	if len(made.Interfaces) != len(in.Attachments) {
		t.Errorf("%d interfaces for %d attachments", len(made.Interfaces), len(in.Attachments))
	}
	names := map[string]bool{}
	for _, s := range made.Steps {
		var name string
		switch s := s.(type) {
		case plan.AddVeth:
			name = s.Name
		case plan.AddMacvlan:
			name = s.Name
		default:
			continue
		}
		if len(name) > 15 || names[name] {
			t.Errorf("name %q is too long or used twice", name)
		}
		names[name] = true
	}
	if len(names) != len(made.Interfaces) {
		t.Errorf("%d links for %d interfaces", len(names), len(made.Interfaces))
	}
	read := journal(t, made.Steps)
	if text(read) != text(made.Steps) || text(plan.Undo(read)) != text(plan.Undo(made.Steps)) {
		t.Errorf("the journal reads back as\n%snot\n%s", text(read), text(made.Steps))
	}
	checkUndo(t, made.Steps)
	checkTables(t, in, made.Steps)
	checkOrder(t, made.Steps)
	checkRules(t, in, made)
}
