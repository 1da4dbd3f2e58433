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
	p := plan.Plan{Record: d.rec.ID, Interfaces: slices.Concat(d.shared, d.rec.Interfaces), Warnings: slices.Concat(d.withheld, d.doubts)}
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

// Uplink is what a network hangs on.
type Uplink struct {
	// Name is that of the parent, bridge or device. A parent that is not named and not there has the words of the policy.
	Name string
	// Wire is what is sent on, see [policy.Network.Scope].
	Wire string
	// Present says whether the host has it: of a sub-interface that is made with its first container, whether it is there now;
	// of a VLAN that is moved into containers, whether the link is on which it is made; of a device, whether it is there or
	// a container has it.
	Present bool
}

// Uplink looks for what a network hangs on.
func (s *Setup) Uplink(ctx context.Context, n *policy.Network) (Uplink, error) {
	const key = "eth0"
	if n.Driver == policy.HostDevice {
		name, present, err := s.device(ctx, n)
		return Uplink{name, name, present}, err
	}
	a, q := policy.Attachment{IfName: key, Network: n}, kernel.Query{IfName: key}
	addLinks(&q, n)
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{q})
	if err != nil {
		return Uplink{}, err
	}
	if link, ok := facts.Uplink[key]; ok {
		return Uplink{facts.UplinkName(a), facts.Wire(a), link.Index != 0}, nil
	}
	name := n.Wire()
	if n.Driver != policy.Bridge && n.Parent.Name == "" {
		name = n.Parent.String()
	}
	return Uplink{name, n.Wire(), false}, nil
}
