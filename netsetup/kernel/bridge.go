//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
)

// ensureBridge makes the bridge down, so that no router advertisement is heard before that is switched off, and brings
// it up then. Whoever finds the bridge made by another attach that has not come further does the rest as well: every
// part may be done twice.
func (h *Host) ensureBridge(s plan.EnsureBridge) error {
	parts := []nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC),
		text(unix.IFLA_IFNAME, s.Name),
		number(unix.IFLA_GROUP, plan.Group),
		nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kindBridge), nest(unix.IFLA_INFO_DATA, bridgeData(s)...)),
	}
	vrf, err := h.vrf(s)
	if err != nil {
		return err
	}
	if vrf != 0 {
		parts = append(parts, number(unix.IFLA_MASTER, vrf))
	}
	if len(s.MAC) > 0 {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_ADDRESS, s.MAC))
	}
	err = h.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return addFailed(err, s)
	}
	existed := err != nil
	msg, err := h.conn.linkMessage(here, by{name: s.Name})
	if err != nil {
		return err
	}
	if msg == nil {
		return failed(unix.ENODEV, "look up bridge %s", s.Name)
	}
	b, err := parseLink(msg)
	switch {
	case err != nil:
		return err
	case b.Kind != kindBridge:
		return &Error{
			Op: "add bridge " + s.Name, Cause: "there is " + describe(b.Kind) + " of this name", Err: unix.EEXIST,
			hint: "give the network another bridge name in the policy",
		}
	case s.VLANs && !b.FiltersVLANs:
		return unfiltered(b, "use bridge "+s.Name)
	case existed && (b.Group != plan.Group || s.AsIs):
		return usable(b)
	case b.Master != vrf:
		return &Error{
			Op: "use bridge " + s.Name, Cause: "it was made for another VRF, or for none", Err: unix.EBUSY,
			hint: othersHint,
		}
	case b.Up && uplinkOf(b) != s.Uplink:
		return &Error{
			Op: "use bridge " + s.Name, Cause: "it was made for another uplink, or for none", Err: unix.EBUSY, hint: othersHint,
		}
	}
	has, err := parseConf(msg[unix.SizeofIfInfomsg:], unix.IFLA_AF_SPEC, unix.AF_INET, inetConf)
	if err != nil {
		return err
	}
	return h.finishBridge(b, s, settingsOf(s, has))
}

// noLocalLearning keeps a bridge from learning senders from frames to the reserved addresses, such as LLDP's. Those pass no
// hook of the firewall, so that a container behind a guarded port could take another's frames with them
// (net/bridge/br_input.c, br_handle_frame). A kernel before 4.20 does not know the option and passes over it.
func noLocalLearning() *nl.RtAttr {
	// A struct br_boolopt_multi: values, then the options that they are for. BR_BOOLOPT_NO_LL_LEARN is 0, see linux/if_bridge.h.
	const noLinkLocalLearning = 1 << 0
	option := binary.NativeEndian.AppendUint32(nil, noLinkLocalLearning)
	return nl.NewRtAttr(unix.IFLA_BR_MULTI_BOOLOPT, binary.NativeEndian.AppendUint32(option, noLinkLocalLearning))
}

// settingsOf are the settings of IPv4 that a bridge needs and has not got, in the form of a link's message. Answers to
// published ports may come by another way than the kernel would send to (rp_filter=2 is loose), and the host's own
// loopback addresses reach containers only where that is allowed. A setting is never turned off: another record may
// need it.
func settingsOf(s plan.EnsureBridge, has conf) []nl.NetlinkRequestData {
	var set []nl.NetlinkRequestData
	if s.Filtered && has.at(inetRPFilter-1) != 2 {
		set = append(set, number(inetRPFilter, 2))
	}
	if s.Localnet && has.at(inetRouteLocalnet-1) != 1 {
		set = append(set, number(inetRouteLocalnet, 1))
	}
	if len(set) == 0 {
		return nil
	}
	return []nl.NetlinkRequestData{nest(unix.IFLA_AF_SPEC, nest(unix.AF_INET, nest(inetConf, set...)))}
}

// addFailed says what a kernel lacks: one whose bridges do not filter VLANs makes none that is to (net/bridge/br_private.h,
// br_vlan_filter_toggle).
func addFailed(err error, s plan.EnsureBridge) error {
	if !s.VLANs || !errors.Is(err, unix.EOPNOTSUPP) {
		return noKind(err, kindBridge, "add bridge %s", s.Name)
	}
	return &Error{
		Op: "add bridge " + s.Name, Cause: "the kernel has no bridges, or none that filter VLANs", Err: err,
		hint: "load the module: modprobe bridge; where that is there, use a kernel with CONFIG_BRIDGE_VLAN_FILTERING",
	}
}

// othersHint helps where a bridge is what an earlier policy made of it.
const othersHint = "end the containers on it first, or give the network another bridge name in the policy"

// bridgeData are the settings that a bridge is made with.
func bridgeData(s plan.EnsureBridge) []nl.NetlinkRequestData {
	data := []nl.NetlinkRequestData{noLocalLearning()}
	if s.VLANs {
		data = append(data, filtering()...)
	}
	return data
}

// vrf is the index of the VRF that a bridge is to be a port of, 0 for none.
func (h *Host) vrf(s plan.EnsureBridge) (int, error) {
	if s.VRF == "" {
		return 0, nil
	}
	l, ok, err := h.conn.link(by{name: s.VRF})
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return 0, failed(unix.ENODEV, "put bridge %s into vrf %s", s.Name, s.VRF)
	case l.Kind != kindVRF:
		return 0, &Error{Op: "put bridge " + s.Name + " into vrf " + s.VRF, Cause: "that is " + describe(l.Kind), Err: unix.EINVAL}
	}
	return l.Index, nil
}

