package plan_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

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
		{plan.AddRules{Record: "r", Of: []plan.Rules{{
			Bridge: "b", Port: "p", Gate: plan.NAT, Addresses: []netip.Addr{netip.MustParseAddr("fd00::9")},
			Publish: []plan.Publish{{Addr: netip.IPv4Unspecified(), Host: 80, Count: 2, To: netip.MustParseAddrPort("192.0.2.9:80")}},
		}}}},
		{
			plan.ReservePorts{Ports: []uint16{40000}},
			plan.EnsureForwarding{Links: []string{"a"}, V6: true},
			plan.SetRate{Side: plan.Container, If: "x", Rate: policy.Rate{Bits: 1 << 40, Burst: 1}},
			plan.AddGuard{Table: "x", If: "eth0", Spoof: true, MAC: plan.MAC{2, 0, 0, 0, 0, 1}},
		},
		{
			plan.DelRules{Record: "r", Of: []plan.Rules{{DNAT: []plan.Translation{{}}}}},
			plan.ReleaseRules{},
			plan.ReleasePorts{Ports: []uint16{1}},
			plan.DelGuard{Table: "x"},
		},
		{
			plan.EnsureVLAN{Name: "a.5", Parent: "a", Tag: policy.Tag{ID: 5, Protocol: policy.Dot1AD}},
			plan.AddIPVLAN{Name: "x", Parent: "a.5", Mode: policy.ModeL3, Flag: policy.FlagVEPA},
			plan.AddVLAN{Name: "x", Parent: "a", ParentIndex: 2, Tag: policy.Tag{ID: 6, Protocol: policy.Dot1Q}},
			plan.MoveLink{Name: "x", Device: plan.Device{Name: "a", Addresses: []plan.DeviceAddress{{Address: netip.MustParsePrefix("fd00::1/64")}}}},
			plan.EnsureUplink{Bridge: "b", Link: "a.5", VLANs: []policy.VLANRange{{From: 1, To: 4094}}},
			plan.AddRouteRule{From: netip.MustParseAddr("fd00::1"), Table: 300, Priority: 1},
		},
		{plan.ReleaseVLAN{Name: "a.5"}, plan.ReturnLink{Name: "x"}, plan.ReleaseUplink{Bridge: "b"}, plan.DelRouteRule{}},
		{
			plan.EnsureHostLink{
				Name: "h", Parent: "a.5", Driver: policy.IPVLAN, Mode: policy.ModeL3S, Flag: policy.FlagVEPA, Scope: "lan:a",
				Addresses: []netip.Addr{netip.MustParseAddr("fd00::2")},
			},
			plan.AddHostAddresses{Link: "h", Addresses: []netip.Addr{netip.MustParseAddr("fd00::2")}},
			plan.AddHostRoute{Link: "h", To: netip.MustParseAddr("fd00::1"), From: netip.MustParseAddr("fd00::2")},
			plan.ReleaseHostLink{Name: "h"},
			plan.DelHostRoute{Link: "h", To: netip.MustParseAddr("fd00::1")},
		},
		{plan.AwaitAddresses{Links: []plan.Await{{If: "eth0", Wait: 3 * time.Second}}}},
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
		"nothing":               {"", "read steps: near byte 0: "},
		"no kind":               {"\x01\x00", "near byte 2: a step is of the unknown kind 0"},
		"unknown kind":          {"\x01\x7f", "near byte 2: a step is of the unknown kind 127"},
		"kind of a word":        {"\x01\x81\x02", "unknown kind 257"},
		"cut short":             {"\x01\x0a\x02b", "2 bytes or elements should follow, and 1 bytes are left"},
		"one more byte":         {"\x01\x0a\x01b\x00\x00b", "1 bytes stand behind the end"},
		"one more step":         {"\x02\x0a\x01b", "a number is cut short"},
		"bad MAC":               {"\x01\x03\x00\x00\x00\x01\x00\x02ab\x00\x00\x00", "MAC address of 2 bytes"},
		"bad mode":              {"\x01\x03\x00\x00\x00\x06\x00\x00\x00\x00\x00", "number 6 is above 5"},
		"bad side":              {"\x01\x08\x02\x00\x00\x00\x00\x00\x00", "number 2 is above 1"},
		"bad gate":              {"\x01\x0c\x00\x01\x00\x00\x04" + strings.Repeat("\x00", 11), "number 4 is above 3"},
		"bad protocol":          {"\x01\x0c\x00\x01" + strings.Repeat("\x00", 9) + "\x01\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00", "number 3 is above 2"},
		"bad port":              {"\x01\x0d\x01\x80\x80\x04", "number 65536 is no port"},
		"bad flag":              {"\x01\x14\x00\x00\x00\x06\x04\x00\x00", "number 4 is above 3"},
		"bad protocol of a tag": {"\x01\x15\x00\x00\x32\x03", "number 3 is above 2"},
		"bad route":             {"\x01\x09\x04\x00\x00\x00\x00\x00\x00\x00", "number 4 is above 3"},
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
