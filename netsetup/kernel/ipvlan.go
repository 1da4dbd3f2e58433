//go:build linux

package kernel

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// addIPVLAN makes the link in the container's namespace at once, as [Kernel.addMacvlan] does. Mode and flag are always
// said: without them the kernel would put the parent, with all of its children, into mode l3 (drivers/net/ipvlan/ipvlan_main.c,
// ipvlan_link_new).
func (k *Kernel) addIPVLAN(s plan.AddIPVLAN) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	mode, modeOK := ipvlanMode(s.Mode)
	flag, flagOK := ipvlanFlag(s.Flag)
	if !modeOK || !flagOK {
		return failed(unix.EINVAL, "add ipvlan %s to %s in mode %s %s", s.Name, s.Parent, s.Mode, s.Flag)
	}
	index, err := k.host.parentIndex(s.Parent, s.ParentIndex)
	if err != nil {
		return failed(err, "add ipvlan %s to %s", s.Name, s.Parent)
	}
	parts := append([]nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC)}, linkParts(s.Name, nil, s.MTU)...)
	parts = append(parts,
		number(unix.IFLA_LINK, index),
		number(unix.IFLA_NET_NS_FD, ns.file.fd),
		nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kindIPVLAN), nest(unix.IFLA_INFO_DATA,
			nl.NewRtAttr(unix.IFLA_IPVLAN_MODE, nl.Uint16Attr(mode)),
			nl.NewRtAttr(unix.IFLA_IPVLAN_FLAGS, nl.Uint16Attr(flag)))))
	err = k.host.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
	if err != nil {
		return k.host.ipvlanFailed(err, s, index)
	}
	k.ports[s.Name] = port{parent: s.Parent}
	return nil
}

// parentIndex is index, or where that is not known since a step before has made the parent, what the kernel says.
func (h *Host) parentIndex(name string, index int) (int, error) {
	if index != 0 {
		return index, nil
	}
	s, ok, err := h.conn.link(by{name: name})
	if err == nil && !ok {
		err = unix.ENODEV
	}
	return s.Index, err
}

// ipvlanFailed looks for the reason of a failure where the kernel gives a number only.
func (h *Host) ipvlanFailed(err error, s plan.AddIPVLAN, index int) error {
	e := &Error{Op: fmt.Sprintf("add ipvlan %s to %s", s.Name, s.Parent), Err: err}
	switch {
	case errors.Is(err, unix.EEXIST):
		e.Cause = "the container or the host has a link of this name already"
	case errors.Is(err, unix.EBUSY):
		e.Cause = s.Parent + " is in use by something that takes all its frames" + h.user(index, kindMacvlan)
		e.hint = oneUserHint
	case errors.Is(err, unix.ENODEV):
		e.Cause = s.Parent + " does not exist any more"
	case errors.Is(err, unix.EINVAL):
		e.Cause = s.Parent + " is no Ethernet link"
	case errors.Is(err, errNotSupported) && s.Mode == policy.ModeL3S:
		e.Cause = "the kernel has no ipvlan mode l3s (CONFIG_IPVLAN_L3S)"
		e.hint = "use mode l3, or a kernel with CONFIG_NETFILTER, CONFIG_NET_L3_MASTER_DEV and CONFIG_IPVLAN_L3S"
	default:
		return noKind(err, kindIPVLAN, "%s", e.Op)
	}
	return e
}

// errNotSupported is the kernel's ENOTSUPP, which is not for programs but comes all the same where a kernel has been built
// without mode l3s (drivers/net/ipvlan/ipvlan.h, ipvlan_l3s_register).
const errNotSupported = unix.Errno(524)

// ipvlanModes are IPVLAN_MODE_L2 and those that follow it, by their numbers (linux/if_link.h).
func ipvlanModes() []policy.Mode {
	return []policy.Mode{policy.ModeL2, policy.ModeL3, policy.ModeL3S}
}

// ipvlanMode is a mode in the kernel's numbers, false for one that ipvlan has not.
func ipvlanMode(m policy.Mode) (uint16, bool) {
	for i, mode := range ipvlanModes() {
		if m == mode {
			return uint16(i), true
		}
	}
	return 0, false
}

func ipvlanModeOf(v uint16) policy.Mode {
	if modes := ipvlanModes(); int(v) < len(modes) {
		return modes[v]
	}
	return 0
}

// Flags of ipvlan (linux/if_link.h). With neither the children reach each other.
const (
	ipvlanPrivate = 1
	ipvlanVEPA    = 2
)

// ipvlanFlag is a flag in the kernel's numbers, false for one that there is not.
func ipvlanFlag(f policy.Flag) (uint16, bool) {
	switch f {
	case policy.FlagBridge:
		return 0, true
	case policy.FlagPrivate:
		return ipvlanPrivate, true
	case policy.FlagVEPA:
		return ipvlanVEPA, true
	default:
		return 0, false
	}
}

func ipvlanFlagOf(v uint16) policy.Flag {
	switch v {
	case 0:
		return policy.FlagBridge
	case ipvlanPrivate:
		return policy.FlagPrivate
	case ipvlanVEPA:
		return policy.FlagVEPA
	default:
		return 0
	}
}
