package plan

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/policy"
)

// A parent and its children do not reach each other: what a child sends to the host's address leaves by the wire
// (drivers/net/macvlan.c, macvlan_queue_xmit). Children of one parent do. So with host-access the host has a child of its own,
// one for each network of a LAN, and a route to each container's address by it.

type (
	// EnsureHostLink makes a macvlan or ipvlan child of Parent on the host, shared by the containers of a network, up, with
	// addresses of its own and [Group]. One that is there, and up, is used as it is. What the host has elsewhere, and its other
	// routes, stay as they are.
	EnsureHostLink struct {
		Name string
		// Parent and ParentIndex are as in [AddIPVLAN].
		Parent      string
		ParentIndex int
		// Driver is macvlan or ipvlan, with Mode and, for ipvlan, Flag.
		Driver policy.Driver
		Mode   policy.Mode
		Flag   policy.Flag
		// MAC is nil for ipvlan, which has its parent's.
		MAC MAC
		// MTU is 0 for the parent's.
		MTU int
		// Addresses are the host's there, each alone, without the subnet in which it lies.
		Addresses []netip.Addr
		// Scope is the layer 2 on which the addresses are the host's, see [policy.Network.Scope].
		Scope string
		// Bare leaves the addresses to AddHostAddresses: the LAN is asked for them first, by this link.
		Bare bool
	}

	// AddHostAddresses adds addresses to Link, where it does not have them yet.
	AddHostAddresses struct {
		Link      string
		Addresses []netip.Addr
	}

	// AddHostRoute leads what the host sends to a container's address to Link, from the host's address there.
	AddHostRoute struct {
		Link string
		To   netip.Addr
		From netip.Addr
	}

	// ReleaseHostLink removes a link of EnsureHostLink. Whether another record still names it is the caller's to know. One that
	// still has routes of AddHostRoute leads to containers of which the records were lost, and stays, unless Proved says that
	// none of them is left.
	ReleaseHostLink struct {
		Name   string
		Proved bool
	}

	// DelHostRoute removes the route of AddHostRoute, and succeeds when it is not there.
	DelHostRoute struct {
		Link string
		To   netip.Addr
	}
)

func (s EnsureHostLink) String() string {
	var l line
	l.addf("host: ensure %s %s on %s mode %s", s.Driver, s.Name, s.Parent, s.Mode)
	l.addIf(s.Driver == policy.IPVLAN, "%s", s.Flag)
	l.addIf(s.MAC != nil, "mac %s", s.MAC)
	l.addIf(s.MTU != 0, "mtu %d", s.MTU)
	for _, a := range s.Addresses {
		l.addIf(!s.Bare, "address %s", a)
	}
	l.addf("up")
	return l.String()
}

func (s AddHostAddresses) String() string {
	return fmt.Sprintf("host: add address %s to %s", addressText(s.Addresses), s.Link)
}

func (s AddHostRoute) String() string {
	return fmt.Sprintf("host: add route %s dev %s src %s", s.To, s.Link, s.From)
}

func (s ReleaseHostLink) String() string {
	return fmt.Sprintf("host: delete link %s if ours and unused", s.Name)
}

func (s DelHostRoute) String() string {
	return fmt.Sprintf("host: delete route %s dev %s if ours", s.To, s.Link)
}

func (s EnsureHostLink) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Text(&s.Parent)
	c.Int(&s.ParentIndex)
	Enum(c, &s.Driver, policy.HostDevice)
	Enum(c, &s.Mode, policy.ModeL3S)
	Enum(c, &s.Flag, policy.FlagVEPA)
	c.MAC(&s.MAC)
	c.Int(&s.MTU)
	List(c, &s.Addresses, (*Codec).Addr)
	c.Text(&s.Scope)
	c.Flag(&s.Bare)
	return s
}

func (s AddHostAddresses) fields(c *Codec) Step {
	c.Text(&s.Link)
	List(c, &s.Addresses, (*Codec).Addr)
	return s
}

func (s AddHostRoute) fields(c *Codec) Step {
	c.Text(&s.Link)
	c.Addr(&s.To)
	c.Addr(&s.From)
	return s
}

