//go:build linux

package kernel

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// VLANs are the host's sub-interfaces that bear [plan.Group].
func (h *Host) VLANs() ([]plan.Sub, error) {
	all, err := h.conn.linksOfKind(kindVLAN)
	if err != nil {
		return nil, failed(err, "list VLANs")
	}
	byName := map[string]plan.Sub{}
	for _, s := range all {
		if !isSub(s) {
			continue
		}
		sub := plan.Sub{Name: s.Name, Tag: s.Tag}
		if !s.Elsewhere {
			parent, _, err := h.conn.link(by{index: s.Parent})
			if err != nil {
				return nil, err
			}
			sub.Parent = parent.Name
		}
		byName[sub.Name] = sub
	}
	var subs []plan.Sub
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		subs = append(subs, byName[name])
	}
	return subs, nil
}

// IdleVLANs are those of some sub-interfaces on which provably nothing hangs: a child would die with it, in whatever namespace
// it is, and the kernel does not tell a link's children. So it looks into every namespace that it finds; and for those of a
// namespace that it does not find, whether the sub-interface takes frames for another address than its own, or all. What hangs
// on others of them, or is a port of a bridge that is about to go, or a link of the host beside containers that is, does not count:
// gone names these. It reads a file for each thread of the machine.
func (h *Host) IdleVLANs(subs []plan.Sub, gone []string) ([]plan.Sub, error) {
	if len(subs) == 0 {
		return nil, nil
	}
	all, err := h.conn.links()
	if err != nil {
		return nil, failed(err, "list what hangs on VLANs")
	}
	elsewhere, sure, err := h.parentsElsewhere()
	if err != nil || !sure {
		return nil, err
	}
	byIndex := map[int]State{}
	for _, s := range all {
		byIndex[s.Index] = s
	}
	going := slices.DeleteFunc(slices.Clone(all), func(s State) bool { return !isHostLink(s) || !slices.Contains(gone, s.Name) })
	all = slices.DeleteFunc(all, func(s State) bool { return isHostLink(s) && slices.Contains(gone, s.Name) })
	idle := map[int]bool{}
	for _, s := range all {
		if !isSub(s) || !slices.ContainsFunc(subs, func(sub plan.Sub) bool { return sub.Name == s.Name }) || elsewhere[s.Index] ||
			s.Master != 0 && !slices.Contains(gone, byIndex[s.Master].Name) {
			continue
		}
		// A bridge's port has no children (netdev_rx_handler_register), and takes all frames for the bridge.
		if idle[s.Index] = true; s.Master == 0 {
			listens, err := h.listens(s, going...)
			if err != nil {
				return nil, err
			}
			idle[s.Index] = !listens
		}
	}
	spread(all, idle)
	return slices.DeleteFunc(slices.Clone(subs), func(sub plan.Sub) bool {
		return !slices.ContainsFunc(all, func(s State) bool { return s.Name == sub.Name && idle[s.Index] })
	}), nil
}

// spread takes from those that are idle what others hang on that stay.
func spread(all []State, idle map[int]bool) {
	for again := true; again; {
		again = false
		for _, s := range all {
			if !s.Elsewhere && s.Parent != s.Index && idle[s.Parent] && !idle[s.Index] {
				idle[s.Parent], again = false, true
			}
		}
	}
}

// tableOf is the header of a question about a link's table of addresses: a struct ndmsg (linux/neighbour.h).
type tableOf int

// Len is the header's length in bytes.
func (tableOf) Len() int { return unix.SizeofNdMsg }

// Serialize is the header as the kernel reads it: the family, three bytes of nothing, the index.
func (index tableOf) Serialize() []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(b[4:], uint32(index)) //nolint:gosec // G115: an index is 31 bits
	return b
}

// listens says whether a link takes frames that are not for its own address: macvlan and ipvlan children that are up enter an
// address in its filter, which the kernel lists as a bridge's table (net/core/rtnetlink.c, ndo_dflt_fdb_dump), and one in mode
// passthru makes it promiscuous. What some of its children have entered does not count.
func (h *Host) listens(s State, except ...State) (bool, error) {
	msg, err := h.conn.linkMessage(here, by{index: s.Index})
	if err != nil || msg == nil {
		return true, err
	}
	attrs, err := attributes(msg, unix.SizeofIfInfomsg)
	if err != nil {
		return true, err
	}
	for _, a := range attrs {
		if a.kind == unix.IFLA_PROMISCUITY && a.number() != 0 {
			return true, nil
		}
	}
	entries, err := h.conn.dump(unix.RTM_GETNEIGH, tableOf(s.Index))
	if err != nil {
		return true, failed(err, "list the addresses that VLAN %s takes frames for", s.Name)
	}
	for _, entry := range entries {
		// The index is at byte 4 of struct ndmsg.
		if len(entry) < unix.SizeofNdMsg || int(binary.NativeEndian.Uint32(entry[4:])) != s.Index {
			continue
		}
		attrs, err := attributes(entry, unix.SizeofNdMsg)
		if err != nil {
			return true, err
		}
		for _, a := range attrs {
			if a.kind == unix.NDA_LLADDR && len(a.value) == 6 && a.value[0]&1 == 0 && !slices.ContainsFunc(except, func(c State) bool {
				return c.Parent == s.Index && bytes.Equal(c.MAC, a.value)
			}) {
				return true, nil
			}
		}
	}
	return false, nil
}
