package ipam

import (
	"fmt"
	"net/netip"
	"strings"
)

// RangeError says why a text is no range. Its message is one line and names the text.
type RangeError struct {
	// Text is what was to be read.
	Text string
	// Why is the reason, in words.
	Why string
	// Fix is the nearest right thing, "" when none is known.
	Fix string
}

// Error implements error. A long text is cut.
func (e *RangeError) Error() string { return fmt.Sprintf("range %.80q: %s", e.Text, e.Why) }

// Hint says what would be right.
func (e *RangeError) Hint() string {
	if e.Fix != "" {
		return e.Fix
	}
	return "write one address, FROM-TO, or a network such as 192.0.2.0/28"
}

// ParseRange reads a range of addresses in one of four forms:
//
//	192.0.2.7               one address
//	192.0.2.7-192.0.2.19    both ends included
//	192.0.2.0/28            a whole network, first to last address
//	192.0.2.7-192.0.2.19/24 as the second, and both ends must lie in one /24
//
// IPv6 is written the same way. Addresses have no zone; IPv4 addresses written as IPv6 (::ffff:192.0.2.7) become IPv4.
// A network with host bits set is refused and the right one named. Errors are a [*RangeError].
func ParseRange(s string) (Range, error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		if strings.Contains(s, "/") {
			return parseNetwork(s)
		}
		a, err := parseAddr(s, s)
		if err != nil {
			return Range{}, err
		}
		return Range{a.Unmap(), a.Unmap()}, nil
	}
	to, length, hasLength := strings.Cut(to, "/")
	r := Range{}
	var err error
	if r.From, err = parseAddr(s, from); err != nil {
		return Range{}, err
	}
	if r.To, err = parseAddr(s, to); err != nil {
		return Range{}, err
	}
	r = r.unmap()
	if r.From.Is4() != r.To.Is4() {
		return Range{}, &RangeError{Text: s, Why: "one end is IPv4 and the other IPv6"}
	}
	if r.To.Less(r.From) {
		return Range{}, &RangeError{
			Text: s, Why: "its end comes before its start",
			Fix: fmt.Sprintf("%s-%s is the range between them", r.To, r.From),
		}
	}
	if !hasLength {
		return r, nil
	}
	p, err := netip.ParsePrefix(r.From.String() + "/" + length)
	if err != nil {
		return Range{}, &RangeError{Text: s, Why: fmt.Sprintf("%.20q is no prefix length of %s", length, family(r.From))}
	}
	if !p.Contains(r.To) {
		return Range{}, &RangeError{
			Text: s, Why: fmt.Sprintf("%s is outside %s, the network of %s", r.To, p.Masked(), r.From),
		}
	}
	return r, nil
}

func parseAddr(whole, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case s == "":
		return netip.Addr{}, &RangeError{Text: whole, Why: "an address is missing"}
	case err != nil:
		return netip.Addr{}, &RangeError{Text: whole, Why: fmt.Sprintf("%.60q is no IP address", s)}
	case a.Zone() != "":
		return netip.Addr{}, &RangeError{Text: whole, Why: fmt.Sprintf("%.60q has a zone, which no range has", s)}
	}
	return a, nil
}

func parseNetwork(s string) (Range, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Range{}, &RangeError{Text: s, Why: "it is no network in the form ADDRESS/LENGTH"}
	}
	p = unmap(p)
	if m := p.Masked(); m != p {
		return Range{}, &RangeError{
			Text: s, Why: fmt.Sprintf("it has host bits set, the network is %s", m),
			Fix: fmt.Sprintf("write %s for the whole network, or %s for this one address", m, p.Addr()),
		}
	}
	return RangeOf(p), nil
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// unmap makes an IPv4 range out of one with both ends IPv4, be they written as IPv6 or not. An IPv6 range that begins or
// ends among ::ffff:0:0/96 stays what it is.
func (r Range) unmap() Range {
	if from, to := r.From.Unmap(), r.To.Unmap(); from.Is4() && to.Is4() {
		return Range{from, to}
	}
	return r
}

// unmap makes an IPv4 prefix out of one that is written as IPv6 and lies in ::ffff:0:0/96. Others stay.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// RangeOf is all of p, the first address to the last. An invalid p gives the zero Range, which holds nothing.
func RangeOf(p netip.Prefix) Range {
	if !p.IsValid() {
		return Range{}
	}
	p = unmap(p).Masked()
	return Range{p.Addr(), last(p)}
}

// last is the last address of a masked prefix: all host bits set.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch host := (i+1)*8 - p.Bits(); {
		case host >= 8:
			b[i] = 0xff
		case host > 0:
			b[i] |= 1<<host - 1
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Usable is what hosts of p may have as their address.
//
// IPv4: all but the first and the last, the network and the broadcast address; /31 and /32 whole (RFC 3021). IPv6: all
// but the first, the Subnet-Router anycast address (RFC 4291 section 2.6.1); /127 (RFC 6164) and /128 whole. IPv6 has no
// broadcast: its last address is usable.
func Usable(p netip.Prefix) Range {
	r := RangeOf(p)
	if !r.From.IsValid() || unmap(p).Bits() >= r.From.BitLen()-1 {
		return r
	}
	r.From = r.From.Next()
	if r.From.Is4() {
		r.To = r.To.Prev()
	}
	return r
}

// Contains says whether a is in r, both ends included. An address with a zone is in no range; an IPv4 address written
// as IPv6 is in the IPv4 ranges that hold it.
func (r Range) Contains(a netip.Addr) bool {
	s, ok := r.span()
	return ok && s.contains(a)
}

// Overlaps says whether r and o have an address in common.
func (r Range) Overlaps(o Range) bool {
	a, aok := r.span()
	b, bok := o.span()
	return aok && bok && a.v4 == b.v4 && a.from.Cmp(b.to) <= 0 && b.from.Cmp(a.to) <= 0
}

// String is "FROM-TO", or the one address of a range of one, in a form that [ParseRange] reads.
func (r Range) String() string {
	switch {
	case !r.From.IsValid() || !r.To.IsValid():
		return "invalid range"
	case r.From == r.To:
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}

// span is a range as numbers, both ends included.
type span struct {
	from, to Number
	v4       bool
}

// span is false for a range that holds nothing: unset, of two families, with a zone, or with its end before its start.
func (r Range) span() (span, bool) {
	r = r.unmap()
	if !r.From.IsValid() || r.From.BitLen() != r.To.BitLen() || r.From.Zone() != "" || r.To.Zone() != "" ||
		r.To.Less(r.From) {
		return span{}, false
	}
	return span{number(r.From), number(r.To), r.From.Is4()}, true
}

func (s span) contains(a netip.Addr) bool {
	if s.v4 {
		a = a.Unmap()
	}
	if !a.IsValid() || a.Zone() != "" || a.Is4() != s.v4 {
		return false
	}
	n := number(a)
	return s.from.Cmp(n) <= 0 && n.Cmp(s.to) <= 0
}

// size is how many addresses s holds, 2^128-1 where that is one too few.
func (s span) size() Number { return s.to.sub(s.from).add(Number{Lo: 1}) }
