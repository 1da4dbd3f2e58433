package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// target is the address of the container to which what comes to a host address goes: the first one of its family. A
// link-local one is no target, since what is forwarded does not reach it (RFC 4291, section 2.5.6).
func target(c Choice, host netip.Addr) (netip.Addr, bool) {
	for _, p := range c.Addresses {
		if addr := p.Addr(); addr.Is4() == host.Is4() && (addr.Is4() || !addr.IsLinkLocalUnicast()) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// publish are the published ports of the families in which the container has an address here.
func (l link) publish() []Publish {
	var all []Publish
	for i, p := range l.Publish {
		to, ok := target(l.choice, p.Addr)
		if !ok {
			continue
		}
		all = append(all, Publish{
			Protocol: p.Protocol,
			Addr:     p.Addr,
			Host:     hostPort(l.Attachment, l.choice, i),
			Count:    p.Count,
			To:       netip.AddrPortFrom(to, p.Container),
		})
	}
	return all
}

// hostPort is the first host port of entry i: the one chosen, or the one asked for.
func hostPort(a policy.Attachment, c Choice, i int) uint16 {
	if i < len(c.Ports) {
		return c.Ports[i]
	}
	return a.Publish[i].Host
}

// dnat are the host addresses that are the container's, of the families in which it has an address here.
func (l link) dnat() []Translation {
	var all []Translation
	for _, host := range l.DNAT {
		if to, ok := target(l.choice, host); ok {
			all = append(all, Translation{From: host, To: to})
		}
	}
	return all
}

// published says whether anything that comes to the host goes to the link.
func (l link) published() bool { return len(l.publish())+len(l.dnat()) > 0 }

// localnet says whether what the host sends from 127.0.0.0/8 must be able to leave by the bridge: it does when it goes
// to a published port of a loopback address, or of all addresses.
func (l link) localnet() bool {
	return slices.ContainsFunc(l.publish(), func(p Publish) bool {
		return p.Addr.Is4() && (p.Addr.IsUnspecified() || p.Addr.IsLoopback())
	}) || slices.ContainsFunc(l.dnat(), func(t Translation) bool { return t.From.Is4() && t.From.IsLoopback() })
}

// reserve keeps published ports that the host could take for its own connections from being taken. What the
// administrator has reserved stays reserved without us, and after us.
func reserve(in Input, links []link) Steps {
	var s ReservePorts
	reserved := func(port uint16) bool {
		return slices.ContainsFunc(in.Facts.Reserved, func(r Ports) bool { return r.Has(port) })
	}
	for _, l := range links {
		for _, p := range l.publish() {
			for n := range p.Count {
				port := p.Host + uint16(n) // checkPorts has seen that the last one is a port
				at, twice := slices.BinarySearch(s.Ports, port)
				if twice || !in.Facts.Ephemeral.Has(port) || reserved(port) && !slices.Contains(in.OwnReserved, port) {
					continue
				}
				s.Ports = slices.Insert(s.Ports, at, port)
			}
		}
	}
	if len(s.Ports) == 0 {
		return nil
	}
	return Steps{s}
}

// checkPublished finds what keeps published ports and host addresses from going to attachment i.
func checkPublished(in Input, i int, fail failFunc) []error {
	a := in.Attachments[i]
	if len(a.Publish)+len(a.DNAT) == 0 {
		return nil
	}
	if n := a.Network; n.Driver != policy.Bridge || !n.Firewall || n.Closed() {
		return []error{fail("publish to a bridge network that has a firewall and a way out",
			"no port can be published to %s", described(n))}
	}
	l := newLink(in, i)
	errs := checkServed(in, i, fail)
	for j := range a.Publish {
		errs = append(errs, checkPorts(in, i, j, fail))
	}
	for _, host := range l.hostAddresses() {
		errs = append(errs, l.checkHostAddress(in.Facts, host, fail))
	}
	for _, p := range l.publish() {
		errs = append(errs, checkListeners(in.Facts.Listeners, p, fail)...)
	}
	for _, t := range l.dnat() {
		errs = append(errs, checkWhole(in.Facts, t.From, fail))
	}
	return append(errs, append(l.checkRouted(fail), l.checkWays(in.Facts, fail)...)...)
}

func described(n *policy.Network) string {
	if n.Name == "" {
		return "a " + n.Driver.String() + " that is spelled out"
	}
	return "network " + n.Name
}

// checkServed refuses what would go nowhere: an entry for whose family the container has no address, be it on another
// interface. Of one that is published in two families, one is enough.
func checkServed(in Input, i int, fail failFunc) []error {
	var errs []error
	a := in.Attachments[i]
	for _, p := range a.Publish {
		if !served(in, p.Asked) {
			errs = append(errs, fail("ask for an address of that family too, or for none that is published",
				"port %d/%s of %s goes nowhere: the container has no %s address here",
				p.Container, p.Protocol, p.Addr, family(p.Addr)))
		}
	}
	if len(a.DNAT) > 0 && len(newLink(in, i).dnat()) == 0 {
		errs = append(errs, fail("ask for an address of that family too",
			"host address %s goes nowhere: the container has no %s address here", a.DNAT[0], family(a.DNAT[0])))
	}
	return errs
}

// served says whether the container has an address for any of the entries that one of the request became.
func served(in Input, asked int) bool {
	for i, a := range in.Attachments {
		for _, p := range a.Publish {
			if _, ok := target(in.Choices[i], p.Addr); ok && p.Asked == asked {
				return true
			}
		}
	}
	return false
}

func family(addr netip.Addr) string {
	if addr.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// checkPorts looks that entry j has host ports, all of them below 65536.
func checkPorts(in Input, i, j int, fail failFunc) error {
	p := in.Attachments[i].Publish[j]
	host := hostPort(in.Attachments[i], in.Choices[i], j)
	if host == 0 {
		return fail("", "no host port was found for port %d/%s", p.Container, p.Protocol)
	}
	if last := max(int(host), int(p.Container)) + p.Count - 1; p.Count < 1 || last > maxPort {
		return fail("", "%d ports from %d on to %d on are not all within 1 to %d", p.Count, host, p.Container, maxPort)
	}
	return nil
}

const maxPort = 1<<16 - 1

// hostAddresses are the host's addresses that an attachment names, each once, by the word that names them.
func (l link) hostAddresses() []named {
	var all []named
	for _, p := range l.publish() {
		if n := (named{"publish", p.Addr}); !p.Addr.IsUnspecified() && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	for _, t := range l.dnat() {
		all = append(all, named{"dnat", t.From})
	}
	return all
}

type named struct {
	word string
	addr netip.Addr
}

// checkHostAddress looks that the host has an address, and that what is sent to it can go to the link.
func (l link) checkHostAddress(f Facts, host named, fail failFunc) error {
	switch {
	case !f.Local[host.addr]:
		return notOurs(host, fail)
	case !host.addr.IsLoopback():
		return nil
	case host.addr.Is6():
		// The answer is dropped: for ::1, the kernel looks only at routes of the link by which it came in, which is the bridge
		// (net/ipv6/route.c, rt6_need_strict). IPv6 has no route_localnet.
		return fail("take 127.0.0.1 instead, where the host's own programs find it as well",
			"%s: what is sent to %s cannot leave the host, since the kernel takes no answer to it", host.word, host.addr)
	case !l.filtered() && !l.uplink.Localnet:
		return fail(fmt.Sprintf("turn it on, and drop what comes in by %[1]s for 127.0.0.0/8: sysctl net.ipv4.conf.%[1]s.route_localnet=1",
			l.Network.Bridge),
			"%s: what is sent to %s does not leave by bridge %s without route_localnet", host.word, host.addr, l.Network.Bridge)
	}
	return nil
}

func notOurs(host named, fail failFunc) error {
	return fail("see which addresses the host has with: ip address", "%s: %s is no address of this host", host.word, host.addr)
}

// checkSNAT looks that the host has the addresses behind which the container's are hidden, or no answer would come.
func checkSNAT(in Input, i int, fail failFunc) []error {
	var errs []error
	for _, t := range newLink(in, i).snat() {
		if !in.Facts.Local[t.To] {
			errs = append(errs, notOurs(named{"snat", t.To}, fail))
		}
	}
	return errs
}

// checkListeners refuses a port that a process of the host has: its connections would go to the container from now on.
func checkListeners(listeners []Listener, p Publish, fail failFunc) []error {
	var errs []error
	for _, l := range listeners {
		if l.Protocol != p.Protocol || l.Port < p.Host || int(l.Port) >= int(p.Host)+p.Count || !overlap(l.Addr, p.Addr) {
			continue
		}
		errs = append(errs, fail("stop it, or publish another port",
			"port %d/%s of %s is taken by %s", l.Port, p.Protocol, p.Addr, l.who()))
	}
	return errs
}

// checkWhole refuses to give away an address of the host that the host needs: ssh would be the container's, too.
func checkWhole(f Facts, host netip.Addr, fail failFunc) error {
	const hint = "give the host another address for the container: ip address add ADDRESS/LENGTH dev LINK"
	for _, l := range f.Listeners {
		if l.Protocol == request.TCP && l.Addr == host {
			return fail(hint+"; or have the process listen elsewhere",
				"dnat: at %s listens %s, port %d/%s, which nobody would reach any more", host, l.who(), l.Port, l.Protocol)
		}
	}
	if slices.Contains(f.Only, host) {
		return fail(hint, "dnat: the host is reached by no other address than %s, and with it what is sent to the host itself, "+
			"such as ssh, would go to the container", host)
	}
	return nil
}

// who is the process in words.
func (l Listener) who() string {
	if l.Name == "" {
		return "a process of the host"
	}
	return fmt.Sprintf("%s (pid %d)", l.Name, l.PID)
}

// overlap says whether a listener's address and a published one have an address in common. A socket of [::] has those of
// IPv4 as well, unless it says otherwise; then it is not a listener of an IPv4 port.
func overlap(listener, published netip.Addr) bool {
	if listener.Is4() != published.Is4() {
		return listener == netip.IPv6Unspecified()
	}
	return listener == published || listener.IsUnspecified() || published.IsUnspecified()
}

// checkRouted refuses ports of an address that the host has no way to: on a bridge of ours, one without a gateway.
func (l link) checkRouted(fail failFunc) []error {
	if !l.filtered() {
		return nil
	}
	for _, to := range l.targets() {
		sub, ok := l.subnet(to)
		if !ok || sub.Gateway.IsValid() || slices.ContainsFunc(l.uplink.Addresses, sub.Prefix.Contains) {
			continue
		}
		return []error{fail("give the subnet a gateway, which the host then holds on the bridge",
			"nothing can be published to %s: the host has no address in %s", to, sub.Prefix)}
	}
	return nil
}

// checkWays refuses what would go to somebody else. A container that spells an attachment out gives itself any address
// that it is granted; what is published goes by the host's routes. An address of another network, or of the host itself,
// would open what nobody has published.
func (l link) checkWays(f Facts, fail failFunc) []error {
	if l.Network.Name != "" {
		return nil
	}
	for _, to := range l.targets() {
		if way, ok := f.Ways[to]; ok && l.exists && way == l.uplink.Index {
			continue
		}
		return []error{fail("take an address of a subnet that the host reaches by that bridge: ip route get "+to.String(),
			"nothing can be published to %s: the host does not send to it by bridge %s", to, l.Network.Bridge)}
	}
	return nil
}

// targets are the container's addresses to which something goes.
func (l link) targets() []netip.Addr {
	var all []netip.Addr
	for _, p := range l.publish() {
		all = append(all, p.To.Addr())
	}
	for _, t := range l.dnat() {
		all = append(all, t.To)
	}
	return all
}
