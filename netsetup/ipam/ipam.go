// Package ipam is address arithmetic: ranges, exclusions and the choice of a free address. It does no I/O and holds
// no state; what is in use comes in as a function.
package ipam

import "net/netip"

// Range is an inclusive range of addresses of one family.
type Range struct{ From, To netip.Addr }

// Pool is what one subnet can hand out.
type Pool struct {
	Prefix netip.Prefix
	// Ranges are handed out; all of Prefix when empty.
	Ranges []Range
	// Exclude is never handed out: gateway, host's own addresses, the policy's exclusions.
	Exclude []Range
}
