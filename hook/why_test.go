package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
)

func TestQuestionOf(t *testing.T) {
	all := []request.Protocol{request.TCP, request.UDP, request.SCTP}
	port := func(addr string, n uint16, protocols ...request.Protocol) netsetup.Question {
		q := netsetup.Question{Port: n, Protocols: protocols}
		if addr != "" {
			q.Addr = netip.MustParseAddr(addr)
		}
		return q
	}
	for word, want := range map[string]netsetup.Question{
		"192.0.2.9":                 {Addr: netip.MustParseAddr("192.0.2.9")},
		"192.0.2.9/24":              {Addr: netip.MustParseAddr("192.0.2.9")},
		"2001:db8::9":               {Addr: netip.MustParseAddr("2001:db8::9")},
		"::ffff:192.0.2.9":          {Addr: netip.MustParseAddr("192.0.2.9")},
		"02:42:C0:00:02:09":         {MAC: plan.MAC{2, 0x42, 0xc0, 0, 2, 9}},
		"02-42-c0-00-02-09":         {MAC: plan.MAC{2, 0x42, 0xc0, 0, 2, 9}},
		"8080":                      port("", 8080, all...),
		":8080":                     port("", 8080, all...),
		"53/udp":                    port("", 53, request.UDP),
		"192.0.2.9:8080":            port("192.0.2.9", 8080, all...),
		"0.0.0.0:65535/tcp":         port("0.0.0.0", 65535, request.TCP),
		"[2001:db8::9]:80/sctp":     port("2001:db8::9", 80, request.SCTP),
		"[::ffff:192.0.2.9]:80/tcp": port("192.0.2.9", 80, request.TCP),
	} {
		got, err := questionOf(word)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", word, err, diff)
		}
	}
	for _, word := range []string{
		"", "web", "0", "65536", "-1", "8080/icmp", "8080/", "fe80::1%eth0", "[fe80::1%eth0]:80", "192.0.2:80", "192.0.2.9:", "192.0.2.9:http",
		"2001:db8::9:80x", "02:42:c0:00:02", "02:42:c0:00:02:09:00", "192.0.2.0/33",
	} {
		if q, err := questionOf(word); err == nil || hintOf(err) == "" || exitCode(err) != exitUsage {
			t.Errorf("%q: %v with the error %v and the hint %q, want a usage error with a hint", word, q, err, hintOf(err))
		}
	}
}
