//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
)

// ensureForwarding lets packets that come in by other links go to bridges.
func (h *Host) ensureForwarding(s plan.EnsureForwarding) error {
	for _, name := range s.Links {
		err := h.set("net.ipv4.conf."+ifName+".forwarding", name, "1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // A link that is gone brings nothing in.
			return err
		}
	}
	if !s.V6 {
		return nil
	}
	if err := h.keepRouters(); err != nil {
		return err
	}
	return h.set("net.ipv6.conf.all.forwarding", "", "1")
}

// set writes one setting of the host.
func (h *Host) set(key, link, value string) error {
	return h.do(func() error { return h.proc.write(link, []request.Sysctl{{Key: key, Value: value}}) })
}

// keepRouters makes links that listen to router advertisements go on when the host forwards IPv6, which ends it for
// those with accept_ra=1 (ip-sysctl.rst). A host that has its own default route from one would lose it otherwise. Those
// that forward already do not listen, and are left so.
func (h *Host) keepRouters() error {
	msgs, err := h.conn.dump(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), number(unix.IFLA_EXT_MASK, extSkipStats))
	if err != nil {
		return failed(err, "list links that listen to routers")
	}
	for _, msg := range msgs {
		link, err := parseLink(msg)
		if err != nil {
			return err
		}
		has, err := parseConf(msg[unix.SizeofIfInfomsg:], unix.IFLA_AF_SPEC, unix.AF_INET6, inet6Conf)
		if err != nil {
			return err
		}
		if has.at(inet6AcceptRA) != 1 || has.at(inet6Forwarding) != 0 {
			continue
		}
		err = h.set("net.ipv6.conf."+ifName+".accept_ra", link.Name, "2")
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			return err
		}
	}
	return nil
}

// Settings of a link as it tells them itself (IFLA_AF_SPEC), from linux/if_link.h, linux/ip.h and linux/ipv6.h: IPv4's
// are numbered from 1.
const (
	inet6Conf = 2 // IFLA_INET6_CONF

	inetRPFilter      = 8  // IPV4_DEVCONF_RP_FILTER
	inetRouteLocalnet = 26 // IPV4_DEVCONF_ROUTE_LOCALNET

	inet6Forwarding = 0 // DEVCONF_FORWARDING
	inet6AcceptRA   = 3 // DEVCONF_ACCEPT_RA
)

// conf are the settings of a link in the order of the kernel's header, 32 bits each.
type conf []byte

// at is -1 for a setting that the kernel does not tell.
func (c conf) at(i int) int32 {
	if len(c) < 4*(i+1) {
		return -1
	}
	return int32(binary.NativeEndian.Uint32(c[4*i:])) //nolint:gosec // G115: signed in the kernel
}

// parseConf reads the settings of one family from a link's attributes, or from what is nested in them; none when the link
// has none of the family. path are the kinds of attributes that lead there.
func parseConf(msg []byte, path ...uint16) (conf, error) {
	for _, want := range path {
		attrs, err := attributes(msg, 0)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(attrs, func(a attribute) bool { return a.kind == want })
		if i < 0 {
			return nil, nil
		}
		msg = attrs[i].value
	}
	return msg, nil
}

// allLinks stands for the setting of a whole family (NETCONFA_IFINDEX_ALL).
const allLinks = -1

// forwardingFacts finds out what keeps packets from passing: IPv4 is forwarded by each link for itself, IPv6 by all.
func (h *Host) forwardingFacts(facts *plan.Facts, want plan.Families, links []int) error {
	if want.V6 {
		on, err := h.conn.forwards(unix.AF_INET6, allLinks)
		switch {
		case err == nil:
			facts.NotForwarding6 = !on
		case !noRoute(err): // which is what a kernel without IPv6 says, too
			return err
		}
	}
	if !want.V4 {
		return nil
	}
	more, err := h.defaultLinks()
	if err != nil {
		return err
	}
	links = append(links, more...)
	slices.Sort(links)
	for _, index := range slices.Compact(links) {
		if index == loopbackIndex {
			continue
		}
		on, err := h.conn.forwards(unix.AF_INET, index)
		switch {
		case on, noRoute(err), errors.Is(err, unix.ENODEV): // One that is gone has no settings.
			continue
		case err != nil:
			return err
		}
		link, ok, err := h.conn.link(by{index: index})
		if err != nil {
			return err
		}
		// A bridge of lanhook's forwards, or not, by its own step: an internal one never does.
		if ok && link.Group != plan.Group {
			facts.NotForwarding = append(facts.NotForwarding, link.Name)
		}
	}
	return nil
}

// loopbackIndex is that of lo in each namespace (LOOPBACK_IFINDEX in include/net/flow.h).
const loopbackIndex = 1

// addressed4 are the links that have an IPv4 address, one as often as it has addresses: the links of containers have none.
func (c *conn) addressed4() ([]int, error) {
	msgs, err := c.dump(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_INET))
	if err != nil {
		return nil, failed(err, "list the host's IPv4 addresses")
	}
	var links []int
	for _, msg := range msgs {
		if len(msg) < unix.SizeofIfAddrmsg {
			return nil, failed(unix.EBADMSG, "list the host's IPv4 addresses")
		}
		links = append(links, int(nl.DeserializeIfAddrmsg(msg).Index))
	}
	return links, nil
}

// defaultLinks are the links of the default route of IPv4 that the kernel would take, more than one where it has several
// hops.
func (h *Host) defaultLinks() ([]int, error) {
	for _, dst := range documentation4() {
		r, found, err := h.conn.routeTo(dst)
		if err != nil {
			return nil, failed(err, "find the host's default route")
		}
		if found && r.isDefault() {
			return r.hops, nil
		}
	}
	return nil, nil
}

// routeTo is the route that the kernel takes to an address, as it is in the table; false for none. A route of the types
// unreachable, prohibit and blackhole is none.
func (c *conn) routeTo(dst netip.Addr) (found, bool, error) {
	header := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family: family(dst), Dst_len: uint8(dst.BitLen()), Flags: unix.RTM_F_FIB_MATCH, //nolint:gosec // G115: 32 or 128
	}}
	msg, err := c.get(unix.RTM_GETROUTE, header, nl.NewRtAttr(unix.RTA_DST, dst.AsSlice()))
	if noRoute(err) {
		return found{}, false, nil
	}
	if err != nil {
		return found{}, false, err
	}
	r, _, err := parseRoute(msg)
	return r, err == nil, err
}

// localLink says whether the host has an address, and on which link: lo for 127.0.0.1.
func (h *Host) localLink(a netip.Addr) (index int, ok bool, err error) {
	r, ok, err := h.conn.routeTo(a.WithZone(""))
	if err != nil {
		return 0, false, fmt.Errorf("see whether the host has address %s: %w", a, err)
	}
	return r.index, ok && r.local, nil
}
