//go:build linux

package kernel

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// containerFacts says what a container has already. As a rule that is nothing: where a namespace has but its loopback, the
// list of its links says it all, and no more is asked.
func (n *Namespace) containerFacts(facts *plan.Facts, queries []Query) error {
	links, err := n.conn.links()
	if err != nil {
		return failed(err, "list links of the container")
	}
	for _, q := range queries {
		// The kernel takes an alternative name for a name too.
		if slices.ContainsFunc(links, func(s State) bool { return s.Name == q.IfName || slices.Contains(s.AltNames, q.IfName) }) {
			facts.Taken[q.IfName] = true
		}
	}
	if !slices.ContainsFunc(links, func(s State) bool { return !s.Loopback }) {
		return nil
	}
	if err = n.defaults(facts, links); err == nil {
		facts.HasAddress, err = n.hasAddress(links)
	}
	return err
}

// defaults says for each family whether the namespace has a default route, and on which link: a look-up of an address for
// documentation (RFC 5737, RFC 3849), which only a default route leads to.
func (n *Namespace) defaults(facts *plan.Facts, links []State) error {
	v4, has4, err := n.conn.defaultIndex(netip.AddrFrom4([4]byte{192, 0, 2, 1}))
	if err != nil {
		return err
	}
	v6, has6, err := n.conn.defaultIndex(netip.MustParseAddr("2001:db8::1"))
	facts.HasDefault = plan.Families{V4: has4, V6: has6}
	for _, s := range links {
		if has4 && s.Index == v4 {
			facts.DefaultOn.V4 = s.Name
		}
		if has6 && s.Index == v6 {
			facts.DefaultOn.V6 = s.Name
		}
	}
	return err
}

// hasAddress says for each family whether a link of the namespace has an address from which packets are routed: those of the
// loopback, and link-local ones, are none.
func (n *Namespace) hasAddress(links []State) (plan.Families, error) {
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
		own := slices.ContainsFunc(links, func(s State) bool { return s.Loopback && s.Index == int(header.Index) })
		routed := header.Scope < unix.RT_SCOPE_LINK && !own
		has.V4 = has.V4 || routed && header.Family == unix.AF_INET
		has.V6 = has.V6 || routed && header.Family == unix.AF_INET6
	}
	return has, nil
}
