package request

import (
	"net/netip"
	"slices"
	"strings"
)

// maxVLAN is the last id of a VLAN (IEEE 802.1Q, table 9-2).
const maxVLAN = 4094

// setLink takes over a field of an attachment that is spelled out. Which driver it goes with is known later.
func (d *draft) setLink(p pair) *Error {
	switch p.name {
	case "driver":
		d.link.Driver = p.value
		return badDriver(p)
	case "mode":
		d.link.Mode = p.value
		return oneOf(p, "mode", slices.Concat(modes("macvlan"), modes("ipvlan")))
	case "flag":
		d.link.Flag = p.value
		return oneOf(p, "flag", flags())
	case "vlan":
		ids, ok := vlanIDs(p.value)
		d.link.VLAN = ids
		if !ok {
			return &Error{
				Field: p.name, Value: p.value, Reason: "a VLAN is a number from 1 to 4094, or two such with a dot between them",
				hint: "write 50, or 100.20 for VLAN 20 in VLAN 100",
			}
		}
	case "parent", "bridge":
		if why := badIfName(p.value); why != "" {
			e := &Error{Field: p.name, Value: p.value, Reason: why}
			if base, id, ok := strings.Cut(p.value, ":"); ok && p.name == "parent" {
				e.hint = "a VLAN is written " + base + "." + id
			}
			return e
		}
		if p.name == "parent" {
			d.link.Parent = p.value
		} else {
			d.link.Bridge = p.value
		}
	}
	return nil
}

func badDriver(p pair) *Error {
	there := "there are " + strings.Join(drivers(), ", ")
	switch {
	case slices.Contains(drivers(), p.value):
		return nil
	case slices.Contains(laterDrivers(), p.value):
		return &Error{Field: p.name, Value: p.value, Reason: "driver " + p.value + " is not in this version; " + there}
	case p.value == "host-device":
		return &Error{
			Field: p.name, Value: p.value, Reason: "a device of the host cannot be spelled out",
			hint: "name a network of the policy that has it",
		}
	}
	return &Error{
		Field: p.name, Value: p.value, Reason: "there is no such driver; " + there, hint: didYouMean(p.value, drivers()),
	}
}

func oneOf(p pair, what string, known []string) *Error {
	if slices.Contains(known, p.value) {
		return nil
	}
	return &Error{
		Field: p.name, Value: p.value, Reason: "there is no such " + what + "; there are " + strings.Join(known, ", "),
		hint: didYouMean(p.value, known),
	}
}

// vlanIDs reads "50", or "100.20" with the outer tag in front.
func vlanIDs(value string) ([]int, bool) {
	parts := strings.Split(value, ".")
	if len(parts) > 2 {
		return nil, false
	}
	var ids []int
	for _, p := range parts {
		id, ok := number(p, 1, maxVLAN)
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// driverOptions checks that the driver has all that it needs, and nothing that it does not know.
func (d *draft) driverOptions() {
	driver, known := d.link.Driver, options(d.link.Driver)
	for _, name := range d.seen {
		spelled := slices.ContainsFunc(Fields(), func(f Field) bool { return f.Name == name && f.SpellOut })
		if spelled && name != "driver" && !slices.Contains(known, name) {
			d.fail(&Error{Field: name, Reason: "the driver " + driver + " has no such option"})
		}
	}
	if needed := known[0]; !slices.Contains(d.seen, needed) {
		d.fail(&Error{
			Field: "driver", Value: driver, Reason: "the attachment names no " + needed, hint: "add " + needed + "=INTERFACE",
		})
	}
	if driver == "vlan" && !slices.Contains(d.seen, "vlan") {
		d.fail(&Error{Field: "driver", Value: driver, Reason: "the attachment names no vlan", hint: "add vlan=ID"})
	}
	if mine := modes(driver); d.link.Mode != "" && len(mine) > 0 && !slices.Contains(mine, d.link.Mode) {
		d.fail(&Error{
			Field: "mode", Value: d.link.Mode, Reason: driver + " has no such mode; there are " + strings.Join(mine, ", "),
		})
	}
	if driver == "bridge" && len(d.link.VLAN) > 1 {
		d.fail(&Error{Field: "vlan", Reason: "the port of a bridge is in one VLAN", hint: "write one number"})
	}
	d.ipvlanOptions()
}

// ipvlanOptions refuses what the kernel's ipvlan cannot have: the links on a parent share its MAC address, and in the modes
// l3 and l3s nobody asks for that of a gateway.
func (d *draft) ipvlanOptions() {
	if d.link.Driver != "ipvlan" {
		return
	}
	if d.at.MAC != nil {
		d.fail(&Error{
			Field: "mac", Value: d.at.MAC.String(),
			Reason: "all links on the parent of an ipvlan have its MAC address, the only one that the switch sees", hint: "take mac out",
		})
	}
	if len(d.at.Gateways) > 0 && (d.link.Mode == "l3" || d.link.Mode == "l3s") {
		d.fail(&Error{
			Field: "gateway", Value: d.at.Gateways[0].String(), Reason: "mode " + d.link.Mode + " has no gateway: the host routes",
			hint: "take gateway out; the default route needs none",
		})
	}
}

// spelledOut checks an attachment that no network of the policy completes: the driver must have all it needs, and
// addresses and gateways must tell their subnets.
func (d *draft) spelledOut() {
	if d.at.Network != "" {
		d.fail(&Error{
			Field: "driver", Value: d.link.Driver,
			Reason: "an attachment that names a network cannot be spelled out too", hint: "leave one of name and driver out",
		})
	}
	d.driverOptions()
	for _, a := range d.at.IPs {
		if a.Bits < 0 {
			d.fail(&Error{
				Field: "ip", Value: a.Addr.String(),
				Reason: "an attachment that is spelled out needs the prefix length, since no network of the policy tells it",
				hint:   "write " + a.Addr.String() + "/BITS",
			})
		}
	}
	if len(d.errs) == 0 {
		d.gatewaysInside()
	}
}

// gatewaysInside refuses gateways that cannot be reached. A link-local gateway needs no subnet (RFC 4291 section 2.5.6).
func (d *draft) gatewaysInside() {
	for _, gw := range d.at.Gateways {
		inside := gw.Is6() && gw.IsLinkLocalUnicast()
		var subnets []string
		for _, a := range d.at.IPs {
			if subnet := netip.PrefixFrom(a.Addr, a.Bits).Masked(); a.Addr.Is4() == gw.Is4() {
				inside = inside || subnet.Contains(gw)
				subnets = append(subnets, subnet.String())
			}
		}
		switch {
		case inside:
		case len(subnets) == 0:
			d.fail(&Error{Field: "gateway", Value: gw.String(), Reason: "the attachment has no address of this family"})
		default:
			d.fail(&Error{
				Field: "gateway", Value: gw.String(), Reason: "the gateway is outside of " + strings.Join(subnets, ", "),
			})
		}
	}
}
