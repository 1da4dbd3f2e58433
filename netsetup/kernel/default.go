//go:build linux

package kernel

import (
	"net/netip"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Defaults says for each family whether the namespace has a default route: two look-ups of an address for documentation
// (RFC 5737, RFC 3849), which only a default route leads to.
func (n *Namespace) Defaults() (plan.Families, error) {
	var has plan.Families
	var err error
	if _, has.V4, err = n.conn.defaultIndex(netip.AddrFrom4([4]byte{192, 0, 2, 1})); err != nil {
		return plan.Families{}, err
	}
	_, has.V6, err = n.conn.defaultIndex(netip.MustParseAddr("2001:db8::1"))
	return has, err
}
