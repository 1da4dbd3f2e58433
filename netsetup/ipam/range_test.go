package ipam

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"one address", "192.0.2.7", "192.0.2.7"},
		{"one IPv6 address", "2001:DB8::0007", "2001:db8::7"},
		{"from to", "192.0.2.7-192.0.2.19", "192.0.2.7-192.0.2.19"},
		{"from to equal", "192.0.2.7-192.0.2.7", "192.0.2.7"},
		{"network", "192.0.2.0/28", "192.0.2.0-192.0.2.15"},
		{"network of one", "192.0.2.9/32", "192.0.2.9"},
		{"all of IPv4", "0.0.0.0/0", "0.0.0.0-255.255.255.255"},
		{"IPv6 network", "fd00:30::/120", "fd00:30::-fd00:30::ff"},
		{"IPv6 network, length in a byte", "fd00:30::/121", "fd00:30::-fd00:30::7f"},
		{"all of IPv6", "::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"IP-14 from to with length", "192.168.2.5-192.168.2.12/24", "192.168.2.5-192.168.2.12"},
		{"IP-14 IPv6 from to with length", "fd00::5-fd00::c/64", "fd00::5-fd00::c"},
		{"IPv4 in IPv6", "::ffff:192.0.2.7-::ffff:192.0.2.19", "192.0.2.7-192.0.2.19"},
		{"IPv4 in IPv6 network", "::ffff:192.0.2.0/120", "192.0.2.0-192.0.2.255"},
		{"IPv6 network that ends with IPv4 in IPv6", "::/80", "::-::ffff:255.255.255.255"},
		{"IPv6 network around IPv4 in IPv6", "::fffe:0:0/95", "::fffe:0:0-::ffff:255.255.255.255"},
		{"IP-23 leading zero groups", "100::2:0/126", "100::2:0-100::2:3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRange(tt.in)
			if err != nil || got.String() != tt.want {
				t.Errorf("ParseRange(%q) = %s, %v; want %s", tt.in, got, err, tt.want)
			}
		})
	}
}

func TestParseRangeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want, hint string }{
		{"empty", "", `range "": an address is missing`, "write one address, FROM-TO"},
		{"end missing", "192.0.2.1-", `range "192.0.2.1-": an address is missing`, "FROM-TO"},
		{"word", "lan", `range "lan": "lan" is no IP address`, "FROM-TO"},
		{"space", " 192.0.2.1", `range " 192.0.2.1": " 192.0.2.1" is no IP address`, "FROM-TO"},
		{"zone", "fe80::1%eth0", `range "fe80::1%eth0": "fe80::1%eth0" has a zone, which no range has`, "FROM-TO"},
		{"zone in network", "fe80::%eth0/64", `range "fe80::%eth0/64": it is no network in the form ADDRESS/LENGTH`, "FROM-TO"},
		{"two families", "192.0.2.1-::1", `range "192.0.2.1-::1": one end is IPv4 and the other IPv6`, "FROM-TO"},
		{
			"IP-09 start after end", "192.0.2.9-192.0.2.3", `range "192.0.2.9-192.0.2.3": its end comes before its start`,
			"192.0.2.3-192.0.2.9 is the range between them",
		},
		{
			"IP-09 host bits set", "10.0.0.5/28", `range "10.0.0.5/28": it has host bits set, the network is 10.0.0.0/28`,
			"write 10.0.0.0/28 for the whole network, or 10.0.0.5 for this one address",
		},
		{
			"IP-09 host bits set, IPv6", "fd00::5/64", `range "fd00::5/64": it has host bits set, the network is fd00::/64`,
			"write fd00::/64",
		},
		{"IP-13 length too long", "1.2.3.4/123", `range "1.2.3.4/123": it is no network in the form ADDRESS/LENGTH`, "FROM-TO"},
		{"IP-13 bad IPv6", "fd00::zz/64", `range "fd00::zz/64": it is no network in the form ADDRESS/LENGTH`, "FROM-TO"},
		{
			"IP-14 end in another network", "10.0.0.5-10.0.1.5/24",
			`range "10.0.0.5-10.0.1.5/24": 10.0.1.5 is outside 10.0.0.0/24, the network of 10.0.0.5`, "FROM-TO",
		},
		{
			"IP-14 length too long", "10.0.0.5-10.0.0.7/33",
			`range "10.0.0.5-10.0.0.7/33": "33" is no prefix length of IPv4`, "FROM-TO",
		},
		{
			"long text is cut", strings.Repeat("9", 5000),
			`range "` + strings.Repeat("9", 80) + `": "` + strings.Repeat("9", 60) + `" is no IP address`, "FROM-TO",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRange(tt.in)
			var e *RangeError
			if !errors.As(err, &e) {
				t.Fatalf("ParseRange(%q) = %s, %v; want a *RangeError", tt.in, got, err)
			}
			if e.Error() != tt.want {
				t.Errorf("error %q\n want %q", e, tt.want)
			}
			if !strings.Contains(e.Hint(), tt.hint) {
				t.Errorf("hint %q, want it to hold %q", e.Hint(), tt.hint)
			}
			if got != (Range{}) {
				t.Errorf("got %s with the error", got)
			}
		})
	}
}

