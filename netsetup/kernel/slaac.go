//go:build linux

package kernel

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/probe"
)

// toSpare is what is left of an attach's time when it waits for routers no more: enough to end it, which is one transaction.
const toSpare = 2 * time.Second

// awaitAddresses waits for routers, and never so long that the attach would be cut off. What they gave is in [Kernel.Learned].
func (k *Kernel) awaitAddresses(ctx context.Context, s plan.AwaitAddresses) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	began := time.Now()
	waiting := s.Links
	for {
		var still []plan.Await
		for _, l := range waiting {
			p, err := k.port(ns, l.If)
			if err != nil {
				return err
			}
			found, err := ns.conn.learned(p.index)
			if err != nil {
				return failed(err, "look for addresses on %s", l.If)
			}
			if len(found) > 0 {
				k.learn(l.If, found)
				continue
			}
			if time.Since(began) < l.Wait && !isLate(ctx) {
				still = append(still, l)
			} else if err = k.doubt(ctx, ns, asking{l.If, p.index}); err != nil {
				k.warn(err) // not to know why is no reason to fail
			}
		}
		if waiting = still; len(waiting) == 0 {
			return nil
		}
		timer := time.NewTimer(mostWait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return failed(context.Cause(ctx), "wait for an address from a router on %s", waiting[0].If)
		}
	}
}

func isLate(ctx context.Context) bool {
	end, ends := ctx.Deadline()
	return ends && time.Until(end) < toSpare
}

func (k *Kernel) learn(name string, found []netip.Prefix) {
	if k.learned == nil {
		k.learned = map[string][]netip.Prefix{}
	}
	k.learned[name] = found
}

// learned are the global IPv6 addresses of a link that can be used: those that are still looked for on the LAN (duplicate address
// detection, RFC 4862 section 5.4) are not there yet, and those that were found there are nobody's.
func (c *conn) learned(index int) ([]netip.Prefix, error) {
	return c.addressesOf(index, unix.AF_INET6, func(a *nl.IfAddrmsg) bool {
		// Both flags are among the eight that the header has.
		return a.Scope == unix.RT_SCOPE_UNIVERSE && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0
	})
}

// Doubted is an address that a link would have, were it not that the kernel still asks the LAN for it, or that somebody there has it.
type Doubted struct {
	Addr      netip.Addr
	Duplicate bool
	// MAC is of who has it, nil where that is not known.
	MAC plan.MAC
}

// Doubted is why a link that was waited for has no address of a router's, the zero value where no router has spoken.
func (k *Kernel) Doubted(name string) Doubted { return k.doubted[name] }

// asking is a link of the container whose addresses are looked at.
type asking struct {
	name  string
	index int
}

// doubt finds out why a link has no address of a router's. Its link-local address, without which nobody asks a router, the kernel
// keeps and marks when somebody has it, too. One that it has made of a router's prefix it takes away at once
// (net/ipv6/addrconf.c, addrconf_dad_stop), makes again at the router's next word, and leaves the route of the prefix: so the LAN is
// asked who has that address.
func (k *Kernel) doubt(ctx context.Context, ns *Namespace, l asking) error {
	var flags []uint8
	list, err := ns.conn.addressesOf(l.index, unix.AF_INET6, func(a *nl.IfAddrmsg) bool {
		flags = append(flags, a.Flags)
		return true
	})
	if err != nil {
		return failed(err, "look for addresses on %s", l.name)
	}
	var own netip.Addr
	var doubted []netip.Addr
	for i, p := range list {
		switch {
		case flags[i]&unix.IFA_F_DADFAILED != 0:
			k.note(l.name, Doubted{Addr: p.Addr(), Duplicate: true})
			return nil
		case flags[i]&unix.IFA_F_TENTATIVE != 0:
			k.note(l.name, Doubted{Addr: p.Addr()})
			doubted = append(doubted, p.Addr())
		}
		if p.Addr().IsLinkLocalUnicast() {
			own = p.Addr()
		}
	}
	made, err := ns.conn.advertised(l.index, own)
	if err != nil {
		return failed(err, "look for prefixes of routers on %s", l.name)
	}
	if doubted = append(doubted, made...); len(doubted) == 0 {
		return nil
	}
	return k.askFor(ctx, l.name, doubted)
}

// askFor asks the LAN who has addresses that a link cannot use.
func (k *Kernel) askFor(ctx context.Context, name string, addrs []netip.Addr) error {
	socket, mac, err := k.wire(name, "", addrs)
	if err != nil {
		return err
	}
	owners, err := probe.Owners(ctx, socket, mac, addrs)
	for _, a := range addrs {
		if mac, taken := owners[a]; taken {
			k.note(name, Doubted{Addr: a, Duplicate: true, MAC: plan.MAC(mac)})
			break
		}
	}
	return failed(errors.Join(err, socket.Close()), "ask on %s who has addresses", name)
}

func (k *Kernel) note(name string, d Doubted) {
	if k.doubted == nil {
		k.doubted = map[string]Doubted{}
	}
	k.doubted[name] = d
}

// advertised are the addresses that the kernel makes of the prefixes of routers on a link, by the second half of its link-local one.
func (c *conn) advertised(index int, own netip.Addr) ([]netip.Addr, error) {
	const half = 64
	if !own.IsValid() {
		return nil, nil
	}
	msgs, err := c.dump(unix.RTM_GETROUTE, &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6}}, number(unix.RTA_OIF, index))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	var all []netip.Addr
	for _, msg := range msgs {
		r, made, err := parseRoute(msg)
		if err != nil {
			return nil, err
		}
		if made || r.Via.IsValid() || r.Dst.Bits() != half || r.Table != unix.RT_TABLE_MAIN || r.Dst.Addr().IsLinkLocalUnicast() {
			continue
		}
		addr, tail := r.Dst.Addr().As16(), own.As16()
		copy(addr[half/8:], tail[half/8:])
		all = append(all, netip.AddrFrom16(addr))
	}
	return all, nil
}
