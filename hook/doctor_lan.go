package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/hook/engine"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// The names of the checks of LANs.
const (
	checkParent      = "parent"
	checkPromiscuous = "promiscuous"
	checkSubnet      = "subnet"
	checkDHCP        = "dhcp"
)

// lan is a network of the policy on a LAN, and the host's link by which it is there.
type lan struct {
	*policy.Network
	// found says that the host has the link. One that is made with the first container has no state.
	found bool
	link  plan.Link
	state kernel.State
	// promiscuous says that the link takes every frame now, whoever wants that.
	promiscuous bool
	// taken says that an uplink is a port of another bridge than the network's.
	taken bool
}

// onLAN says whether a network's containers are on a LAN by a link of the host that stays the host's.
func onLAN(n *policy.Network) bool {
	switch n.Driver {
	case policy.Macvlan, policy.IPVLAN, policy.VLAN:
		return true
	case policy.Bridge:
		return n.HasUplink()
	case policy.HostDevice:
	}
	return false
}

// lanFindings say whether the links of the host, and what it has on them, suit the networks that are to be there.
func lanFindings(ctx context.Context, files engine.Files, p *policy.Policy) []engine.Finding {
	names := networks(p, onLAN)
	host, err := kernel.Open()
	if err != nil {
		return []engine.Finding{{
			Check: checkParent, Level: engine.Warn, Means: "the host was not looked at: " + oneLine(err), Do: "run lanhook doctor as root",
		}}
	}
	defer host.Close()
	lans := make([]lan, 0, len(names))
	for _, name := range names {
		l, err := lookAtLAN(ctx, files, host, p.Networks[name])
		if err != nil {
			return []engine.Finding{{
				Check: checkParent, Level: engine.Warn, Means: fmt.Sprintf("the link of network %s was not looked at: %s", name, oneLine(err)),
				Do: "run lanhook doctor as root",
			}}
		}
		lans = append(lans, l)
	}
	return slices.Concat(
		parentFindings(lans), promiscuousFindings(lans), subnetFindings(lans, apart(host, p)), dhcpFindings(files, lans),
	)
}

// apart gives what is wrong with the subnets of bridges that are no piece of a LAN: the host has addresses in them elsewhere.
func apart(host *kernel.Host, p *policy.Policy) []engine.Finding {
	var found []engine.Finding
	for _, name := range networks(p, func(n *policy.Network) bool { return n.Driver == policy.Bridge && !n.OnLAN() }) {
		n := p.Networks[name]
		for _, s := range n.Subnets {
			links, err := host.LinksOverlapping(s.Prefix)
			if err != nil {
				return append(found, engine.Finding{
					Check: checkSubnet, Level: engine.Warn, Means: fmt.Sprintf("network %s was not compared with the host's links: %s", name, oneLine(err)),
					Do: "run lanhook doctor as root",
				})
			}
			found = append(found, apartFindings(n, s.Prefix, links)...)
		}
	}
	return found
}

// lookAtLAN finds the link of a network, as an attach does.
func lookAtLAN(ctx context.Context, files engine.Files, host *kernel.Host, n *policy.Network) (lan, error) {
	const key = "eth0"
	q := kernel.Query{IfName: key, Parent: n.Parent, VLAN: n.VLAN}
	switch {
	case n.Driver == policy.Bridge:
		q.Parent = n.Uplink
	case n.Driver == policy.VLAN && len(n.VLAN) > 0:
		q.VLAN = n.VLAN[:len(n.VLAN)-1] // the last one is in the container, and the host has no link of it
	}
	facts, err := host.Facts(ctx, nil, []kernel.Query{q})
	if err != nil {
		return lan{}, err
	}
	l := lan{Network: n}
	if l.link, l.found = facts.Uplink[key]; !l.found || l.link.Index == 0 {
		return l, nil
	}
	if l.state, _, err = host.Link(l.link.Name); err != nil {
		return lan{}, err
	}
	l.promiscuous = l.state.Promiscuous || takesAll(files, l.state)
	if n.Driver == policy.Bridge && l.link.Master != 0 {
		bridge, _, err := host.Link(n.Bridge)
		if err != nil {
			return lan{}, err
		}
		l.taken = bridge.Index != l.link.Master
	}
	return l, nil
}

