//go:build linux

package kernel

import (
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Defaults says for each family whether the namespace has a default route, and on which link: a look-up of an address for
// documentation (RFC 5737, RFC 3849), which only a default route leads to.
func (n *Namespace) Defaults() (plan.Families, plan.FamilyNames, error) {
	v4, on4, err := n.defaultOn(netip.AddrFrom4([4]byte{192, 0, 2, 1}))
	if err != nil {
		return plan.Families{}, plan.FamilyNames{}, err
	}
	v6, on6, err := n.defaultOn(netip.MustParseAddr("2001:db8::1"))
	return plan.Families{V4: v4, V6: v6}, plan.FamilyNames{V4: on4, V6: on6}, err
}

// defaultOn is the link of the default route by which an address is reached.
func (n *Namespace) defaultOn(dst netip.Addr) (bool, string, error) {
	index, ok, err := n.conn.defaultIndex(dst)
	if err != nil || !ok {
		return false, "", err
	}
	// The link may have gone meanwhile, which does not make it another's.
	link, _, err := n.conn.link(by{index: index})
	return true, link.Name, err
}

// HasAddress says for each family whether a link of the namespace has an address from which packets are routed: those of the
// loopback, and link-local ones, are none.
func (n *Namespace) HasAddress() (plan.Families, error) {
	var has plan.Families
	msgs, err := n.conn.dump(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err != nil {
		return has, failed(err, "list addresses of the container")
	}
	for _, msg := range msgs {
		_, header, err := parseAddress(msg)
		if err != nil {
			return has, failed(err, "list addresses of the container")
		}
		routed := header.Scope < unix.RT_SCOPE_LINK
		has.V4 = has.V4 || routed && header.Family == unix.AF_INET
		has.V6 = has.V6 || routed && header.Family == unix.AF_INET6
	}
	return has, nil
}
