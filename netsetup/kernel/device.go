//go:build linux

package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// deviceFacts finds the device that a query asks for, and why the host needs it.
func (h *Host) deviceFacts(facts *plan.Facts, q Query) error {
	s, ok, err := h.selectDevice(q.Device)
	if err != nil || !ok {
		return err
	}
	found := plan.FoundDevice{Link: linkOf(s)}
	if found.Device, err = h.deviceOf(s); err != nil {
		return failed(err, "look at device %s", s.Name)
	}
	if found.Bound, err = h.bound(s); err != nil {
		return failed(err, "look at what the host needs device %s for", s.Name)
	}
	if facts.Device == nil {
		facts.Device = map[string]plan.FoundDevice{}
	}
	facts.Device[q.IfName] = found
	return nil
}

// linkOf is what a plan needs to know of a link, as far as the link says it itself.
func linkOf(s State) plan.Link {
	return plan.Link{
		Index: s.Index, Name: s.Name, Kind: s.Kind, MAC: s.MAC, MTU: s.MTU, Up: s.Up,
		Master: s.Master, MasterKind: s.MasterKind, Wireless: wireless(s), Loopback: s.Loopback, Group: s.Group, BondMode: s.BondMode,
	}
}

// selectDevice finds the host's device that a policy names; false when it names none, or the host does not have it.
func (h *Host) selectDevice(d policy.Device) (State, bool, error) {
	switch {
	case d.Name != "":
		return h.conn.link(by{name: d.Name})
	case len(d.MAC) > 0:
		return h.deviceByMAC(d.MAC)
	case d.PCI != "":
		return h.deviceByPCI(d.PCI)
	}
	return State{}, false, nil
}

// deviceByMAC prefers the address that the hardware has: the other one anybody can give to a link.
func (h *Host) deviceByMAC(mac []byte) (State, bool, error) {
	all, err := h.conn.links()
	if err != nil {
		return State{}, false, failed(err, "list links to find the device with MAC address %s", plan.MAC(mac))
	}
	i := slices.IndexFunc(all, func(s State) bool { return bytes.Equal(s.Permanent, mac) && !isChild(s.Kind) })
	if i >= 0 {
		return all[i], true, nil
	}
	return h.linkByMAC(mac)
}

// deviceByPCI finds the device of a function. A card with several ports in one function has to be named otherwise.
func (h *Host) deviceByPCI(address string) (State, bool, error) {
	all, err := h.conn.links()
	if err != nil {
		return State{}, false, failed(err, "list links to find the device with PCI address %s", address)
	}
	all = slices.DeleteFunc(all, func(s State) bool { return plan.Device{Path: hardware(s)}.PCI() != address })
	switch len(all) {
	case 0:
		return State{}, false, nil
	case 1:
		return all[0], true, nil
	}
	return State{}, false, &Error{
		Op: "find the device with PCI address " + address, Err: unix.ENOTUNIQ,
		Cause: fmt.Sprintf("%s and %s are of this function", all[0].Name, all[1].Name),
		hint:  "name the one that is meant by its MAC address",
	}
}

// hardware is the place below /sys of the device on which a link is, "" where it has none. It is looked up by the bus,
// since /sys/class/net shows the links of one namespace only: that in which /sys was mounted.
func hardware(s State) string {
	if s.Bus == "" || s.BusID == "" {
		return ""
	}
	path, err := filepath.EvalSymlinks(filepath.Join("/sys/bus", filepath.Base(s.Bus), "devices", filepath.Base(s.BusID)))
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(path, "/sys")
}

// deviceOf is all that has to be known of a device to give it back.
func (h *Host) deviceOf(s State) (plan.Device, error) {
	d := plan.Device{
		Name: s.Name, Index: s.Index, Kind: s.Kind, MAC: s.MAC, Permanent: s.Permanent, Path: hardware(s), MTU: s.MTU, Up: s.Up,
		Promiscuous: s.Promiscuous, AllMulti: s.AllMulti, TxQueueLen: s.TxQueueLen, Alias: s.Alias, AltNames: s.AltNames,
		Group: int(s.Group),
	}
	if !s.Elsewhere && s.Kind != kindVeth {
		d.Parent = s.Parent
	}
	if err := h.lacks(&d); err != nil {
		return plan.Device{}, err
	}
	var err error
	d.Addresses, err = h.conn.lasting(s.Index)
	return d, err
}

// lacks completes a device of the host by what it does without: IPv6, ARP, multicast.
func (h *Host) lacks(d *plan.Device) error {
	msg, err := h.conn.linkMessage(here, by{index: d.Index})
	if err != nil || msg == nil {
		return err
	}
	const disable = 26 // DEVCONF_DISABLE_IPV6 of linux/ipv6.h
	has, err := parseConf(msg[unix.SizeofIfInfomsg:], unix.IFLA_AF_SPEC, unix.AF_INET6, inet6Conf)
	flags := nl.DeserializeIfInfomsg(msg).Flags
	d.NoIPv6, d.NoARP, d.NoMulticast = has.at(disable) == 1, flags&unix.IFF_NOARP != 0, flags&unix.IFF_MULTICAST == 0
	return err
}

// From linux/if_addr.h.
const (
	addressMaker = 11 // IFA_PROTO, since Linux 5.18
	kernelLL     = 3  // IFAPROT_KERNEL_LL: the kernel made it of a MAC address

	// chosenFlags are those of an address's flags that somebody chose, without what the kernel says by them.
	chosenFlags = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE |
		unix.IFA_F_MCAUTOJOIN
)

