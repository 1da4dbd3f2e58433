package ipam

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
)

// Number is an unsigned number of 128 bits: how many addresses there are, or an address read as a number. The zero
// value is 0.
type Number struct{ Hi, Lo uint64 }

// maxNumber is 2^128-1, at which sums stay. Only the count of all addresses of ::/0 is one larger.
func maxNumber() Number { return Number{math.MaxUint64, math.MaxUint64} }

// String is n in decimal.
func (n Number) String() string { return string(n.append(nil)) }

// MarshalJSON writes n as a JSON number with all its digits, as [math/big.Int] does.
func (n Number) MarshalJSON() ([]byte, error) { return n.append(nil), nil }

// append writes n in decimal behind b. 10^19 is the largest power of ten in 64 bits, so two divisions by it split n
// into three groups that strconv can print.
func (n Number) append(b []byte) []byte {
	if n.Hi == 0 {
		return strconv.AppendUint(b, n.Lo, 10)
	}
	const ten19 = 1e19
	hi, r := bits.Div64(0, n.Hi, ten19)
	lo, low := bits.Div64(r, n.Lo, ten19)
	b = Number{hi, lo}.append(b)
	tail := strconv.FormatUint(low, 10)
	for range 19 - len(tail) {
		b = append(b, '0')
	}
	return append(b, tail...)
}

// Cmp is -1, 0 or 1, as n is less than, equal to or greater than m.
func (n Number) Cmp(m Number) int {
	switch {
	case n == m:
		return 0
	case n.Hi < m.Hi || n.Hi == m.Hi && n.Lo < m.Lo:
		return -1
	}
	return 1
}

// add is n+m, or 2^128-1 where that is larger.
func (n Number) add(m Number) Number {
	lo, carry := bits.Add64(n.Lo, m.Lo, 0)
	hi, over := bits.Add64(n.Hi, m.Hi, carry)
	if over != 0 {
		return maxNumber()
	}
	return Number{hi, lo}
}

// sub is n-m for m no larger than n.
func (n Number) sub(m Number) Number {
	lo, borrow := bits.Sub64(n.Lo, m.Lo, 0)
	hi, _ := bits.Sub64(n.Hi, m.Hi, borrow)
	return Number{hi, lo}
}

// wrap is s modulo n, for n greater than 0. An n of more than 64 bits is greater than every s.
func (n Number) wrap(s uint64) Number {
	if n.Hi != 0 {
		return Number{Lo: s}
	}
	return Number{Lo: s % n.Lo}
}

// number reads an address as a number.
func number(a netip.Addr) Number {
	if a.Is4() {
		b := a.As4()
		return Number{Lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return Number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// address is the reverse of number: of the IPv4 family when v4 is set.
func address(n Number, v4 bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.Hi)
	binary.BigEndian.PutUint64(b[8:], n.Lo)
	if v4 {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}
