//go:build linux

package kernel

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Kinds of links as rtnetlink names them.
const (
	kindBridge  = "bridge"
	kindMacvlan = "macvlan"
	kindVeth    = "veth"
	kindIPVLAN  = "ipvlan"
	kindVLAN    = "vlan"
	kindBond    = "bond"
	kindVRF     = "vrf"
)

// noBond is the bond mode of a link that is none.
const noBond = -1

// kernelMode is a mode of macvlan in the kernel's numbers, 0 for one that is none.
func kernelMode(m policy.Mode) uint32 {
	switch m { //nolint:exhaustive // the others are ipvlan's
	case policy.ModePrivate:
		return nl.MACVLAN_MODE_PRIVATE
	case policy.ModeVEPA:
		return nl.MACVLAN_MODE_VEPA
	case policy.ModeBridge:
		return nl.MACVLAN_MODE_BRIDGE
	case policy.ModePassthru:
		return nl.MACVLAN_MODE_PASSTHRU
	case policy.ModeSource:
		return nl.MACVLAN_MODE_SOURCE
	default:
		return 0
	}
}

func modeOf(v uint32) policy.Mode {
	for m := policy.ModeBridge; m <= policy.ModeSource; m++ {
		if kernelMode(m) == v {
			return m
		}
	}
	return 0
}

// kernelRouteType is a route type in the kernel's numbers.
func kernelRouteType(t request.RouteType) uint8 {
	switch t {
	case request.Blackhole:
		return unix.RTN_BLACKHOLE
	case request.Unreachable:
		return unix.RTN_UNREACHABLE
	case request.Prohibit:
		return unix.RTN_PROHIBIT
	case request.Unicast:
		return unix.RTN_UNICAST
	default:
		return unix.RTN_UNSPEC
	}
}

func routeTypeOf(v uint8) request.RouteType {
	for t := request.Blackhole; t <= request.Prohibit; t++ {
		if kernelRouteType(t) == v {
			return t
		}
	}
	return request.Unicast
}

// kernelProtocol is the EtherType of a tag, 0 for one that is none.
func kernelProtocol(p policy.VLANProtocol) uint16 {
	switch p {
	case policy.Dot1Q:
		return unix.ETH_P_8021Q
	case policy.Dot1AD:
		return unix.ETH_P_8021AD
	default:
		return 0
	}
}

func vlanProtocolOf(v uint16) policy.VLANProtocol {
	for p := policy.Dot1Q; p <= policy.Dot1AD; p++ {
		if kernelProtocol(p) == v {
			return p
		}
	}
	return 0
}

func (s *State) parseInfo(value []byte) error {
	attrs, err := attributes(value, 0)
	if err != nil {
		return err
	}
	var data []byte
	for _, a := range attrs {
		switch a.kind {
		case unix.IFLA_INFO_KIND:
			s.Kind = a.text()
		case unix.IFLA_INFO_SLAVE_KIND:
			s.MasterKind = a.text()
		case unix.IFLA_INFO_DATA:
			data = a.value
		}
	}
	attrs, err = attributes(data, 0)
	for _, a := range attrs {
		s.parseKind(a)
	}
	return err
}

// parseKind reads what there is of a link's kind.
func (s *State) parseKind(a attribute) {
	switch {
	case s.Kind == kindMacvlan && a.kind == unix.IFLA_MACVLAN_MODE:
		s.Mode = modeOf(a.number())
	case s.Kind == kindIPVLAN && a.kind == unix.IFLA_IPVLAN_MODE:
		s.Mode = ipvlanModeOf(a.short())
	case s.Kind == kindIPVLAN && a.kind == unix.IFLA_IPVLAN_FLAGS:
		s.Flag = ipvlanFlagOf(a.short())
	case s.Kind == kindVLAN && a.kind == unix.IFLA_VLAN_ID:
		s.Tag.ID = int(a.short())
	case s.Kind == kindVLAN && a.kind == unix.IFLA_VLAN_PROTOCOL && len(a.value) == 2:
		s.Tag.Protocol = vlanProtocolOf(binary.BigEndian.Uint16(a.value))
	case s.Kind == kindBond && a.kind == unix.IFLA_BOND_MODE && len(a.value) == 1:
		s.BondMode = int(a.value[0])
	case s.Kind == kindBridge && a.kind == unix.IFLA_BR_VLAN_FILTERING:
		s.FiltersVLANs = len(a.value) == 1 && a.value[0] != 0
	case s.Kind == kindBridge && a.kind == unix.IFLA_BR_VLAN_DEFAULT_PVID:
		s.DefaultPVID = int(a.short())
	}
}
