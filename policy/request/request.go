// Package request reads what a container asks for: its io.lanhook.* annotations come in, a [Request] goes out.
//
// Annotations are hostile input. Parse caps their number and length, takes no path from them, and refuses every key
// under [Prefix] that it does not know. It decides nothing: what may be had is the policy's.
package request

import (
	"net"
	"net/netip"
	"strings"
)

// Prefix begins every annotation key of lanhook.
const Prefix = "io.lanhook."

// quoted begins a key around which a quote was left: podman 4 wants --annotation in double quotes where there is a comma
// in it, and takes them away; podman 5, ctr and Docker leave them in the key.
const quoted = `"` + Prefix

// Ours says whether a key asks lanhook for something, be it by mistake: one that begins with a quote is refused by [Parse],
// since its container would start without what it asks for.
func Ours(key string) bool { return strings.HasPrefix(key, Prefix) || strings.HasPrefix(key, quoted) }

// DefaultIfName is the interface that io.lanhook.network without a name asks for, but for [Docker].
const DefaultIfName = "eth0"

// Docker is the engine that gives each container an eth0 and a default route of its own, before the hook (to version
// 27) or after it (from 28 on), and that fails when it finds another one. There, io.lanhook.network without a name asks
// for [DockerIfName], and no attachment has the default route unless it asks for it with default-route.
const Docker = "docker"

// DockerIfName is the interface that io.lanhook.network without a name asks for with [Docker].
const DockerIfName = "lan0"

// open is what annotations leave open, and an engine decides.
type open struct {
	// ifName is the interface that io.lanhook.network without a name asks for.
	ifName string
	// noDefaultRoute says that an attachment which does not speak of the default route does not have it.
	noDefaultRoute bool
}

func openOf(engine string) open {
	if engine == Docker {
		return open{ifName: DockerIfName, noDefaultRoute: true}
	}
	return open{ifName: DefaultIfName}
}

// Request is everything that one container's annotations ask for. The zero value asks for nothing.
type Request struct {
	// Attachments are in the order in which they are made: io.lanhook.network first, then by interface name, digits
	// compared as numbers.
	Attachments []Attachment
	Publish     []Port
	// Name is the workload's stable name, "" when no annotation gives one.
	Name  string
	NetNS string
	// The rest is what only a shim can give, see [Request.ShimOnly].
	Hostname  string
	DNS       []netip.Addr
	DNSSearch []string
	DNSOption []string
	AddHost   []string
}

// Attachment is one interface that the container asks for.
type Attachment struct {
	// Key is the annotation that asked, for messages.
	Key    string
	IfName string
	// Network names a network of the policy; "" when Link spells the attachment out.
	Network string
	// Link is set when the attachment is spelled out with driver=….
	Link *Link
	// IPs are the addresses asked for. Bits is -1 where the annotation gave no prefix length.
	IPs []Address
	// MAC is nil when none is asked for.
	MAC      net.HardwareAddr
	Gateways []netip.Addr
	// DefaultRoute says whether this attachment owns the default route.
	DefaultRoute DefaultRoute
	Routes       []Route
	// MTU is in bytes, 0 when none is asked for.
	MTU     int
	Sysctls []Sysctl
	// IPv6 is static, slaac or off, "" where nothing is asked for.
	IPv6 string
	// DNAT are host addresses of which everything is to go to the container.
	DNAT []netip.Addr
}

// Link is an attachment spelled out: the driver options that a network of the policy would have given.
type Link struct {
	Driver string
	Mode   string
	// Flag is that of ipvlan.
	Flag   string
	Parent string
	Bridge string
	// VLAN are the tags outermost first, empty for none.
	VLAN []int
}

// Address is an address with the prefix length that was written, or Bits -1.
type Address struct {
	Addr netip.Addr
	Bits int
}

// DefaultRoute is what an attachment says about the default route. The zero value says nothing.
type DefaultRoute struct {
	// Set is true when the annotation has the field at all.
	Set bool
	// Want is false only for default-route=false.
	Want bool
	// Metric is the priority asked for, 0 for the network's.
	Metric int
}

// RouteType is the kind of a route, as in rtnetlink(7).
type RouteType uint8

// The route types, in the words of ip-route(8).
const (
	Unicast RouteType = iota
	Blackhole
	Unreachable
	Prohibit
)

// Route is one static route: "[blackhole|unreachable|prohibit] CIDR [via GW] [metric N] [table N] [scope N] [src IP]
// [onlink]".
type Route struct {
	Type RouteType    `json:"type,omitempty"`
	Dst  netip.Prefix `json:"dst"`
	// Via is the zero Addr for a route that is on the link.
	Via    netip.Addr `json:"via,omitzero"`
	Metric int        `json:"metric,omitempty"`
	// Table is 0 for the main table.
	Table int `json:"table,omitempty"`
	// Scope is 0 for the scope that the kernel's users give by default: link without Via, global with it.
	Scope  int        `json:"scope,omitempty"`
	Src    netip.Addr `json:"src,omitzero"`
	OnLink bool       `json:"onlink,omitempty"`
}

// Sysctl is one per-interface setting. Key is dotted and holds the word IFNAME where the interface's name stands.
type Sysctl struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Protocol is a transport protocol of a published port.
type Protocol uint8

// The protocols that can be published.
const (
	TCP Protocol = iota
	UDP
	SCTP
)

// Port is one published range: Count host ports from Host on go to Count container ports from Container on.
type Port struct {
	// Addr is the host's address, the zero Addr when none is given.
	Addr netip.Addr
	// Host is 0 when a free port is to be chosen.
	Host      uint16
	Container uint16
	Count     int
	Protocol  Protocol
}
