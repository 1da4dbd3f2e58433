package netsetup

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// Identity is what a workload is known by on the LAN of a network, as far as it follows from host, network, name and interface.
type Identity struct {
	// MAC is nil where it is not lanhook's to choose, or is another one each time.
	MAC plan.MAC
	// MACFrom is the policy by which it is, 0 where the link has its parent's or device's own.
	MACFrom policy.MACPolicy
	// MACHolder is the container that has that MAC address now, "" for none.
	MACHolder string
	Addresses []IdentityAddress
}

// IdentityAddress is the address of a subnet that a workload has while it is free.
type IdentityAddress struct {
	Prefix netip.Prefix
	// Reserved says that the policy keeps it for the workload.
	Reserved bool
	// Holder is the container that has it now, "" for none.
	Holder string
}

// Identity says what a workload of a name gets on an interface when it asks for the network and no more: it is lent to it anew
// after each restart, as long as it is free. It looks which addresses the host has, and changes nothing.
func (s *Setup) Identity(ctx context.Context, n *policy.Network, name, ifName string) (Identity, error) {
	a := policy.Attachment{IfName: ifName, Network: n, Reserved: n.ReservedFor(name), IPv6: n.IPv6, Sysctls: n.Sysctls}
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{queryOf(a)})
	if err == nil {
		facts.Wires, err = s.wires(ctx, []policy.Attachment{a}, facts)
	}
	if err != nil {
		return Identity{}, err
	}
	d := draft{Setup: s, container: Container{Workload: name}, facts: facts, dry: true}
	var id Identity
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		l, viewErr := d.withHostAddresses(tx, d.lan(a), a)
		if viewErr == nil {
			id, viewErr = d.identity(l, a)
		}
		if viewErr == nil {
			viewErr = id.holders(tx, l.scope)
		}
		return viewErr
	})
	return id, err
}

// identity is what follows from host, network, name and interface alone.
func (d *draft) identity(l lan, a policy.Attachment) (id Identity, err error) {
	var prefixes []netip.Prefix
	for _, sub := range a.Network.Subnets {
		one, err := d.usual(l, a, sub)
		if err != nil {
			return Identity{}, err
		}
		if one.Prefix.IsValid() {
			id.Addresses = append(id.Addresses, one)
			prefixes = append(prefixes, one.Prefix)
		}
	}
	id.MAC, id.MACFrom = d.usualMAC(a, prefixes)
	return id, nil
}

// usual is the address that a workload has in a subnet when nobody else has it.
func (d *draft) usual(l lan, a policy.Attachment, sub policy.Subnet) (IdentityAddress, error) {
	if sub.Prefix.Addr().Is6() && a.WithoutIPv6() {
		return IdentityAddress{}, nil
	}
	if addr, kept := reservedIn(a.Reserved, sub); kept {
		return IdentityAddress{Prefix: netip.PrefixFrom(addr, sub.Prefix.Bits()), Reserved: true}, nil
	}
	if a.Network.IPAM != policy.IPAMLocal {
		return IdentityAddress{}, nil
	}
	addr, err := ipam.Pick(l.pool(a, sub), d.place(a), l.has)
	if err != nil {
		return IdentityAddress{}, fmt.Errorf("network %s: %w", a.Network.Name, err)
	}
	return IdentityAddress{Prefix: netip.PrefixFrom(addr, sub.Prefix.Bits())}, nil
}

// usualMAC is the first MAC address that is tried for a workload.
func (d *draft) usualMAC(a policy.Attachment, addrs []netip.Prefix) (plan.MAC, policy.MACPolicy) {
	switch n := a.Network; {
	case n.Mode == policy.ModePassthru, n.MAC == policy.MACKeep:
		return nil, 0
	case n.MAC == policy.MACRandom:
		return nil, n.MAC
	}
	has4 := slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is4() })
	if a.Network.MAC == policy.MACFromIP && !has4 {
		return nil, a.Network.MAC
	}
	return plan.MAC(d.candidate(a, addrs, 0)), a.Network.MAC
}

// holders looks who has the addresses now.
func (id *Identity) holders(tx *store.Tx, scope string) error {
	for i := range id.Addresses {
		lease, _, err := tx.Holder(scope, id.Addresses[i].Prefix.Addr())
		if err != nil {
			return err
		}
		id.Addresses[i].Holder = lease.Container
	}
	if id.MAC == nil {
		return nil
	}
	lease, _, err := tx.HolderMAC(scope, id.MAC)
	id.MACHolder = lease.Container
	return err
}
