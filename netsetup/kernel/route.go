//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
)

func (k *Kernel) addRoute(s plan.AddRoute) error {
	ns, err := k.namespace()
	if err != nil {
		return err
	}
	var p port
	if s.If != "" {
		p, err = k.port(ns, s.If)
		if errors.Is(err, unix.ENODEV) && plan.OwnTable(s.Route.Table) {
			return nil // a link of another record, which ended meanwhile; our own one was there a step before
		}
		if err != nil {
			return err
		}
	}
	parts, err := routeParts(s.Route, p.index)
	if err != nil {
		return err
	}
	err = ns.conn.change(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
	if err == nil {
		return nil
	}
	e := &Error{Op: "add " + routeText(s.Route, s.If), Err: err}
	switch {
	case errors.Is(err, unix.EEXIST):
		e.Cause = "the container has a route to this destination already"
		e.hint = "let one network own the default route (default-route=false on the other), or give a metric"
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		e.Cause = "no link of the container reaches the gateway"
		e.hint = "name one in a subnet of which the container has an address; after an IPv6 router's word alone that is its link-local one"
	case errors.Is(err, unix.EACCES) && s.Route.Dst.Addr().Is6():
		e.Cause = "IPv6 is disabled on this link"
	default:
		return failed(err, "%s", e.Op)
	}
	return e
}

// protocol marks our routes that do not go with a link of ours (rtnetlink(7), rtm_protocol), so that undoing never
// removes a route of somebody else to the same destination: 0x6c, "l", is nobody's in iproute2's list of protocols.
const protocol = 0x6c

// delRoute removes exactly this route. One with the same destination that somebody else made stays: ours bears
// protocol, for which the kernel looks.
func (k *Kernel) delRoute(s plan.DelRoute) error {
	parts, err := routeParts(s.Route, 0)
	if err != nil {
		return err
	}
	inside := k.inside
	if plan.OwnTable(s.Route.Table) {
		inside = k.insideUsed
	}
	return inside("remove "+routeText(s.Route, ""), func(ns *Namespace) error { return ns.conn.removeRoute(parts) })
}

func (c *conn) removeRoute(parts []nl.NetlinkRequestData) error {
	err := c.change(unix.RTM_DELROUTE, 0, parts...)
	// ENETUNREACH and ENODEV are what IPv6 says when the gateway's link is gone, and the route with it.
	for _, gone := range []unix.Errno{unix.ESRCH, unix.ENOENT, unix.ENETUNREACH, unix.ENODEV} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// ipv6Metric is what the kernel makes of no metric for IPv6 (IP6_RT_PRIO_USER). It is said aloud so that the removal
// cannot take a route with another metric.
const ipv6Metric = 1024

// routeParts is a route as rtnetlink has it. index is that of its link, 0 where the kernel is to find it by the
// gateway.
func routeParts(r request.Route, index int) ([]nl.NetlinkRequestData, error) {
	v6 := !r.Dst.Addr().Is4()
	if r.Via.IsValid() && r.Via.Is4() == v6 || r.Src.IsValid() && r.Src.Is4() == v6 {
		return nil, fmt.Errorf("make %s: destination, gateway and source must be of one family", routeText(r, ""))
	}
	header := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family:   family(r.Dst.Addr()),
		Dst_len:  uint8(r.Dst.Bits()),  //nolint:gosec // G115: 0 to 128
		Scope:    uint8(scopeOf(r)),    //nolint:gosec // G115: the reader of requests allows 0 to 255
		Table:    unix.RT_TABLE_UNSPEC, // RTA_TABLE has it, with all 32 bits.
		Protocol: unix.RTPROT_STATIC,
		Type:     kernelRouteType(r.Type),
	}}
	if index == 0 || plan.OwnTable(r.Table) {
		header.Protocol = protocol
	}
	if r.OnLink {
		header.Flags = unix.RTNH_F_ONLINK
	}
	table := r.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	metric := r.Metric
	if metric == 0 && v6 {
		metric = ipv6Metric
	}
	parts := []nl.NetlinkRequestData{header, number(unix.RTA_TABLE, table)}
	if r.Dst.Bits() > 0 {
		parts = append(parts, nl.NewRtAttr(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice()))
	}
	if r.Via.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	}
	if r.Src.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.RTA_PREFSRC, r.Src.AsSlice()))
	}
	if metric != 0 {
		parts = append(parts, number(unix.RTA_PRIORITY, metric))
	}
	if index != 0 {
		parts = append(parts, number(unix.RTA_OIF, index))
	}
	return parts, nil
}

// scopeOf is the scope of a route that names none, as ip-route(8) has it: link where there is no gateway, else global.
func scopeOf(r request.Route) int {
	if r.Scope != 0 || r.Type != request.Unicast || r.Via.IsValid() || !r.Dst.Addr().Is4() {
		return r.Scope
	}
	return unix.RT_SCOPE_LINK
}

func routeText(r request.Route, link string) string {
	var b strings.Builder
	b.WriteString("route ")
	switch r.Type {
	case request.Blackhole:
		b.WriteString("blackhole ")
	case request.Unreachable:
		b.WriteString("unreachable ")
	case request.Prohibit:
		b.WriteString("prohibit ")
	case request.Unicast:
	}
	b.WriteString(r.Dst.String())
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	if link != "" {
		b.WriteString(" on " + link)
	}
	if r.Table != 0 {
		b.WriteString(" in table " + itoa(r.Table))
	}
	return b.String()
}
