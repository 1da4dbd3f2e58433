//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// hostLinkAlias tells people whose the host's link beside containers is.
const hostLinkAlias = "lanhook host-access"

// ensureHostLink makes the link down, gives it its settings and addresses, and brings it up then. Whoever finds it made by another
// attach that has not come further does the rest as well: every part may be done twice. One that is up is whole, but for addresses
// that the LAN is being asked for, which come with addHostAddresses. It may be on a link
// that has lost its name to another since: there it reaches none of the containers that come now.
func (h *Host) ensureHostLink(s plan.EnsureHostLink) error {
	l, ok, err := h.conn.link(by{name: s.Name})
	if err != nil {
		return err
	}
	if !ok || !l.Up {
		if s.ParentIndex, err = h.parentIndex(s.Parent, s.ParentIndex); err != nil {
			return failed(err, "add %s %s to %s", s.Driver, s.Name, s.Parent)
		}
	}
	if !ok {
		if err = h.addHostLink(s); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		if l, ok, err = h.conn.link(by{name: s.Name}); err == nil && !ok {
			err = failed(unix.ENODEV, "add %s %s to %s", s.Driver, s.Name, s.Parent)
		}
		if err != nil {
			return err
		}
	}
	if l.Kind != s.Driver.String() || l.Group != plan.Group {
		return &Error{
			Op: "add " + s.Driver.String() + " " + s.Name + " to " + s.Parent, Cause: "there is " + describe(l.Kind) + " of this name",
			Err: unix.EEXIST, hint: "rename it: ip link set " + s.Name + " name NAME",
		}
	}
	if s.ParentIndex != 0 && l.Parent != s.ParentIndex {
		return &Error{
			Op: "add " + s.Driver.String() + " " + s.Name + " to " + s.Parent, Err: unix.EBUSY,
			Cause: "it is on another link, which was called " + s.Parent + " before",
			hint:  "end the containers that were attached before " + s.Parent + " got its name; ip -d link show " + s.Name + " shows that link",
		}
	}
	if l.Up {
		return nil
	}
	return h.finishHostLink(l, s)
}

// RenewHostLink makes a link of the host anew that is gone, or gives one its settings and addresses again and brings it up.
func (h *Host) RenewHostLink(s plan.EnsureHostLink) error {
	s.ParentIndex, s.Bare = 0, false // by the parent's name: it may have been made anew, too
	if err := h.ensureHostLink(s); err != nil {
		return err
	}
	l, ok, err := h.conn.link(by{name: s.Name})
	if err != nil || !ok {
		return err
	}
	return h.finishHostLink(l, s)
}

// addHostLink makes the link with its mark, so that there is no moment without it.
func (h *Host) addHostLink(s plan.EnsureHostLink) error {
	parts := append([]nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC)}, linkParts(s.Name, s.MAC, s.MTU)...)
	parts = append(parts, number(unix.IFLA_LINK, s.ParentIndex), number(unix.IFLA_GROUP, plan.Group))
	if s.Driver == policy.IPVLAN {
		mode, modeOK := ipvlanMode(s.Mode)
		flag, flagOK := ipvlanFlag(s.Flag)
		if !modeOK || !flagOK {
			return failed(unix.EINVAL, "add ipvlan %s to %s in mode %s %s", s.Name, s.Parent, s.Mode, s.Flag)
		}
		err := h.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(parts,
			nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kindIPVLAN), nest(unix.IFLA_INFO_DATA,
				nl.NewRtAttr(unix.IFLA_IPVLAN_MODE, nl.Uint16Attr(mode)),
				nl.NewRtAttr(unix.IFLA_IPVLAN_FLAGS, nl.Uint16Attr(flag)))))...)
		if err == nil {
			return nil
		}
		return h.ipvlanFailed(err, plan.AddIPVLAN{Name: s.Name, Parent: s.Parent, Mode: s.Mode, Flag: s.Flag}, s.ParentIndex)
	}
	err := h.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(parts,
		nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kindMacvlan), nest(unix.IFLA_INFO_DATA,
			number(unix.IFLA_MACVLAN_MODE, kernelMode(s.Mode)))))...)
	if err == nil {
		return nil
	}
	return h.macvlanFailed(err, plan.AddMacvlan{
		Name: s.Name, Parent: s.Parent, ParentIndex: s.ParentIndex, Mode: s.Mode, MAC: s.MAC, MTU: s.MTU,
	})
}

