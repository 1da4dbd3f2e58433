package plan

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// minIPv6MTU is the least MTU of a link that carries IPv6 (RFC 8200, section 5).
const minIPv6MTU = 1280

// defaultMTU is a bridge's where neither policy nor host say anything: Ethernet's.
const defaultMTU = 1500

// PreflightError is a plan that cannot be made: the kernel would refuse it, or do something that nobody meant. It names
// the cause before anything is changed.
type PreflightError struct {
	// IfName is the attachment's interface, "" for what concerns the whole request.
	IfName string
	// Why is the cause, in words, with the object's name.
	Why  string
	hint string
}

func (e *PreflightError) Error() string {
	if e.IfName == "" {
		return e.Why
	}
	return e.IfName + ": " + e.Why
}

// Hint says what would help, "" for nothing.
func (e *PreflightError) Hint() string { return e.hint }

// Build makes the plan of an attach: first what containers share, then the links, then the rules, which stand before a
// link is up; then for each link its settings and addresses, name and up; then the routes, which need all links. All that
// is wrong is reported at once, as joined [PreflightError]s.
func Build(in Input) (Plan, error) {
	var (
		errs []error
		all  []link
	)
	for i := range in.Attachments {
		errs = append(errs, check(in, i)...)
		all = append(all, newLink(in, i))
	}
	if err := errors.Join(errs...); err != nil {
		return Plan{}, err
	}
	p := Plan{Record: in.Record}
	o := defaultRoutes(in)
	all = withRouters(in, withTables(in, all), o)
	var links, settings, addresses, routes, elsewhere Steps
	for _, l := range all {
		links = append(links, l.add())
		before, after := l.configure()
		settings, addresses = append(settings, before...), append(addresses, after...)
		own, other := l.routes(o)
		routes, elsewhere = append(routes, own...), append(elsewhere, other...)
		p.Interfaces = append(p.Interfaces, l.result(in, o))
		if err := checkGatewayHere(l, failing(l.IfName)); err != nil {
			p.Warnings = append(p.Warnings, err)
		}
		if err := checkDown(l, failing(l.IfName)); err != nil {
			p.Warnings = append(p.Warnings, err)
		}
	}
	p.Steps = slices.Concat(subs(in, all), hostLinks(in, all), bridges(all), uplinks(in.Facts, all), reserve(in, all), links, entries(in, all, o),
		forwarding(in.Facts, all), settings, probes(in, all), hostAddresses(in, all), addresses, routes, elsewhere, bySource(in, all), announcements(all),
		hostRoutes(in, all), awaits(all))
	return p, nil
}

// link is one attachment while it is planned.
type link struct {
	policy.Attachment
	choice Choice
	uplink Link
	// device is set for the driver host-device only.
	device FoundDevice
	// portUplink is the uplink of a bridge, the zero value for none.
	portUplink Link
	// exists is false for a bridge that is not there yet.
	exists bool
	// own is the name under which lanhook makes the link, before the container's end gets the name asked for.
	own string
	mtu int
	// bridgeMTU is that of the bridge, for the driver bridge only.
	bridgeMTU int
	index     int
	record    string
	host      string
	noIPv6    bool
	// routers says that a default route may come from routers.
	routers bool
	// ruled are the families in which the link answers by itself, by a table and rules of its own.
	ruled Families
}

func newLink(in Input, i int) link {
	a := in.Attachments[i]
	uplink, exists := in.uplink(a)
	return link{
		Attachment: a,
		choice:     in.Choices[i],
		uplink:     uplink,
		device:     in.Facts.Device[a.IfName],
		exists:     exists,
		portUplink: in.Facts.PortUplink[a.IfName],
		own:        ownName(in.Record, i),
		mtu:        mtu(in, i),
		bridgeMTU:  bridgeMTU(in, i),
		index:      i,
		record:     in.Record,
		host:       in.HostID,
		noIPv6:     in.Facts.NoIPv6,
	}
}

// ownName is unique on the host and in the container, since the record's id is: "lh", ten characters of id, a letter
// for each of the 16 interfaces that a request can have.
func ownName(record string, i int) string {
	return "lh" + record + string("abcdefghijklmnop"[i])
}

// mtu is the interface's in the container: the one asked for, the network's, or its uplink's.
func mtu(in Input, i int) int {
	a := in.Attachments[i]
	switch {
	case a.MTU != 0:
		return a.MTU
	case a.Network.MTU != 0:
		return a.Network.MTU
	case a.Network.Driver == policy.Bridge:
		return bridgeMTU(in, i)
	}
	uplink, _ := in.uplink(a)
	return uplink.MTU
}

// uplink is the host's link on which an attachment's hangs, or the device that it is to get; false where there is none.
func (in Input) uplink(a policy.Attachment) (Link, bool) {
	if a.Network.Driver == policy.HostDevice {
		found, ok := in.Facts.Device[a.IfName]
		return found.Link, ok
	}
	uplink, ok := in.Facts.Uplink[a.IfName]
	return uplink, ok
}

