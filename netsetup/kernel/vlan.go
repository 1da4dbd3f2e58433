//go:build linux

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// vlanAlias tells people whose a sub-interface is.
const vlanAlias = "lanhook"

// vlanParts describe a sub-interface in a message that makes one.
func vlanParts(name string, parent int, tag policy.Tag) []nl.NetlinkRequestData {
	return []nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC),
		text(unix.IFLA_IFNAME, name),
		number(unix.IFLA_LINK, parent),
		nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kindVLAN), nest(unix.IFLA_INFO_DATA,
			nl.NewRtAttr(unix.IFLA_VLAN_ID, nl.Uint16Attr(uint16(tag.ID))), //nolint:gosec // G115: 4094 at most
			nl.NewRtAttr(unix.IFLA_VLAN_PROTOCOL, binary.BigEndian.AppendUint16(nil, kernelProtocol(tag.Protocol))))),
	}
}

// ensureVLAN makes the sub-interface down, so that it gets no address before that is switched off, and brings it up then.
// Whoever finds it made by another attach that has not come further does the rest as well: every part may be done twice.
func (h *Host) ensureVLAN(ctx context.Context, s plan.EnsureVLAN) error {
	op := fmt.Sprintf("add VLAN %s to %s as %s", s.Tag, s.Parent, s.Name)
	parent, ok, err := h.conn.link(by{name: s.Parent})
	if err != nil {
		return err
	}
	if !ok {
		return failed(unix.ENODEV, "%s", op)
	}
	parts := append(vlanParts(s.Name, parent.Index, s.Tag), number(unix.IFLA_GROUP, plan.Group))
	var v State
	err = while(ctx, isHidden, func() error {
		err = h.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return vlanFailed(err, op, parent)
		}
		v, err = h.madeVLAN(err, op, s, parent)
		return err
	})
	switch {
	case err != nil:
		return err
	case v.Group != plan.Group && !v.Up:
		return &Error{
			Op: "use VLAN " + v.Name, Cause: "it is down, and lanhook does not change a sub-interface that it has not made",
			Err: unix.ENETDOWN, hint: "bring it up: ip link set " + v.Name + " up",
		}
	case v.Group != plan.Group:
		return nil
	}
	return h.finishVLAN(v, parent)
}

// madeVLAN is the sub-interface that was just made, or was there already (exists is EEXIST then).
func (h *Host) madeVLAN(exists error, op string, s plan.EnsureVLAN, parent State) (State, error) {
	v, ok, err := h.conn.link(by{name: s.Name})
	switch {
	case err != nil:
		return State{}, err
	case ok && v.Kind == kindVLAN && v.isOn(parent.Index) && v.Tag == s.Tag:
		return v, nil
	case ok:
		return State{}, &Error{
			Op: op, Cause: "there is " + describe(v.Kind) + " of this name", Err: unix.EEXIST,
			hint: "rename it: ip link set " + s.Name + " name NAME",
		}
	case exists == nil:
		return State{}, failed(unix.ENODEV, "%s", op)
	}
	return State{}, h.tagTaken(exists, op, parent, s.Tag)
}

// hiddenError is a tag of a link that a sub-interface has which the host does not see.
type hiddenError struct{ err *Error }

func (e *hiddenError) Error() string { return e.err.Error() }

func (e *hiddenError) Unwrap() error { return e.err }

// isHidden says whether a tag may become free: the sub-interface of a container that has ended lives until the kernel has
// destroyed its namespace, see [whileInUse].
func isHidden(err error) bool {
	var hidden *hiddenError
	return errors.As(err, &hidden)
}

// tagTaken says who has a tag of a link: the kernel has one sub-interface for each, in whatever namespace.
func (h *Host) tagTaken(err error, op string, parent State, tag policy.Tag) error {
	e := &Error{Op: op, Err: err, hint: "a link has one sub-interface for each VLAN: lanhook ls shows who has which"}
	s, ok, lookErr := h.subOf(plan.Link{Index: parent.Index, Name: parent.Name}, tag)
	switch {
	case lookErr != nil:
		return errors.Join(failed(err, "%s", op), lookErr)
	case ok:
		e.Cause = fmt.Sprintf("the host has it as %s", s.Name)
		return e
	}
	e.Cause = "it is in another network namespace, such as a container's with driver vlan"
	return &hiddenError{e}
}

// vlanFailed knows what the kernel says of a parent that carries no VLANs.
func vlanFailed(err error, op string, parent State) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP) && parent.Loopback:
		return &Error{Op: op, Cause: parent.Name + " is the loopback interface", Err: err}
	case errors.Is(err, unix.ENETDOWN):
		return &Error{Op: op, Cause: parent.Name + " is down", Err: err, hint: "bring it up: ip link set " + parent.Name + " up"}
	}
	return noKind(err, kindVLAN, "%s", op)
}

