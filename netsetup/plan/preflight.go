package plan

import (
	"fmt"
	"net/netip"

	"github.com/lanhook/lanhook/policy"
)

// check finds all that would make attachment i fail in the kernel, or work otherwise than anybody meant.
func check(in Input, i int) []error {
	fail := failing(in.Attachments[i].IfName)
	if err := checkLink(in, i, fail); err != nil {
		return []error{err}
	}
	return append(checkPublished(in, i, fail), checkSNAT(in, i, fail)...)
}

func checkLink(in Input, i int, fail failFunc) error {
	a := in.Attachments[i]
	if in.Facts.Taken[a.IfName] {
		return fail("start it without the engine's own network (--network none), "+
			"or ask for another name, as a pod has to: io.lanhook.network.NAME",
			"the container has an interface of this name already")
	}
	l := newLink(in, i)
	if l.has(netip.Addr.Is6) && in.Facts.NoIPv6 {
		return fail("boot without ipv6.disable=1, or use a network without IPv6 subnets",
			"the network has IPv6 addresses, but IPv6 is disabled in this kernel")
	}
	if l.has(netip.Addr.Is6) && a.WithoutIPv6() {
		return fail("ask for no IPv6 address, or leave disable_ipv6 alone",
			"an IPv6 address is asked for, and disable_ipv6 too")
	}
	if m := l.mtu; m != 0 && l.has(netip.Addr.Is6) && m < minIPv6MTU {
		return fail("", "an MTU of %d is below the %d that IPv6 needs", m, minIPv6MTU)
	}
	if err := checkSLAAC(in, l, fail); err != nil {
		return err
	}
	switch a.Network.Driver {
	case policy.Macvlan, policy.IPVLAN, policy.VLAN:
		return checkParent(in, l, fail)
	case policy.HostDevice:
		return checkDevice(in, l, fail)
	case policy.Bridge:
	}
	if m, most := l.mtu, l.bridgeMTU; m > most {
		return fail("lower mtu, or raise the bridge's", "an MTU of %d is above the %d of bridge %s", m, most, a.Network.Bridge)
	}
	return checkBridge(in, l, fail)
}

// failing makes the errors about an interface.
func failing(ifName string) failFunc {
	return func(hint, format string, args ...any) error {
		return &PreflightError{IfName: ifName, Why: fmt.Sprintf(format, args...), hint: hint}
	}
}

type failFunc = func(hint, format string, args ...any) error

// checkGateways refuses a second bridge for one subnet: the host would go on sending to the first one, and what is undone on
// one would take the other's rules away. A network that was given another name, or its bridge, comes to that while there
// are containers on the old one.
func checkGateways(l link, held map[netip.Addr]string, fail failFunc) error {
	for _, p := range bridgeOf(l).Addresses {
		if other, ok := held[p.Addr()]; ok {
			return fail(fmt.Sprintf("end what uses %[1]s first (ip address show dev %[1]s), or give the network another subnet", other),
				"bridge %s cannot have the gateway %s: the host has this address on %s", l.Network.Bridge, p.Addr(), other)
		}
	}
	return nil
}

// checkBridge looks at the bridge, whether it is there or has to be made.
func checkBridge(in Input, l link, fail failFunc) error {
	if l.exists {
		if err := checkThere(l.uplink, fail); err != nil {
			return err
		}
	} else if err := checkGateways(l, in.Facts.Held, fail); err != nil {
		return err
	}
	if err := checkVLANs(l, fail); err != nil {
		return err
	}
	vrf, found := in.Facts.VRF[l.IfName]
	if err := checkVRF(l, vrf, found, fail); err != nil {
		return err
	}
	up, found := in.Facts.PortUplink[l.IfName]
	return checkUplink(l, up, found, fail)
}

func checkThere(uplink Link, fail failFunc) error {
	switch {
	case uplink.Kind != "bridge":
		return fail("give the network another bridge name in the policy",
			"%s is no bridge but a link of kind %s", uplink.Name, kind(uplink))
	case !uplink.Up && uplink.Group != Group:
		return fail(fmt.Sprintf("bring it up: ip link set %s up", uplink.Name),
			"bridge %s is down, and lanhook does not change a bridge that it has not made", uplink.Name)
	}
	return nil
}

func kind(l Link) string {
	if l.Kind == "" {
		return "device"
	}
	return l.Kind
}
