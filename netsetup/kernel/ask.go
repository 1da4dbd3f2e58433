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
type TakenError struct{ Found []Taken }

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

// probeLinks asks on all links at the same time. What is only to be warned of goes to k.Warn.
func (k *Kernel) probeLinks(ctx context.Context, s plan.ProbeLinks) (err error) {
	links := make([]asked, len(s.Links))
	defer func() {
		for _, l := range links {
			if l.socket != nil {
				err = errors.Join(err, l.socket.Close())
			}
		}
	}()
	for i, p := range s.Links {
		links[i] = asked{Probe: p}
		if links[i].socket, links[i].mac, err = k.wire(p.If, p.By, p.Addresses); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	for i := range links {
		all.Go(func() {
			l := &links[i]
			timing := probe.Fast()
			if l.RFC {
				timing = probe.RFC()
			}
			l.err = probe.Run(ctx, l.socket, l.mac, l.Addresses, timing)
		})
	}
	all.Wait()
	var e TakenError
	for _, l := range links {
		conflict, isConflict := errors.AsType[*probe.ConflictError](l.err)
		switch {
		case l.err == nil:
		case !isConflict:
			return failed(l.err, "probe on %s", l.If)
		default:
			found, listErr := k.taken(l.Probe, conflict)
			switch {
			case listErr != nil:
				return listErr
			case len(found.Found) == 0:
			case l.Warn:
				k.warn(found)
			default:
				e.Found = append(e.Found, found.Found...)
			}
		}
	}
	if len(e.Found) == 0 {
		return nil
	}
	return &e
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

// announceLinks tells the LANs of links their addresses.
func (k *Kernel) announceLinks(s plan.AnnounceLinks) error {
	for _, a := range s.Links {
		socket, mac, err := k.wire(a.If, "", nil)
		if err != nil {
			return err
		}
		err = failed(probe.Announce(socket, mac, a.Addresses), "announce on %s", a.If)
		if err = errors.Join(err, socket.Close()); err != nil {
			return err
		}
	}
	return nil
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