// finishVLAN gives a sub-interface of lanhook's what it is to have beside its name, as far as it has not got it. The MTU comes
// first: below 1280 a link has no settings of IPv6, and new ones above (net/ipv6/addrconf.c, addrconf_notify).
func (h *Host) finishVLAN(v, parent State) error {
	op := "bring VLAN " + v.Name + " up"
	if v.Up && v.MTU == parent.MTU {
		return nil
	}
	if v.MTU != parent.MTU {
		if err := h.conn.change(unix.RTM_SETLINK, 0, indexMessage(v.Index), number(unix.IFLA_MTU, parent.MTU)); err != nil {
			return failed(err, "give VLAN %s the MTU of %s", v.Name, parent.Name)
		}
	}
	if err := h.withoutIPv6(v.Name); err != nil {
		return err
	}
	alias := nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(vlanAlias))
	err := h.conn.change(unix.RTM_SETLINK, 0, upMessage(v.Index), alias)
	if errors.Is(err, unix.ENETDOWN) && !parent.Up {
		return nil // The kernel brings it up along with its parent (net/8021q/vlan.c, vlan_device_event).
	}
	return vlanFailed(err, op, parent)
}

// withoutIPv6 keeps the host from having an address on a link, before it is up: neither a link-local one, nor by a router's
// advertisement.
func (h *Host) withoutIPv6(name string) error {
	return h.setIPv6(name, [2]string{"accept_ra", "0"}, [2]string{"addr_gen_mode", "1"}, [2]string{"disable_ipv6", "1"})
}

// releaseVLAN removes a sub-interface that is ours and on which nothing hangs. What hangs on it in other namespaces would go
// with it: the records say that no container of lanhook's does, but another engine may have found it and used it. Then it stays
// for gc.
func (h *Host) releaseVLAN(s plan.ReleaseVLAN) error {
	v, ok, err := h.conn.link(by{name: s.Name})
	if err != nil || !ok || !isSub(v) || v.Tag != s.Tag || v.Master != 0 {
		return err
	}
	all, err := h.conn.links()
	if err != nil {
		return failed(err, "list what hangs on VLAN %s", s.Name)
	}
	for _, child := range all {
		if child.isOn(v.Index) {
			return nil
		}
	}
	if used, err := h.usedElsewhere(v); err != nil || used {
		return failed(err, "look for what hangs on VLAN %s", s.Name)
	}
	return failed(h.conn.remove(here, v.Index), "remove VLAN %s", s.Name)
}

// addVLAN makes the sub-interface in the container's namespace at once, as [Kernel.addMacvlan] does.
func (k *Kernel) addVLAN(ctx context.Context, s plan.AddVLAN) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	op := fmt.Sprintf("add VLAN %s of %s as %s", s.Tag, s.Parent, s.Name)
	sel := by{index: s.ParentIndex}
	if s.ParentIndex == 0 {
		sel = by{name: s.Parent}
	}
	parent, ok, err := k.host.conn.link(sel)
	if err != nil {
		return err
	}
	if !ok {
		return &Error{Op: op, Cause: s.Parent + " does not exist any more", Err: unix.ENODEV}
	}
	parts := append(vlanParts(s.Name, parent.Index, s.Tag), number(unix.IFLA_NET_NS_FD, ns.file.fd))
	parts = append(parts, linkParts(s.Name, s.MAC, s.MTU)[1:]...)
	err = while(ctx, isHidden, func() error {
		err = k.host.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
		switch {
		case errors.Is(err, unix.EEXIST):
			return k.vlanExists(err, op, s, ns, parent)
		case s.MTU > parent.MTU && errors.Is(err, unix.EINVAL):
			return &Error{Op: op, Cause: fmt.Sprintf("an MTU of %d is above the %d of %s", s.MTU, parent.MTU, s.Parent), Err: err}
		case err != nil:
			return vlanFailed(err, op, parent)
		}
		return nil
	})
	if err == nil {
		k.ports[s.Name] = port{parent: s.Parent, mac: s.MAC}
	}
	return err
}

// vlanExists tells a name that is taken in the container from a tag that is.
func (k *Kernel) vlanExists(err error, op string, s plan.AddVLAN, ns *Namespace, parent State) error {
	_, taken, lookErr := ns.conn.link(by{name: s.Name})
	if lookErr != nil {
		return errors.Join(failed(err, "%s", op), lookErr)
	}
	if taken {
		return &Error{Op: op, Cause: "the container has a link of this name already", Err: err}
	}
	return k.host.tagTaken(err, op, parent, s.Tag)
}
