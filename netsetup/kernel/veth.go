//go:build linux

package kernel

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// addVeth makes both ends in one message, each in its place and the host's a port already, and brings the host's end up
// in a second one: in between it is told to have no IPv6 of its own, which would give it an address on a port where
// none is of use.
func (k *Kernel) addVeth(s plan.AddVeth) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	bridge, ok, err := k.host.conn.link(by{name: s.Bridge})
	switch {
	case err != nil:
		return err
	case !ok:
		return failed(unix.ENODEV, "add veth %s to bridge %s", s.Name, s.Bridge)
	case bridge.Kind != kindBridge:
		return &Error{
			Op: "add veth " + s.Name + " to " + s.Bridge, Cause: "that is no bridge but " + describe(bridge.Kind),
			Err: unix.EINVAL,
		}
	case !s.VLANs.None() && !bridge.FiltersVLANs:
		return unfiltered(bridge, "add veth "+s.Name+" to bridge "+s.Bridge)
	}
	// A peer is told as a whole link is: header, then attributes (drivers/net/veth.c, VETH_INFO_PEER).
	peer := nl.NewRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	for _, a := range append(linkParts(s.Peer, s.PeerMAC, s.PeerMTU), number(unix.IFLA_NET_NS_FD, ns.file.fd)) {
		peer.AddChild(a)
	}
	parts := append([]nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC)}, linkParts(s.Name, s.MAC, s.MTU)...)
	parts = append(parts,
		number(unix.IFLA_MASTER, bridge.Index),
		nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kindVeth), nest(unix.IFLA_INFO_DATA, peer)))
	err = k.host.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
	if err != nil {
		return k.vethFailed(err, s, bridge)
	}
	return k.host.startPort(s, bridge)
}

// linkParts are what every new link is told, as far as it is set.
func linkParts(name string, mac plan.MAC, mtu int) []nl.NetlinkRequestData {
	parts := []nl.NetlinkRequestData{text(unix.IFLA_IFNAME, name)}
	if len(mac) > 0 {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	if mtu > 0 {
		parts = append(parts, number(unix.IFLA_MTU, mtu))
	}
	return parts
}

func (k *Kernel) vethFailed(err error, s plan.AddVeth, bridge State) error {
	e := &Error{Op: "add veth " + s.Name + " to bridge " + s.Bridge + " with " + s.Peer + " in the container", Err: err}
	switch {
	case errors.Is(err, unix.EEXIST):
		e.Cause = "one of these names is taken"
		e.hint = "see which with: ip link show " + s.Name + ", and the same inside the container"
	case errors.Is(err, unix.EXFULL), errors.Is(err, unix.EMFILE):
		e.Cause = "bridge " + bridge.Name + " has no place for another port"
		e.hint = "a Linux bridge has 1023 ports at most; spread the containers over several networks"
	default:
		return noKind(err, kindVeth, "%s", e.Op)
	}
	return e
}

// startPort gives the host's end of a veth its VLANs, and brings it up then: nothing passes before.
func (h *Host) startPort(s plan.AddVeth, bridge State) error {
	port, ok, err := h.conn.link(by{name: s.Name})
	if err != nil {
		return err
	}
	if !ok {
		return failed(unix.ENODEV, "look up veth %s", s.Name)
	}
	if err = h.noIPv6(s.Name); err != nil {
		return err
	}
	if !s.VLANs.None() {
		if err = h.setVLANs(port, bridge, s.VLANs); err != nil {
			return err
		}
	}
	parts := []nl.NetlinkRequestData{upMessage(port.Index)}
	var of []nl.NetlinkRequestData
	if s.Hairpin {
		of = append(of, nl.NewRtAttr(unix.IFLA_BRPORT_MODE, nl.Uint8Attr(nl.BRIDGE_MODE_HAIRPIN)))
	}
	if s.Isolated {
		of = append(of, nl.NewRtAttr(unix.IFLA_BRPORT_ISOLATED, nl.Uint8Attr(1)))
	}
	if len(of) > 0 {
		parts = append(parts, nest(unix.IFLA_LINKINFO,
			text(unix.IFLA_INFO_SLAVE_KIND, kindBridge), nest(unix.IFLA_INFO_SLAVE_DATA, of...)))
	}
	// RTM_SETLINK would not look at what belongs to a port, see rtnl_newlink and do_setlink in net/core/rtnetlink.c.
	return failed(h.conn.change(unix.RTM_NEWLINK, 0, parts...), "bring veth %s up", s.Name)
}
