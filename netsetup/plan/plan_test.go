package plan_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// input makes an input from bytes: some networks, some attachments to them, with what their order and numbers give.
func input(seed []byte) plan.Input {
	next := func() int {
		if len(seed) == 0 {
			return 0
		}
		b := seed[0]
		seed = seed[1:]
		return int(b)
	}
	in := plan.Input{Record: "abcdefghij", HostID: "host", Facts: plan.Facts{Uplink: map[string]plan.Link{}}}
	for i := range 1 + next()%16 {
		n := &policy.Network{
			Name: fmt.Sprintf("net%d", next()%3), Driver: policy.Driver(1 + next()%2), Mode: policy.Mode(1 + next()%5),
			Internal: next()%4 == 0, DefaultRoute: next()%4 != 0, MTU: (next() % 3) * 700, Metric: next() % 3,
		}
		if n.Driver == policy.Bridge {
			n.Bridge, n.Mode = "lh-"+n.Name, 0
		}
		a := policy.Attachment{IfName: fmt.Sprintf("eth%d", i), Network: n}
		c := plan.Choice{MAC: plan.MAC{2, 0, 0, 0, 0, byte(i)}}
		for j := range next() % 3 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(j), 9}), 24)
			if next()%2 == 0 {
				var b [16]byte
				b[0] = 0xfd
				binary.BigEndian.PutUint16(b[2:], uint16(i*16+j))
				b[15] = 9
				p = netip.PrefixFrom(netip.AddrFrom16(b), 64)
			}
			n.Subnets = append(n.Subnets, policy.Subnet{Prefix: p.Masked(), Gateway: p.Masked().Addr().Next()})
			c.Addresses = append(c.Addresses, p)
		}
		if next()%3 == 0 {
			a.Routes = []request.Route{{Type: request.RouteType(next() % 4), Dst: netip.MustParsePrefix("10.200.0.0/16")}}
		}
		if next()%8 != 0 && n.Driver == policy.Macvlan {
			in.Facts.Uplink[a.IfName] = plan.Link{Index: 3, Name: "ens192", MTU: 1500, Up: next()%8 != 0}
		}
		in.Attachments, in.Choices = append(in.Attachments, a), append(in.Choices, c)
	}
	in.Facts.NoIPv6 = next()%8 == 7
	return in
}

// FuzzBuild looks that a plan is the same for the same input, that its names fit the kernel and are its own, that its
// journal is the same when it is read back, and that each link that is made is undone.
func FuzzBuild(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Add([]byte{15, 1, 0, 0, 1, 1, 0, 0, 2, 1, 0, 3, 1, 2, 1, 1, 4, 1, 0, 1, 2, 0, 0, 1, 3})
	f.Fuzz(func(t *testing.T, seed []byte) {
		made, err := plan.Build(input(seed))
		again, errAgain := plan.Build(input(seed))
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || cmp.Diff(made, again, cmp.Comparer(samePrefix), cmp.Comparer(sameAddr)) != "" {
			t.Fatalf("two plans of one input differ: %v, %v", err, errAgain)
		}
		if err != nil {
			return
		}
		names := map[string]bool{}
		links := 0
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
			links++
			if len(name) > 15 || names[name] {
				t.Errorf("name %q is too long or used twice", name)
			}
			names[name] = true
		}
		undone := 0
		for _, s := range plan.Undo(made.Steps) {
			if _, ok := s.(plan.DelLink); ok {
				undone++
			}
		}
		if undone != links || links != len(made.Interfaces) {
			t.Errorf("%d links for %d interfaces, and %d are undone", links, len(made.Interfaces), undone)
		}
		read := journal(t, made.Steps)
		if text(read) != text(made.Steps) || text(plan.Undo(read)) != text(plan.Undo(made.Steps)) {
			t.Errorf("the journal reads back as\n%snot\n%s", text(read), text(made.Steps))
		}
	})
}

func samePrefix(a, b netip.Prefix) bool { return a == b }

func sameAddr(a, b netip.Addr) bool { return a == b }

func sameAddrPort(a, b netip.AddrPort) bool { return a == b }

// FuzzSteps reads journals that nobody wrote: an error, or steps that are written as the same bytes, never a crash.
func FuzzSteps(f *testing.F) {
	for _, steps := range []plan.Steps{
		{plan.SetLink{From: "a", Name: "b", Alias: "c"}},
		{
			plan.EnsureBridge{Name: "b", MAC: plan.MAC{2, 0, 0, 0, 0, 1}, Addresses: []netip.Prefix{netip.MustParsePrefix("fd00::1/64")}},
			plan.AddRoute{Route: request.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1")}},
		},
		{plan.DelLink{Side: plan.Container, Name: "x", Kind: "macvlan"}, plan.DelRoute{}, plan.ReleaseBridge{Name: "b"}},
	} {
		data, err := steps.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var steps plan.Steps
		if steps.UnmarshalBinary(data) != nil {
			return
		}
		written, err := steps.MarshalBinary()
		if err != nil {
			t.Fatalf("steps that were read cannot be written: %v", err)
		}
		if !bytes.Equal(data, written) {
			t.Errorf("written as %x, read from %x:\n%s", written, data, text(steps))
		}
	})
}

func TestJournalRefuses(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"nothing":        {"", "read steps: near byte 0: "},
		"no kind":        {"\x01\x00", "near byte 2: a step is of the unknown kind 0"},
		"unknown kind":   {"\x01\x14", "near byte 2: a step is of the unknown kind 20"},
		"kind of a word": {"\x01\x81\x02", "unknown kind 257"},
		"cut short":      {"\x01\x0a\x02b", "2 bytes or elements should follow, and 1 bytes are left"},
		"one more byte":  {"\x01\x0a\x01b\x00b", "1 bytes stand behind the end"},
		"one more step":  {"\x02\x0a\x01b", "a number is cut short"},
		"bad MAC":        {"\x01\x03\x00\x00\x00\x01\x00\x02ab\x00\x00\x00", "MAC address of 2 bytes"},
		"bad mode":       {"\x01\x03\x00\x00\x00\x06\x00\x00\x00\x00\x00", "number 6 is above 5"},
		"bad side":       {"\x01\x08\x02\x00\x00\x00\x00\x00\x00", "number 2 is above 1"},
		"bad gate":       {"\x01\x0c\x00\x01\x00\x00\x04" + strings.Repeat("\x00", 11), "number 4 is above 3"},
		"bad protocol":   {"\x01\x0c\x00\x01" + strings.Repeat("\x00", 9) + "\x01\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00", "number 3 is above 2"},
		"bad port":       {"\x01\x0d\x01\x80\x80\x04", "number 65536 is no port"},
		"bad route":      {"\x01\x09\x04\x00\x00\x00\x00\x00\x00\x00", "number 4 is above 3"},
	} {
		t.Run(name, func(t *testing.T) {
			steps := plan.Steps{plan.ReleaseBridge{Name: "before"}}
			err := steps.UnmarshalBinary([]byte(test.data))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want one line with %q", err, test.want)
			}
			if text(steps) != "host: delete bridge before if ours and unused\n" {
				t.Errorf("steps were changed to\n%s", text(steps))
			}
		})
	}
}
