//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/probe"
)

// Taken is an address that somebody else has on the LAN of one of the container's links.
type Taken struct {
	If string
	probe.Conflict
	// Host says that it was to be the host's own, beside the container's.
	Host bool
}

// TakenError are addresses that others have. There is at least one.
type TakenError struct {
	Found []Taken
	// Late says that the container's links have the addresses already: somebody has claimed or asked for them just before.
	Late bool
}

func (e *TakenError) Error() string {
	texts := make([]string, len(e.Found))
	for i, f := range e.Found {
		texts[i] = f.If + ": "
		if f.Host {
			texts[i] += "host-access: "
		}
		texts[i] += f.String()
	}
	return strings.Join(texts, "; ")
}

// Hint says how to go on.
func (e *TakenError) Hint() string {
	return "find that host by its MAC address, or have the address kept back by the network's exclude"
}

// asked is one link that is asked on.
type asked struct {
	plan.Probe
	socket *probe.Socket
	mac    net.HardwareAddr
	err    error
}

// probeLinks asks on all links at the same time. What is only to be warned of goes to k.Warn. The sockets stay open, and receive,
// until the addresses are announced.
func (k *Kernel) probeLinks(ctx context.Context, s plan.ProbeLinks) (err error) {
	k.Close()
	defer func() {
		if err != nil {
			k.Close()
		}
	}()
	for _, p := range s.Links {
		l := &asked{Probe: p}
		if l.socket, l.mac, err = k.wire(p.If, p.By, p.Addresses); err != nil {
			return err
		}
		k.asked = append(k.asked, l)
	}
	var all sync.WaitGroup
	for _, l := range k.asked {
		all.Go(func() {
			timing := probe.Fast()
			if l.RFC {
				timing = probe.RFC()
			}
			l.err = probe.Run(ctx, l.socket, l.mac, l.Addresses, timing)
		})
	}
	all.Wait()
	found, err := k.found()
	if err != nil {
		return err
	}
	return found.orNil()
}

// found are the conflicts of all links that were asked on, but for those that are only to be warned of.
func (k *Kernel) found() (*TakenError, error) {
	all := &TakenError{}
	for _, l := range k.asked {
		conflict, isConflict := errors.AsType[*probe.ConflictError](l.err)
		if l.err == nil {
			continue
		}
		if !isConflict {
			return nil, failed(l.err, "probe on %s", l.If)
		}
		found, err := k.taken(l.Probe, conflict)
		switch {
		case err != nil:
			return nil, err
		case len(found.Found) == 0:
		case l.Warn:
			k.warn(found)
		default:
			all.Found = append(all.Found, found.Found...)
		}
	}
	return all, nil
}

func (e *TakenError) orNil() error {
	if len(e.Found) == 0 {
		return nil
	}
	return e
}

// Close closes the sockets by which LANs were asked whose addresses were not announced since. It may be called more than once.
func (k *Kernel) Close() {
	for _, l := range k.asked {
		l.socket.Close() //nolint:errcheck // nothing is written that could get lost
	}
	k.asked = nil
}

// taken is what a conflict says of a probe. For the host's own addresses other links of the host may have answered.
func (k *Kernel) taken(p plan.Probe, conflict *probe.ConflictError) (*TakenError, error) {
	var own []State
	if p.Host {
		var err error
		if own, err = k.host.conn.links(); err != nil {
			return nil, failed(err, "list links of the host")
		}
	}
	e := &TakenError{}
	for _, c := range conflict.Conflicts {
		if !slices.ContainsFunc(own, func(s State) bool { return slices.Equal(s.MAC, plan.MAC(c.MAC)) }) {
			e.Found = append(e.Found, Taken{If: p.If, Conflict: c, Host: p.Host})
		}
	}
	return e, nil
}

func (k *Kernel) warn(err error) {
	if k.Warn != nil {
		k.Warn(err)
	}
}

// announceLinks looks who has asked for the addresses since they were asked for, and tells the LANs of links that they are here.
func (k *Kernel) announceLinks(s plan.AnnounceLinks) error {
	defer k.Close()
	for _, l := range k.asked {
		l.err = probe.Late(l.socket, l.mac, l.Addresses)
	}
	late, err := k.found()
	if err != nil {
		return err
	}
	if late.Late = true; len(late.Found) > 0 {
		return late
	}
	for _, a := range s.Links {
		if a.Quiet {
			continue
		}
		if err := k.announce(a); err != nil {
			return err
		}
	}
	return nil
}

// announce tells one LAN, by the socket on the container's link by which it was asked, or by one of its own.
func (k *Kernel) announce(a plan.Announcement) error {
	for _, l := range k.asked {
		if l.If == a.If && l.By == "" {
			return failed(probe.Announce(l.socket, l.mac, a.Addresses), "announce on %s", a.If)
		}
	}
	socket, mac, err := k.wire(a.If, "", nil)
	if err != nil {
		return err
	}
	return errors.Join(failed(probe.Announce(socket, mac, a.Addresses), "announce on %s", a.If), socket.Close())
}

// wire opens a packet socket on a link of the container, or, where that is named, on one of the host.
func (k *Kernel) wire(ifName, host string, addrs []netip.Addr) (*probe.Socket, net.HardwareAddr, error) {
	ns, err := k.namespace()
	if err != nil {
		return nil, nil, err
	}
	c, visit, name := ns.conn, ns.Do, ifName
	if host != "" {
		c, visit, name = k.host.conn, k.host.do, host
	}
	l, ok, err := c.link(by{name: name})
	switch {
	case err != nil:
		return nil, nil, err
	case !ok:
		return nil, nil, failed(unix.ENODEV, "ask on link %s", name)
	}
	var socket *probe.Socket
	err = visit(func() (err error) {
		socket, err = probe.Dial(l.Index, addrs)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open a packet socket on %s: %w", name, err)
	}
	return socket, net.HardwareAddr(l.MAC), nil
}
