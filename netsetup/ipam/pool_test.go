package ipam

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	lan := pool(t, "10.0.0.0/29", []string{"10.0.0.2-10.0.0.3"}, []string{"10.0.0.1", "10.0.0.4"})
	six := pool(t, "fd00::/64", nil, []string{"fd00::1"})
	for _, tt := range []struct {
		name string
		p    Pool
		a    string
		want Reason
		text string
	}{
		{"IP-05 a free one", lan, "10.0.0.5", 0, ""},
		{"IP-05 before the subnet", lan, "9.255.255.255", Outside, "address 9.255.255.255 is outside the subnet 10.0.0.0/29"},
		{"IP-05 after the subnet", lan, "10.0.0.8", Outside, "address 10.0.0.8 is outside the subnet 10.0.0.0/29"},
		{"IP-05 outside the range that is handed out", lan, "10.0.0.6", 0, ""},
		{"IP-03 network address", lan, "10.0.0.0", NetworkAddress, "address 10.0.0.0 is the network address of 10.0.0.0/29"},
		{"IP-03 broadcast address", lan, "10.0.0.7", BroadcastAddress, "address 10.0.0.7 is the broadcast address of 10.0.0.0/29"},
		{"IP-15 gateway", lan, "10.0.0.1", Excluded, "address 10.0.0.1 is kept back in 10.0.0.0/29"},
		{"IP-15 excluded", lan, "10.0.0.4", Excluded, "address 10.0.0.4 is kept back in 10.0.0.0/29"},
		{"IPv4 in IPv6", lan, "::ffff:10.0.0.5", 0, ""},
		{"other family", lan, "fd00::5", Outside, "address fd00::5 is outside the subnet 10.0.0.0/29"},
		{"IPv6", six, "fd00::ffff:ffff:ffff:ffff", 0, ""},
		{"IPv6 anycast", six, "fd00::", AnycastAddress, "address fd00:: is the subnet-router anycast address of fd00::/64"},
		{"IPv6 zone", six, "fd00::5%eth0", Outside, "address fd00::5%eth0 is outside the subnet fd00::/64"},
		{"/31 first", pool(t, "10.0.0.0/31", nil, nil), "10.0.0.0", 0, ""},
		{"/31 second", pool(t, "10.0.0.0/31", nil, nil), "10.0.0.1", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(tt.p, netip.MustParseAddr(tt.a))
			if tt.want == 0 {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var e *AddressError
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *AddressError", err)
			}
			if e.Reason != tt.want || e.Error() != tt.text || e.Hint() == "" {
				t.Errorf("reason %d %q, hint %q; want %d %q", e.Reason, e, e.Hint(), tt.want, tt.text)
			}
		})
	}
	t.Run("no subnet", func(t *testing.T) {
		if err := Check(Pool{}, netip.MustParseAddr("10.0.0.1")); err == nil {
			t.Error("an address was allowed in no subnet")
		}
	})
	t.Run("hint names the addresses", func(t *testing.T) {
		e := &AddressError{Prefix: netip.MustParsePrefix("10.0.0.0/29"), Reason: Outside}
		if !strings.Contains(e.Hint(), "10.0.0.1-10.0.0.6") {
			t.Errorf("hint %q", e.Hint())
		}
	})
}

func TestUsage(t *testing.T) {
	n := func(i uint64) Number { return Number{Lo: i} }
	for _, tt := range []struct {
		name            string
		prefix          string
		ranges, exclude []string
		held            string
		want            Usage
	}{
		{
			"IP-27 nothing held", "10.0.0.0/24",
			[]string{"10.0.0.8/31"},
			[]string{"10.0.0.1", "10.0.0.9", "10.0.0.100"},
			"",
			Usage{All: n(256), InUse: n(5), Dynamic: n(1), Free: n(1)},
		},
		{
			"IP-27 dynamic one held", "10.0.0.0/24",
			[]string{"10.0.0.8/31"},
			[]string{"10.0.0.1"},
			"10.0.0.8",
			Usage{All: n(256), InUse: n(4), Dynamic: n(2), Free: n(1)},
		},
		{
			"IP-27 fixed one outside the range", "10.0.0.0/24",
			[]string{"10.0.0.8/31"},
			[]string{"10.0.0.1"},
			"10.0.0.77",
			Usage{All: n(256), InUse: n(4), Dynamic: n(2), Free: n(2)},
		},
		{
			"counted once", "10.0.0.0/24", nil,
			[]string{"10.0.0.1"},
			"10.0.0.1 10.0.0.5 10.0.0.5 ::ffff:10.0.0.5 10.0.0.0 10.0.1.1 fd00::5",
			Usage{All: n(256), InUse: n(4), Dynamic: n(253), Free: n(252)},
		},
		{"/31", "10.0.0.0/31", nil, nil, "10.0.0.0", Usage{All: n(2), InUse: n(1), Dynamic: n(2), Free: n(1)}},
		{
			"IPv6", "fd00::/64", nil,
			[]string{"fd00::1"},
			"fd00::5",
			Usage{All: Number{Hi: 1}, InUse: n(3), Dynamic: n(math.MaxUint64 - 1), Free: n(math.MaxUint64 - 2)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pool(t, tt.prefix, tt.ranges, tt.exclude)
			var held []netip.Addr
			for s := range strings.FieldsSeq(tt.held) {
				held = append(held, netip.MustParseAddr(s))
			}
			if diff := cmp.Diff(tt.want, p.Usage(held)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if p.Size() != tt.want.Dynamic {
				t.Errorf("size %s, want %s", p.Size(), tt.want.Dynamic)
			}
		})
	}
	t.Run("no subnet", func(t *testing.T) {
		if got := (Pool{}).Usage([]netip.Addr{{}}); got != (Usage{}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestNumberText(t *testing.T) {
	for _, n := range []Number{
		{0, 0},
		{0, 7},
		{0, math.MaxUint64},
		{1, 0},
		{1, 5},
		{0x8ac7230489e80000, 0},
		{math.MaxUint64, math.MaxUint64},
		{0x4b3b4ca85a86c47a, 0x098a224000000000}, // 10^38
		{5, 0x6bc75e2d63100000},                  // 10^20
	} {
		b := new(big.Int).SetUint64(n.Hi)
		b.Add(b.Lsh(b, 64), new(big.Int).SetUint64(n.Lo))
		if n.String() != b.String() {
			t.Errorf("%#v is %s, want %s", n, n, b)
		}
		text, err := json.Marshal(n)
		if err != nil || string(text) != b.String() {
			t.Errorf("%#v in JSON is %s, %v; want %s", n, text, err, b)
		}
	}
}
