//go:build linux

package kernel

import (
	"context"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
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
			} else if time.Since(began) < l.Wait && !isLate(ctx) {
				still = append(still, l)
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