// lasting lists the addresses of a link that somebody gave it for good. Those of a DHCP client or a router have an end, and the
// link-local one the kernel makes again.
func (c *conn) lasting(index int) ([]plan.DeviceAddress, error) {
	header := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	header.Index = uint32(index) //nolint:gosec // G115: an index is 31 bits
	msgs, err := c.dump(unix.RTM_GETADDR, header)
	if err != nil {
		return nil, err
	}
	var list []plan.DeviceAddress
	for _, msg := range msgs {
		a, lasts, err := parseDeviceAddress(msg)
		if err != nil {
			return nil, err
		}
		if lasts {
			list = append(list, a)
		}
	}
	return list, nil
}

func parseDeviceAddress(msg []byte) (a plan.DeviceAddress, lasts bool, err error) {
	local, header, err := parseAddress(msg)
	if err != nil {
		return a, false, err
	}
	attrs, err := attributes(msg, unix.SizeofIfAddrmsg)
	flags := uint32(header.Flags)
	lasts = true
	for _, attr := range attrs {
		switch attr.kind {
		case unix.IFA_ADDRESS:
			if peer, ok := netip.AddrFromSlice(attr.value); ok && peer != local {
				a.Peer = peer
			}
		case unix.IFA_BROADCAST:
			a.Broadcast, _ = netip.AddrFromSlice(attr.value)
		case unix.IFA_LABEL:
			a.Label = attr.text()
		case unix.IFA_RT_PRIORITY:
			a.Metric = int(attr.number())
		case unix.IFA_FLAGS:
			flags = attr.number()
		case addressMaker:
			lasts = !bytes.Equal(attr.value, []byte{kernelLL})
		}
	}
	a.Address = netip.PrefixFrom(local, int(header.Prefixlen))
	a.Scope, a.Flags = int(header.Scope), int(flags&chosenFlags)
	return a, lasts && flags&unix.IFA_F_PERMANENT != 0, err
}

// deviceAddressParts is a message that adds such an address again. As in [addressParts], an IPv6 address is used at once: it
// was the host's a moment ago.
func deviceAddressParts(index int, a plan.DeviceAddress) []nl.NetlinkRequestData {
	header := nl.NewIfAddrmsg(int(family(a.Address.Addr())))
	header.Index = uint32(index)               //nolint:gosec // G115: an index is 31 bits
	header.Prefixlen = uint8(a.Address.Bits()) //nolint:gosec // G115: 128 at most
	header.Scope = uint8(a.Scope)              //nolint:gosec // G115: 8 bits in the kernel
	flags := a.Flags
	if a.Address.Addr().Is6() {
		flags |= unix.IFA_F_NODAD
	}
	local := a.Address.Addr().AsSlice()
	peer := local
	if a.Peer.IsValid() {
		peer = a.Peer.AsSlice()
	}
	parts := []nl.NetlinkRequestData{
		header, nl.NewRtAttr(unix.IFA_LOCAL, local), nl.NewRtAttr(unix.IFA_ADDRESS, peer), number(unix.IFA_FLAGS, flags),
	}
	if a.Broadcast.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.IFA_BROADCAST, a.Broadcast.AsSlice()))
	}
	if a.Label != "" {
		parts = append(parts, text(unix.IFA_LABEL, a.Label))
	}
	if a.Metric != 0 {
		parts = append(parts, number(unix.IFA_RT_PRIORITY, a.Metric))
	}
	return parts
}

// bound are the reasons why the host needs a device, in words. All but the last would fail with the move, or go with it
// without a word: a port leaves its bridge, and children are deleted.
func (h *Host) bound(s State) ([]string, error) {
	var why []string
	if s.Master != 0 {
		master, ok, err := h.conn.link(by{index: s.Master})
		if err != nil {
			return nil, err
		}
		if ok {
			why = append(why, fmt.Sprintf("it is a port of %s %s", master.Kind, master.Name))
		}
	}
	all, err := h.conn.links()
	if err != nil {
		return nil, err
	}
	for _, child := range all {
		// A veth names its peer, which does not need it.
		if child.isOn(s.Index) && child.Kind != kindVeth {
			why = append(why, fmt.Sprintf("%s %s hangs on it", child.Kind, child.Name))
		}
	}
	away, err := h.hangsElsewhere(s)
	if err != nil {
		return nil, err
	}
	why = append(why, away...)
	has, err := h.hasDefault(s.Index)
	if has {
		why = append(why, "it has the host's default route")
	}
	return why, err
}

// hasDefault says whether a default route of the host leads to a link, one that stands behind another included.
func (h *Host) hasDefault(index int) (bool, error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}
		msgs, err := h.conn.dump(unix.RTM_GETROUTE, header, number(unix.RTA_OIF, index), number(unix.RTA_TABLE, unix.RT_TABLE_MAIN))
		if err != nil && !errors.Is(err, unix.ENOENT) { // there is no such table yet
			return false, err
		}
		for _, msg := range msgs {
			r, _, err := parseRoute(msg)
			if err != nil {
				return false, err
			}
			if r.isDefault() {
				return true, nil
			}
		}
	}
	return false, nil
}

// plugged says whether a device's hardware has any link, in whatever namespace: one that was pulled out, or that another
// driver took, such as vfio-pci, has none. The folder is there as long as it has; what is in it is of one namespace.
func plugged(d plan.Device) bool {
	if d.Path == "" || unix.Access("/sys/devices", unix.F_OK) != nil {
		return true // it cannot be known
	}
	return !errors.Is(unix.Access("/sys"+d.Path+"/net", unix.F_OK), fs.ErrNotExist)
}
