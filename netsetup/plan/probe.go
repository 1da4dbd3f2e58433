package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

type (
	// ProbeLinks asks the LANs of all links at once whether somebody has their addresses. It comes when the links are up and
	// before they have these. It fails when one of them is somebody's, unless it is only to warn.
	ProbeLinks struct{ Links []Probe }

	// AnnounceLinks tells the LANs of the links that their addresses are here. After ProbeLinks it looks first whether somebody has
	// claimed one, or asked for it, since the answers were awaited and before the kernel answered itself; then it fails as that does.
	AnnounceLinks struct{ Links []Announcement }
)

// Probe is what is asked on one link.
type Probe struct {
	// If is the container's link.
	If string
	// By is the link of the host by which is asked instead, "" for none: an answer to an ipvlan child that has no address yet
	// goes to its parent (drivers/net/ipvlan/ipvlan_core.c, ipvlan_handle_mode_l2), and a macvlan in mode source gets none but
	// those of its sources.
	By        string
	Addresses []netip.Addr
	// RFC asks with the full time of RFC 5227.
	RFC bool
	// Warn only warns.
	Warn bool
	// Host says that the addresses are the host's own beside the container's, see [EnsureHostLink]. By is its link then, or for
	// ipvlan the parent; other links of the host may answer for them (arp_filter in Documentation/networking/ip-sysctl.rst).
	Host bool
}

// Announcement is what is announced on one link of the container.
type Announcement struct {
	If        string
	Addresses []netip.Addr
	// Quiet only looks.
	Quiet bool
}

func (s ProbeLinks) String() string {
	texts := make([]string, len(s.Links))
	for i, p := range s.Links {
		texts[i] = fmt.Sprintf("for %s on %s", addressText(p.Addresses), p.If)
		if p.Host {
			texts[i] = fmt.Sprintf("for the host's %s by %s", addressText(p.Addresses), p.By)
		} else if p.By != "" {
			texts[i] += " by the host's " + p.By
		}
		if p.RFC {
			texts[i] += " as RFC 5227 has it"
		}
		if p.Warn {
			texts[i] += " to warn"
		}
	}
	return "container: probe " + strings.Join(texts, ", ")
}

func (s AnnounceLinks) String() string {
	texts := make([]string, len(s.Links))
	for i, a := range s.Links {
		texts[i] = fmt.Sprintf("announce %s on %s", addressText(a.Addresses), a.If)
		if a.Quiet {
			texts[i] = fmt.Sprintf("confirm %s on %s", addressText(a.Addresses), a.If)
		}
	}
	return "container: " + strings.Join(texts, ", ")
}

func addressText(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}

func (s ProbeLinks) fields(c *Codec) Step {
	List(c, &s.Links, (*Codec).probe)
	return s
}

func (s AnnounceLinks) fields(c *Codec) Step {
	List(c, &s.Links, (*Codec).announcement)
	return s
}

func (c *Codec) probe(p *Probe) {
	c.Text(&p.If)
	c.Text(&p.By)
	List(c, &p.Addresses, (*Codec).Addr)
	c.Flag(&p.RFC)
	c.Flag(&p.Warn)
	c.Flag(&p.Host)
}

func (c *Codec) announcement(a *Announcement) {
	c.Text(&a.If)
	List(c, &a.Addresses, (*Codec).Addr)
	c.Flag(&a.Quiet)
}

// asks says whether the link's addresses are probed for. On a device without Ethernet, such as a tunnel, nobody can be asked.
func (l link) asks() bool {
	return l.Network.Conflict != policy.ConflictOff && len(l.choice.Addresses) > 0 &&
		(l.Network.Driver != policy.HostDevice || len(l.device.MAC) == macLen)
}

// macLen is the length of a MAC address of Ethernet.
const macLen = 6

