package request

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// draft is an attachment while its fields are read.
type draft struct {
	at Attachment
	// link is what the fields of an attachment that is spelled out say, taken over when there is a driver.
	link Link
	// seen are the fields that were there, right or wrong, in the order in which they were written.
	seen []string
	errs []*Error
}

// parseAttachment reads the value of io.lanhook.network; it leaves Key and IfName to its caller.
func parseAttachment(value string) (Attachment, []*Error) {
	var d draft
	pairs, errs := splitFields(value)
	d.errs = errs
	for _, p := range pairs {
		d.field(p)
	}
	// What the fields say together makes sense only when each of them was read.
	if len(d.errs) == 0 {
		d.together()
	}
	return d.at, d.errs
}

func (d *draft) fail(e *Error) {
	if e != nil {
		d.errs = append(d.errs, e)
	}
}

// field checks what all fields have in common.
func (d *draft) field(p pair) {
	known := Fields()
	at := slices.IndexFunc(known, func(f Field) bool { return f.Name == p.name })
	if at < 0 {
		names := make([]string, 0, len(known))
		for _, f := range known {
			names = append(names, f.Name)
		}
		e := &Error{Value: p.name, Reason: "there is no such field", hint: didYouMean(p.name, names)}
		if p.name == "" {
			e.Value, e.Reason = p.value, "nothing names the field of this value"
		}
		if e.hint == "" {
			e.hint = "there are " + strings.Join(names, ", ")
		}
		d.fail(e)
		return
	}
	f, again := known[at], slices.Contains(d.seen, p.name)
	d.seen = append(d.seen, p.name)
	switch {
	case p.list && !f.Repeat:
		d.fail(&Error{Field: p.name, Value: p.value, Reason: "this field takes one value, not a list"})
	case again && !f.Repeat:
		d.fail(&Error{Field: p.name, Value: p.value, Reason: "the field is there already"})
	case p.value == "":
		d.fail(&Error{Field: p.name, Reason: "the value is empty", hint: "leave the field out to ask for nothing"})
	case f.SpellOut:
		d.fail(d.setLink(p))
	default:
		d.fail(d.set(p))
	}
}

// set takes over a field that every attachment can have.
func (d *draft) set(p pair) *Error {
	switch p.name {
	case "name":
		d.at.Network = p.value
		if why := badName(p.value); why != "" {
			return &Error{Field: p.name, Value: p.value, Reason: why}
		}
	case "ip":
		return d.addIP(p.value)
	case "mac":
		mac, e := parseMAC(p.value)
		d.at.MAC = mac
		return e
	case "gateway":
		return d.addGateway(p.value)
	case "dnat":
		return d.addDNAT(p.value)
	case "default-route":
		return d.setDefaultRoute(p.value)
	case "route":
		return d.addRoute(p.value)
	case "mtu":
		// RFC 791 section 3.2 for the least; the most is the kernel's ETH_MAX_MTU.
		mtu, ok := number(p.value, 68, 65535)
		d.at.MTU = mtu
		if !ok {
			return &Error{Field: p.name, Value: p.value, Reason: "an MTU is a number of bytes from 68 to 65535"}
		}
	case "ipv6":
		if d.at.IPv6 = p.value; !slices.Contains(ipv6Modes(), p.value) {
			return &Error{
				Field: p.name, Value: p.value, Reason: "there is no such mode", hint: cmp.Or(didYouMean(p.value, ipv6Modes()), "there are static, slaac and off"),
			}
		}
	case "sysctl":
		return d.addSysctl(p.value)
	}
	return nil
}

func (d *draft) addIP(value string) *Error {
	a, e := parseAddress(value)
	switch {
	case e != nil:
		return e
	case slices.ContainsFunc(d.at.IPs, func(b Address) bool { return b.Addr == a.Addr }):
		return &Error{Field: "ip", Value: value, Reason: "the address is there already"}
	case len(d.at.IPs) == MaxAddresses:
		return &Error{Field: "ip", Value: value, Reason: fmt.Sprintf("an attachment has at most %d addresses", MaxAddresses)}
	}
	d.at.IPs = append(d.at.IPs, a)
	return nil
}