func TestUsable(t *testing.T) {
	for _, tt := range []struct{ name, in, all, want string }{
		{"IP-10 /24", "192.0.2.0/24", "192.0.2.0-192.0.2.255", "192.0.2.1-192.0.2.254"},
		{"IP-10 /25", "192.0.2.0/25", "192.0.2.0-192.0.2.127", "192.0.2.1-192.0.2.126"},
		{"IP-10 IPv6 /64", "2001:db8::/64", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1-2001:db8::ffff:ffff:ffff:ffff"},
		{"/30", "192.0.2.4/30", "192.0.2.4-192.0.2.7", "192.0.2.5-192.0.2.6"},
		{"IP-22 /31", "192.0.2.4/31", "192.0.2.4-192.0.2.5", "192.0.2.4-192.0.2.5"},
		{"/32", "192.0.2.4/32", "192.0.2.4", "192.0.2.4"},
		{"/0", "0.0.0.0/0", "0.0.0.0-255.255.255.255", "0.0.0.1-255.255.255.254"},
		{"IPv6 /126", "fd00::4/126", "fd00::4-fd00::7", "fd00::5-fd00::7"},
		{"IPv6 /127", "fd00::4/127", "fd00::4-fd00::5", "fd00::4-fd00::5"},
		{"IPv6 /128", "fd00::4/128", "fd00::4", "fd00::4"},
		{"host bits are masked", "192.0.2.9/24", "192.0.2.0-192.0.2.255", "192.0.2.1-192.0.2.254"},
		{"IPv4 in IPv6", "::ffff:192.0.2.0/127", "192.0.2.0-192.0.2.1", "192.0.2.0-192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := netip.MustParsePrefix(tt.in)
			if got := RangeOf(p).String(); got != tt.all {
				t.Errorf("RangeOf = %s, want %s", got, tt.all)
			}
			if got := Usable(p).String(); got != tt.want {
				t.Errorf("Usable = %s, want %s", got, tt.want)
			}
		})
	}
	t.Run("invalid prefix", func(t *testing.T) {
		if a, b := RangeOf(netip.Prefix{}), Usable(netip.Prefix{}); a != (Range{}) || b != (Range{}) {
			t.Errorf("got %s and %s, want nothing", a, b)
		}
	})
}

func TestRangeContains(t *testing.T) {
	four := rangesOf(t, []string{"192.0.2.7-192.0.2.9"})[0]
	six := rangesOf(t, []string{"fe80::7-fe80::9"})[0]
	for _, tt := range []struct {
		name string
		r    Range
		a    string
		want bool
	}{
		{"before", four, "192.0.2.6", false},
		{"first", four, "192.0.2.7", true},
		{"last", four, "192.0.2.9", true},
		{"after", four, "192.0.2.10", false},
		{"IPv4 in IPv6", four, "::ffff:192.0.2.8", true},
		{"other family", four, "::c000:208", false},
		{"IPv6", six, "fe80::8", true},
		{"with a zone", six, "fe80::8%eth0", false},
		{"IPv4 in IPv6 of an IPv6 range", rangesOf(t, []string{"::/80"})[0], "::ffff:192.0.2.8", true},
		{"IPv4 of an IPv6 range", rangesOf(t, []string{"::/80"})[0], "192.0.2.8", false},
		{"zero range", Range{}, "192.0.2.8", false},
		{"end before start", Range{four.To, four.From}, "192.0.2.8", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.r.Contains(netip.MustParseAddr(tt.a)); got != tt.want {
				t.Errorf("%s contains %s: %t, want %t", tt.r, tt.a, got, tt.want)
			}
		})
	}
	if four.Contains(netip.Addr{}) {
		t.Error("the zero address is in a range")
	}
}

func TestRangeOverlaps(t *testing.T) {
	for _, tt := range []struct {
		name, a, b string
		want       bool
	}{
		{"apart", "192.0.2.1-192.0.2.5", "192.0.2.6-192.0.2.9", false},
		{"one in common", "192.0.2.1-192.0.2.5", "192.0.2.5-192.0.2.9", true},
		{"inside", "192.0.2.0/24", "192.0.2.5", true},
		{"IP-25 IPv6", "fd00::/64", "fd00::ff:0/112", true},
		{"families", "0.0.0.0/0", "::/0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rangesOf(t, []string{tt.a, tt.b})
			if got, back := r[0].Overlaps(r[1]), r[1].Overlaps(r[0]); got != tt.want || back != tt.want {
				t.Errorf("%s and %s: %t and %t, want %t", tt.a, tt.b, got, back, tt.want)
			}
		})
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{
		"192.0.2.7", "192.0.2.7-192.0.2.19", "192.0.2.0/28", "192.0.2.7-192.0.2.19/24", "::ffff:192.0.2.0/120",
		"fd00::/64", "fd00::5-fd00::c/64", "fe80::1%a-b", "1.2.3.4/123", "-", "/", "0.0.0.0/0", "::/0", "::ffff:0:0/95",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRange(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error is more than one line: %q", err)
			}
			return
		}
		if !r.Contains(r.From) || !r.Contains(r.To) || !r.Overlaps(r) {
			t.Errorf("ParseRange(%q) = %s does not hold its own ends", s, r)
		}
		again, err := ParseRange(r.String())
		if err != nil || again != r {
			t.Errorf("%s read again is %s, %v", r, again, err)
		}
	})
}
