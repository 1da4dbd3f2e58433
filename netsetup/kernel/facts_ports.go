//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// publishFacts finds out what published ports, translated addresses and forwarding need. It asks for nothing that no
// query wants.
func (h *Host) publishFacts(facts *plan.Facts, queries []Query) error {
	var (
		addresses []netip.Addr
		sockets   []socket
		forwards  plan.Families
		ports     bool
		anywhere  bool
	)
	for _, q := range queries {
		addresses = append(addresses, q.Local...)
		forwards.V4, forwards.V6 = forwards.V4 || q.Forwards.V4, forwards.V6 || q.Forwards.V6
		anywhere = anywhere || q.Forwards.V4 && q.Anywhere
		ports = ports || q.Ports
		for _, p := range q.Publish {
			if p.Addr.IsValid() && !p.Addr.IsUnspecified() {
				addresses = append(addresses, p.Addr)
			}
			sockets = append(sockets, socketsOf(p)...)
		}
	}
	links, err := h.localFacts(facts, addresses)
	if err == nil {
		err = errors.Join(h.wayFacts(facts, queries), h.wholeFacts(facts, queries))
	}
	if err == nil && ports {
		facts.Ephemeral, facts.Reserved, err = h.ephemeral()
	}
	if err == nil && len(sockets) > 0 {
		var taken []plan.Listener
		taken, err = h.listeners(sockets)
		facts.Listeners = append(facts.Listeners, taken...)
	}
	if err == nil && anywhere {
		var more []int
		more, err = h.conn.addressed4()
		links = append(links, more...)
	}
	if err == nil && forwards != (plan.Families{}) {
		err = h.forwardingFacts(facts, forwards, links)
	}
	return err
}

// socketsOf are the sockets of the host that would have what is published, none where a free port is to be found yet.
func socketsOf(p policy.Publish) []socket {
	var all []socket
	for i := range p.Count {
		if p.Host != 0 {
			all = append(all, socket{p.Protocol, p.Addr, p.Host + uint16(i)})
		}
	}
	return all
}

// localFacts says which addresses the host has, and gives the links of those of IPv4: by them comes what is sent there.
func (h *Host) localFacts(facts *plan.Facts, addresses []netip.Addr) ([]int, error) {
	var links []int
	for _, a := range addresses {
		if _, known := facts.Local[a]; known {
			continue
		}
		index, ok, err := h.localLink(a)
		if err != nil {
			return nil, err
		}
		if facts.Local == nil {
			facts.Local = map[netip.Addr]bool{}
		}
		facts.Local[a] = ok
		if ok && a.Is4() {
			links = append(links, index)
		}
	}
	return links, nil
}

// gatewayFacts says which other links have the gateways of a bridge that was not there. It may have been made meanwhile, by
// another attach. A link-local address may be on many links.
func (h *Host) gatewayFacts(facts *plan.Facts, q Query) error {
	for _, a := range q.Gateways {
		if a.IsLinkLocalUnicast() {
			continue
		}
		index, ok, err := h.localLink(a)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		link, ok, err := h.conn.link(by{index: index})
		if err != nil {
			return fmt.Errorf("look up the link that has address %s: %w", a, err)
		}
		if !ok || link.Name == q.Bridge {
			continue
		}
		if facts.Held == nil {
			facts.Held = map[netip.Addr]string{}
		}
		facts.Held[a] = link.Name
	}
	return nil
}

// wayFacts says by which links the host sends to addresses that are others'.
func (h *Host) wayFacts(facts *plan.Facts, queries []Query) error {
	for _, q := range queries {
		for _, a := range q.Ways {
			r, ok, err := h.conn.routeTo(a)
			if err != nil {
				return fmt.Errorf("find the way to address %s: %w", a, err)
			}
			if !ok || r.local || r.index == 0 {
				continue
			}
			if facts.Ways == nil {
				facts.Ways = map[netip.Addr]int{}
			}
			facts.Ways[a] = r.index
		}
	}
	return nil
}

// localnet says whether what is sent from 127.0.0.0/8 may leave by a bridge: by its own setting, or by that of all
// links, which is only looked at for a bridge that lanhook does not set up and a port that needs it.
func (h *Host) localnet(bridge State, q Query) (bool, error) {
	needs := slices.ContainsFunc(q.Publish, func(p policy.Publish) bool {
		return p.Addr.Is4() && (p.Addr.IsUnspecified() || p.Addr.IsLoopback())
	})
	if bridge.Localnet || bridge.Group == plan.Group || !needs {
		return bridge.Localnet, nil
	}
	on := false
	err := h.do(func() error {
		dir, err := h.proc.open("/proc/sys/net/ipv4/conf/all")
		if err != nil {
			return failed(err, "look at the settings of all links")
		}
		defer unix.Close(dir) //nolint:errcheck // nothing is written to a folder
		raw, err := readAt(dir, "route_localnet")
		on = len(raw) > 0 && raw[0] != '0'
		return err
	})
	return on, err
}
