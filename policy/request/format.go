package request

import (
	"strconv"
	"strings"
)

// String is the attachment as the value of its annotation, in the CSV form. Parse reads it back to the same attachment.
func (a Attachment) String() string {
	var fields []string
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, quoteField(name+"="+value))
		}
	}
	if a.Network != "" {
		fields = append(fields, a.Network)
	}
	if a.Link != nil {
		add("driver", a.Link.Driver)
		add("mode", a.Link.Mode)
		add("flag", a.Link.Flag)
		add("parent", a.Link.Parent)
		add("bridge", a.Link.Bridge)
		var ids []string
		for _, id := range a.Link.VLAN {
			ids = append(ids, strconv.Itoa(id))
		}
		add("vlan", strings.Join(ids, "."))
	}
	for _, ip := range a.IPs {
		add("ip", ip.String())
	}
	add("mac", a.MAC.String())
	for _, gw := range a.Gateways {
		add("gateway", gw.String())
	}
	add("default-route", a.DefaultRoute.String())
	for _, r := range a.Routes {
		add("route", r.String())
	}
	if a.MTU != 0 {
		add("mtu", strconv.Itoa(a.MTU))
	}
	add("ipv6", a.IPv6)
	for _, addr := range a.DNAT {
		add("dnat", addr.String())
	}
	for _, s := range a.Sysctls {
		add("sysctl", s.String())
	}
	return strings.Join(fields, ",")
}

// String is the value of the field default-route, "" when it was not given.
func (d DefaultRoute) String() string {
	switch {
	case !d.Set:
		return ""
	case d.Want && d.Metric != 0:
		return strconv.Itoa(d.Metric)
	}
	return strconv.FormatBool(d.Want)
}

// quoteField writes one field of a CSV record (RFC 4180), in quotes only where that is needed.
func quoteField(s string) string {
	if strings.ContainsAny(s, `,"`) {
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return s
}
