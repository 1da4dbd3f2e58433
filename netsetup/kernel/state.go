//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// State is a link as the kernel has it.
type State struct {
	Index int
	Name  string
	// Kind is rtnetlink's: "macvlan", "bridge", "veth"; "" for a network card and for lo.
	Kind     string
	MAC      plan.MAC
	MTU      int
	Up       bool
	Loopback bool
	// Promiscuous and AllMulti are what was asked of the link itself, not what others need of it.
	Promiscuous bool
	AllMulti    bool
	TxQueueLen  int
	Alias       string
	AltNames    []string
	Group       uint32
	// Parent is the index of the link it hangs on, in the namespace of that link, 0 for none. Elsewhere says that this is another
	// namespace.
	Parent    int
	Elsewhere bool
	// Permanent is the address that the hardware has, nil where it has none.
	Permanent plan.MAC
	// Bus and BusID are the device's on which the link is, as in /sys/bus/BUS/devices/ID; "" for a link without hardware.
	Bus, BusID string
	// Master is the index of the link it is a port of, and MasterKind its kind; 0 and "" for none.
	Master     int
	MasterKind string
	// FiltersVLANs is true for a bridge that filters VLANs, DefaultPVID the VLAN that it gives its ports by itself, 0 for none.
	FiltersVLANs bool
	DefaultPVID  int
	// Localnet is true when what is sent from 127.0.0.0/8 may leave by it (route_localnet).
	Localnet bool
	// Mode is set for a macvlan and an ipvlan only, Flag for an ipvlan.
	Mode policy.Mode
	Flag policy.Flag
	// Tag is set for a VLAN sub-interface only.
	Tag policy.Tag
	// BondMode is a bond's mode by its number (linux/if_bonding.h), -1 for what is no bond.
	BondMode int
	// Addresses and Routes are set by [Namespace.Link] and [Host.Link] only. Routes are those on the link that were
	// not made by the kernel itself along with an address.
	Addresses []netip.Prefix
	Routes    []request.Route
}

// isOn says whether the link hangs on the one that has an index in the same namespace. Links of another may have any index.
func (s State) isOn(index int) bool { return s.Parent == index && !s.Elsewhere && s.Index != index }

// Link reads the link of a name in the container with its addresses and routes; false when there is none.
func (n *Namespace) Link(name string) (State, bool, error) { return n.conn.whole(name) }

// Link reads the host's link of a name with its addresses and routes; false when there is none.
func (h *Host) Link(name string) (State, bool, error) { return h.conn.whole(name) }

// LinkAt reads the link of an index in the container, without addresses and routes; false when there is none.
func (n *Namespace) LinkAt(index int) (State, bool, error) { return n.conn.link(by{index: index}) }

// LinkAt reads the host's link of an index, without addresses and routes; false when there is none.
func (h *Host) LinkAt(index int) (State, bool, error) { return h.conn.link(by{index: index}) }

func (c *conn) whole(name string) (State, bool, error) {
	s, ok, err := c.link(by{name: name})
	if err != nil || !ok {
		return State{}, false, err
	}
	if s.Addresses, err = c.addresses(s.Index); err == nil {
		s.Routes, err = c.routes(s.Index)
	}
	switch {
	case errors.Is(err, unix.ENODEV): // It went away meanwhile.
		return State{}, false, nil
	case err != nil:
		return State{}, false, failed(err, "list addresses and routes of link %s", name)
	}
	return s, true, nil
}

// altNameSize is ALTIFNAMSIZ of linux/if.h: with the zero byte at its end, an alternative name is no longer than this.
const altNameSize = 128

// by says which link is meant by one of its fields.
type by struct {
	index   int
	name    string
	altName string
}

// link looks a link up without addresses and routes; false when there is none. The kernel takes an alternative name
// for a name too.
func (c *conn) link(sel by) (State, bool, error) { return c.linkIn(here, sel) }

// linkIn looks a link up in the namespace that the socket's knows as id (IFLA_TARGET_NETNSID).
func (c *conn) linkIn(id nsid, sel by) (State, bool, error) {
	msg, err := c.linkMessage(id, sel)
	if err != nil || msg == nil {
		return State{}, false, err
	}
	s, err := parseLink(msg)
	return s, err == nil, err
}

