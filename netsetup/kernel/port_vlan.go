//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// filtering are the settings of a bridge that filters VLANs, and gives its ports none by itself.
func filtering() []nl.NetlinkRequestData {
	return []nl.NetlinkRequestData{
		nl.NewRtAttr(nl.IFLA_BR_VLAN_FILTERING, nl.Uint8Attr(1)),
		nl.NewRtAttr(nl.IFLA_BR_VLAN_DEFAULT_PVID, nl.Uint16Attr(0)),
	}
}

// unfiltered is the error of a bridge that cannot keep a port's VLANs apart.
func unfiltered(bridge State, op string) error {
	e := &Error{Op: op, Cause: "bridge " + bridge.Name + " does not filter VLANs", Err: unix.EINVAL}
	if bridge.Group == plan.Group {
		e.hint = "lanhook repair switches it on where somebody has switched it off; " +
			"a bridge that was made without goes with its last container"
	} else {
		e.hint = "ip link set " + bridge.Name + " type bridge vlan_filtering 1"
	}
	return e
}

// setVLANs gives a port its VLANs, and takes from it the one that its bridge gave it by itself. The kernel keeps those that
// the port has beside.
func (h *Host) setVLANs(port, bridge State, v plan.PortVLANs) error {
	if err := h.addVLANs(port, portVLANs(v)); err != nil {
		return err
	}
	given := policy.VLANRange{From: bridge.DefaultPVID, To: bridge.DefaultPVID}
	if given.From == 0 || len(plan.WithoutVLANs([]policy.VLANRange{given}, v.All())) == 0 {
		return nil
	}
	return h.dropVLANs(port, []policy.VLANRange{given})
}

// portVLANs are VLANs as the kernel is told of them. The access VLAN comes last: it is the PVID from then on.
func portVLANs(v plan.PortVLANs) []PortVLAN {
	var all []PortVLAN
	for _, r := range v.Trunk {
		all = append(all, PortVLAN{Range: r})
	}
	if v.Default {
		all = append(all, PortVLAN{Range: policy.VLANRange{From: 1, To: 1}, Untagged: true, PVID: v.Access == 0})
	}
	if v.Access != 0 {
		all = append(all, PortVLAN{Range: policy.VLANRange{From: v.Access, To: v.Access}, Untagged: true, PVID: true})
	}
	return all
}

// addVLANs adds VLANs to a port, or changes how it has them, in one message.
func (h *Host) addVLANs(port State, list []PortVLAN) error {
	if len(list) == 0 {
		return nil
	}
	err := h.conn.change(unix.RTM_SETLINK, 0, vlanMessage(port, list)...)
	return failed(err, "set VLANs of bridge port %s", port.Name)
}

// dropVLANs takes VLANs from a port. The kernel passes over those that it has not got.
func (h *Host) dropVLANs(port State, ranges []policy.VLANRange) error {
	var list []PortVLAN
	for _, r := range ranges {
		list = append(list, PortVLAN{Range: r})
	}
	err := h.conn.change(unix.RTM_DELLINK, 0, vlanMessage(port, list)...)
	return failed(err, "remove VLANs from bridge port %s", port.Name)
}

// vlanMessage tells a port's VLANs: a struct bridge_vlan_info each, or two for the ends of a range (linux/if_bridge.h).
func vlanMessage(port State, list []PortVLAN) []nl.NetlinkRequestData {
	header := indexMessage(port.Index)
	header.Family = unix.AF_BRIDGE
	var infos []nl.NetlinkRequestData
	add := func(flags uint16, id int) {
		value := binary.NativeEndian.AppendUint16(nil, flags)
		value = binary.NativeEndian.AppendUint16(value, uint16(id)) //nolint:gosec // G115: a VLAN id is 12 bits
		infos = append(infos, nl.NewRtAttr(nl.IFLA_BRIDGE_VLAN_INFO, value))
	}
	for _, v := range list {
		var flags uint16
		if v.PVID {
			flags |= nl.BRIDGE_VLAN_INFO_PVID
		}
		if v.Untagged {
			flags |= nl.BRIDGE_VLAN_INFO_UNTAGGED
		}
		if v.Range.From == v.Range.To {
			add(flags, v.Range.From)
			continue
		}
		add(flags|nl.BRIDGE_VLAN_INFO_RANGE_BEGIN, v.Range.From)
		add(flags|nl.BRIDGE_VLAN_INFO_RANGE_END, v.Range.To)
	}
	return []nl.NetlinkRequestData{header, nest(unix.IFLA_AF_SPEC, infos...)}
}

// PortVLANs are the VLANs of a bridge's port on the host, or of a bridge itself, in the kernel's order; false where there is no
// such port, or where the kernel knows no VLANs of ports.
func (h *Host) PortVLANs(port string) ([]PortVLAN, bool, error) {
	s, ok, err := h.conn.link(by{name: port})
	if err != nil || !ok || s.MasterKind != kindBridge && s.Kind != kindBridge {
		return nil, false, err
	}
	list, err := h.conn.portVLANs(s.Index)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, false, nil
	}
	return list, err == nil, failed(err, "list VLANs of %s", port)
}

// Attributes of a VLAN in an RTM_NEWVLAN (linux/if_bridge.h): the first of a range, and its last.
const (
	vlanEntry      = 1 // BRIDGE_VLANDB_ENTRY
	vlanEntryInfo  = 1 // BRIDGE_VLANDB_ENTRY_INFO
	vlanEntryRange = 2 // BRIDGE_VLANDB_ENTRY_RANGE
)