func (s ReleaseHostLink) fields(c *Codec) Step {
	c.Text(&s.Name)
	c.Flag(&s.Proved)
	return s
}

func (s DelHostRoute) fields(c *Codec) Step {
	c.Text(&s.Link)
	c.Addr(&s.To)
	return s
}

// hostLinkPrefix begins the names of the host's own links beside those of containers.
const hostLinkPrefix = "lhh-"

// HostLinkName is the name of the host's own link beside the containers of a network: "lhh-" and eleven characters of [a-z2-7],
// which follow from the network and what it sends on, see [Link.Wire].
func HostLinkName(network, wire string) string {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(network + "/" + wire))
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	name := []byte(hostLinkPrefix)
	for n, bits := 0, sum.Sum64(); n < 11; n, bits = n+1, bits>>5 {
		name = append(name, letters[bits&31])
	}
	return string(name)
}

// IsHostLinkName says whether a name has the form of those of [HostLinkName].
func IsHostLinkName(name string) bool { return strings.HasPrefix(name, hostLinkPrefix) }

// hostLinkOf is the host's own link on the network of an attachment. Its MAC address is another one on each host.
func hostLinkOf(in Input, l link) EnsureHostLink {
	wire := in.Facts.Wire(l.Attachment)
	s := EnsureHostLink{
		Name: HostLinkName(l.Network.Name, wire), Parent: l.uplink.Name, ParentIndex: l.parentIndex(),
		Driver: l.Network.Driver, Mode: l.Network.Mode, Flag: l.Network.Flag, MTU: l.Network.MTU,
		Addresses: l.choice.Host, Scope: l.Network.Scope(wire),
	}
	if s.Driver == policy.Macvlan {
		s.MAC = MAC(ipam.MAC(l.host, "host-access", l.Network.Name, wire))
	}
	return s
}

// hasHostLink says whether the host is to have a link beside the attachment's.
func (l link) hasHostLink() bool { return l.Network.HostAccess && len(l.choice.Host) > 0 }

// hostLinks are those of all attachments, each once.
func hostLinks(in Input, links []link) Steps {
	var steps Steps
	seen := map[string]bool{}
	asked := hostAskers(in, links)
	for _, l := range links {
		if !l.hasHostLink() {
			continue
		}
		s := hostLinkOf(in, l)
		if s.Bare = asked[s.Name] != ""; !seen[s.Name] {
			seen[s.Name], steps = true, append(steps, s)
		}
	}
	return steps
}

// hostAskers are the interfaces whose networks' host addresses the LAN is asked for, one for each link of the host, by its name.
func hostAskers(in Input, links []link) map[string]string {
	asked := map[string]string{}
	for _, l := range links {
		if !l.asks() || !l.hasHostLink() || !l.choice.HostIsNew {
			continue
		}
		if name := hostLinkOf(in, l).Name; asked[name] == "" {
			asked[name] = l.IfName
		}
	}
	return asked
}

// hostAddresses add to the host's links the addresses that nobody on the LAN has.
func hostAddresses(in Input, links []link) Steps {
	var steps Steps
	asked := hostAskers(in, links)
	for _, l := range links {
		if !l.hasHostLink() {
			continue
		}
		if name := hostLinkOf(in, l).Name; asked[name] == l.IfName {
			steps = append(steps, AddHostAddresses{Link: name, Addresses: l.choice.Host})
		}
	}
	return steps
}

// hostRoutes are the host's routes to the addresses of containers that lie in a subnet in which the host has one.
func hostRoutes(in Input, links []link) Steps {
	var steps Steps
	for _, l := range links {
		if !l.hasHostLink() {
			continue
		}
		name := hostLinkOf(in, l).Name
		for _, a := range l.choice.Addresses {
			i := slices.IndexFunc(l.choice.Host, func(host netip.Addr) bool { return a.Contains(host) })
			if i >= 0 {
				steps = append(steps, AddHostRoute{Link: name, To: a.Addr(), From: l.choice.Host[i]})
			}
		}
	}
	return steps
}
