//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// addAddress waits for an address that another ipvlan child of the same parent has, see [whileInUse].
func (k *Kernel) addAddress(ctx context.Context, s plan.AddAddress) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	p, err := k.port(ns, s.If)
	if err != nil {
		return err
	}
	err = whileInUse(ctx, func() error {
		return ns.conn.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, addressParts(p.index, s.Address)...)
	})
	if errors.Is(err, unix.EADDRINUSE) {
		return &Error{
			Op: fmt.Sprintf("add address %s to %s", s.Address, s.If), Cause: "another ipvlan child of its parent has it", Err: err,
			hint: "the other one may be in another container: ask for another address, or stop that container",
		}
	}
	return addressFailed(err, s.Address, s.If)
}

// addressParts is a message that adds an address to a link. IPv4 gets the subnet's broadcast address as other tools
// give it, which has none with fewer than four addresses (RFC 3021). IPv6 is used without duplicate address detection,
// during which nobody could be reached at it for a second; who wants a probe makes one before.
func addressParts(index int, p netip.Prefix) []nl.NetlinkRequestData {
	header := nl.NewIfAddrmsg(int(family(p.Addr())))
	header.Index = uint32(index)       //nolint:gosec // G115: an index is 31 bits
	header.Prefixlen = uint8(p.Bits()) //nolint:gosec // G115: 128 at most
	raw := p.Addr().AsSlice()
	parts := []nl.NetlinkRequestData{header, nl.NewRtAttr(unix.IFA_LOCAL, raw), nl.NewRtAttr(unix.IFA_ADDRESS, raw)}
	if !p.Addr().Is4() {
		header.Flags = unix.IFA_F_NODAD
		return parts
	}
	if p.Bits() <= 30 {
		last := p.Addr().As4()
		for i := p.Bits(); i < 32; i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		parts = append(parts, nl.NewRtAttr(unix.IFA_BROADCAST, last[:]))
	}
	return parts
}

func addressFailed(err error, p netip.Prefix, link string) error {
	if errors.Is(err, unix.EACCES) && p.Addr().Is6() {
		return &Error{
			Op: fmt.Sprintf("add address %s to %s", p, link), Cause: "IPv6 is disabled on this link", Err: err,
			hint: "set net.ipv6.conf.all.disable_ipv6 and default.disable_ipv6 to 0, or use a network without IPv6",
		}
	}
	return failed(err, "add address %s to %s", p, link)
}

// setLink names the link and brings it up in one message. The kernel does the parts in order and may stop halfway, at
// a MAC address in use; to do them again does no harm.
func (k *Kernel) setLink(ctx context.Context, s plan.SetLink) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	p, err := k.port(ns, s.From)
	if err != nil {
		return err
	}
	header := upMessage(p.index)
	if s.Promiscuous {
		header.Flags |= unix.IFF_PROMISC
	}
	if s.AllMulti {
		header.Flags |= unix.IFF_ALLMULTI
	}
	header.Change = header.Flags
	// An alias has no zero byte at its end (net/core/dev.c, dev_set_alias).
	parts := []nl.NetlinkRequestData{
		header, text(unix.IFLA_IFNAME, s.Name), nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(s.Alias)),
	}
	if s.TxQueueLen > 0 {
		parts = append(parts, number(unix.IFLA_TXQLEN, s.TxQueueLen))
	}
	err = whileInUse(ctx, func() error { return ns.conn.change(unix.RTM_SETLINK, 0, parts...) })
	switch {
	case err == nil:
		delete(k.ports, s.From)
		k.ports[s.Name] = p
		return nil
	case errors.Is(err, unix.EEXIST):
		return &NameTakenError{Name: s.Name, Err: err}
	case errors.Is(err, unix.EADDRINUSE):
		return inUse(err, fmt.Sprintf("bring link %s up", s.Name), p)
	default:
		return failed(err, "name link %s %s and bring it up", s.From, s.Name)
	}
}

// delLink removes a link that is certainly ours.
func (k *Kernel) delLink(s plan.DelLink) error {
	if s.Side == plan.Host {
		return k.host.conn.removeOurs(here, s)
	}
	if k.ns != nil {
		return k.ns.conn.removeOurs(here, s)
	}
	if gone, err := k.gone(); err != nil || gone {
		return err
	}
	if !OwnNSID(int(k.nsid)) && k.open != nil {
		// The kernel chose the number, and may have given it again: only the namespace itself tells.
		if ns, err := k.open(); err == nil {
			return errors.Join(ns.conn.removeOurs(here, s), ns.Close())
		}
	}
	err := k.host.conn.removeOurs(k.nsid, s)
	if err == nil {
		return nil
	}
	// The namespace may have ended meanwhile, which the kernel calls EINVAL (rtnl_get_net_ns_capable).
	if gone, goneErr := k.gone(); goneErr == nil && gone {
		return nil
	}
	return err
}

func (c *conn) removeOurs(id nsid, s plan.DelLink) error {
	link, ok, err := c.linkIn(id, by{name: s.Name})
	ours := ok && link.Kind == s.Kind && (s.MAC == nil || link.MAC.String() == s.MAC.String())
	if err == nil && !ours && s.IfName != "" {
		link, ok, err = c.linkIn(id, by{name: s.IfName})
		ours = ok && link.Kind == s.Kind && link.Alias == s.Alias
	}
	if err == nil && !ours && s.Index != 0 && (id == here || OwnNSID(int(id))) {
		// The container has given it other names. An index is given once in a namespace's life, which is known here to
		// be the container's.
		link, ok, err = c.linkIn(id, by{index: s.Index})
		ours = ok && link.Kind == s.Kind
	}
	if err != nil || !ours {
		return err
	}
	return failed(c.remove(id, link.Index), "remove link %s", link.Name)
}
