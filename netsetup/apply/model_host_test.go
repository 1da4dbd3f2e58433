package apply_test

import (
	"fmt"
	"slices"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// applyHostLink carries out what there is of the host's own links beside those of containers; done is false for another step.
// A route that is left by the time when its link goes is one that was forgotten.
func (m *model) applyHostLink(step plan.Step) (done bool, err error) {
	switch s := step.(type) {
	case plan.EnsureHostLink:
		return true, m.ensureHostLink(s)
	case plan.ReleaseHostLink:
		l := m.host[s.Name]
		switch {
		case l == nil || l.group != plan.Group:
			return true, nil
		case len(l.routes) > 0:
			return true, fmt.Errorf("delete link %s: %w", s.Name, errBusy)
		}
		delete(m.host, s.Name)
		return true, nil
	case plan.AddHostAddresses:
		l := m.host[s.Link]
		if l == nil || l.group != plan.Group {
			return true, errNoDev
		}
		for _, a := range s.Addresses {
			if !slices.Contains(l.addresses, a.String()) {
				l.addresses = append(l.addresses, a.String())
			}
		}
		return true, nil
	case plan.AddHostRoute:
		l := m.host[s.Link]
		switch {
		case l == nil || l.group != plan.Group:
			return true, errNoDev
		case !slices.Contains(l.addresses, s.From.String()):
			return true, fmt.Errorf("route from %s, which the host does not have on %s", s.From, s.Link)
		case slices.Contains(l.routes, s.To.String()):
			return true, errExist
		}
		l.routes = append(l.routes, s.To.String())
		return true, nil
	case plan.DelHostRoute:
		if l := m.host[s.Link]; l != nil && l.group == plan.Group {
			l.routes = slices.DeleteFunc(l.routes, func(r string) bool { return r == s.To.String() })
		}
		return true, nil
	default:
		return false, nil
	}
}

func (m *model) ensureHostLink(s plan.EnsureHostLink) error {
	parent := m.host[s.Parent]
	switch there := m.host[s.Name]; {
	case parent == nil:
		return errNoDev
	case there != nil && (there.group != plan.Group || there.parent != s.Parent || there.kind != s.Driver.String()):
		return errExist
	case there != nil:
		return nil
	}
	for _, l := range m.children(s.Parent) {
		if l.kind != s.Driver.String() && l.kind != "vlan" {
			return errBusy
		}
	}
	l := &modelLink{kind: s.Driver.String(), parent: s.Parent, mac: macOr(s.MAC, parent), group: plan.Group, up: true}
	for _, a := range s.Addresses {
		if s.Bare {
			break
		}
		l.addresses = append(l.addresses, a.String())
	}
	m.host[s.Name] = l
	return nil
}