// usable accepts a bridge that is not ours as it is.
func usable(b State) error {
	if b.Up {
		return nil
	}
	return &Error{
		Op: "use bridge " + b.Name, Cause: "it is down, and lanhook does not change a bridge that it has not made",
		Err: unix.ENETDOWN, hint: "bring it up: ip link set " + b.Name + " up",
	}
}

func (h *Host) finishBridge(b State, s plan.EnsureBridge, settings []nl.NetlinkRequestData) error {
	if b.Up && len(settings) > 0 {
		if err := h.conn.change(unix.RTM_SETLINK, 0, append([]nl.NetlinkRequestData{indexMessage(b.Index)}, settings...)...); err != nil {
			return failed(err, "set rp_filter and route_localnet of bridge %s", s.Name)
		}
	}
	if !b.Up {
		settle := h.settle
		if s.VLANs || s.Uplink != "" {
			settle = h.noIPv6 // It is a piece of a LAN, on which the host has no address.
		}
		if err := settle(s.Name); err != nil {
			return err
		}
		// An MTU that is set on the bridge stays; one that is made with it changes with its ports
		// (net/bridge/br_device.c, br_change_mtu).
		parts := append([]nl.NetlinkRequestData{upMessage(b.Index)}, settings...)
		if s.MTU > 0 {
			parts = append(parts, number(unix.IFLA_MTU, s.MTU))
		}
		if s.Uplink != "" {
			parts = append(parts, text(unix.IFLA_IFALIAS, uplinkAlias+s.Uplink))
		}
		if err := h.conn.change(unix.RTM_SETLINK, 0, parts...); err != nil {
			return failed(err, "bring bridge %s up", s.Name)
		}
	}
	for _, a := range s.Addresses {
		err := h.conn.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, addressParts(b.Index, a)...)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return addressFailed(err, a, "bridge "+s.Name)
		}
	}
	for _, a := range s.Without {
		err := h.conn.change(unix.RTM_DELADDR, 0, addressParts(b.Index, a)...)
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.EAFNOSUPPORT) {
			return failed(err, "remove address %s from bridge %s", a, s.Name)
		}
	}
	return h.setForwarding(b, s)
}

// setForwarding writes what the bridge has not got yet. A new link has what net.PROTOCOL.conf.default says, so «off» is
// written as well.
func (h *Host) setForwarding(b State, s plan.EnsureBridge) error {
	for _, protocol := range []string{"ipv4", "ipv6"} {
		family, want, value := uint8(unix.AF_INET), s.Forward && hasFamily(s.Addresses, protocol), "0"
		if protocol == "ipv6" {
			family = unix.AF_INET6
		}
		if now, err := h.conn.forwards(family, b.Index); err == nil && now == want {
			continue
		}
		if want {
			value = "1"
		}
		forwarding := []request.Sysctl{{Key: "net." + protocol + ".conf." + ifName + ".forwarding", Value: value}}
		err := h.do(func() error { return h.proc.write(s.Name, forwarding) })
		if protocol == "ipv6" && errors.Is(err, fs.ErrNotExist) {
			continue // A kernel without IPv6 forwards none.
		}
		if err != nil {
			return fmt.Errorf("set forwarding of bridge %s: %w", s.Name, err)
		}
	}
	return nil
}

func hasFamily(list []netip.Prefix, protocol string) bool {
	for _, p := range list {
		if p.Addr().Is4() == (protocol == "ipv4") {
			return true
		}
	}
	return false
}

// settle makes IPv6 of a link of the host that is not for the host's own traffic ready, before it is up: it takes no
// address and no default route from a router advertisement, which a container might send, and uses its link-local
// address at once. While that is tentative, for up to two seconds of duplicate address detection after the first port
// came, the kernel looks for no neighbour of what it forwards (net/ipv6/ndisc.c, ndisc_send_ns), so that no published
// port would answer; nobody else has the address, which is made of the bridge's own MAC address. A kernel without IPv6
// needs nothing.
func (h *Host) settle(name string) error {
	return h.setIPv6(name, [2]string{"accept_ra", "0"}, [2]string{"accept_dad", "0"})
}

// indexMessage begins a message about the link with an index.
func indexMessage(index int) *nl.IfInfomsg {
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Index = int32(index) //nolint:gosec // G115: an index is 31 bits
	return m
}

func upMessage(index int) *nl.IfInfomsg {
	m := indexMessage(index)
	m.Flags, m.Change = unix.IFF_UP, unix.IFF_UP
	return m
}

// releaseBridge removes a bridge that is ours and has no port, and before it what rules say of it: a bridge that is left
// is found again by its mark. Rules of a bridge that is gone, or has been replaced by another, are for nobody.
func (h *Host) releaseBridge(s plan.ReleaseBridge) error {
	b, ok, err := h.conn.link(by{name: s.Name})
	if err != nil {
		return err
	}
	ours := ok && b.Kind == kindBridge && b.Group == plan.Group
	if ours {
		if used, portsErr := h.hasPorts(b, s.Uplink); portsErr != nil || used {
			return portsErr
		}
	}
	if s.Filtered {
		err = h.dropBridge(s.Name)
	}
	if ours {
		err = errors.Join(err, failed(h.conn.remove(here, b.Index), "remove bridge %s", s.Name))
	}
	return err
}

// remove removes a link, and succeeds when it is not there.
func (c *conn) remove(id nsid, index int) error {
	parts := []nl.NetlinkRequestData{indexMessage(index)}
	if id != here {
		parts = append(parts, number(unix.IFLA_TARGET_NETNSID, id))
	}
	err := c.change(unix.RTM_DELLINK, 0, parts...)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func describe(kind string) string {
	if kind == "" {
		return "a device"
	}
	return "a link of kind " + kind
}
