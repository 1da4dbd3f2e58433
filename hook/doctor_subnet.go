package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// subnetFindings compare the policy's subnets with what the host has on the same LANs. The host may be the one that is wrong, so
// they only warn. others is what was found of bridges.
func subnetFindings(lans []lan, others []engine.Finding) []engine.Finding {
	found := others
	for _, l := range lans {
		// Of a bridge and of the driver vlan, the host has no address where containers are.
		if l.childOfHost() {
			for _, s := range l.Subnets {
				found = append(found, l.subnetFindings(s)...)
			}
		}
	}
	if len(found) == 0 {
		return []engine.Finding{{Check: checkSubnet, Level: engine.OK, Means: "the subnets of networks fit what the host has on its links"}}
	}
	return found
}

// apartFindings say which other links of the host have addresses in the subnet of a bridge. Link-local ones are on every link, and
// lanhook's own beside containers has one that is the parent's LAN's.
func apartFindings(n *policy.Network, subnet netip.Prefix, links []kernel.State) []engine.Finding {
	var found []engine.Finding
	for _, l := range links {
		if l.Name == n.Bridge || l.Group == plan.Group && l.Kind != "bridge" || subnet.Addr().IsLinkLocalUnicast() {
			continue
		}
		found = append(found, engine.Finding{
			Check: checkSubnet, Level: engine.Warn,
			Means: fmt.Sprintf("network %s has the subnet %s, but the host has %s on %s: of addresses that are in both it reaches those of one alone",
				n.Name, subnet, join(l.Addresses), l.Name),
			Do: "give the network a subnet that is no other link's",
		})
	}
	return found
}

func (l lan) subnetFindings(s policy.Subnet) []engine.Finding {
	var found []engine.Finding
	warn := func(do, format string, args ...any) {
		found = append(found, engine.Finding{Check: checkSubnet, Level: engine.Warn, Means: fmt.Sprintf(format, args...), Do: do})
	}
	mine := slices.DeleteFunc(l.hostAddresses(), func(p netip.Prefix) bool {
		return p.Addr().Is4() != s.Prefix.Addr().Is4() || p.IsSingleIP()
	})
	near := slices.DeleteFunc(slices.Clone(mine), func(p netip.Prefix) bool { return !p.Overlaps(s.Prefix) })
	name := l.link.Name
	if len(mine) > 0 && len(near) == 0 {
		warn("take the subnet of that LAN, unless there are several on it", "network %s has the subnet %s, but on %s the host has %s: as far as it "+
			"knows, that is no subnet of this LAN", l.Name, s.Prefix, name, join(mine))
		return found
	}
	for _, p := range near {
		if p.Masked() != s.Prefix && p.Bits() != s.Prefix.Bits() {
			warn("write subnet = \""+p.Masked().String()+"\" with a range in it, unless the host's own length is wrong",
				"network %s has the subnet %s, but by the host's address %s on %s the LAN is %s: containers look for others where these are not",
				l.Name, s.Prefix, p, name, p.Masked())
		}
		if s.Gateway.IsValid() && !s.Gateway.IsLinkLocalUnicast() && !p.Contains(s.Gateway) {
			warn("name a router that is in it", "the gateway %s of network %s is not in %s, the LAN by the host's address on %s",
				s.Gateway, l.Name, p.Masked(), name)
		}
		if p.Addr() == s.Gateway {
			found = append(found, l.gatewayHere(s.Gateway)...)
		} else if l.IPAM == policy.IPAMLocal && handsOut(s, p.Addr()) {
			warn(fmt.Sprintf("exclude = [%q]", p.Addr()), "the host's own address %s on %s is among those that network %s hands out: "+
				"lanhook on this host passes over it, and others do not", p.Addr(), name, l.Name)
		}
	}
	if router, ok := l.otherRouter(s); ok {
		warn(fmt.Sprintf("gateway = %q, unless the LAN has both routers", router), "the gateway of network %s is %s, but the host's own on %s is %s",
			l.Name, s.Gateway, name, router)
	}
	return found
}

