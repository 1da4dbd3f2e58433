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
	"github.com/lanhook/lanhook/policy/request"
)

// The kernel translates the first packet of a connection, and does with all that follow what it did with the first. Two
// kinds of connections have to be forgotten for that: those of an address whose holder has gone, or what is sent to him
// reaches the next one; and those of UDP to a port of the host that were there before the port was published, since they
// go on as long as somebody sends.
//
// To look through the table takes the longer the larger it is, so as little as possible is looked for; nothing at all
// when the table is empty.

// Numbers of ctnetlink, from linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
	ctStats  = unix.NFNL_SUBSYS_CTNETLINK<<8 | 5 // IPCTNL_MSG_CT_GET_STATS

	ctOriginal = 1  // CTA_TUPLE_ORIG
	ctReply    = 2  // CTA_TUPLE_REPLY
	ctID       = 12 // CTA_ID
	ctZone     = 18 // CTA_ZONE
	ctFilter   = 25 // CTA_FILTER

	ctTupleIP    = 1 // CTA_TUPLE_IP
	ctTupleProto = 2 // CTA_TUPLE_PROTO

	ctSource4 = 1 // CTA_IP_V4_SRC; the destination follows
	ctSource6 = 3 // CTA_IP_V6_SRC

	ctProtoNumber = 1 // CTA_PROTO_NUM
	ctProtoTo     = 3 // CTA_PROTO_DST_PORT

	ctEntries = 1 // CTA_STATS_GLOBAL_ENTRIES
)

// What of a tuple a filter compares, from net/netfilter/nf_internals.h.
const (
	ctSameSource      = 1 << 0 // CTA_FILTER_F_CTA_IP_SRC
	ctSameDestination = 1 << 1 // CTA_FILTER_F_CTA_IP_DST
	ctSameProtocol    = 1 << 3 // CTA_FILTER_F_CTA_PROTO_NUM
	ctSameTo          = 1 << 5 // CTA_FILTER_F_CTA_PROTO_DST_PORT
)

// nfHeader is struct nfgenmsg: family, version, and 16 bits that are 0 here.
type nfHeader struct{ family uint8 }

const nfHeaderSize = 4

func (h nfHeader) Len() int { return nfHeaderSize }

func (h nfHeader) Serialize() []byte { return []byte{h.family, 0, 0, 0} }

// tracked gives the socket for connections, and how many there are; 0 also where the kernel has no means to tell.
func (h *Host) tracked() (*conn, uint32, error) {
	c, err := h.conntrack.get(func() (c *conn, err error) {
		err = h.do(func() error {
			c, err = dialFamily(unix.NETLINK_NETFILTER)
			return err
		})
		if err == nil {
			c.home = h.home
		}
		return c, err
	})
	if err != nil {
		return nil, 0, err
	}
	// The answer says that more follows, which is not so (net/netfilter/nf_conntrack_netlink.c,
	// ctnetlink_stat_ct_fill_info): the acknowledgement ends it.
	msgs, err := c.exchange(ctStats, unix.NLM_F_ACK, []nl.NetlinkRequestData{nfHeader{unix.AF_UNSPEC}})
	if errors.Is(err, unix.EINVAL) {
		return c, 0, nil // A kernel without ctnetlink.
	}
	if err != nil {
		return nil, 0, failed(err, "count tracked connections")
	}
	for _, msg := range msgs {
		attrs, err := attributes(msg, nfHeaderSize)
		if err != nil {
			return nil, 0, err
		}
		for _, a := range attrs {
			if a.kind == ctEntries && len(a.value) == 4 {
				return c, binary.BigEndian.Uint32(a.value), nil
			}
		}
	}
	return c, 0, nil
}

// forgetHolder forgets the connections of a container's addresses, where rules let any pass.
//
// What a container began has it as its source, and what reached it has it as the source of the answers, be it translated
// or not. The kernel takes one condition at a time and walks through its table for each: with 262,144 places that takes
// 0.16 ms, and 1.3 ms when there are 10,000 connections. So it is not asked for those from outside where nothing was
// published.
func (h *Host) forgetHolder(rules []plan.Rules) error {
	var out, in []netip.Addr
	for _, r := range rules {
		reached := len(r.Publish) > 0 || len(r.DNAT) > 0
		if r.Gate == plan.NAT || r.Gate == plan.Routed || reached || len(r.Masquerade) > 0 || len(r.SNAT) > 0 {
			out = append(out, r.Addresses...)
		}
		if reached {
			in = append(in, r.Addresses...)
		}
	}
	if len(out) == 0 {
		return nil
	}
	c, n, err := h.tracked()
	if err != nil || n == 0 {
		return err
	}
	listed, err := c.forgetSources(out, in)
	for _, f := range listed {
		if err == nil {
			err = c.forget(f, nil, func(e entry) bool { return slices.Contains(out, e.from) || slices.Contains(in, e.answers) })
		}
	}
	return failed(err, "forget connections of a container's addresses")
}

