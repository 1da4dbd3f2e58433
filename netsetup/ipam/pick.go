package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	// maxWalk is how many addresses in use Pick looks at before it gives up: as many as an IPv4 /8 has, far more than a
	// host's records hold, and still no more than seconds.
	maxWalk = 1 << 24
	// maxHolders is how many holders an error names.
	maxHolders = 8
)

// ExhaustedError says that a pool has no free address.
type ExhaustedError struct {
	Prefix netip.Prefix
	// Total is how many addresses the pool hands out; 0 when its ranges and exclusions leave none.
	Total Number
	// Tried is how many were found in use: Total, or less when the search was given up.
	Tried int
	// Holders are the first 8 holders in alphabetical order, and More is how many others there are.
	Holders []string
	More    int
}

// Error implements error.
func (e *ExhaustedError) Error() string {
	var b strings.Builder
	switch {
	case e.Total == Number{}:
		return fmt.Sprintf("no address is free in %s: its ranges and exclusions leave none", e.Prefix)
	case e.Total == Number{Lo: 1}:
		fmt.Fprintf(&b, "no address is free in %s: the only one is in use", e.Prefix)
	case e.Total.Cmp(Number{Lo: uint64(e.Tried)}) > 0: //nolint:gosec // G115: it counts up from 0
		fmt.Fprintf(&b, "no address is free in %s: %d of its %s were looked at and are in use", e.Prefix, e.Tried, e.Total)
	default:
		fmt.Fprintf(&b, "no address is free in %s: all %s are in use", e.Prefix, e.Total)
	}
	if len(e.Holders) > 0 {
		b.WriteString(" by " + strings.Join(e.Holders, ", "))
	}
	if e.More > 0 {
		fmt.Fprintf(&b, " and %d more", e.More)
	}
	return b.String()
}

// Hint says how to get more addresses.
func (e *ExhaustedError) Hint() string {
	if (e.Total == Number{}) {
		return "give the subnet a range in the policy that is not excluded"
	}
	return "give the network a larger range or another subnet, or see with 'lanhook ls' who can do without"
}

// Pick chooses a free address from p: the one at place start, counted from the lowest address that p hands out and
// modulo their number, or else the next one up that is free, and after the highest the lowest.
//
// With the start of a workload's [Place] this gives the same address to the same workload as long as it is free, and
// different ones to most others. It does not reuse the lowest address first, nor go round from the last one given.
//
// used is asked only for addresses of p; it says whether one is taken and by whom. When none is left the error is an
// [*ExhaustedError].
func Pick(p Pool, start uint64, used func(netip.Addr) (holder string, taken bool)) (netip.Addr, error) {
	return pick(p, start, maxWalk, used)
}

// pick is [Pick] that gives up after limit addresses.
func pick(p Pool, start uint64, limit int, used func(netip.Addr) (string, bool)) (netip.Addr, error) {
	if !p.Prefix.IsValid() {
		return netip.Addr{}, errors.New("pick an address: the pool has no subnet")
	}
	spans := p.free()
	e := &ExhaustedError{Prefix: unmap(p.Prefix).Masked(), Total: total(spans)}
	if len(spans) == 0 {
		return netip.Addr{}, e
	}
	i, at := seek(spans, e.Total.wrap(start))
	holders := make(map[string]bool)
	for e.Total.Cmp(Number{Lo: uint64(e.Tried)}) > 0 && e.Tried < limit { //nolint:gosec // G115: as above
		a := address(at, spans[i].v4)
		holder, taken := used(a)
		if !taken {
			return a, nil
		}
		e.Tried++
		if holder != "" {
			holders[holder] = true
		}
		if at == spans[i].to {
			i = (i + 1) % len(spans)
			at = spans[i].from
			continue
		}
		at = at.add(Number{Lo: 1})
	}
	e.setHolders(holders)
	return netip.Addr{}, e
}

// seek finds the address at a place that is less than the spans' total.
func seek(spans []span, place Number) (index int, at Number) {
	for i, s := range spans {
		size := s.size()
		if place.Cmp(size) < 0 {
			return i, s.from.add(place)
		}
		place = place.sub(size)
	}
	return 0, spans[0].from
}

func (e *ExhaustedError) setHolders(holders map[string]bool) {
	for h := range holders {
		e.Holders = append(e.Holders, h)
	}
	slices.Sort(e.Holders)
	if n := len(e.Holders); n > maxHolders {
		e.Holders, e.More = slices.Clip(e.Holders[:maxHolders]), n-maxHolders
	}
}
