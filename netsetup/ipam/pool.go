package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
)

// free is what p hands out: its usable addresses that lie in a range and are not excluded, as spans in rising order
// that do not touch each other's addresses. Ranges and exclusions of the other family count for nothing.
func (p Pool) free() []span {
	usable, ok := Usable(p.Prefix).span()
	if !ok {
		return nil
	}
	if len(p.Ranges) == 0 {
		return subtract([]span{usable}, p.Exclude, usable.v4)
	}
	var in []span
	for _, s := range join(p.Ranges, usable.v4) {
		s.from, s.to = larger(s.from, usable.from), smaller(s.to, usable.to)
		if s.from.Cmp(s.to) <= 0 {
			in = append(in, s)
		}
	}
	return subtract(in, p.Exclude, usable.v4)
}

// join sorts the ranges of one family by their start and makes one out of those that overlap.
func join(ranges []Range, v4 bool) []span {
	var all []span
	for _, r := range ranges {
		if s, ok := r.span(); ok && s.v4 == v4 {
			all = append(all, s)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].from.Cmp(all[j].from) < 0 })
	var out []span
	for _, s := range all {
		if n := len(out); n > 0 && s.from.Cmp(out[n-1].to) <= 0 {
			out[n-1].to = larger(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

// subtract takes the excluded ranges out of spans that are in order. Both lists are walked once.
func subtract(in []span, exclude []Range, v4 bool) []span {
	one := Number{Lo: 1}
	cuts := join(exclude, v4)
	var out []span
	for _, s := range in {
		whole := true
		for _, c := range cuts {
			if c.to.Cmp(s.from) < 0 {
				continue
			}
			if c.from.Cmp(s.to) > 0 {
				break
			}
			if c.from.Cmp(s.from) > 0 {
				out = append(out, span{s.from, c.from.sub(one), v4})
			}
			if c.to.Cmp(s.to) >= 0 {
				whole = false
				break
			}
			s.from = c.to.add(one)
		}
		if whole {
			out = append(out, s)
		}
	}
	return out
}

func larger(a, b Number) Number {
	if a.Cmp(b) < 0 {
		return b
	}
	return a
}

func smaller(a, b Number) Number {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

func total(spans []span) Number {
	var n Number
	for _, s := range spans {
		n = n.add(s.size())
	}
	return n
}

// Size is how many addresses [Pick] can hand out when none is in use.
func (p Pool) Size() Number { return total(p.free()) }

// Usage counts the addresses of one pool.
type Usage struct {
	// All is how many addresses the subnet has, the unusable ones too.
	All Number `json:"all"`
	// InUse are those of All that nobody can get: the unusable and the excluded ones, and those that are held.
	InUse Number `json:"in_use"`
	// Dynamic is how many [Pick] hands out, Free how many of them nobody holds.
	Dynamic Number `json:"dynamic"`
	Free    Number `json:"free"`
}

// Usage counts what is held in p. An address that is held outside p, or more than once, or that was kept back anyway,
// counts for nothing; one that was chosen and lies outside the ranges takes nothing from Free.
func (p Pool) Usage(held []netip.Addr) Usage {
	all, ok := RangeOf(p.Prefix).span()
	if !ok {
		return Usage{}
	}
	dynamic := p.free()
	rest := Pool{Prefix: p.Prefix, Exclude: p.Exclude}.free()
	u := Usage{All: all.size(), Dynamic: total(dynamic)}
	u.InUse, u.Free = u.All.sub(total(rest)), u.Dynamic
	seen := make(map[netip.Addr]bool, len(held))
	for _, a := range held {
		if all.v4 {
			a = a.Unmap()
		}
		if seen[a] || !inside(rest, a) {
			continue
		}
		seen[a] = true
		u.InUse = u.InUse.add(Number{Lo: 1})
		if inside(dynamic, a) {
			u.Free = u.Free.sub(Number{Lo: 1})
		}
	}
	return u
}

func inside(spans []span, a netip.Addr) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.contains(a) })
}

// Reason is why a chosen address cannot be had.
type Reason uint8

// The reasons of an [AddressError].
const (
	// Outside is an address of another subnet or family.
	Outside Reason = iota + 1
	// NetworkAddress is the first address of an IPv4 subnet.
	NetworkAddress
	// BroadcastAddress is the last address of an IPv4 subnet.
	BroadcastAddress
	// AnycastAddress is the first address of an IPv6 subnet, which all its routers answer to.
	AnycastAddress
	// Excluded is an address that is kept back, such as the gateway's.
	Excluded
)

// AddressError is the refusal of an address that was chosen by the container.
type AddressError struct {
	Addr   netip.Addr
	Prefix netip.Prefix
	Reason Reason
}

// Error implements error.
func (e *AddressError) Error() string {
	switch e.Reason {
	case Outside:
		return fmt.Sprintf("address %s is outside the subnet %s", e.Addr, e.Prefix)
	case NetworkAddress:
		return fmt.Sprintf("address %s is the network address of %s", e.Addr, e.Prefix)
	case BroadcastAddress:
		return fmt.Sprintf("address %s is the broadcast address of %s", e.Addr, e.Prefix)
	case AnycastAddress:
		return fmt.Sprintf("address %s is the subnet-router anycast address of %s", e.Addr, e.Prefix)
	case Excluded:
		return fmt.Sprintf("address %s is kept back in %s", e.Addr, e.Prefix)
	}
	return fmt.Sprintf("address %s cannot be had in %s", e.Addr, e.Prefix)
}

// Hint says which addresses there are.
func (e *AddressError) Hint() string {
	if e.Reason == Excluded {
		return "it is the gateway's, the host's own, or excluded by the policy"
	}
	return "hosts of this subnet have addresses in " + Usable(e.Prefix).String()
}

// Check says whether a container may have chosen a: it must be an address of p's subnet that a host can have, and not
// be excluded. It need not lie in p's ranges, which are for [Pick]. A refusal is an [*AddressError].
func Check(p Pool, a netip.Addr) error {
	prefix := unmap(p.Prefix).Masked()
	bad := func(r Reason) error { return &AddressError{Addr: a, Prefix: prefix, Reason: r} }
	all := RangeOf(prefix)
	if !all.Contains(a) {
		return bad(Outside)
	}
	if !Usable(prefix).Contains(a) {
		switch {
		case !all.From.Is4():
			return bad(AnycastAddress)
		case a.Unmap() == all.From:
			return bad(NetworkAddress)
		}
		return bad(BroadcastAddress)
	}
	if slices.ContainsFunc(p.Exclude, func(r Range) bool { return r.Contains(a) }) {
		return bad(Excluded)
	}
	return nil
}