// linkMessage is what the kernel says of a link, nil when there is none.
func (c *conn) linkMessage(id nsid, sel by) ([]byte, error) {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	parts := []nl.NetlinkRequestData{header, number(unix.IFLA_EXT_MASK, extSkipStats)}
	if id != here {
		parts = append(parts, number(unix.IFLA_TARGET_NETNSID, id))
	}
	switch {
	case sel.index != 0:
		header.Index = int32(sel.index) //nolint:gosec // G115: an index is 31 bits
	case sel.name != "" && len(sel.name) < unix.IFNAMSIZ:
		parts = append(parts, text(unix.IFLA_IFNAME, sel.name))
	case len(sel.name+sel.altName) < altNameSize:
		// The kernel refuses to read a long name where it expects a short one.
		parts = append(parts, text(unix.IFLA_ALT_IFNAME, sel.name+sel.altName))
	default:
		return nil, nil
	}
	msg, err := c.get(unix.RTM_GETLINK, parts...)
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	return msg, failed(err, "look up link %s", sel)
}

// links lists links, without addresses and routes: all of them, or those that the kernel's filters let through.
func (c *conn) links(filters ...nl.NetlinkRequestData) ([]State, error) {
	parts := append([]nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC), number(unix.IFLA_EXT_MASK, extSkipStats),
	}, filters...)
	msgs, err := c.dump(unix.RTM_GETLINK, parts...)
	if err != nil {
		return nil, err
	}
	list := make([]State, len(msgs))
	for i, msg := range msgs {
		if list[i], err = parseLink(msg); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// linksOfKind lists the links of a kind. The kernel's filter lets all links through as long as it does not know the kind, its
// module not being loaded (net/core/rtnetlink.c, linkinfo_to_kind_ops).
func (c *conn) linksOfKind(kind string) ([]State, error) {
	list, err := c.links(nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kind)))
	return slices.DeleteFunc(list, func(s State) bool { return s.Kind != kind }), err
}

// extSkipStats (RTEXT_FILTER_SKIP_STATS) leaves the counters out of an answer, which are most of it.
const extSkipStats = 1 << 3

func (sel by) String() string {
	switch {
	case sel.name != "":
		return sel.name
	case sel.altName != "":
		return sel.altName
	default:
		return "with index " + itoa(sel.index)
	}
}

func parseLink(msg []byte) (State, error) {
	attrs, err := attributes(msg, unix.SizeofIfInfomsg)
	if err != nil {
		return State{}, err
	}
	header := nl.DeserializeIfInfomsg(msg)
	s := State{
		Index:       int(header.Index),
		Up:          header.Flags&unix.IFF_UP != 0,
		Loopback:    header.Flags&unix.IFF_LOOPBACK != 0,
		Promiscuous: header.Flags&unix.IFF_PROMISC != 0,
		AllMulti:    header.Flags&unix.IFF_ALLMULTI != 0,
		BondMode:    noBond,
	}
	for _, a := range attrs {
		switch a.kind {
		case unix.IFLA_IFNAME:
			s.Name = a.text()
		case unix.IFLA_ADDRESS:
			s.MAC = plan.MAC(a.value)
		case unix.IFLA_MTU:
			s.MTU = int(a.number())
		case unix.IFLA_TXQLEN:
			s.TxQueueLen = int(a.number())
		case unix.IFLA_IFALIAS:
			s.Alias = a.text()
		case unix.IFLA_GROUP:
			s.Group = a.number()
		case unix.IFLA_LINK:
			s.Parent = int(a.number())
		case unix.IFLA_LINK_NETNSID:
			s.Elsewhere = true
		case unix.IFLA_PERM_ADDRESS:
			s.Permanent = plan.MAC(a.value)
		case unix.IFLA_PARENT_DEV_NAME:
			s.BusID = a.text()
		case unix.IFLA_PARENT_DEV_BUS_NAME:
			s.Bus = a.text()
		case unix.IFLA_MASTER:
			s.Master = int(a.number())
		case unix.IFLA_PROP_LIST:
			err = s.parseNames(a.value)
		case unix.IFLA_LINKINFO:
			err = s.parseInfo(a.value)
		case unix.IFLA_AF_SPEC:
			err = s.parseSettings(a.value)
		}
		if err != nil {
			return State{}, err
		}
	}
	return s, nil
}

// parseSettings reads IPv4's settings of the link.
func (s *State) parseSettings(value []byte) error {
	c, err := parseConf(value, unix.AF_INET, inetConf)
	s.Localnet = c.at(inetRouteLocalnet-1) > 0
	return err
}

func (s *State) parseNames(value []byte) error {
	attrs, err := attributes(value, 0)
	for _, a := range attrs {
		if a.kind == unix.IFLA_ALT_IFNAME {
			s.AltNames = append(s.AltNames, a.text())
		}
	}
	return err
}

