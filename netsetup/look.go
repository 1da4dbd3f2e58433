package netsetup

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// look asks the kernel for what the plan needs, and waits for parents as long as their networks say.
func (s *Setup) look(ctx context.Context, ns *kernel.Namespace, attachments []policy.Attachment) (plan.Facts, error) {
	var (
		queries  []kernel.Query
		deadline time.Time
	)
	given, err := s.given(ctx, attachments)
	if err != nil {
		return plan.Facts{}, err
	}
	now := time.Now()
	for _, a := range attachments {
		q := queryOf(a)
		q.Given = given
		queries = append(queries, q)
		if end := now.Add(a.Network.ParentWait); a.Network.Driver != policy.Bridge && end.After(deadline) {
			deadline = end
		}
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		facts, err := s.Host.Facts(ctx, ns, queries)
		if err == nil {
			facts.Wires, err = s.wires(ctx, attachments, facts)
		}
		if err != nil || ready(attachments, facts) || !time.Now().Before(deadline) {
			return facts, err
		}
		if err := pause(ctx, min(wait, time.Until(deadline))); err != nil {
			return plan.Facts{}, fmt.Errorf("wait for the parent: %w", err)
		}
	}
}

// wires are what those networks of the policy send on that might keep back addresses of the attachments, where it does not
// follow from what the policy calls their parents: so nobody gets the gateway of a LAN by another of its names. One whose parent
// is not there has no wire.
func (s *Setup) wires(ctx context.Context, attachments []policy.Attachment, facts plan.Facts) (map[string]string, error) {
	var wires map[string]string
	for _, a := range attachments {
		if _, ok := facts.Uplink[a.IfName]; !ok {
			continue
		}
		for _, o := range s.Policy.Elsewhere(a.Network, facts.Wire(a), a.IPs) {
			if _, known := wires[o.Name]; known {
				continue
			}
			const key = "eth0"
			q := kernel.Query{IfName: key}
			addLinks(&q, o)
			found, err := s.Host.Facts(ctx, nil, []kernel.Query{q})
			if err != nil {
				return nil, fmt.Errorf("look for the parent of network %s: %w", o.Name, err)
			}
			if wires == nil {
				wires = map[string]string{}
			}
			wires[o.Name] = found.Wire(policy.Attachment{IfName: key, Network: o})
		}
	}
	return wires, nil
}

// given are the host's addresses that are containers' as a whole, when another one is to be.
func (s *Setup) given(ctx context.Context, attachments []policy.Attachment) (all []netip.Addr, err error) {
	if !slices.ContainsFunc(attachments, func(a policy.Attachment) bool { return len(a.DNAT) > 0 }) {
		return nil, nil
	}
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		all = nil
		for lease, err := range tx.Leases(wholeScope) {
			if err != nil {
				return err
			}
			all = append(all, lease.Addr)
		}
		return nil
	})
	return all, err
}

// addLinks asks for the links that a network hangs on: the last VLAN of the driver vlan is the container's own.
func addLinks(q *kernel.Query, n *policy.Network) {
	q.Parent, q.Bridge, q.Uplink, q.VRF, q.Device, q.VLAN = n.Parent, n.Bridge, n.Uplink, n.VRF, n.Device, n.VLAN
	if last := len(n.VLAN) - 1; n.Driver == policy.VLAN && last >= 0 {
		q.VLAN, q.Own = n.VLAN[:last], n.VLAN[last]
		q.WantAddresses = false // those that the host has below are not in the container's VLAN
	}
	if n.Driver == policy.IPVLAN {
		q.Mode, q.Flag = n.Mode, n.Flag
	}
}

// queryOf is what has to be known for an attachment.
func queryOf(a policy.Attachment) kernel.Query {
	n := a.Network
	q := kernel.Query{
		IfName:        a.IfName,
		WantAddresses: n.IPAM != policy.IPAMNone || len(a.Publish)+len(a.DNAT) > 0 || n.GatewayMode == policy.GatewayIsolated,
		Publish:       a.Publish,
		Local:         slices.Clone(a.DNAT),
		Whole:         a.DNAT,
		Gateways:      gatewaysOf(n),
	}
	addLinks(&q, n)
	if n.Driver != policy.Bridge || !n.Firewall || n.Closed() {
		return q
	}
	if n.Name == "" && len(a.Publish)+len(a.DNAT) > 0 {
		for _, p := range a.IPs {
			q.Ways = append(q.Ways, p.Addr())
		}
	}
	passes := func(addr netip.Addr) {
		q.Forwards.V4, q.Forwards.V6 = q.Forwards.V4 || addr.Is4(), q.Forwards.V6 || addr.Is6()
	}
	for _, p := range a.IPs {
		passes(p.Addr())
	}
	q.Anywhere = Anywhere(n) || slices.ContainsFunc(a.Publish, func(p policy.Publish) bool { return isAll4(p.Addr) })
	for _, sub := range n.Subnets {
		if sub.SNAT.IsValid() {
			q.Local = append(q.Local, sub.SNAT)
		}
		if !sub.Prefix.Addr().Is6() || !a.WithoutIPv6() {
			passes(sub.Prefix.Addr())
		}
	}
	return q
}

// gatewaysOf are the addresses that the host has on a network's bridge.
func gatewaysOf(n *policy.Network) []netip.Addr {
	if n.Driver != policy.Bridge || n.GatewayMode == policy.GatewayIsolated || n.OnLAN() {
		return nil
	}
	var all []netip.Addr
	for _, sub := range n.Subnets {
		if sub.Gateway.IsValid() {
			all = append(all, sub.Gateway)
		}
	}
	return all
}

// Anywhere says whether IPv4 packets for a network's containers come in by any link of the host, even without a port that
// is published on all of its addresses: as answers to what the host hides, which may go anywhere, or since the containers'
// own addresses are known outside.
func Anywhere(n *policy.Network) bool {
	return n.GatewayMode == policy.GatewayRouted || slices.ContainsFunc(n.Subnets, func(s policy.Subnet) bool {
		return s.Prefix.Addr().Is4() && (s.Masquerade || s.SNAT.IsValid())
	})
}

func isAll4(addr netip.Addr) bool { return addr == netip.IPv4Unspecified() }

// lookAtPorts asks which ports are kept from the host's own connections. An attach does so only once nobody takes one
// back: by whom each is kept the records say, see [draft.ownReserved].
func (s *Setup) lookAtPorts(ctx context.Context, d *draft) error {
	if !slices.ContainsFunc(d.attachments, func(a policy.Attachment) bool { return len(a.Publish) > 0 }) {
		return nil
	}
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{Ports: true}})
	d.facts.Ephemeral, d.facts.Reserved = facts.Ephemeral, facts.Reserved
	return err
}

func ready(attachments []policy.Attachment, facts plan.Facts) bool {
	for _, a := range attachments {
		if a.Network.Driver == policy.HostDevice {
			continue // one that is not there may be in a container for days
		}
		if uplink, ok := facts.Uplink[a.IfName]; a.Network.Driver != policy.Bridge && (!ok || !uplink.Up && a.Network.ParentUp) {
			return false
		}
	}
	return true
}
