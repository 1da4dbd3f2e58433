//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/probe"
)

// askedAtOnce bounds on how many links is asked at once: each takes a thread while it waits.
const askedAtOnce = 32

// Ask asks on links of the host, by their indexes, who has addresses there: on many at once, for 50 ms at most. The host itself and
// its children on a link do not answer there. Of those who do, it gives the first one's MAC address for each address. The error is
// why some were not asked, and comes along with what the others said.
func (h *Host) Ask(ctx context.Context, on map[int][]netip.Addr) (map[int]map[netip.Addr]plan.MAC, error) {
	have := map[int]map[netip.Addr]plan.MAC{}
	var errs []error
	for some := range slices.Chunk(slices.Sorted(maps.Keys(on)), askedAtOnce) {
		var asked []*hostQuestion
		var all sync.WaitGroup
		for _, index := range some {
			q, err := h.question(index, on[index])
			if err != nil {
				errs = append(errs, err)
				continue
			}
			asked = append(asked, q)
			all.Go(func() { q.ask(ctx) })
		}
		all.Wait()
		for _, q := range asked {
			errs = append(errs, q.err)
			if q.err == nil {
				have[q.index] = q.have
			}
		}
	}
	return have, errors.Join(errs...)
}

// hostQuestion is one link of the host that is asked on, and then what was said there.
type hostQuestion struct {
	index  int
	name   string
	mac    net.HardwareAddr
	addrs  []netip.Addr
	socket *probe.Socket
	have   map[netip.Addr]plan.MAC
	err    error
}

// question opens a socket on a link of the host.
func (h *Host) question(index int, addrs []netip.Addr) (*hostQuestion, error) {
	l, ok, err := h.conn.link(by{index: index})
	if err == nil && !ok {
		err = unix.ENODEV
	}
	if err != nil {
		return nil, failed(err, "ask on link %d who has addresses", index)
	}
	q := &hostQuestion{index: index, name: l.Name, mac: net.HardwareAddr(l.MAC), addrs: addrs, have: map[netip.Addr]plan.MAC{}}
	err = h.do(func() (err error) {
		q.socket, err = probe.Dial(index, addrs)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", l.Name, err)
	}
	return q, nil
}

// ask asks and closes the socket.
func (q *hostQuestion) ask(ctx context.Context) {
	owners, err := probe.Owners(ctx, q.socket, q.mac, q.addrs)
	if err = errors.Join(err, q.socket.Close()); err != nil {
		q.err = fmt.Errorf("ask on %s who has addresses: %w", q.name, err)
		return
	}
	for addr, mac := range owners {
		q.have[addr] = plan.MAC(mac)
	}
}
