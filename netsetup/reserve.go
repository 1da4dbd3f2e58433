package netsetup

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// addressIn takes the address that a container gets in a subnet in which it asks for none: what is reserved for its name, or
// one that is picked. It is the zero Addr where the network gives neither.
func (d *draft) addressIn(tx *store.Tx, l lan, a policy.Attachment, sub policy.Subnet) (netip.Addr, error) {
	if a.Withheld {
		addr, _ := reservedIn(a.Network.ReservedFor(d.container.Workload), sub)
		d.withhold(a, addr, "rule "+a.Rule+" does not let this container have that name")
	}
	if addr, kept := reservedIn(a.Reserved, sub); kept {
		why, err := d.takeReserved(tx, l, a, addr)
		if err != nil || why == "" {
			return addr, err
		}
		if a.Network.IPAM != policy.IPAMLocal {
			return netip.Addr{}, fmt.Errorf("%s: %s is reserved for %q, but %s", a.IfName, addr, d.container.Workload, why)
		}
		d.withhold(a, addr, why)
	}
	if a.Network.IPAM != policy.IPAMLocal {
		return netip.Addr{}, nil
	}
	return d.pick(tx, l, a, sub)
}

// takeReserved takes an address that is reserved for the workload, or says why it cannot be had. A dead container that has
// it is cleared away first.
func (d *draft) takeReserved(tx *store.Tx, l lan, a policy.Attachment, addr netip.Addr) (why string, err error) {
	if contains(l.own, addr) {
		return "this host has it", nil
	}
	if other := d.sibling(l.scope, addr); other != "" {
		return "its " + other + " has it", nil
	}
	if contains(l.reserved, addr) {
		return "another network of the policy on the same LAN keeps it back", nil
	}
	if slices.Contains(d.tried, addr) {
		return "somebody else on the LAN has it", nil
	}
	lease, taken, err := tx.Holder(l.scope, addr)
	if err != nil {
		return "", err
	}
	if !taken || lease.Ref() == d.rec.Ref() {
		return "", d.take(tx, store.Lease{Scope: l.scope, Addr: addr, IfName: a.IfName})
	}
	if !d.asked[lease.Ref()] && !d.dry {
		return "", &namesakeError{lease.Ref()}
	}
	return fmt.Sprintf("container %s has it", lease.Container), nil
}

// withhold notes why an address that is reserved for the container's name is not its; a zero Addr is none.
func (d *draft) withhold(a policy.Attachment, addr netip.Addr, why string) {
	if addr.IsValid() {
		d.withheld = append(d.withheld, fmt.Errorf("%s is reserved for %q, but %s; %s has another address",
			addr, d.container.Workload, why, a.IfName))
	}
}

// reservedIn is the address of a list that lies in a subnet.
func reservedIn(reserved []netip.Prefix, sub policy.Subnet) (netip.Addr, bool) {
	for _, p := range reserved {
		if sub.Prefix.Contains(p.Addr()) {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// isReserved says whether an address is reserved for the workload of an attachment.
func isReserved(a policy.Attachment, addr netip.Addr) bool {
	return slices.ContainsFunc(a.Reserved, func(p netip.Prefix) bool { return p.Addr() == addr })
}