// probe is what is asked for the link.
func (l link) probe() Probe {
	p := Probe{
		If: l.IfName, Addresses: l.addresses(),
		RFC: l.Network.Conflict == policy.ConflictRFC, Warn: l.Network.Conflict == policy.ConflictWarn,
	}
	if l.Network.Driver == policy.IPVLAN || l.Network.Mode == policy.ModeSource {
		p.By = l.uplink.Name
	}
	return p
}

// probes is one step for all links, so that it takes no longer for several. Those that nothing is asked for are not in it.
func probes(in Input, links []link) Steps {
	var s ProbeLinks
	for _, l := range links {
		if l.asks() {
			s.Links = append(s.Links, l.probe())
		}
	}
	asked := hostAskers(in, links)
	for _, l := range links {
		if !l.hasHostLink() {
			continue
		}
		p, name := l.probe(), hostLinkOf(in, l).Name
		if asked[name] != l.IfName {
			continue
		}
		if p.Host, p.Addresses = true, l.choice.Host; p.By == "" {
			p.By = name
		}
		s.Links = append(s.Links, p)
	}
	if len(s.Links) == 0 {
		return nil
	}
	return Steps{s}
}

// announcements is one step for the links that get their addresses when they are up already, which the kernel announces for
// those alone that have them before (arp_notify, ndisc_notify).
func announcements(links []link) Steps {
	var s AnnounceLinks
	for _, l := range links {
		if l.asks() {
			s.Links = append(s.Links, Announcement{If: l.IfName, Addresses: slices.Clone(l.addresses()), Quiet: !l.Network.Announce})
		}
	}
	if len(s.Links) == 0 {
		return nil
	}
	return Steps{s}
}

// The settings by which the kernel announces addresses when a link comes up (Documentation/networking/ip-sysctl.rst).
const (
	arpNotify   = "net.ipv4.conf.IFNAME.arp_notify"
	ndiscNotify = "net.ipv6.conf.IFNAME.ndisc_notify"
)

// Announced is what may be announced again of what steps have made: the addresses of the container's links whose network
// announces them. There is none in it without an address.
func Announced(steps Steps) AnnounceLinks {
	var (
		loud      = map[string]bool{}
		addresses = map[string][]netip.Addr{}
		s         AnnounceLinks
	)
	for _, step := range steps {
		switch step := step.(type) {
		case SetSysctls:
			loud[step.If] = loud[step.If] || slices.ContainsFunc(step.Values, func(v request.Sysctl) bool {
				return (v.Key == arpNotify || v.Key == ndiscNotify) && v.Value == "1"
			})
		case AddAddress:
			addresses[step.If] = append(addresses[step.If], step.Address.Addr())
		}
	}
	for _, step := range steps {
		up, is := step.(SetLink)
		if !is || !loud[up.From] {
			continue
		}
		addrs := addresses[up.Name]
		if up.From != up.Name {
			addrs = slices.Concat(addresses[up.From], addrs)
		}
		if len(addrs) > 0 {
			s.Links = append(s.Links, Announcement{If: up.Name, Addresses: addrs})
		}
	}
	return s
}

// checkGatewayHere catches a gateway that is the host's own address on the parent: no child of a link reaches its host by it
// (drivers/net/macvlan.c, ipvlan_core.c), unless a switch sends frames back. One that is not to have the default route loses nothing
// by that.
func checkGatewayHere(l link, fail failFunc) error {
	n := l.Network
	if n.Conflict == policy.ConflictOff || !n.Resolves() || n.Driver != policy.Macvlan && n.Driver != policy.IPVLAN || n.Mode == policy.ModeVEPA ||
		!l.mayLead() {
		return nil
	}
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		if g := l.gateway(family); g.IsValid() && slices.Contains(l.uplink.Addresses, g) {
			return fail("name the router of the LAN as gateway, or ask for default-route=false, or use driver bridge, on which containers "+
				`reach their host; conflict = "off" leaves it as it is`,
				"gateway %s is this host's own address on %s, which a container on %s does not reach", g, l.uplink.Name, n.Driver)
		}
	}
	return nil
}
