package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPickFirst(t *testing.T) {
	for _, tt := range []struct {
		name, prefix    string
		ranges, exclude []string
		want            string
	}{
		{"IP-01 /29", "10.0.0.0/29", nil, []string{"10.0.0.1"}, "10.0.0.2"},
		{"IP-01 /30", "10.0.0.0/30", nil, []string{"10.0.0.1"}, "10.0.0.2"},
		{"IP-01 IPv6 /64", "2001:db8:1::/64", nil, []string{"2001:db8:1::1"}, "2001:db8:1::2"},
		{"IP-06 custom range", "10.1.2.0/24", []string{"10.1.2.88"}, nil, "10.1.2.88"},
		{"IP-06 IPv6 custom range", "2001:db8:1::/24", []string{"2001:db8::99"}, nil, "2001:db8::99"},
		{"IP-12 excluded network", "192.168.0.0/29", nil, []string{"192.168.0.0/30"}, "192.168.0.4"},
		{"IP-12 excluded address", "192.168.0.0/29", nil, []string{"192.168.0.1"}, "192.168.0.2"},
		{"IP-12 unsorted exclusions", "192.168.0.0/28", nil, []string{"192.168.0.6", "192.168.0.0/30", "192.168.0.4/31"}, "192.168.0.7"},
		{"IP-12 nested exclusions", "192.168.0.0/28", nil, []string{"192.168.0.1-192.168.0.9", "192.168.0.2"}, "192.168.0.10"},
		{"IP-23 ::/126", "::/126", nil, nil, "::1"},
		{"IP-23 fd::/116", "fd::/116", nil, nil, "fd::1"},
		{"IP-23 100::2:0/126", "100::2:0/126", nil, nil, "100::2:1"},
		{"ranges out of order", "10.0.0.0/24", []string{"10.0.0.50-10.0.0.60", "10.0.0.20"}, nil, "10.0.0.20"},
		{"range over the network address", "10.0.0.0/24", []string{"10.0.0.0/28"}, nil, "10.0.0.1"},
		{"range partly outside", "10.0.1.0/24", []string{"10.0.0.0-10.0.1.7"}, nil, "10.0.1.1"},
		{"exclusion of the other family", "10.0.0.0/24", nil, []string{"::/0"}, "10.0.0.1"},
		{"IPv4 in IPv6", "::ffff:10.0.0.0/120", nil, nil, "10.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Pick(pool(t, tt.prefix, tt.ranges, tt.exclude), 0, leases{}.used)
			if err != nil || got.String() != tt.want {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestPickAll(t *testing.T) {
	for _, tt := range []struct {
		name            string
		prefix          string
		ranges, exclude []string
		start           uint64
		want            string
	}{
		{
			"IP-03 never network, gateway or broadcast", "192.168.1.0/29", nil,
			[]string{"192.168.1.1"},
			0, "192.168.1.2 192.168.1.3 192.168.1.4 192.168.1.5 192.168.1.6",
		},
		{
			"wraps around", "192.168.1.0/29", nil,
			[]string{"192.168.1.1"},
			3, "192.168.1.5 192.168.1.6 192.168.1.2 192.168.1.3 192.168.1.4",
		},
		{
			"start is taken modulo the size", "192.168.1.0/29", nil,
			[]string{"192.168.1.1"},
			1<<63 + 2, "192.168.1.2 192.168.1.3 192.168.1.4 192.168.1.5 192.168.1.6",
		},
		{
			"IP-14 range", "192.168.2.0/24",
			[]string{"192.168.2.5-192.168.2.12/24"},
			nil, 0, "192.168.2.5 192.168.2.6 192.168.2.7 192.168.2.8 192.168.2.9 192.168.2.10 192.168.2.11 192.168.2.12",
		},
		{"IP-22 /31", "192.168.1.4/31", nil, nil, 0, "192.168.1.4 192.168.1.5"},
		{"/32", "192.168.1.4/32", nil, nil, 7, "192.168.1.4"},
		{
			"several ranges, touching and overlapping", "10.0.0.0/24",
			[]string{"10.0.0.9-10.0.0.11", "10.0.0.4", "10.0.0.5-10.0.0.6", "10.0.0.10-10.0.0.12"},
			[]string{"10.0.0.11"},
			4, "10.0.0.10 10.0.0.12 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.9",
		},
		{"the last address there is", "255.255.255.255/32", nil, nil, 1, "255.255.255.255"},
		{
			"the last IPv6 addresses there are", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", nil, nil, 1,
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffd",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := pool(t, tt.prefix, tt.ranges, tt.exclude)
			got, err := leases{}.all(t, p, tt.start)
			if diff := cmp.Diff(strings.Fields(tt.want), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			var e *ExhaustedError
			if !errors.As(err, &e) || e.Total != (Number{Lo: uint64(len(got))}) || e.Tried != len(got) {
				t.Errorf("ended with %#v, want all %d tried", err, len(got))
			}
		})
	}
}

// The order is ours: a workload keeps its place and does not move on after a release, as CNI's host-local would.
func TestPickOrder(t *testing.T) {
	p := pool(t, "192.168.1.0/29", nil, []string{"192.168.1.1"})
	l := leases{}
	take := func(start uint64) netip.Addr {
		a, err := Pick(p, start, l.used)
		if err != nil {
			t.Fatal(err)
		}
		l[a] = "x"
		return a
	}
	first := take(3)
	t.Run("IP-02 another one at the same place gets the next", func(t *testing.T) {
		if next := take(3); next != first.Next() {
			t.Errorf("after %s came %s", first, next)
		}
	})
	t.Run("IP-02 after the release the same one comes back", func(t *testing.T) {
		delete(l, first)
		if again := take(3); again != first {
			t.Errorf("had %s, got %s", first, again)
		}
	})
	t.Run("IP-24 the one that was released in a full /23", func(t *testing.T) {
		p, l := pool(t, "10.0.0.0/23", nil, nil), leases{}
		got, end := l.all(t, p, 77)
		if len(got) != 510 {
			t.Fatalf("a /23 gave %d addresses and then %v", len(got), end)
		}
		free := netip.MustParseAddr("10.0.1.0")
		delete(l, free)
		for _, start := range []uint64{0, 254, 255, 256, 509, 1 << 40} {
			if a, err := Pick(p, start, l.used); err != nil || a != free {
				t.Errorf("from %d: %s, %v; want %s", start, a, err, free)
			}
		}
	})
}

func TestPickExhausted(t *testing.T) {
	many := func(n int) leases {
		l := leases{}
		for i := range n {
			l[netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})] = fmt.Sprintf("web-%02d", n-i)
		}
		return l
	}
	for _, tt := range []struct {
		name            string
		prefix          string
		ranges, exclude []string
		l               leases
		want, hint      string
	}{
		{
			"IP-04 /30 with its gateway", "10.0.0.0/30", nil,
			[]string{"10.0.0.1"},
			many(3),
			"no address is free in 10.0.0.0/30: the only one is in use by web-01", "larger range",
		},
		{
			"IP-04 two ranges both used", "10.0.0.0/24",
			[]string{"10.0.0.4/30", "10.0.0.8/30"},
			nil, many(12),
			"no address is free in 10.0.0.0/24: all 8 are in use by web-01, web-02, web-03, web-04, web-05, web-06, web-07, web-08",
			"larger range",
		},
		{
			"more holders than are named", "10.0.0.0/28", nil, nil, many(16),
			"no address is free in 10.0.0.0/28: all 14 are in use by web-02, web-03, web-04, web-05, web-06, web-07, web-08, web-09 and 6 more",
			"larger range",
		},
		{
			"one holder of several", "10.0.0.0/29",
			[]string{"10.0.0.2-10.0.0.4"},
			nil,
			leases{
				netip.MustParseAddr("10.0.0.2"): "db", netip.MustParseAddr("10.0.0.3"): "db",
				netip.MustParseAddr("10.0.0.4"): "",
			},
			"no address is free in 10.0.0.0/29: all 3 are in use by db", "larger range",
		},
		{
			"nothing to hand out", "10.0.0.0/30", nil,
			[]string{"10.0.0.0/24"},
			nil,
			"no address is free in 10.0.0.0/30: its ranges and exclusions leave none", "not excluded",
		},
		{
			"range of the other family only", "10.0.0.0/30",
			[]string{"fd00::1"},
			nil, nil,
			"no address is free in 10.0.0.0/30: its ranges and exclusions leave none", "not excluded",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := Pick(pool(t, tt.prefix, tt.ranges, tt.exclude), 1, tt.l.used)
			var e *ExhaustedError
			if !errors.As(err, &e) || a.IsValid() {
				t.Fatalf("got %s, %v; want an *ExhaustedError", a, err)
			}
			if e.Error() != tt.want {
				t.Errorf("error %q\n want %q", e, tt.want)
			}
			if !strings.Contains(e.Hint(), tt.hint) {
				t.Errorf("hint %q, want it to hold %q", e.Hint(), tt.hint)
			}
		})
	}
	t.Run("no subnet", func(t *testing.T) {
		if a, err := Pick(Pool{}, 0, leases{}.used); err == nil {
			t.Errorf("got %s", a)
		}
	})
}

// A pool of 2^64 addresses is neither walked nor listed.
func TestPickLarge(t *testing.T) {
	begin := time.Now()
	p := pool(t, "fd00:30::/64", nil, []string{"fd00:30::/80", "fd00:30::8000:0:0:0/65"})
	t.Run("jumps over exclusions", func(t *testing.T) {
		a, err := Pick(p, 0, leases{}.used)
		if want := "fd00:30:0:0:1::"; err != nil || a.String() != want {
			t.Errorf("got %s, %v; want %s", a, err, want)
		}
	})
	t.Run("size", func(t *testing.T) {
		if got, want := p.Size(), (Number{Lo: 1<<63 - 1<<48}); got != want {
			t.Errorf("size %s, want %s", got, want)
		}
	})
	t.Run("wraps from the end", func(t *testing.T) {
		last := netip.MustParseAddr("fd00:30::7fff:ffff:ffff:ffff")
		a, err := Pick(p, 1<<63-1<<48-1, leases{last: "x"}.used)
		if want := "fd00:30:0:0:1::"; err != nil || a.String() != want {
			t.Errorf("got %s, %v; want %s", a, err, want)
		}
	})
	t.Run("start beyond 64 bits of size", func(t *testing.T) {
		a, err := Pick(pool(t, "::/0", nil, nil), 1<<64-1, leases{}.used)
		if want := "0:0:0:1::"; err != nil || a.String() != want {
			t.Errorf("got %s, %v; want %s", a, err, want)
		}
	})
	t.Run("gives up", func(t *testing.T) {
		asked := 0
		_, err := pick(p, 5, 1000, func(netip.Addr) (string, bool) { asked++; return "x", true })
		want := "no address is free in fd00:30::/64: 1000 of its 9223090561878065152 were looked at and are in use by x"
		if err == nil || err.Error() != want || asked != 1000 {
			t.Errorf("asked %d times and got %v\nwant %s", asked, err, want)
		}
	})
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("took %s", d)
	}
}

