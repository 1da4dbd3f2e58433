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
				continue
			}
			if err = k.doubt(ns, l.If, p.index); err != nil {
				return err
			}
			if time.Since(began) < l.Wait && !isLate(ctx) {
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

// Doubted is an address of a router's prefix that cannot be used: the kernel still asks the LAN for it, or somebody there has it.
type Doubted struct {
	Addr      netip.Addr
	Duplicate bool
}

// Doubted is the last address that a link which was waited for could not use, the zero value for none.
func (k *Kernel) Doubted(name string) Doubted { return k.doubted[name] }

// doubt notes what a link has that cannot be used. What it had before and has no more was found to be somebody's: the kernel takes
// such an address away where it has an end, as one of a router's has (net/ipv6/addrconf.c, addrconf_dad_stop).
func (k *Kernel) doubt(ns *Namespace, name string, index int) error {
	failedHere := false
	list, err := ns.conn.addressesOf(index, unix.AF_INET6, func(a *nl.IfAddrmsg) bool {
		unfit := a.Scope == unix.RT_SCOPE_UNIVERSE && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0
		failedHere = failedHere || unfit && a.Flags&unix.IFA_F_DADFAILED != 0
		return unfit
	})
	if err != nil {
		return failed(err, "look for addresses on %s", name)
	}
	d := k.doubted[name]
	switch {
	case len(list) > 0:
		d = Doubted{list[0].Addr(), failedHere}
	case d.Addr.IsValid():
		d.Duplicate = true
	default:
		return nil
	}
	if k.doubted == nil {
		k.doubted = map[string]Doubted{}
	}
	k.doubted[name] = d
	return nil
}
