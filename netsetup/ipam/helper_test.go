package ipam

import (
	"net/netip"
	"testing"
)

// pool makes a pool from texts, whose ranges and exclusions are read by ParseRange.
func pool(t testing.TB, prefix string, ranges, exclude []string) Pool {
	t.Helper()
	return Pool{Prefix: netip.MustParsePrefix(prefix), Ranges: rangesOf(t, ranges), Exclude: rangesOf(t, exclude)}
}

func rangesOf(t testing.TB, texts []string) []Range {
	t.Helper()
	var out []Range
	for _, s := range texts {
		r, err := ParseRange(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// leases are addresses in use, with their holders.
type leases map[netip.Addr]string

func (l leases) used(a netip.Addr) (string, bool) {
	holder, ok := l[a]
	return holder, ok
}

// all picks from p until it is exhausted, each time from start, and gives the addresses in the order they came.
func (l leases) all(t testing.TB, p Pool, start uint64) (got []string, end error) {
	t.Helper()
	for range 5000 {
		a, err := Pick(p, start, l.used)
		if err != nil {
			return got, err
		}
		if holder, ok := l[a]; ok {
			t.Fatalf("%s was given out again, it is held by %s", a, holder)
		}
		l[a] = "c" + a.String()
		got = append(got, a.String())
	}
	t.Fatal("more than 5000 addresses")
	return nil, nil
}