// finishHostLink gives the link settings and addresses and brings it up. It answers ARP for its own addresses alone and asks from
// these (Documentation/networking/ip-sysctl.rst), so that no container takes the host's address on the LAN for one that it
// reaches by it; and it takes nothing from router advertisements, which a container might send.
func (h *Host) finishHostLink(l State, s plan.EnsureHostLink) error {
	v6 := slices.ContainsFunc(s.Addresses, netip.Addr.Is6)
	settings := [][2]string{{"accept_ra", "0"}, {"autoconf", "0"}, {"disable_ipv6", "1"}}
	if v6 {
		settings = [][2]string{
			{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"autoconf", "0"}, {"accept_dad", "0"}, {"keep_addr_on_down", "1"},
		}
	}
	if err := h.setIPv6(s.Name, settings...); err != nil {
		return err
	}
	if !s.Bare {
		if err := h.addAlone(l, s.Addresses); err != nil {
			return err
		}
	}
	arp := nest(unix.IFLA_AF_SPEC, nest(unix.AF_INET, nest(inetConf, number(inetARPIgnore, 1), number(inetARPAnnounce, 2))))
	alias := nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(hostLinkAlias))
	return failed(h.conn.change(unix.RTM_SETLINK, 0, upMessage(l.Index), alias, arp), "bring the host's link %s up", s.Name)
}

// addHostAddresses adds addresses to a link that is up.
func (h *Host) addHostAddresses(s plan.AddHostAddresses) error {
	l, ok, err := h.conn.link(by{name: s.Link})
	if err == nil && (!ok || !isHostLink(l)) {
		err = failed(unix.ENODEV, "add addresses to the host's link %s", s.Link)
	}
	if err != nil {
		return err
	}
	return h.addAlone(l, s.Addresses)
}

func (h *Host) addAlone(l State, addrs []netip.Addr) error {
	for _, a := range addrs {
		err := h.conn.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, aloneParts(l.Index, a)...)
		if errors.Is(err, unix.EADDRINUSE) {
			return &Error{
				Op: "add address " + a.String() + " to " + l.Name, Cause: "another ipvlan child of its parent has it", Err: err,
				hint: "give the host another address by host-access in the policy",
			}
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return addressFailed(err, netip.PrefixFrom(a, a.BitLen()), "the host's link "+l.Name)
		}
	}
	return nil
}

// aloneParts is a message that adds an address without its subnet, and so that the host takes it for no other traffic of its own:
// an IPv4 address of scope link is not chosen for what leaves by other links (net/ipv4/devinet.c, inet_select_addr), and of
// IPv6 addresses one that is deprecated comes last (RFC 6724 section 5, rule 3). The routes to containers name it.
func aloneParts(index int, addr netip.Addr) []nl.NetlinkRequestData {
	header := nl.NewIfAddrmsg(int(family(addr)))
	header.Index = uint32(index)              //nolint:gosec // G115: an index is 31 bits
	header.Prefixlen = uint8(addr.BitLen())   //nolint:gosec // G115: 128 at most
	flags := uint32(unix.IFA_F_NOPREFIXROUTE) // beside 8 bits of flags in the header
	raw := addr.AsSlice()
	parts := []nl.NetlinkRequestData{header, nl.NewRtAttr(unix.IFA_LOCAL, raw), nl.NewRtAttr(unix.IFA_ADDRESS, raw)}
	if addr.Is4() {
		header.Scope = unix.RT_SCOPE_LINK
	} else {
		flags |= unix.IFA_F_NODAD
		// A struct ifa_cacheinfo: preferred for no time, valid for ever, and two times of the kernel's (linux/if_addr.h).
		info := make([]byte, unix.SizeofIfaCacheinfo)
		binary.NativeEndian.PutUint32(info[4:], math.MaxUint32)
		parts = append(parts, nl.NewRtAttr(unix.IFA_CACHEINFO, info))
	}
	return append(parts, number(unix.IFA_FLAGS, flags))
}