// vlanHeader is a struct br_vlan_msg: family, three bytes of nothing, index.
type vlanHeader struct{ index int }

func (vlanHeader) Len() int { return 8 }

func (m vlanHeader) Serialize() []byte {
	return binary.NativeEndian.AppendUint32([]byte{unix.AF_BRIDGE, 0, 0, 0}, uint32(m.index)) //nolint:gosec // G115: an index is 31 bits
}

// portVLANs lists those of one port only, which the kernel can since Linux 5.6.
func (c *conn) portVLANs(index int) ([]PortVLAN, error) {
	msgs, err := c.dump(unix.RTM_GETVLAN, vlanHeader{index})
	if err != nil {
		return nil, err
	}
	var list []PortVLAN
	for _, msg := range msgs {
		attrs, err := attributes(msg, vlanHeader{}.Len())
		if err != nil {
			return nil, err
		}
		for _, a := range attrs {
			if a.kind != vlanEntry {
				continue
			}
			v, err := parsePortVLAN(a.value)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
	}
	return list, nil
}

func parsePortVLAN(value []byte) (PortVLAN, error) {
	attrs, err := attributes(value, 0)
	if err != nil {
		return PortVLAN{}, err
	}
	var v PortVLAN
	for _, a := range attrs {
		switch {
		case a.kind == vlanEntryInfo && len(a.value) >= 4:
			flags := binary.NativeEndian.Uint16(a.value)
			v.PVID, v.Untagged = flags&nl.BRIDGE_VLAN_INFO_PVID != 0, flags&nl.BRIDGE_VLAN_INFO_UNTAGGED != 0
			v.Range.From = int(binary.NativeEndian.Uint16(a.value[2:]))
			v.Range.To = max(v.Range.To, v.Range.From)
		case a.kind == vlanEntryRange && len(a.value) >= 2:
			v.Range.To = int(binary.NativeEndian.Uint16(a.value))
		}
	}
	if v.Range.From == 0 {
		return PortVLAN{}, fmt.Errorf("a VLAN of a port without an id")
	}
	return v, nil
}

// VLANDrift says in what the VLANs of a port are not what a step gave it, in words. only says that it is to have no others
// beside, as an uplink may.
func VLANDrift(port string, has []PortVLAN, want plan.PortVLANs, only bool) []string {
	var drift []string
	tagged, untagged, pvid := sorted(has)
	expect := func(kind string, have, wanted []policy.VLANRange) {
		for _, r := range plan.WithoutVLANs(wanted, have) {
			drift = append(drift, fmt.Sprintf("port %s has lost VLAN %s %s", port, r, kind))
		}
		if only {
			for _, r := range plan.WithoutVLANs(have, wanted) {
				drift = append(drift, fmt.Sprintf("port %s has VLAN %s %s, which nobody gave it", port, r, kind))
			}
		}
	}
	wantTagged, wantUntagged, wantPVID := sorted(portVLANs(want))
	expect("with a tag", tagged, wantTagged)
	expect("without a tag", untagged, wantUntagged)
	if pvid != wantPVID && (only || wantPVID != 0) {
		drift = append(drift, fmt.Sprintf("port %s takes what has no tag for VLAN %d, not %d", port, pvid, wantPVID))
	}
	return drift
}

// sorted parts VLANs by how a port has them.
func sorted(list []PortVLAN) (tagged, untagged []policy.VLANRange, pvid int) {
	for _, v := range list {
		if v.Untagged {
			untagged = append(untagged, v.Range)
		} else {
			tagged = append(tagged, v.Range)
		}
		if v.PVID {
			pvid = v.Range.From
		}
	}
	return tagged, untagged, pvid
}

// RepairPort gives a container's port on the host the VLANs that a step gave it, and no other.
func (h *Host) RepairPort(s plan.AddVeth) error {
	port, ok, err := h.conn.link(by{name: s.Name})
	if err != nil || !ok || port.MasterKind != kindBridge {
		return err
	}
	has, err := h.conn.portVLANs(port.Index)
	if err != nil {
		return failed(err, "list VLANs of %s", s.Name)
	}
	var others []policy.VLANRange
	for _, v := range has {
		others = append(others, v.Range)
	}
	if others = plan.WithoutVLANs(others, s.VLANs.All()); len(others) > 0 {
		if err = h.dropVLANs(port, others); err != nil {
			return err
		}
	}
	return h.addVLANs(port, portVLANs(s.VLANs))
}

// RepairBridge makes a bridge of lanhook's filter VLANs again, and puts it back into its VRF, after somebody has changed that.
// It is for a bridge that was made so.
func (h *Host) RepairBridge(s plan.EnsureBridge) error {
	b, ok, err := h.conn.link(by{name: s.Name})
	if err != nil || !ok || b.Kind != kindBridge || b.Group != plan.Group {
		return err
	}
	if s.VLANs && !b.FiltersVLANs {
		info := nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kindBridge), nest(unix.IFLA_INFO_DATA, filtering()...))
		if err = h.conn.change(unix.RTM_NEWLINK, 0, indexMessage(b.Index), info); err != nil {
			return failed(err, "filter VLANs on bridge %s", s.Name)
		}
	}
	vrf, err := h.vrf(s)
	if err != nil || vrf == 0 || b.Master != 0 {
		return err
	}
	return failed(h.enslave(b, State{Index: vrf}), "put bridge %s into vrf %s", s.Name, s.VRF)
}
