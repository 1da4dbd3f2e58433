package netsetup

import (
	"context"
	"fmt"
	"slices"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Plan says what [Setup.Attach] would do. It changes and reserves nothing, so that an attach later may choose other
// addresses. A container without a namespace is planned as if it had a new one; one that is attached already has no steps,
// and neither have interfaces that it would share with another container of its namespace.
func (s *Setup) Plan(ctx context.Context, c Container) (plan.Plan, error) {
	attachments, err := s.Policy.Decide(c.Request, c.Subject)
	if err != nil {
		return plan.Plan{}, err
	}
	var ns *kernel.Namespace
	if c.NetNS != "" {
		if ns, err = s.Host.Namespace(c.NetNS); err != nil {
			return plan.Plan{}, err
		}
		defer ns.Close()
	}
	facts, err := s.look(ctx, ns, attachments)
	if err != nil {
		return plan.Plan{}, err
	}
	d := draft{Setup: s, container: c, ns: ns, attachments: attachments, facts: facts, dry: true, relooked: true}
	if err = s.lookAtPorts(ctx, &d); err == nil {
		err = s.Store.View(ctx, d.record)
	}
	if err != nil {
		return plan.Plan{}, err
	}
	p := plan.Plan{Record: d.rec.ID, Interfaces: slices.Concat(d.shared, d.rec.Interfaces)}
	if !d.already {
		p.Steps = d.rec.Steps
	}
	return p, nil
}

// maxFreeName bounds the search for a free name.
const maxFreeName = 100

// FreeName is the lowest ethN that a namespace does not have; for a container of Docker's, which numbers its own
// interfaces so, the lowest lanN.
func (s *Setup) FreeName(path, engine string) (string, error) {
	stem := "eth"
	if engine == request.Docker {
		stem = "lan"
	}
	ns, err := s.Host.Namespace(path)
	if err != nil {
		return "", err
	}
	defer ns.Close()
	for n := range maxFreeName {
		name := fmt.Sprintf("%s%d", stem, n)
		if _, taken, err := ns.Link(name); err != nil || !taken {
			return name, err
		}
	}
	return "", fmt.Errorf("the container has %s0 to %s%d already; name the interface", stem, stem, maxFreeName-1)
}

// Uplink is the name of a network's parent or bridge, and whether the host has it: of a sub-interface that is made with its
// first container, whether it is there now; of a VLAN that is moved into containers, whether the link is on which it is made.
// A parent that is not named and not there has the words of the policy as its name.
func (s *Setup) Uplink(ctx context.Context, n *policy.Network) (string, bool, error) {
	const key = "eth0"
	if n.Driver == policy.HostDevice {
		return s.device(ctx, n)
	}
	a, q := policy.Attachment{IfName: key, Network: n}, kernel.Query{IfName: key}
	addLinks(&q, n)
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{q})
	if err != nil {
		return "", false, err
	}
	if link, ok := facts.Uplink[key]; ok {
		return facts.UplinkName(a), link.Index != 0, nil
	}
	if n.Bridge != "" {
		return n.Bridge, false, nil
	}
	if n.Parent.Name == "" {
		return n.Parent.String(), false, nil
	}
	return policy.Wire(n.Parent.Name, n.VLAN), false, nil
}