// addHostRoute adds a route to one address. One that is left from an attach of which no record is left is replaced; any other to
// the same address stays, and is an error.
func (h *Host) addHostRoute(s plan.AddHostRoute) error {
	l, ok, err := h.conn.link(by{name: s.Link})
	if err != nil {
		return err
	}
	op := "add route to " + s.To.String() + " on the host's link " + s.Link
	if !ok {
		return failed(unix.ENODEV, "%s", op)
	}
	parts, err := hostRouteParts(l.Index, s.To, s.From)
	if err != nil {
		return err
	}
	add := func() error {
		return h.conn.change(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
	}
	if err = add(); errors.Is(err, unix.EINVAL) {
		// The link is without the host's address: somebody has taken it away.
		if err = h.addAlone(l, []netip.Addr{s.From}); err == nil {
			err = add()
		}
	}
	if errors.Is(err, unix.EEXIST) {
		if err = h.delHostRoute(plan.DelHostRoute{Link: s.Link, To: s.To}); err == nil {
			err = add()
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return &Error{
			Op: op, Cause: "the host has another route to this address", Err: err,
			hint: "see it with ip route show " + s.To.String() + ", and delete it or give the container another address",
		}
	}
	return failed(err, "%s", op)
}

// delHostRoute removes the route by its link and the protocol that marks it.
func (h *Host) delHostRoute(s plan.DelHostRoute) error {
	l, ok, err := h.conn.link(by{name: s.Link})
	if err != nil || !ok || l.Group != plan.Group {
		return err // with its link the route is gone
	}
	parts, err := hostRouteParts(l.Index, s.To, netip.Addr{})
	if err != nil {
		return err
	}
	return failed(h.conn.removeRoute(parts), "remove route to %s on the host's link %s", s.To, s.Link)
}

// hostRouteParts is a route to one address by a link, from an address of the host's where one is valid.
func hostRouteParts(index int, to, from netip.Addr) ([]nl.NetlinkRequestData, error) {
	parts, err := routeParts(request.Route{Dst: netip.PrefixFrom(to, to.BitLen()), Src: from}, index)
	if err != nil {
		return nil, err
	}
	if header, ok := parts[0].(*nl.RtMsg); ok {
		header.Protocol = protocol
	}
	return parts, nil
}

// releaseHostLink removes a link that is ours, with its routes.
func (h *Host) releaseHostLink(s plan.ReleaseHostLink) error {
	l, ok, err := h.conn.link(by{name: s.Name})
	if err != nil || !ok || !isHostLink(l) {
		return err
	}
	if !s.Proved {
		leads, err := h.leads(l)
		if err != nil || leads {
			return err
		}
	}
	return failed(h.conn.remove(here, l.Index), "remove the host's link %s", s.Name)
}

// leads says whether a link has routes to containers.
func (h *Host) leads(l State) (bool, error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Protocol: protocol}}
		msgs, err := h.conn.dump(unix.RTM_GETROUTE, header, number(unix.RTA_OIF, l.Index))
		// Of a table that it has not got yet, the kernel says ENOENT.
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return false, failed(err, "list routes of the host's link %s", l.Name)
		}
		if len(msgs) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// isHostLink says whether lanhook made a link of the host beside those of containers.
func isHostLink(s State) bool {
	return s.Group == plan.Group && plan.IsHostLinkName(s.Name) && (s.Kind == kindMacvlan || s.Kind == kindIPVLAN)
}

// HostLinks are the names of the host's own links beside those of containers that bear [plan.Group].
func (h *Host) HostLinks() ([]string, error) {
	var names []string
	for _, kind := range []string{kindMacvlan, kindIPVLAN} {
		all, err := h.conn.linksOfKind(kind)
		if err != nil {
			return nil, failed(err, "list links of kind %s", kind)
		}
		for _, s := range all {
			// A kernel that does not know the kind lists all.
			if isHostLink(s) && !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// IdleHostLinks are those of some of [Host.HostLinks] on whose parent no container has a link, in any namespace that is found, that
// bears the mark of a record which is not known: its host reaches it by one of them. Where not all namespaces could be looked into,
// there are none. It reads a file for each thread of the machine.
func (h *Host) IdleHostLinks(names []string, known map[string]bool) ([]string, error) {
	var used map[int]bool
	sure, err := h.inEach(func() { used = map[int]bool{} }, func(ns *Namespace) error {
		all, err := ns.onHost()
		for _, s := range all {
			if id := plan.Marked(s.Alias); id != "" && !known[id] {
				used[s.Parent] = true
			}
		}
		return err
	})
	if err != nil || !sure {
		return nil, err
	}
	var idle []string
	for _, name := range names {
		l, ok, err := h.conn.link(by{name: name})
		if err != nil {
			return nil, err
		}
		if ok && isHostLink(l) && !used[l.Parent] {
			idle = append(idle, name)
		}
	}
	return idle, nil
}
