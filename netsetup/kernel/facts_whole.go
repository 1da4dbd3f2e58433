//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// wholeFacts finds out what the host would lose with the addresses that are to go to containers as a whole.
func (h *Host) wholeFacts(facts *plan.Facts, queries []Query) error {
	var whole, given []netip.Addr
	for _, q := range queries {
		whole, given = append(whole, q.Whole...), append(given, q.Given...)
	}
	if len(whole) == 0 {
		return nil
	}
	for _, a := range whole {
		others, err := h.reachedBesides(a, slices.Concat(whole, given))
		if err != nil {
			return failed(err, "look for another address of the host than %s", a)
		}
		if !others {
			facts.Only = append(facts.Only, a)
		}
	}
	found, err := h.listenersAt(whole)
	facts.Listeners = append(facts.Listeners, found...)
	return err
}

// reachedBesides says whether the host has an address of a's family by which others reach it, and that no container has: a
// global one on a link that is up. Those of bridges are not counted, since engines have theirs for containers, unless the
// host's default route goes by the bridge, or a is on it too.
func (h *Host) reachedBesides(a netip.Addr, gone []netip.Addr) (bool, error) {
	msgs, err := h.conn.dump(unix.RTM_GETADDR, nl.NewIfAddrmsg(int(family(a))))
	if err != nil {
		return false, err
	}
	own, _, err := h.localLink(a)
	if err != nil {
		return false, err
	}
	way, _, err := h.defaultLink()
	if err != nil {
		return false, err
	}
	seen := map[int]bool{}
	for _, msg := range msgs {
		addr, header, err := parseAddress(msg)
		if err != nil {
			return false, err
		}
		index := int(header.Index)
		if seen[index] || !lasting(header) || slices.Contains(gone, addr) {
			continue
		}
		seen[index] = true
		link, ok, err := h.conn.link(by{index: index})
		if err != nil {
			return false, err
		}
		if ok && link.Up && link.Group != plan.Group && (link.Kind != kindBridge || index == own || index == way.Index) {
			return true, nil
		}
	}
	return false, nil
}

// lasting is true for an address that others may know the host by. IFA_F_TEMPORARY of IPv6 (RFC 8981) is
// IFA_F_SECONDARY of IPv4, where it says nothing of the kind.
func lasting(header *nl.IfAddrmsg) bool {
	temporary := header.Family == unix.AF_INET6 && header.Flags&unix.IFA_F_TEMPORARY != 0
	return header.Scope == unix.RT_SCOPE_UNIVERSE && header.Flags&unix.IFA_F_DADFAILED == 0 && !temporary
}

// listenersAt finds who listens on TCP at certain addresses. Those who listen at all of the host's are not among them:
// they are still reached by the others.
func (h *Host) listenersAt(addrs []netip.Addr) ([]plan.Listener, error) {
	var found []plan.Listener
	var inodes []uint32
	err := h.do(func() error {
		c, err := dialFamily(unix.NETLINK_SOCK_DIAG)
		if err != nil {
			return err
		}
		c.home = &home{}
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			msgs, dumpErr := c.dump(sockDiagByFamily, diagRequest{family, unix.IPPROTO_TCP, 1 << tcpListen, 0})
			if dumpErr != nil && !errors.Is(dumpErr, unix.ENOENT) && !errors.Is(dumpErr, unix.EINVAL) { // It cannot list these.
				err = dumpErr
			}
			for _, msg := range msgs {
				for _, a := range addrs {
					l, inode, ok := listening(msg, a)
					if ok {
						found, inodes = append(found, l), append(inodes, inode)
					}
				}
			}
		}
		return errors.Join(err, c.close())
	})
	if err != nil {
		return nil, fmt.Errorf("look for processes that listen at addresses of the host: %w", err)
	}
	name(found, inodes)
	return found, nil
}
