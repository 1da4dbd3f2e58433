package netsetup

import (
	"context"
	"fmt"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// Plan says what [Setup.Attach] would do. It changes and reserves nothing, so that an attach later may choose other
// addresses. A container without a namespace is planned as if it had a new one; one that is attached already has no steps.
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
	d := draft{Setup: s, container: c, ns: ns, attachments: attachments, facts: facts, dry: true}
	if err := s.Store.View(ctx, d.record); err != nil {
		return plan.Plan{}, err
	}
	if d.already {
		return plan.Plan{Record: d.rec.ID, Interfaces: d.rec.Interfaces}, nil
	}
	return plan.Plan{Record: d.rec.ID, Steps: d.rec.Steps, Interfaces: d.rec.Interfaces}, nil
}

// maxFreeName bounds the search for a free name.
const maxFreeName = 100

// FreeName is the lowest ethN that a namespace does not have.
func (s *Setup) FreeName(path string) (string, error) {
	ns, err := s.Host.Namespace(path)
	if err != nil {
		return "", err
	}
	defer ns.Close()
	for n := range maxFreeName {
		name := fmt.Sprintf("eth%d", n)
		if _, taken, err := ns.Link(name); err != nil || !taken {
			return name, err
		}
	}
	return "", fmt.Errorf("the container has eth0 to eth%d already; name the interface", maxFreeName-1)
}

// Uplink is the name of a network's parent or bridge, and whether the host has it. A parent that is not named and not
// there has the words of the policy as its name.
func (s *Setup) Uplink(ctx context.Context, n *policy.Network) (string, bool, error) {
	const key = "eth0"
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{IfName: key, Parent: n.Parent, Bridge: n.Bridge}})
	if err != nil {
		return "", false, err
	}
	if link, ok := facts.Uplink[key]; ok {
		return link.Name, true, nil
	}
	if n.Bridge != "" {
		return n.Bridge, false, nil
	}
	return n.Parent.String(), false, nil
}
