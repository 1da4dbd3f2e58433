//go:build linux

package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// LinksWith are the host's links that have an address, each with this in its prefix as its Addresses. A link-local one may be on
// several.
func (h *Host) LinksWith(addr netip.Addr) ([]State, error) {
	return h.linksWhose(addr, func(p netip.Prefix) bool { return p.Addr() == addr })
}

// LinksOverlapping are the host's links that have an address in whose prefix some of subnet lies, which is their Addresses: by them
// the host reaches it without a router. A link that has several such comes as often.
func (h *Host) LinksOverlapping(subnet netip.Prefix) ([]State, error) {
	return h.linksWhose(subnet.Addr(), subnet.Overlaps)
}

// linksWhose are links by what is said of their addresses, of the family of addr.
func (h *Host) linksWhose(addr netip.Addr, is func(netip.Prefix) bool) ([]State, error) {
	msgs, err := h.conn.dump(unix.RTM_GETADDR, nl.NewIfAddrmsg(int(family(addr))))
	if err != nil {
		return nil, failed(err, "list the host's addresses to find %s", addr)
	}
	var found []State
	for _, msg := range msgs {
		a, header, err := parseAddress(msg)
		if err != nil {
			return nil, err
		}
		p := netip.PrefixFrom(a, int(header.Prefixlen))
		if !is(p) {
			continue
		}
		s, ok, err := h.conn.link(by{index: int(header.Index)})
		if err != nil {
			return nil, err
		}
		if ok {
			s.Addresses = []netip.Prefix{p}
			found = append(found, s)
		}
	}
	return found, nil
}

// LinksWithMAC are the host's links that have a MAC address, now or by their hardware, without addresses and routes.
func (h *Host) LinksWithMAC(mac plan.MAC) ([]State, error) {
	all, err := h.conn.links()
	if err != nil {
		return nil, failed(err, "list links to find %s", mac)
	}
	var found []State
	for _, s := range all {
		if bytes.Equal(s.MAC, mac) || bytes.Equal(s.Permanent, mac) {
			found = append(found, s)
		}
	}
	return found, nil
}

// Neighbour is one whom the host has heard of on a link, by ARP or neighbour discovery.
type Neighbour struct {
	Addr netip.Addr
	MAC  plan.MAC
	Link string
	// Confirmed says that it was there half a minute ago at most, or that an administrator has written it.
	Confirmed bool
}

// The states of neighbours in which their MAC address is one that was heard, and those of them that say that it holds
// (linux/neighbour.h, NUD_*).
const (
	neighbourHolds = unix.NUD_REACHABLE | unix.NUD_PERMANENT
	neighbourHeard = neighbourHolds | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE
)

// Neighbours are those on all links whom the host has in its tables, with a MAC address.
func (h *Host) Neighbours() ([]Neighbour, error) {
	names := map[int]string{}
	var found []Neighbour
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, err := h.conn.dump(unix.RTM_GETNEIGH, neighboursOf(f))
		if err != nil {
			return nil, failed(err, "list the host's neighbours")
		}
		for _, msg := range msgs {
			n, index, ok, err := parseNeighbour(msg)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			if _, known := names[index]; !known {
				s, _, err := h.conn.link(by{index: index})
				if err != nil {
					return nil, err
				}
				names[index] = s.Name
			}
			if n.Link = names[index]; n.Link != "" { // else the link has gone meanwhile
				found = append(found, n)
			}
		}
	}
	return found, nil
}

// neighboursOf is a struct ndmsg that asks for all neighbours of a family.
type neighboursOf uint8

func (neighboursOf) Len() int { return unix.SizeofNdMsg }

func (f neighboursOf) Serialize() []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = byte(f)
	return b
}

// parseNeighbour reads an entry and the index of its link; false for one that says nothing of who is there.
func parseNeighbour(msg []byte) (Neighbour, int, bool, error) {
	attrs, err := attributes(msg, unix.SizeofNdMsg)
	if err != nil {
		return Neighbour{}, 0, false, err
	}
	// struct ndmsg: family u8, padding, index i32 at byte 4, state u16 at byte 8.
	index, state := int(binary.NativeEndian.Uint32(msg[4:])), binary.NativeEndian.Uint16(msg[8:])
	n := Neighbour{Confirmed: state&neighbourHolds != 0}
	for _, a := range attrs {
		switch a.kind {
		case unix.NDA_DST:
			n.Addr, _ = netip.AddrFromSlice(a.value)
		case unix.NDA_LLADDR:
			n.MAC = plan.MAC(bytes.Clone(a.value))
		}
	}
	return n, index, state&neighbourHeard != 0 && n.Addr.IsValid() && len(n.MAC) == 6, nil
}
