//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// A device that is moved loses what belongs to its namespace and keeps the rest, see [plan.Device]. It is known by names that
// nobody else gives, and by an alias, both made from the record's id: from the move on by both, later by the alias alone. A return
// gives it the alias again, so that one who was killed can be followed, and takes it away with the last message.
//
//	host             container                              host
//	eth5 ──move──► lhabcdefghija ──SetLink──► eth0 ──fetch──► lhabcdefghija ──┬──restore──► eth5 with the alias ──► eth5
//	                        └──── the namespace ends ───────► eth0, or devN ──┘
//	                                                          where the host has an eth0

// AlteredError says that a device is back on the host, but not in all as it was.
type AlteredError struct {
	Name, What string
	hint       string
}

func (e *AlteredError) Error() string {
	return fmt.Sprintf("device %s is back, but %s", e.Name, e.What)
}

// Hint says what would help.
func (e *AlteredError) Hint() string { return e.hint }

// moveLink moves a device that is still the one that was found.
func (k *Kernel) moveLink(s plan.MoveLink) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	l, ok, err := k.host.conn.link(by{index: s.Device.Index})
	if err != nil {
		return err
	}
	if !ok || l.Name != s.Device.Name || l.Kind != s.Device.Kind || hardware(l) != s.Device.Path || l.Master != 0 {
		return &Error{
			Op: "move device " + s.Device.Name + " into the container", Cause: "it has been changed since it was looked at",
			Err: unix.ENODEV, hint: "try again",
		}
	}
	// The kernel takes the device down, and the name only where the container has one like its own already; as the message
	// tells it by index, it gives it the name in any case afterwards (net/core/rtnetlink.c, do_setlink).
	err = k.host.conn.change(unix.RTM_SETLINK, 0, indexMessage(l.Index), text(unix.IFLA_IFNAME, s.Name),
		nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(s.Alias)), number(unix.IFLA_NET_NS_FD, ns.file.fd))
	if err != nil {
		return moveFailed(err, l)
	}
	p, err := k.port(ns, s.Name)
	if err != nil {
		return err
	}
	if len(s.MAC) > 0 {
		err = ns.conn.change(unix.RTM_SETLINK, 0, indexMessage(p.index), nl.NewRtAttr(unix.IFLA_ADDRESS, s.MAC))
		if err != nil {
			return failed(err, "give device %s the MAC address %s", s.Device.Name, s.MAC)
		}
	}
	if s.MTU > 0 {
		err = ns.conn.change(unix.RTM_SETLINK, 0, indexMessage(p.index), number(unix.IFLA_MTU, s.MTU))
		return failed(err, "give device %s an MTU of %d", s.Device.Name, s.MTU)
	}
	return nil
}

// moveFailed names the cause where the kernel gives a number only. EEXIST is not passed on: it would be taken for a step
// that has not begun.
func moveFailed(err error, l State) error {
	e := &Error{Op: "move device " + l.Name + " into the container", Err: err}
	switch {
	case errors.Is(err, unix.EEXIST):
		e.Cause, e.Err = "the container has a link of one of its names: "+strings.Join(append(l.AltNames, l.Name), ", "), unix.ENOTUNIQ
	case errors.Is(err, unix.EINVAL) && wireless(l):
		e.Cause = "a wireless device moves with all of its card only"
		e.hint = "see iw-phy(8), set netns; lanhook does not do it"
	case errors.Is(err, unix.EINVAL):
		e.Cause = "the kernel keeps " + describe(l.Kind) + " like this in the namespace where it was made"
	default:
		return failed(err, "%s", e.Op)
	}
	return e
}

// returnWait bounds how long a return waits for a device whose namespace has ended: the kernel gives it back in the
// background, after all namespaces that ended before. A runtime calls poststop in this very moment.
const returnWait = 5 * time.Second

// returnLink looks for the device until it is found, or it is certain that there is none.
func (k *Kernel) returnLink(ctx context.Context, s plan.ReturnLink) error {
	deadline := time.Now().Add(returnWait)
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		done, err := k.tryReturn(s)
		if done || err != nil {
			return err
		}
		if time.Now().Add(wait).After(deadline) {
			break
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
		}
		break
	}
	return &Error{
		Op: "take device " + s.Device.Name + " back from the container", Err: unix.ENODEV,
		Cause: "it is in another network namespace, or the kernel has not given it back yet",
		hint: "lanhook gc tries again; the kernel gives devices back to its first network namespace, from which " +
			"ip link set DEVICE netns moves it if lanhook's host is another one",
	}
}

// tryReturn is done when the host has the device as it was, or when there is none any more.
func (k *Kernel) tryReturn(s plan.ReturnLink) (done bool, err error) {
	// In this order: a device that comes back after the look at the host was still in a namespace that had not ended.
	gone, err := k.gone()
	if err != nil {
		return false, err
	}
	looked := gone
	if !gone {
		if looked, err = k.fetch(s); err != nil {
			return false, err
		}
	}
	l, ok, err := k.host.returned(s)
	switch {
	case err != nil:
		return false, err
	case ok && !isMoved(l, s):
		return true, nil
	case ok:
		return true, k.host.restore(l, s)
	case s.Device.Stays():
		return !plugged(s.Device), nil
	}
	return looked, nil
}