// bridgeMTU is what a bridge has, or what one gets that is made now: the network's, or that of its uplink or of the host's
// default route. What a container asks for does not count: others use the bridge too.
func bridgeMTU(in Input, i int) int {
	a := in.Attachments[i]
	uplink, exists := in.Facts.Uplink[a.IfName]
	switch {
	case a.Network.MTU != 0 && (!exists || uplink.Group == Group):
		return a.Network.MTU
	case exists:
		return uplink.MTU
	}
	if up, ok := in.Facts.PortUplink[a.IfName]; ok {
		return up.MTU
	}
	if in.Facts.DefaultMTU != 0 {
		return in.Facts.DefaultMTU
	}
	return defaultMTU
}

// add is the step that gives the container its link.
func (l link) add() Step {
	switch l.Network.Driver {
	case policy.Bridge:
		return vethOf(l)
	case policy.IPVLAN:
		return ipvlanOf(l)
	case policy.VLAN:
		return vlanOf(l)
	case policy.HostDevice:
		return moveOf(l)
	case policy.Macvlan:
	}
	return macvlanOf(l)
}

// configure is what makes the link ready, before and after its addresses are probed for: settings before it is up, so that no
// router advertisement is taken and no address announced too early; addresses, so that the kernel announces them when it
// comes up; then name and up; then the guard, which needs that name. With a probe the addresses come after that.
func (l link) configure() (before, after Steps) {
	before = l.rates()
	if values := l.sysctls(); len(values) > 0 {
		before = append(before, SetSysctls{If: l.own, Values: values})
	}
	up := SetLink{
		From:        l.own,
		Name:        l.IfName,
		Alias:       alias(l.record, l.Network.Name),
		TxQueueLen:  l.Network.TxQueueLen,
		Promiscuous: l.Network.Promiscuous,
		AllMulti:    l.Network.AllMulti,
	}
	if l.asks() {
		return append(before, up), append(l.assign(l.IfName), l.guard()...)
	}
	return slices.Concat(before, l.assign(l.own), Steps{up}, l.guard()), nil
}

// assign gives the link its addresses, under the name that it has by then.
func (l link) assign(name string) Steps {
	var steps Steps
	for _, a := range l.choice.Addresses {
		steps = append(steps, AddAddress{If: name, Address: a})
	}
	if a, ok := l.linkLocal(); ok {
		steps = append(steps, AddAddress{If: name, Address: a})
	}
	return steps
}

// alias tells people, and undo, whose the link is.
func alias(record, network string) string {
	if network == "" {
		return aliasPrefix + record
	}
	return aliasPrefix + record + " " + network
}

// aliasPrefix begins the alias of each link of a container's.
const aliasPrefix = "lanhook "

// Marked is the id of the record that the alias of a container's link names, "" for none.
func Marked(alias string) string {
	rest, ours := strings.CutPrefix(alias, aliasPrefix)
	if !ours {
		return ""
	}
	id, _, _ := strings.Cut(rest, " ")
	return id
}

func (l link) has(is func(netip.Addr) bool) bool {
	return slices.ContainsFunc(l.choice.Addresses, func(p netip.Prefix) bool { return is(p.Addr()) })
}

// sysctls are the settings of a static interface (Documentation/networking/ip-sysctl.rst): no router changes it, its
// addresses survive a parent that flaps, and it announces them when it comes up again. An interface with IPv4 addresses only
// gets no IPv6 at all; one without any address is left to the container but for the router advertisements. That is the
// mode static; the others are in [link.sysctls6]. What policy or container ask for comes last and wins.
func (l link) sysctls() []request.Sysctl {
	var values []request.Sysctl
	if l.has(netip.Addr.Is4) && l.Network.Announce {
		values = append(values, request.Sysctl{Key: arpNotify, Value: "1"})
	}
	values = append(values, l.severalSysctls()...)
	values = append(values, l.sysctls6()...)
	for _, asked := range l.Sysctls {
		values = slices.DeleteFunc(values, func(s request.Sysctl) bool { return s.Key == asked.Key })
		values = append(values, asked)
	}
	return values
}

func (l link) result(in Input, o owners) Interface {
	r := Interface{
		Name:      l.IfName,
		Network:   l.Network.Name,
		Driver:    l.Network.Driver.String(),
		Uplink:    in.Facts.UplinkName(l.Attachment),
		MAC:       l.mac(),
		MTU:       l.mtu,
		Addresses: l.choice.Addresses,
		Rule:      l.Rule,
		Publish:   l.publish(),
		DNAT:      l.dnat(),
	}
	for _, host := range l.choice.Host {
		if l.hasHostLink() && slices.ContainsFunc(l.choice.Addresses, func(a netip.Prefix) bool { return a.Contains(host) }) {
			r.Host = append(r.Host, host)
		}
	}
	if l.IPv6 != policy.IPv6Static {
		r.IPv6 = l.IPv6
	}
	if n := l.Network; n.Parent.Name == "" && len(l.uplink.Subs) == len(withoutOwn(n)) {
		r.Parent = n.Parent
	}
	for _, d := range l.defaults(o) {
		if d.Via.IsValid() && !o.backup(l.index, d.Dst.Addr()) {
			r.Gateways = append(r.Gateways, d.Via)
		}
	}
	return r
}
