//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/probe"
)

// Ask asks on a link of the host, by its index, who has addresses: all at once, for 50 ms at most. The host itself and its children
// on the link do not answer. Of those who do, it gives the first one's MAC address for each address.
func (h *Host) Ask(ctx context.Context, index int, addrs []netip.Addr) (map[netip.Addr]plan.MAC, error) {
	l, ok, err := h.conn.link(by{index: index})
	if err == nil && !ok {
		err = unix.ENODEV
	}
	if err != nil {
		return nil, failed(err, "ask on link %d who has addresses", index)
	}
	var socket *probe.Socket
	err = h.do(func() (err error) {
		socket, err = probe.Dial(index, addrs)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", l.Name, err)
	}
	err = probe.Run(ctx, socket, net.HardwareAddr(l.MAC), addrs, probe.Fast())
	closed := socket.Close()
	found, answered := errors.AsType[*probe.ConflictError](err)
	if err != nil && !answered {
		return nil, fmt.Errorf("ask on %s who has addresses: %w", l.Name, errors.Join(err, closed))
	}
	have := map[netip.Addr]plan.MAC{}
	if answered {
		for _, c := range found.Conflicts {
			have[c.Addr] = plan.MAC(c.MAC)
		}
	}
	return have, closed
}
