package apply_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// probeLinks needs links that are up, and have none of the addresses: whoever has one answers for it.
func (m *model) probeLinks(s plan.ProbeLinks) error {
	for _, p := range s.Links {
		for _, a := range p.Addresses {
			if m.has(p.If, a.String()) {
				return fmt.Errorf("%s has %s already", p.If, a)
			}
		}
		if l := m.container[p.If]; l == nil || !l.up {
			return fmt.Errorf("no link %s that is up", p.If)
		}
		if l := m.host[p.By]; p.By != "" && (l == nil || !l.up) {
			return fmt.Errorf("no link %s of the host that is up", p.By)
		}
	}
	return nil
}

// announceLinks needs links that are up and have the addresses.
func (m *model) announceLinks(s plan.AnnounceLinks) error {
	for _, a := range s.Links {
		for _, addr := range a.Addresses {
			if l := m.container[a.If]; l == nil || !l.up || !m.has(a.If, addr.String()) {
				return fmt.Errorf("%s is not up with %s", a.If, addr)
			}
		}
	}
	return nil
}

func (m *model) has(link, addr string) bool {
	l := m.container[link]
	return l != nil && slices.ContainsFunc(l.addresses, func(a string) bool { return strings.HasPrefix(a, addr+"/") })
}
