package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"github.com/lanhook/lanhook/policy/request"
)

// checkPublish refuses ports that the rule does not grant, and more than a container can have.
func checkPublish(r *Rule, ports []request.Port) error {
	all := 0
	for _, p := range ports {
		if all += max(p.Count, 1); all > request.MaxPorts {
			return publish(r, p).deny("", "a container publishes at most %d ports, and more are asked for", request.MaxPorts)
		}
		if last := int(p.Container) + max(p.Count, 1) - 1; p.Container == 0 || last > maxPort {
			return publish(r, p).deny("", "a container has the ports 1 to %d only", maxPort)
		}
		if len(r.free(p)) > 0 {
			continue
		}
		from, to := int(p.Host), int(p.Host)+max(p.Count, 1)-1
		what := fmt.Sprintf("the port %d/%s", from, p.Protocol)
		switch {
		case p.Host == 0 && p.Count > 1:
			what = fmt.Sprintf("%d free %s ports in a row to be taken", p.Count, p.Protocol)
		case p.Host == 0:
			what = fmt.Sprintf("any free %s port of the host to be taken", p.Protocol)
		case from != to:
			what = fmt.Sprintf("the ports %d-%d/%s", from, to, p.Protocol)
		}
		var granted []string
		for _, g := range r.Publish {
			granted = append(granted, g.String())
		}
		return publish(r, p).forbid(allowed("publish", granted), "%s", what)
	}
	return nil
}

// free are the ranges that the rule grants and that have room for the ports: all of them where the host's ports are to
// be chosen, else the one that has them. Ranges that touch are one, and they come in their order.
func (r *Rule) free(p request.Port) []PortRange {
	var all []PortRange
	for _, g := range r.Publish {
		if g.Protocol == p.Protocol {
			all = append(all, g)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].From < all[j].From })
	var joined []PortRange
	for _, g := range all {
		if last := len(joined) - 1; last >= 0 && int(g.From) <= int(joined[last].To)+1 {
			joined[last].To = max(joined[last].To, g.To)
			continue
		}
		joined = append(joined, g)
	}
	count := max(p.Count, 1)
	return slices.DeleteFunc(joined, func(g PortRange) bool {
		from, to := int(g.From), int(g.To)
		if p.Host != 0 {
			return int(p.Host) < from || int(p.Host)+count-1 > to
		}
		return to-from+1 < count
	})
}

// families are both, IPv4 first, by an address of each that stands for all of its own.
func families() []netip.Addr { return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} }

// place puts the published ports on attachments: for each family that is wanted, on the first bridge that serves it.
func place(r *Rule, ports []request.Port, all []Attachment) error {
	for i, p := range ports {
		placed := false
		for _, whole := range families() {
			if p.Addr.IsValid() && p.Addr.Is4() != whole.Is4() {
				continue
			}
			at := slices.IndexFunc(all, func(a Attachment) bool { return a.publishes(p, whole) })
			if at < 0 {
				continue
			}
			one := Publish{
				Protocol: p.Protocol, Addr: p.Addr, Host: p.Host, Container: p.Container, Count: max(p.Count, 1), Asked: i,
			}
			if !one.Addr.IsValid() {
				one.Addr = cmp.Or(ofFamily(all[at].Network.Bind, whole), whole)
			}
			if p.Host == 0 {
				one.Free = r.free(p)
			}
			if err := apart(r, ports, one, all); err != nil {
				return err
			}
			all[at].Publish = append(all[at].Publish, one)
			placed = true
		}
		if !placed {
			return unpublished(publish(r, p), p, all)
		}
	}
	return nil
}

// publishes says whether a port can be published to the attachment in the family of whole.
func (a Attachment) publishes(p request.Port, whole netip.Addr) bool {
	n := a.Network
	if !n.Firewall || n.Closed() || !a.has(whole) {
		return false
	}
	return p.Addr.IsValid() || len(n.Bind) == 0 || ofFamily(n.Bind, whole).IsValid()
}

// has says whether the interface gets an address of the family of like that is reached from beyond its link.
func (a Attachment) has(like netip.Addr) bool {
	same := func(p netip.Prefix) bool {
		return p.Addr().Is4() == like.Is4() && (like.Is4() || !p.Addr().IsLinkLocalUnicast())
	}
	switch {
	case like.Is6() && a.WithoutIPv6():
		return false
	case slices.ContainsFunc(a.IPs, same):
		return true
	}
	return a.Network.IPAM == IPAMLocal &&
		slices.ContainsFunc(a.Network.Subnets, func(s Subnet) bool { return same(s.Prefix) })
}

// apart refuses a port of the host that another entry has: which ones clash is known once each has its address.
func apart(r *Rule, ports []request.Port, one Publish, all []Attachment) error {
	for _, a := range all {
		for _, o := range a.Publish {
			if one.clashes(o) {
				return publish(r, ports[one.Asked]).deny("", "the host's port is taken by %s already", ports[o.Asked])
			}
		}
	}
	return nil
}

// clashes says whether two entries want one port of the host. The unspecified address has the ports of all.
func (p Publish) clashes(o Publish) bool {
	if p.Host == 0 || o.Host == 0 || p.Protocol != o.Protocol || p.Addr.Is4() != o.Addr.Is4() {
		return false
	}
	if int(p.Host)+p.Count <= int(o.Host) || int(o.Host)+o.Count <= int(p.Host) {
		return false
	}
	return p.Addr == o.Addr || p.Addr.IsUnspecified() || o.Addr.IsUnspecified()
}

// unpublished says why no attachment takes a port: the nearest miss of all.
func unpublished(k asked, p request.Port, all []Attachment) error {
	const ownLAN = "remove " + request.Prefix + "publish; neighbours reach every port of the container at its own address"
	bridges := slices.DeleteFunc(slices.Clone(all), func(a Attachment) bool { return a.Network.Driver != Bridge })
	if len(bridges) == 0 {
		driver := Macvlan
		if len(all) > 0 {
			driver = all[0].Network.Driver
		}
		return k.deny(ownLAN, "a container on %s %s network has its own LAN address", article(driver), driver)
	}
	if i := slices.IndexFunc(bridges, func(a Attachment) bool { return a.Network.OnLAN() }); i >= 0 && len(bridges) == 1 {
		return k.deny(ownLAN, "%s is a piece of the LAN, where the container has its own address", bridges[i].Network.title())
	}
	ruled := slices.DeleteFunc(slices.Clone(bridges), func(a Attachment) bool { return !a.Network.Firewall })
	if len(ruled) == 0 {
		return k.deny("", "%s has firewall = false: its ports are the administrator's to publish", bridges[0].Network.title())
	}
	open := slices.DeleteFunc(slices.Clone(ruled), func(a Attachment) bool { return a.Network.Closed() })
	if len(open) == 0 {
		return k.deny("remove "+request.Prefix+"publish", "%s is %s: nothing comes into it", ruled[0].Network.title(), ruled[0].Network.shutBy())
	}
	if p.Addr.IsValid() {
		return k.deny("leave the host's address out, or give the network an "+family(p.Addr)+" subnet",
			"the container has no %s address on a bridge to which the port could go", family(p.Addr))
	}
	if i := slices.IndexFunc(open, func(a Attachment) bool { return len(a.Network.Bind) > 0 }); i >= 0 {
		n := open[i].Network
		return k.deny("", "%s publishes on %s, and the container has no %s address there", n.title(),
			joined(n.Bind), family(n.Bind[0]))
	}
	return k.deny("", "the container has no address on a bridge to which the port could go")
}