// forgetSources has the kernel remove what began at some addresses and what is answered by some, and gives the families
// of those that it cannot tell apart.
//
// That is IPv6, for which it compares the wrong way round and takes what is everybody else's
// (net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match_tuple, seen in 6.18). Entries of it are listed and looked
// at here, which takes 4 ms where the walk takes 0.16. An older kernel knows no filter for this, or none at all, and
// refuses the message as half an entry's name.
func (c *conn) forgetSources(out, in []netip.Addr) ([]uint8, error) {
	var listed []uint8
	for side, addresses := range [...][]netip.Addr{ctOriginal: out, ctReply: in} {
		for _, a := range addresses {
			if slices.Contains(listed, family(a)) {
				continue
			}
			err := error(unix.EOPNOTSUPP)
			if a.Is4() {
				err = c.change(ctDelete, 0, nfHeader{unix.AF_INET}, nest(side, ip(a, 0)), filter(side, ctSameSource))
			}
			switch {
			case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
				listed = append(listed, family(a))
			case err != nil:
				return nil, err
			}
		}
	}
	return listed, nil
}

// forgetUntranslated forgets connections of UDP to what was published, but for those that go where they ought to. Others of
// the same port, to hosts elsewhere, stay. That takes a list, 4 ms with a table of 262,144 places; the kernel filters one
// family at a time.
func (h *Host) forgetUntranslated(rules []plan.Rules) error {
	wanted := redirectsOf(rules)
	if len(wanted) == 0 {
		return nil
	}
	c, n, err := h.tracked()
	if err != nil || n == 0 {
		return err
	}
	var lookErr error
	local := map[netip.Addr]bool{}
	isLocal := func(a netip.Addr) bool {
		if _, known := local[a]; !known && lookErr == nil {
			_, local[a], lookErr = h.localLink(a)
		}
		return local[a]
	}
	untranslated := func(e entry) bool {
		return e.protocol == unix.IPPROTO_UDP &&
			slices.ContainsFunc(wanted, func(r redirect) bool { return r.misses(e) }) && isLocal(e.to)
	}
	four := slices.DeleteFunc(slices.Clone(wanted), func(r redirect) bool { return r.addr.Is6() })
	six := slices.DeleteFunc(slices.Clone(wanted), func(r redirect) bool { return r.addr.Is4() })
	if len(four) > 0 && len(six) > 0 && n <= mostUnfiltered {
		err = c.forget(unix.AF_UNSPEC, nil, untranslated)
		return failed(errors.Join(err, lookErr), "forget connections to published ports")
	}
	if len(four) > 0 {
		err = c.forget(unix.AF_INET, udpFilter(four), untranslated)
	}
	if err == nil && len(six) > 0 {
		err = c.forget(unix.AF_INET6, udpFilter(six), untranslated)
	}
	return failed(errors.Join(err, lookErr), "forget connections to published ports")
}

// mostUnfiltered is how many connections are read in less time than it takes to look through an empty table once more.
const mostUnfiltered = 4096

// redirect is a range of ports of the host, all when last is 0, that go to a container.
type redirect struct {
	addr        netip.Addr
	first, last uint16
	container   netip.Addr
}

func redirectsOf(rules []plan.Rules) []redirect {
	var list []redirect
	for _, r := range rules {
		for _, p := range r.Publish {
			if p.Protocol == request.UDP {
				last := p.Host + uint16(max(p.Count, 1)-1) //nolint:gosec // G115: within a range of ports
				list = append(list, redirect{p.Addr, p.Host, last, p.To.Addr()})
			}
		}
		for _, t := range r.DNAT {
			list = append(list, redirect{addr: t.From, container: t.To})
		}
	}
	return list
}

// misses says whether a connection is to the redirected port, and answered by somebody else than the container.
func (r redirect) misses(e entry) bool {
	return r.addr.Is4() == e.to.Is4() && (r.addr.IsUnspecified() || r.addr == e.to) &&
		(r.last == 0 || r.first <= e.port && e.port <= r.last) && e.answers != r.container
}