// slowPick does what Pick does, over a list of all addresses.
func slowPick(p Pool, start uint64, used func(netip.Addr) (string, bool)) (netip.Addr, bool) {
	var list []netip.Addr
	in := func(rs []Range, a netip.Addr) bool {
		for _, r := range rs {
			if r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0 {
				return true
			}
		}
		return false
	}
	for a := p.Prefix.Addr(); p.Prefix.Contains(a); a = a.Next() {
		narrow := p.Prefix.Bits() >= a.BitLen()-1
		first := a == p.Prefix.Addr()
		final := a.Is4() && !p.Prefix.Contains(a.Next())
		if (first || final) && !narrow || in(p.Exclude, a) || len(p.Ranges) > 0 && !in(p.Ranges, a) {
			continue
		}
		list = append(list, a)
	}
	for i := range list {
		a := list[(start%uint64(len(list))+uint64(i))%uint64(len(list))]
		if _, taken := used(a); !taken {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// comparePick runs both on one pool and says how they differ.
func comparePick(p Pool, start uint64, l leases) string {
	var foreign []netip.Addr
	got, err := Pick(p, start, func(a netip.Addr) (string, bool) {
		if !Usable(p.Prefix).Contains(a) || Check(p, a) != nil {
			foreign = append(foreign, a)
		}
		return l.used(a)
	})
	want, ok := slowPick(p, start, l.used)
	if got != want || (err == nil) != ok || len(foreign) > 0 {
		return fmt.Sprintf("pool %v from %d: got %s (%v), want %s; asked for foreign %v", p, start, got, err, want, foreign)
	}
	return ""
}

func TestPickAgreesWithSlow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	exhausted := 0
	for range 2000 {
		bases := []string{"10.0.0.0", "255.255.255.0", "fd00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00"}
		base := netip.MustParseAddr(bases[rnd.IntN(len(bases))])
		prefix, err := base.Prefix(base.BitLen() - rnd.IntN(8))
		if err != nil {
			t.Fatal(err)
		}
		at := func(n int) netip.Addr {
			b := base.AsSlice()
			b[len(b)-1] += byte(min(n, 255))
			a, _ := netip.AddrFromSlice(b)
			return a
		}
		some := func() (out []Range) {
			for range rnd.IntN(5) {
				from := rnd.IntN(140)
				out = append(out, Range{at(from), at(from + rnd.IntN(20))})
			}
			return out
		}
		p := Pool{Prefix: prefix, Ranges: some(), Exclude: some()}
		l := leases{}
		for range rnd.IntN(200) {
			l[at(rnd.IntN(140))] = "x"
		}
		start := rnd.Uint64()
		if diff := comparePick(p, start, l); diff != "" {
			t.Fatal(diff)
		}
		if _, ok := slowPick(p, start, l.used); !ok {
			exhausted++
		}
	}
	if exhausted < 100 || exhausted > 1900 {
		t.Errorf("%d of 2000 pools were exhausted, the test no longer tries both", exhausted)
	}
}

func FuzzPick(f *testing.F) {
	f.Add(true, byte(29), uint64(0), []byte{1, 1}, []byte{0, 3}, []byte{4, 5})
	f.Add(true, byte(31), uint64(9), []byte{}, []byte{}, []byte{0})
	f.Add(false, byte(126), uint64(1<<63), []byte{}, []byte{0, 3}, []byte{})
	f.Add(false, byte(120), uint64(77), []byte{9, 30, 20, 40}, []byte{10, 12, 0, 255}, []byte{1, 2})
	f.Fuzz(func(t *testing.T, v4 bool, bits byte, start uint64, ranges, exclude, used []byte) {
		base := netip.MustParseAddr("fd00::")
		if v4 {
			base = netip.MustParseAddr("10.0.0.0")
		}
		// 8 host bits at most, so that the slow one stays fast.
		prefix := netip.PrefixFrom(base, base.BitLen()-int(bits%9))
		at := func(n byte) netip.Addr {
			b := base.AsSlice()
			b[len(b)-1] = n
			a, _ := netip.AddrFromSlice(b)
			return a
		}
		pairs := func(b []byte) (out []Range) {
			for ; len(b) >= 2; b = b[2:] {
				out = append(out, Range{at(min(b[0], b[1])), at(max(b[0], b[1]))})
			}
			return out
		}
		l := leases{}
		for _, n := range used {
			l[at(n)] = "x"
		}
		if diff := comparePick(Pool{Prefix: prefix, Ranges: pairs(ranges), Exclude: pairs(exclude)}, start, l); diff != "" {
			t.Error(diff)
		}
	})
}