// addresses lists those of one link. Only the kernel's filter keeps this cheap on a host with many links: it came with
// Linux 4.20, as did the strict checking without which an older kernel would list all.
func (c *conn) addresses(index int) ([]netip.Prefix, error) {
	return c.addressesOf(index, unix.AF_UNSPEC, func(*nl.IfAddrmsg) bool { return true })
}

// addressesOf lists those of one link and family, AF_UNSPEC for both, that keep wants.
func (c *conn) addressesOf(index, family int, keep func(*nl.IfAddrmsg) bool) ([]netip.Prefix, error) {
	header := nl.NewIfAddrmsg(family)
	header.Index = uint32(index) //nolint:gosec // G115: an index is 31 bits
	msgs, err := c.dump(unix.RTM_GETADDR, header)
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, msg := range msgs {
		local, header, err := parseAddress(msg)
		if err != nil {
			return nil, err
		}
		if keep(header) {
			list = append(list, netip.PrefixFrom(local, int(header.Prefixlen)))
		}
	}
	return list, nil
}

// parseAddress reads one of a link's addresses. IFA_ADDRESS is the peer's where there is one, and IFA_LOCAL our own, which
// IPv6 leaves out without a peer.
func parseAddress(msg []byte) (netip.Addr, *nl.IfAddrmsg, error) {
	attrs, err := attributes(msg, unix.SizeofIfAddrmsg)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	var local, address netip.Addr
	for _, a := range attrs {
		switch a.kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.value)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(a.value)
		}
	}
	if !local.IsValid() {
		local = address
	}
	return local, nl.DeserializeIfAddrmsg(msg), nil
}

// routes lists those on one link that the kernel did not make itself.
func (c *conn) routes(index int) ([]request.Route, error) {
	var list []request.Route
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}
		msgs, err := c.dump(unix.RTM_GETROUTE, header, number(unix.RTA_OIF, index))
		// Of a table that it has not got yet, the kernel says ENOENT.
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		for _, msg := range msgs {
			r, made, err := parseRoute(msg)
			if err != nil {
				return nil, err
			}
			if made {
				list = append(list, r.Route)
			}
		}
	}
	return list, nil
}

// found is a route as it was read.
type found struct {
	request.Route
	// index is that of the link of its first hop.
	index int
	// hops are those of all its hops, where it has several.
	hops []int
	// local is true for a route to an address of the host's own.
	local bool
}

func (r found) isDefault() bool {
	return r.Dst.Bits() == 0 && r.Type == request.Unicast && !r.local && r.index != 0
}

// parseRoute reads a route; made is false for one that the kernel made itself.
func parseRoute(msg []byte) (r found, made bool, err error) {
	attrs, err := attributes(msg, unix.SizeofRtMsg)
	if err != nil {
		return found{}, false, err
	}
	header := nl.DeserializeRtMsg(msg)
	dst := netip.IPv4Unspecified()
	if header.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	r.Table, r.Scope, r.OnLink = int(header.Table), int(header.Scope), header.Flags&unix.RTNH_F_ONLINK != 0
	for _, a := range attrs {
		switch a.kind {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(a.value)
		case unix.RTA_GATEWAY:
			r.Via, _ = netip.AddrFromSlice(a.value)
		case unix.RTA_PREFSRC:
			r.Src, _ = netip.AddrFromSlice(a.value)
		case unix.RTA_PRIORITY:
			r.Metric = int(a.number())
		case unix.RTA_TABLE:
			r.Table = int(a.number())
		case unix.RTA_OIF:
			r.index = int(a.number())
		case unix.RTA_MULTIPATH:
			r.parseHops(a.value)
		}
	}
	if len(r.hops) == 0 && r.index != 0 {
		r.hops = []int{r.index}
	}
	r.Dst = netip.PrefixFrom(dst, int(header.Dst_len))
	r.Type, r.local = routeTypeOf(header.Type), header.Type == unix.RTN_LOCAL
	made = header.Protocol != unix.RTPROT_KERNEL && header.Protocol != unix.RTPROT_RA && r.Table != unix.RT_TABLE_LOCAL
	return r, made, nil
}

// parseHops reads the links of all hops, each a struct rtnexthop with attributes behind it: length, flags, weight, and
// the index at byte 4.
func (r *found) parseHops(b []byte) {
	for len(b) >= unix.SizeofRtNexthop {
		r.hops = append(r.hops, int(binary.NativeEndian.Uint32(b[4:])))
		size := int(binary.NativeEndian.Uint16(b))
		const align = unix.RTA_ALIGNTO - 1
		b = b[min(max((size+align)&^align, unix.SizeofRtNexthop), len(b)):]
	}
	if len(r.hops) > 0 {
		r.index = r.hops[0]
	}
}
