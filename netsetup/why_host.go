package netsetup

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// onHost are the links, processes and neighbours of the host that have what is asked for.
func (s *Setup) onHost(ctx context.Context, q Question) ([]Owner, error) {
	if q.Port != 0 {
		return s.listeners(ctx, q)
	}
	var (
		links []kernel.State
		err   error
	)
	if q.MAC != nil {
		links, err = s.Host.LinksWithMAC(q.MAC)
	} else {
		links, err = s.Host.LinksWith(q.Addr)
	}
	if err != nil {
		return nil, err
	}
	var owners []Owner
	for _, l := range links {
		owners = append(owners, linkOwner(l, q))
	}
	neighbours, err := s.Host.Neighbours()
	for _, n := range neighbours {
		if n.Addr == q.Addr || q.MAC != nil && bytes.Equal(n.MAC, q.MAC) {
			owners = append(owners, neighbourOwner(n))
		}
	}
	return owners, err
}

// linkOwner is a link of the host that has an address or a MAC address.
func linkOwner(l kernel.State, q Question) Owner {
	o := Owner{Kind: OwnerHost, Link: l.Name, MAC: l.MAC}
	o.What = strings.TrimSpace(l.Kind+" link ") + " " + l.Name + " of this host"
	if l.Group == plan.Group {
		o.What += ", made by lanhook,"
	}
	switch {
	case q.MAC == nil && len(l.Addresses) > 0:
		o.Address = q.Addr
		o.What += " has " + l.Addresses[0].String()
	case q.MAC != nil && !bytes.Equal(l.MAC, q.MAC):
		o.What += fmt.Sprintf(" has it as its permanent address, and now %s", l.MAC)
	}
	o.What = strings.TrimSuffix(o.What, ",")
	if !l.Up {
		o.What += ", and is down"
	}
	return o
}

func neighbourOwner(n kernel.Neighbour) Owner {
	o := Owner{Kind: OwnerNeighbour, Link: n.Link, MAC: n.MAC, Address: n.Addr}
	o.What = fmt.Sprintf("%s has %s on %s, as the host has it in its table", n.MAC, n.Addr, n.Link)
	if n.Confirmed {
		o.What += ", lately confirmed"
	}
	return o
}

// listeners are the processes of the host that have a port.
func (s *Setup) listeners(ctx context.Context, q Question) ([]Owner, error) {
	addrs := []netip.Addr{q.Addr}
	if !q.Addr.IsValid() {
		addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	var publish []policy.Publish
	for _, p := range q.Protocols {
		for _, a := range addrs {
			publish = append(publish, policy.Publish{Protocol: p, Addr: a, Host: q.Port, Count: 1})
		}
	}
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{IfName: "eth0", Publish: publish}})
	if err != nil {
		return nil, err
	}
	var owners []Owner
	seen := map[plan.Listener]bool{}
	for _, l := range facts.Listeners {
		if seen[l] {
			continue
		}
		seen[l] = true
		who := "a process that is not known"
		if l.PID != 0 {
			who = fmt.Sprintf("process %d (%s)", l.PID, l.Name)
		}
		owners = append(owners, Owner{
			Kind: OwnerProcess, What: fmt.Sprintf("%s of this host has %s/%s", who, netip.AddrPortFrom(l.Addr, l.Port), l.Protocol),
			PID: l.PID, Program: l.Name, Address: l.Addr,
		})
	}
	return owners, nil
}

// keepers are the networks of the policy that keep an address back, or may hand it out.
func keepers(p *policy.Policy, q Question) []Owner {
	if p == nil || !q.Addr.IsValid() || q.Port != 0 {
		return nil
	}
	var owners []Owner
	for _, name := range slices.Sorted(maps.Keys(p.Networks)) {
		n := p.Networks[name]
		add := func(free bool, format string, args ...any) {
			owners = append(owners, Owner{Kind: OwnerPolicy, Network: name, Free: free, What: fmt.Sprintf(format, args...)})
		}
		for _, a := range n.Bind {
			if a == q.Addr {
				add(false, "the address of the host at which network %s publishes ports (bind)", name)
			}
		}
		for _, a := range n.DNAT {
			if a == q.Addr {
				add(false, "all that is sent to it goes to a container on network %s (dnat)", name)
			}
		}
		for _, r := range n.Reserve {
			if slices.Contains(r.Addresses, q.Addr) {
				add(false, "network %s keeps it for the workload %s (reserve)", name, r.Name)
			}
		}
		for _, s := range n.Subnets {
			if s.SNAT == q.Addr {
				add(false, "network %s is hidden behind it (snat)", name)
			}
			if s.HostAddress == q.Addr {
				add(false, "network %s keeps it for this host, which reaches its containers by it (host-access)", name)
			}
			if free, what := keeps(n, s, q.Addr); what != "" {
				add(free, "%s", what)
			}
		}
	}
	kept := func(o Owner) bool { return !o.Free }
	if slices.ContainsFunc(owners, kept) {
		// What one network keeps back the others on its LAN do not hand out.
		owners = slices.DeleteFunc(owners, func(o Owner) bool { return o.Free })
	}
	return owners
}

// keeps says what an address is in a subnet of a network, "" for one that is not in it.
func keeps(n *policy.Network, s policy.Subnet, addr netip.Addr) (free bool, what string) {
	pool := s.Pool()
	has := func(ranges []ipam.Range) bool {
		for _, r := range ranges {
			if r.Contains(addr) {
				return true
			}
		}
		return false
	}
	switch {
	case s.Gateway == addr && n.Driver == policy.Bridge && !n.OnLAN():
		return false, fmt.Sprintf("the gateway of network %s, which the host has on bridge %s while containers are on it", n.Name, n.Bridge)
	case s.Gateway == addr:
		return false, fmt.Sprintf("the gateway of network %s", n.Name)
	case !s.Prefix.Contains(addr):
		return false, ""
	case !ipam.Usable(s.Prefix).Contains(addr):
		return false, fmt.Sprintf("network %s: no host has this address of its subnet %s", n.Name, s.Prefix)
	case has(s.Exclude):
		return false, fmt.Sprintf("network %s keeps it back (exclude)", n.Name)
	case n.IPAM == policy.IPAMLocal && (len(pool.Ranges) == 0 || has(pool.Ranges)):
		return true, fmt.Sprintf("network %s may hand it out, from its subnet %s", n.Name, s.Prefix)
	}
	return true, fmt.Sprintf("network %s gives it only to who asks for it, from its subnet %s", n.Name, s.Prefix)
}