// gatewayHere says what an attach does when a gateway is the host's own address on the parent. Under a macvlan in mode vepa a switch
// may send frames back.
func (l lan) gatewayHere(gateway netip.Addr) []engine.Finding {
	if l.Mode == policy.ModeVEPA {
		return nil
	}
	f := engine.Finding{
		Check: checkSubnet, Level: engine.Fail, Do: "name the router of the LAN; containers reach none of the addresses that the host has on their parent",
	}
	means := "no container gets on it but with default-route=false"
	switch {
	case l.Conflict == policy.ConflictOff || l.Conflict == policy.ConflictWarn:
		f.Level, means = engine.Warn, "containers there have no way out"
	case !l.DefaultRoute:
		f.Level, means = engine.Warn, "no container gets on it that asks for the default route"
	}
	f.Means = fmt.Sprintf("the gateway %s of network %s is the host's own address on %s: %s", gateway, l.Name, l.link.Name, means)
	return []engine.Finding{f}
}

// handsOut says whether a subnet's addresses that are picked have this one among them.
func handsOut(s policy.Subnet, addr netip.Addr) bool {
	pool := s.Pool()
	has := func(ranges []ipam.Range) bool {
		return slices.ContainsFunc(ranges, func(r ipam.Range) bool { return r.Contains(addr) })
	}
	return ipam.Usable(s.Prefix).Contains(addr) && (len(pool.Ranges) == 0 || has(pool.Ranges)) && !has(pool.Exclude)
}

// otherRouter is the host's own gateway in the subnet, where it has one by the link that is not the network's.
func (l lan) otherRouter(s policy.Subnet) (netip.Addr, bool) {
	var other netip.Addr
	for _, r := range l.state.Routes {
		switch {
		case r.Dst.Bits() != 0 || r.Table != unix.RT_TABLE_MAIN || !r.Via.IsValid() || !s.Prefix.Contains(r.Via):
		case r.Via == s.Gateway:
			return netip.Addr{}, false
		default:
			other = r.Via
		}
	}
	return other, other.IsValid() && s.Gateway.IsValid()
}

// leaseFiles are where DHCP clients write what they were lent: systemd-networkd, NetworkManager and dhclient.
func leaseFiles() []string {
	return []string{"/run/systemd/netif/leases/*", "/var/lib/NetworkManager/*.lease", "/var/lib/dhcp/*.leases"}
}

// leased says which of the host's addresses a file of a DHCP client names.
func leased(files engine.Files, own []netip.Prefix) (netip.Addr, bool) {
	for _, pattern := range leaseFiles() {
		paths, err := files.Glob(pattern)
		if err != nil {
			continue
		}
		for _, path := range paths {
			text, err := files.Read(path)
			if err != nil {
				continue
			}
			words := strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \t\n=;\"'", r) })
			for _, p := range own {
				if slices.Contains(words, p.Addr().String()) {
					return p.Addr(), true
				}
			}
		}
	}
	return netip.Addr{}, false
}

// dhcpFindings look for networks that hand out what a DHCP server of the LAN may lend as well. What it lends is not known here,
// but for what it has lent to the host.
func dhcpFindings(files engine.Files, lans []lan) []engine.Finding {
	var found []engine.Finding
	for _, l := range lans {
		if l.IPAM != policy.IPAMLocal || l.Routed() {
			continue
		}
		addr, byDHCP := leased(files, l.hostAddresses())
		byDHCP = byDHCP && l.Driver != policy.VLAN // there the host's addresses are on another LAN
		for _, s := range l.Subnets {
			f := engine.Finding{Check: checkDHCP, Level: engine.Warn, Do: "range = the part of it that the DHCP server does not lend"}
			switch {
			case byDHCP && handsOut(s, addr):
				f.Means = fmt.Sprintf("a DHCP server has lent the host %s, which is among the addresses that network %s hands out: it may lend others of them as well",
					addr, l.Name)
			case s.Prefix.Addr().Is4() && len(s.Ranges) == 0:
				f.Means = fmt.Sprintf("network %s hands out all of %s: a DHCP server of the LAN, if there is one, lends some of the same addresses",
					l.Name, s.Prefix)
			default:
				continue
			}
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		return []engine.Finding{{
			Check: checkDHCP, Level: engine.OK, Means: "no network hands out what a DHCP server of its LAN is known to lend, nor a whole subnet of one",
		}}
	}
	return found
}