// udpFilter is the narrowest filter that lets all of some redirects of one family through.
func udpFilter(of []redirect) []nl.NetlinkRequestData {
	one, flags := of[0], uint32(ctSameProtocol|ctSameTo|ctSameDestination)
	for _, r := range of {
		if r.last == 0 || r.first != r.last || r.first != one.first {
			flags &^= ctSameTo
		}
		if r.addr != one.addr || r.addr.IsUnspecified() || r.addr.Is6() { // For IPv6, see forgetSources.
			flags &^= ctSameDestination
		}
	}
	proto := []nl.NetlinkRequestData{nl.NewRtAttr(ctProtoNumber, nl.Uint8Attr(unix.IPPROTO_UDP))}
	if flags&ctSameTo != 0 {
		proto = append(proto, nl.NewRtAttr(ctProtoTo, binary.BigEndian.AppendUint16(nil, one.first)))
	}
	tuple := []nl.NetlinkRequestData{nest(ctTupleProto, proto...)}
	if flags&ctSameDestination != 0 {
		tuple = append(tuple, ip(one.addr, 1))
	}
	return []nl.NetlinkRequestData{nest(ctOriginal, tuple...), filter(ctOriginal, flags)}
}

// ip is the address of IPv4 of a tuple, the source at place 0 and the destination at 1.
func ip(a netip.Addr, place int) nl.NetlinkRequestData {
	return nest(ctTupleIP, nl.NewRtAttr(ctSource4+place, a.AsSlice()))
}

// filter tells what of the tuple of one side is compared. A kernel before 5.8 does not know it and lists everything,
// which is why entries are looked at again here; see [conn.forget].
func filter(side int, flags uint32) nl.NetlinkRequestData { return nest(ctFilter, number(side, flags)) }

// entry is a tracked connection as far as it matters here.
type entry struct {
	family   uint8
	protocol uint8
	// from and to are those of its first packet, and port is where that went.
	from, to netip.Addr
	port     uint16
	// answers is who answers.
	answers netip.Addr
	// name are the attributes by which the kernel finds it again.
	name []nl.NetlinkRequestData
}

// forget lists entries, and removes those that match, one by one.
func (c *conn) forget(family uint8, filter []nl.NetlinkRequestData, match func(entry) bool) error {
	msgs, err := c.dump(ctGet, append([]nl.NetlinkRequestData{nfHeader{family}}, filter...)...)
	if err != nil {
		return err
	}
	for _, msg := range msgs {
		e, err := parseEntry(msg)
		if err != nil {
			return err
		}
		if !match(e) {
			continue
		}
		err = c.change(ctDelete, 0, append([]nl.NetlinkRequestData{nfHeader{e.family}}, e.name...)...)
		if err != nil && !errors.Is(err, unix.ENOENT) { // It has ended by itself.
			return err
		}
	}
	return nil
}

func parseEntry(msg []byte) (entry, error) {
	attrs, err := attributes(msg, nfHeaderSize)
	if err != nil {
		return entry{}, err
	}
	e := entry{family: msg[0]}
	for _, a := range attrs {
		switch a.kind {
		case ctOriginal:
			e.name = append(e.name, nl.NewRtAttr(unix.NLA_F_NESTED|ctOriginal, a.value))
			err = e.parseTuple(a.value, true)
		case ctReply:
			err = e.parseTuple(a.value, false)
		case ctID, ctZone:
			e.name = append(e.name, nl.NewRtAttr(int(a.kind), a.value))
		}
		if err != nil {
			return entry{}, err
		}
	}
	return e, nil
}

func (e *entry) parseTuple(value []byte, original bool) error {
	parts, err := attributes(value, 0)
	for _, part := range parts {
		var attrs []attribute
		if attrs, err = attributes(part.value, 0); err != nil {
			return err
		}
		for _, a := range attrs {
			addr, isAddr := netip.AddrFromSlice(a.value)
			switch {
			case part.kind == ctTupleIP && isAddr && (a.kind == ctSource4 || a.kind == ctSource6):
				if original {
					e.from = addr
				} else {
					e.answers = addr
				}
			case part.kind == ctTupleIP && isAddr && original:
				e.to = addr
			case part.kind == ctTupleProto && a.kind == ctProtoNumber && len(a.value) == 1:
				e.protocol = a.value[0]
			case part.kind == ctTupleProto && a.kind == ctProtoTo && len(a.value) == 2 && original:
				e.port = binary.BigEndian.Uint16(a.value)
			}
		}
	}
	return err
}