// takesAll says whether a link is promiscuous for somebody else's sake. rtnetlink tells only what was asked of the link itself;
// sysfs is that of the namespace in which it was mounted, where the link may be another.
func takesAll(files engine.Files, s kernel.State) bool {
	const promisc = 0x100 // IFF_PROMISC, linux/if.h
	number := func(name string) int64 {
		text, err := files.Read("/sys/class/net/" + s.Name + "/" + name)
		if err != nil {
			return 0
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 0, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return s.Index != 0 && number("ifindex") == int64(s.Index) && number("flags")&promisc != 0
}

// what is the link as messages have it.
func (l lan) what() string {
	if l.Driver == policy.Bridge {
		return "uplink"
	}
	return "parent"
}

// parentFindings say what is wrong with the links themselves.
func parentFindings(lans []lan) []engine.Finding {
	var found []engine.Finding
	for _, l := range lans {
		found = append(found, l.parentFindings()...)
	}
	if len(lans) == 0 {
		return []engine.Finding{{Check: checkParent, Level: engine.OK, Means: "no network of the policy is on a LAN"}}
	}
	if len(found) == 0 {
		return []engine.Finding{{
			Check: checkParent, Level: engine.OK, Means: "the links of networks on LANs are there, up, and carry what containers send",
		}}
	}
	return found
}

// The modes of a bond in which it puts its members' MAC addresses in place of those of others, see the plan's own check.
const (
	balanceTLB = 5
	balanceALB = 6
)

func (l lan) parentFindings() []engine.Finding {
	var found []engine.Finding
	add := func(level engine.Level, do, format string, args ...any) {
		found = append(found, engine.Finding{Check: checkParent, Level: level, Means: fmt.Sprintf(format, args...), Do: do})
	}
	if !l.found {
		selected := l.Parent
		if l.Driver == policy.Bridge {
			selected = l.Uplink
		}
		add(engine.Fail, "see which links there are with: ip link", "%s %s of network %s does not exist: no container gets on it",
			l.what(), selected, l.Name)
		return found
	}
	if what, do := l.usedBy(); what != "" {
		add(engine.Fail, do, "%s %s of network %s is %s: no container gets on it", l.what(), l.link.Name, l.Name, what)
	}
	if !l.link.Up {
		name := l.link.Name
		if len(l.link.Subs) > 0 {
			name = l.link.Subs[0].Parent // lanhook brings its own sub-interfaces up with what is below them
		}
		level, then := engine.Warn, "nobody is reached until it is up"
		if l.ParentUp || l.Driver == policy.Bridge {
			level, then = engine.Fail, "no container gets on it until it is up"
		}
		add(level, "ip link set "+name+" up", "%s %s of network %s is down: %s", l.what(), name, l.Name, then)
	}
	if l.Driver != policy.Bridge && l.MTU > l.link.MTU {
		add(engine.Fail, "lower mtu in the policy, or raise the parent's", "network %s has an mtu of %d, and its parent %s one of %d: no container gets on it",
			l.Name, l.MTU, l.link.Name, l.link.MTU)
	}
	const ipvlan = "use driver ipvlan, whose children have their parent's MAC address, or a bridge network without an uplink"
	switch bond := l.link.BondMode; {
	case !ownMACs(l.Network):
	case l.link.Wireless:
		add(engine.Fail, ipvlan, "%s %s of network %s is wireless: an access point takes frames from one MAC address a station, and drops those of containers",
			l.what(), l.link.Name, l.Name)
	case bond == balanceTLB || bond == balanceALB:
		mode := "balance-tlb"
		if bond == balanceALB {
			mode = "balance-alb"
		}
		add(engine.Fail, ipvlan+", or another mode of the bond, such as active-backup or 802.3ad",
			"%s %s of network %s is, or lies on, a bond in mode %s, which puts its members' MAC addresses in place of those of containers",
			l.what(), l.link.Name, l.Name, mode)
	}
	if own := l.hostAddresses(); len(own) > 0 && len(l.link.Tags) > 0 && l.childOfHost() {
		add(engine.Warn, "take them off, unless the host is to be in that VLAN for others; containers reach it by another of its addresses, through the router",
			"the host has %s on %s, in the VLAN of network %s itself: containers there cannot reach the host at it",
			join(own), l.link.Name, l.Name)
	}
	return found
}

// usedBy says what else a link is that can be no parent or uplink therefore, and what to do; "" for none.
func (l lan) usedBy() (what, do string) {
	master := l.link.MasterKind
	switch {
	case l.link.Loopback:
		return "the loopback interface", "name the network card in the policy"
	case l.taken && master == "bridge":
		return "a port of another bridge", "name that bridge in the policy, or take the link out of it"
	case master == "bridge" && l.Driver != policy.Bridge:
		return "a port of a bridge", "use driver bridge with that bridge, or take the link out of it"
	case master == "bond" || master == "team":
		return "a member of a " + master, "name the " + master + " itself in the policy"
	}
	return "", ""
}

// childOfHost says whether containers are on the very LAN in which the host has its addresses on the link, without reaching it:
// a macvlan or ipvlan child and its parent do not hear each other.
func (l lan) childOfHost() bool {
	return l.Driver == policy.Macvlan || l.Driver == policy.IPVLAN && !l.Routed()
}

// hostAddresses are the addresses by which the host is known on the link.
func (l lan) hostAddresses() []netip.Prefix {
	var list []netip.Prefix
	for _, p := range l.state.Addresses {
		if !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p)
		}
	}
	return list
}

// promiscuousFindings say of each link whether it takes every frame, and whether it has to: it never has to by hand.
func promiscuousFindings(lans []lan) []engine.Finding {
	var found []engine.Finding
	seen := map[string]bool{}
	for _, l := range lans {
		if !l.found || l.link.Index == 0 || seen[l.link.Name] {
			continue
		}
		seen[l.link.Name] = true
		found = append(found, engine.Finding{Check: checkPromiscuous, Level: engine.OK, Means: l.promiscuity()})
	}
	return found
}

func (l lan) promiscuity() string {
	const around = "; a virtual machine's surroundings are another matter, see hypervisor"
	name := l.link.Name
	switch {
	case l.state.Promiscuous && l.Driver == policy.Bridge:
		return name + " is promiscuous because somebody has said so; as the uplink of a bridge it is so by itself"
	case l.state.Promiscuous:
		return fmt.Sprintf("%s is promiscuous because somebody has said so; it need not be, since the kernel tells it the MAC addresses of "+
			"containers (ip link set %s promisc off)%s", name, name, around)
	case l.promiscuous:
		return name + " is promiscuous because something on it asks for that, such as a bridge, macvlan in mode passthru or a capture"
	case !ownMACs(l.Network):
		return name + " is not promiscuous, and need not be: its containers have its MAC address"
	case l.Driver == policy.Bridge:
		return name + " is not promiscuous; as the uplink of a bridge it will be so by itself"
	}
	return name + " is not promiscuous, and need not be: the kernel tells it the MAC addresses of containers, and makes it so by itself " +
		"where it takes no more of them" + around
}
