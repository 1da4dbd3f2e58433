//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// addMacvlan makes the link in the container's namespace at once; it is never to be seen in the host's.
func (k *Kernel) addMacvlan(ctx context.Context, s plan.AddMacvlan) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	mode := kernelMode(s.Mode)
	if mode == 0 {
		return failed(unix.EINVAL, "add macvlan %s to %s in mode %d", s.Name, s.Parent, s.Mode)
	}
	if s.ParentIndex, err = k.host.parentIndex(s.Parent, s.ParentIndex); err != nil {
		return k.host.macvlanFailed(err, s)
	}
	data := []nl.NetlinkRequestData{number(unix.IFLA_MACVLAN_MODE, mode)}
	if s.BroadcastQueue > 0 {
		data = append(data, number(unix.IFLA_MACVLAN_BC_QUEUE_LEN, s.BroadcastQueue))
	}
	if s.Mode == policy.ModeSource && len(s.Sources) > 0 {
		list := nest(unix.IFLA_MACVLAN_MACADDR_DATA)
		for _, mac := range s.Sources {
			list.AddRtAttr(unix.IFLA_MACVLAN_MACADDR, mac)
		}
		data = append(data, number(unix.IFLA_MACVLAN_MACADDR_MODE, uint32(nl.MACVLAN_MACADDR_SET)), list)
	}
	parts := append([]nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC)}, linkParts(s.Name, s.MAC, s.MTU)...)
	parts = append(parts,
		number(unix.IFLA_LINK, s.ParentIndex),
		number(unix.IFLA_NET_NS_FD, ns.file.fd),
		nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kindMacvlan), nest(unix.IFLA_INFO_DATA, data...)))
	err = whileInUse(ctx, func() error {
		return k.host.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
	})
	if err != nil {
		return k.host.macvlanFailed(err, s)
	}
	k.ports[s.Name] = port{parent: s.Parent, mac: s.MAC}
	return nil
}

// macvlanFailed looks for the reason of a failure where the kernel gives a number only.
func (h *Host) macvlanFailed(err error, s plan.AddMacvlan) error {
	e := &Error{Op: fmt.Sprintf("add macvlan %s to %s", s.Name, s.Parent), Err: err}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return inUse(err, e.Op, port{parent: s.Parent, mac: s.MAC})
	case errors.Is(err, unix.EEXIST):
		e.Cause = "the container or the host has a link of this name already"
	case errors.Is(err, unix.EBUSY):
		e.Cause = s.Parent + " is in use by something that takes all its frames" + h.user(s.ParentIndex, kindIPVLAN)
		e.hint = oneUserHint
	case errors.Is(err, unix.ENODEV):
		e.Cause = s.Parent + " does not exist any more"
	case errors.Is(err, unix.EINVAL):
		return h.macvlanInvalid(e, s)
	default:
		return noKind(err, kindMacvlan, "%s", e.Op)
	}
	return e
}

// user names who has a link that is to have children of another kind than the one named, if it can be seen from the host.
func (h *Host) user(index int, kind string) string {
	s, ok, err := h.conn.link(by{index: index})
	if err != nil || !ok {
		return ""
	}
	if s.MasterKind != "" {
		return ": it is a port of a " + s.MasterKind
	}
	children, err := h.conn.linksOfKind(kind)
	if err != nil {
		return ""
	}
	for _, child := range children {
		if child.isOn(index) {
			return fmt.Sprintf(": it has the %s child %s", kind, child.Name)
		}
	}
	article := "a"
	if kind == kindIPVLAN {
		article = "an"
	}
	return fmt.Sprintf(", such as %s %s child in another network namespace", article, kind)
}

// macvlanInvalid tells apart what the driver calls EINVAL without a word (drivers/net/macvlan.c,
// macvlan_common_newlink).
func (h *Host) macvlanInvalid(e *Error, s plan.AddMacvlan) error {
	parent, ok, err := h.conn.link(by{index: s.ParentIndex})
	switch {
	case err != nil || !ok:
		e.Cause = s.Parent + " does not exist any more"
	case s.MTU > parent.MTU:
		e.Cause = fmt.Sprintf("an MTU of %d is above the %d of %s", s.MTU, parent.MTU, s.Parent)
	case s.Mode == policy.ModePassthru:
		e.Cause = s.Parent + " has another macvlan child, and passthru takes a parent for itself"
		e.hint = passthruHint
	case parent.Loopback:
		e.Cause = s.Parent + " is the loopback interface"
	default:
		e.Cause = s.Parent + " may have a macvlan child in passthru mode, which takes a parent for itself"
		e.hint = passthruHint
	}
	return e
}

// A macvlan's MAC address, and an ipvlan's IP addresses, are taken until the link is gone. When a container is started
// again at once, the kernel may still be at the links of its old namespace: it destroys namespaces one after the other in
// the background, some tens of milliseconds each. Nothing tells when it is done, so it is asked again with growing waits.
const (
	firstWait = 2 * time.Millisecond
	mostWait  = 50 * time.Millisecond
	maxWait   = 2 * time.Second
)

// whileInUse runs change again as long as an address is in use, up to maxWait or the end of ctx.
func whileInUse(ctx context.Context, change func() error) error {
	return while(ctx, func(err error) bool { return errors.Is(err, unix.EADDRINUSE) }, change)
}

// while runs change again as long as its error may be about what is just ending, up to maxWait or the end of ctx.
func while(ctx context.Context, again func(error) bool, change func() error) error {
	deadline := time.Now().Add(maxWait)
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		err := change()
		if err == nil || !again(err) || time.Now().Add(wait).After(deadline) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// inUse is the error of an address that somebody has.
func inUse(err error, op string, p port) error {
	e := &Error{Op: op, Err: err, Cause: "its MAC address is in use on its parent"}
	if p.parent != "" {
		e.Cause = fmt.Sprintf("%s is in use on %s, by itself or by another macvlan child of it", p.mac, p.parent)
	}
	e.hint = "the other one may be in another container: ask for another MAC address, or stop that container"
	return e
}
