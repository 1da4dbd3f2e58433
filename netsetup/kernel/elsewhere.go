//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What hangs on a link of the host may be in any network namespace, and is deleted when that link is, or when it is moved. The
// kernel tells no link's children, so all namespaces that can be found are looked into. Each look reads a file for each thread
// of the machine.

// inEach lets look see every other namespace. Where one ends meanwhile it begins again, and says so by begin; false when one
// ended each time, so that not all have been seen.
func (h *Host) inEach(begin func(), look func(*Namespace) error) (sure bool, err error) {
	for range maxScans {
		begin()
		living, err := h.Scan()
		if err != nil {
			return false, err
		}
		sure = true
		for inode, paths := range living.paths {
			if inode == h.id.Inode {
				continue
			}
			seen, err := h.inOne(inode, paths, look)
			if err != nil {
				return false, err
			}
			sure = sure && seen
		}
		if sure {
			break
		}
	}
	return sure, nil
}

// inOne lets look see one namespace, by the first of its paths that still leads there; false when none does.
func (h *Host) inOne(inode uint64, paths []string, look func(*Namespace) error) (bool, error) {
	for _, path := range paths {
		ns, err := h.Namespace(path)
		_, own := errors.AsType[*HostNamespaceError](err)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL), own:
			// It has ended, or the path leads to something else by now.
			continue
		case err != nil:
			return false, fmt.Errorf("look for what hangs on links of the host: %w", err)
		case ns.id.Inode != inode:
			if err = ns.Close(); err != nil {
				return false, err
			}
			continue
		}
		err = errors.Join(failed(look(ns), "list links of network namespace %s", path), ns.Close())
		return err == nil, err
	}
	return false, nil
}

// parentsElsewhere are the indexes that links of other namespaces say their parents have. Which namespace they mean is not
// asked: some may be of a link that is not the host's. sure is false when a namespace could not be looked into.
func (h *Host) parentsElsewhere() (parents map[int]bool, sure bool, err error) {
	sure, err = h.inEach(func() { parents = map[int]bool{} }, func(ns *Namespace) error {
		all, listErr := ns.conn.links()
		for _, s := range all {
			if s.Elsewhere {
				parents[s.Parent] = true
			}
		}
		return listErr
	})
	return parents, sure, err
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

// hangsElsewhere looks for children of a link in other namespaces, and says where they are. What cannot be looked into has
// ended, or nobody gets there.
func (h *Host) hangsElsewhere(parent State) ([]string, error) {
	var why []string
	_, err := h.inEach(func() { why = nil }, func(ns *Namespace) error {
		all, err := ns.onHost()
		for _, s := range all {
			if s.Parent == parent.Index {
				why = append(why, fmt.Sprintf("%s %s in network namespace %s hangs on it", s.Kind, s.Name, ns.file.path))
			}
		}
		return err
	})
	slices.Sort(why)
	return why, err
}

// onHost are the namespace's links that hang on one of the host's, but for a veth, whose peer that is.
func (n *Namespace) onHost() ([]State, error) {
	msg, err := n.conn.get(unix.RTM_GETNSID, nl.NewRtGenMsg(), number(unix.NETNSA_FD, n.host.home.file.fd))
	if err != nil {
		return nil, failed(err, "ask how network namespace %s knows the host's", n.file.path)
	}
	host, err := parseNSID(msg)
	if err != nil || host < 0 {
		return nil, err
	}
	msgs, err := n.conn.dump(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), number(unix.IFLA_EXT_MASK, extSkipStats))
	if err != nil {
		return nil, failed(err, "list links of network namespace %s", n.file.path)
	}
	var found []State
	for _, msg := range msgs {
		s, err := parseLink(msg)
		if err != nil {
			return nil, err
		}
		attrs, err := attributes(msg, unix.SizeofIfInfomsg)
		if err != nil {
			return nil, err
		}
		isHost := slices.ContainsFunc(attrs, func(a attribute) bool {
			return a.kind == unix.IFLA_LINK_NETNSID && nsid(a.number()) == host //nolint:gosec // G115: signed in the kernel
		})
		if isHost && s.Parent != 0 && s.Kind != kindVeth {
			found = append(found, s)
		}
	}
	return found, nil
}