func (d *draft) addGateway(value string) *Error {
	gw, why := parseIP(value)
	if why != "" {
		return &Error{Field: "gateway", Value: value, Reason: why}
	}
	if other, ok := sameFamily(d.at.Gateways, gw); ok {
		return &Error{Field: "gateway", Value: value, Reason: "there is a gateway of this family already, " + other.String()}
	}
	d.at.Gateways = append(d.at.Gateways, gw)
	return nil
}

func (d *draft) addDNAT(value string) *Error {
	addr, why := parseTranslated(value)
	if why != "" {
		return &Error{Field: "dnat", Value: value, Reason: why}
	}
	if other, ok := sameFamily(d.at.DNAT, addr); ok {
		return &Error{Field: "dnat", Value: value, Reason: "there is an address of this family already, " + other.String()}
	}
	d.at.DNAT = append(d.at.DNAT, addr)
	return nil
}

// sameFamily is the address of a list that is of the same family as another.
func sameFamily(all []netip.Addr, like netip.Addr) (netip.Addr, bool) {
	for _, a := range all {
		if a.Is4() == like.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (d *draft) setDefaultRoute(value string) *Error {
	switch value {
	case "true", "false":
		d.at.DefaultRoute = DefaultRoute{Set: true, Want: value == "true"}
		return nil
	}
	metric, ok := number(value, 1, maxMetric)
	if !ok {
		return &Error{Field: "default-route", Value: value, Reason: "this is true, false or a priority from 1 on"}
	}
	d.at.DefaultRoute = DefaultRoute{Set: true, Want: true, Metric: metric}
	return nil
}

func (d *draft) addRoute(value string) *Error {
	r, e := parseRoute(value)
	if e != nil {
		return e
	}
	for _, other := range d.at.Routes {
		// The kernel tells routes apart by these, for IPv4; a second one would be refused with EEXIST.
		if other.Dst == r.Dst && other.Metric == r.Metric && other.Table == r.Table {
			return &Error{Field: "route", Value: value, Reason: "there is a route to it with the same metric already"}
		}
	}
	if len(d.at.Routes) == MaxRoutes {
		return &Error{Field: "route", Value: value, Reason: fmt.Sprintf("an attachment has at most %d routes", MaxRoutes)}
	}
	d.at.Routes = append(d.at.Routes, r)
	return nil
}

func (d *draft) addSysctl(value string) *Error {
	s, e := parseSysctl(value)
	switch {
	case e != nil:
		return e
	case slices.ContainsFunc(d.at.Sysctls, func(o Sysctl) bool { return o.Key == s.Key }):
		return &Error{Field: "sysctl", Value: value, Reason: "this key is there already"}
	case len(d.at.Sysctls) == MaxSysctls:
		return &Error{Field: "sysctl", Value: value, Reason: fmt.Sprintf("an attachment has at most %d sysctls", MaxSysctls)}
	}
	d.at.Sysctls = append(d.at.Sysctls, s)
	return nil
}

// together checks what single fields cannot know of each other.
func (d *draft) together() {
	if slices.Contains(d.seen, "driver") {
		link := d.link
		d.at.Link = &link
		d.spelledOut()
	} else {
		d.named()
	}
	v6 := slices.ContainsFunc(d.at.IPs, func(a Address) bool { return a.Addr.Is6() })
	if d.at.MTU > 0 && d.at.MTU < 1280 && v6 {
		d.fail(&Error{
			Field: "mtu", Value: strconv.Itoa(d.at.MTU),
			Reason: "an interface with an IPv6 address has an MTU of at least 1280 (RFC 8200 section 5)",
		})
	}
	for _, gw := range d.at.Gateways {
		if slices.ContainsFunc(d.at.IPs, func(a Address) bool { return a.Addr == gw }) {
			d.fail(&Error{Field: "gateway", Value: gw.String(), Reason: "this is the container's own address too"})
		}
	}
}

// named checks an attachment that leaves the driver's options to a network of the policy.
func (d *draft) named() {
	for _, name := range d.seen {
		if slices.ContainsFunc(Fields(), func(f Field) bool { return f.Name == name && f.SpellOut }) {
			d.fail(&Error{
				Field: name, Reason: "this goes only with driver=…; a network of the policy has its own",
			})
		}
	}
	if d.at.Network == "" && len(d.errs) == 0 {
		d.fail(&Error{
			Reason: "the attachment names no network", hint: "put the name of one in front, or spell it out with driver=…",
		})
	}
}
