//go:build linux

package kernel

import (
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