// fetch moves the device from the container's namespace to the host's, if it is there. looked is false when the namespace lives
// and cannot be entered: a process may hold it by an open file alone.
func (k *Kernel) fetch(s plan.ReturnLink) (looked bool, err error) {
	ns := k.ns
	if ns == nil {
		if k.open == nil {
			return false, nil
		}
		if ns, err = k.open(); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, ns.Close()) }()
	}
	l, ok, err := ns.conn.moved(s)
	if err != nil || !ok {
		return true, err
	}
	if s.Device.Parent != 0 {
		// One that hangs on something else is not the device: the container has made it in its place.
		var all []State
		all, err = ns.onHost()
		if err != nil || !slices.ContainsFunc(all, func(o State) bool { return o.Index == l.Index && o.Parent == s.Device.Parent }) {
			return true, err
		}
	}
	if err = ns.conn.dropNames(l, s.Device); err != nil {
		return true, err
	}
	move := func() error {
		return ns.conn.change(unix.RTM_SETLINK, 0,
			indexMessage(l.Index), text(unix.IFLA_IFNAME, s.Name), number(unix.IFLA_NET_NS_FD, k.host.home.file.fd))
	}
	if err = move(); errors.Is(err, unix.EEXIST) {
		// Another link of the host has one of the alternative names by now. Those that are free it gets again later.
		l.AltNames = slices.DeleteFunc(l.AltNames, func(name string) bool { return !slices.Contains(s.Device.AltNames, name) })
		if err = ns.conn.dropNames(l, plan.Device{Name: s.Device.Name}); err == nil {
			err = move()
		}
	}
	return true, failed(err, "move device %s back to the host", s.Device.Name)
}

// dropNames takes away the alternative names that a device did not have. One that the host has for another link would keep it
// from coming back, and its own would keep it from having that again.
func (c *conn) dropNames(l State, d plan.Device) error {
	for _, name := range l.AltNames {
		if slices.Contains(d.AltNames, name) {
			continue
		}
		if err := c.changeAltName(unix.RTM_DELLINKPROP, l.Index, name); err != nil {
			return failed(err, "take the name %s from device %s", name, d.Name)
		}
	}
	return nil
}

// moved finds a device in the container's namespace.
func (c *conn) moved(s plan.ReturnLink) (State, bool, error) {
	if s.Device.Stays() {
		return c.same(s)
	}
	for _, sel := range []by{{index: s.Index}, {name: s.Name}, {name: s.IfName}} {
		if sel == (by{}) {
			continue
		}
		l, ok, err := c.link(sel)
		if err != nil {
			return State{}, false, err
		}
		if ok && l.Kind == s.Device.Kind && (sel.name != s.IfName || l.Alias == s.Alias) {
			return l, true, nil
		}
	}
	return State{}, false, nil
}

// same finds a piece of hardware among all links. Where several links are of one, and have no addresses to tell them apart, it is
// the one that bears our names.
func (c *conn) same(s plan.ReturnLink) (State, bool, error) {
	all, err := c.links()
	if err != nil {
		return State{}, false, failed(err, "list links to find device %s", s.Device.Name)
	}
	all = slices.DeleteFunc(all, func(l State) bool {
		return !s.Device.Same(plan.Device{Path: hardware(l), Permanent: l.Permanent})
	})
	if len(all) == 0 {
		return State{}, false, nil
	}
	return all[max(0, slices.IndexFunc(all, func(l State) bool { return isNamed(l, s) }))], true, nil
}

// returned finds the device on the host: also one that was never moved.
func (h *Host) returned(s plan.ReturnLink) (State, bool, error) {
	if s.Device.Stays() {
		return h.conn.same(s)
	}
	all, err := h.conn.links()
	if err != nil {
		return State{}, false, failed(err, "list links to find device %s", s.Device.Name)
	}
	all = slices.DeleteFunc(all, func(l State) bool { return l.Kind != s.Device.Kind })
	i := slices.IndexFunc(all, func(l State) bool { return isMoved(l, s) })
	if i < 0 {
		i = slices.IndexFunc(all, func(l State) bool { return l.Name == s.Device.Name })
	}
	if i < 0 {
		return State{}, false, nil
	}
	return all[i], true, nil
}

// isMoved tells a device that was moved from one that was not, or that is as it was already. As long as the container has not
// begun, only its names say so; afterwards it has been moved for certain, and the container may have changed its names.
func isMoved(l State, s plan.ReturnLink) bool {
	return isNamed(l, s) || s.Index != 0 && s.Device.Stays()
}

// isNamed says whether a link bears a name or alias of the record's.
func isNamed(l State, s plan.ReturnLink) bool {
	return l.Name == s.Name || s.Alias != "" && l.Alias == s.Alias
}
