//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// VLANs are the host's sub-interfaces that bear [plan.Group].
func (h *Host) VLANs() ([]plan.Sub, error) {
	all, err := h.conn.linksOfKind(kindVLAN)
	if err != nil {
		return nil, failed(err, "list VLANs")
	}
	var subs []plan.Sub
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
		subs = append(subs, sub)
	}
	slices.SortFunc(subs, func(a, b plan.Sub) int { return strings.Compare(a.Name, b.Name) })
	return subs, nil
}

// IdleVLANs are those of some sub-interfaces on which provably nothing hangs: a child would die with it, in whatever namespace
// it is, and the kernel does not tell a link's children. So it looks into every namespace that it finds; and for those of a
// namespace that it does not find, whether the sub-interface takes frames for another address than its own, or all. What hangs
// on others of them, or is a port of a bridge that is about to go, does not count. It reads a file for each thread of the machine.
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
	idle := map[int]bool{}
	for _, s := range all {
		if !isSub(s) || !slices.ContainsFunc(subs, func(sub plan.Sub) bool { return sub.Name == s.Name }) || elsewhere[s.Index] ||
			s.Master != 0 && !slices.Contains(gone, byIndex[s.Master].Name) {
			continue
		}
		// A bridge's port has no children (netdev_rx_handler_register), and takes all frames for the bridge.
		if idle[s.Index] = true; s.Master == 0 {
			listens, err := h.listens(s)
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

// usedElsewhere says whether something hangs on a sub-interface in a namespace that lives. Those that are about to end are not
// found, and what is left in them does not count. To look into all takes long on a large machine, so it is done only where a
// child is possible: a macvlan that is up shows in its parent's filter, an ipvlan nowhere, but it needs its module.
func (h *Host) usedElsewhere(s State) (bool, error) {
	listens, err := h.listens(s)
	if err != nil || !listens && errors.Is(unix.Access("/sys/module/ipvlan", unix.F_OK), os.ErrNotExist) {
		return false, err
	}
	away, err := h.hangsElsewhere(s)
	return len(away) > 0, err
}

// parentsElsewhere are the indexes that links of other namespaces say their parents have. Which namespace they mean is not
// asked: some may be of a link that is not the host's. sure is false when a namespace could not be looked into.
func (h *Host) parentsElsewhere() (parents map[int]bool, sure bool, err error) {
	for range maxScans {
		living, err := h.Scan()
		if err != nil {
			return nil, false, err
		}
		parents, sure = map[int]bool{}, true
		for inode, paths := range living.paths {
			if inode == h.id.Inode {
				continue
			}
			seen, err := h.parentsIn(inode, paths, parents)
			if err != nil {
				return nil, false, err
			}
			sure = sure && seen
		}
		if sure {
			break
		}
	}
	return parents, sure, nil
}

// parentsIn adds those of one namespace, by the first of its paths that still leads there; false when none does.
func (h *Host) parentsIn(inode uint64, paths []string, parents map[int]bool) (bool, error) {
	for _, path := range paths {
		ns, err := h.Namespace(path)
		_, own := errors.AsType[*HostNamespaceError](err)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ESRCH), own:
			continue
		case err != nil:
			return false, fmt.Errorf("look for what hangs on VLANs: %w", err)
		case ns.id.Inode != inode:
			if err = ns.Close(); err != nil {
				return false, err
			}
			continue
		}
		all, err := ns.conn.links()
		for _, s := range all {
			if s.Elsewhere {
				parents[s.Parent] = true
			}
		}
		err = errors.Join(failed(err, "list links of network namespace %s", path), ns.Close())
		return err == nil, err
	}
	return false, nil
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
// passthru makes it promiscuous.
func (h *Host) listens(s State) (bool, error) {
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
			if a.kind == unix.NDA_LLADDR && len(a.value) == 6 && a.value[0]&1 == 0 {
				return true, nil
			}
		}
	}
	return false, nil
}
