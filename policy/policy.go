// Package policy holds what the administrator allows: TOML files come in, a [Policy] goes out, and a [Policy] decides
// a request into attachments or refuses it by naming the rule.
//
// It fails closed: files that cannot be read, parsed or understood give no policy at all, and a request that no rule
// matches is refused.
package policy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/policy/request"
)

// Policy is a whole, valid policy. It is read-only once made.
type Policy struct {
	// Files are the files it was read from, in order.
	Files    []string
	Networks map[string]*Network
	Rules    []Rule
	warnings []Warning
}

// Driver is the kind of link that a network gives.
type Driver uint8

// The drivers.
const (
	Macvlan Driver = iota + 1
	Bridge
	IPVLAN
	// VLAN moves a VLAN sub-interface itself into the container.
	VLAN
	// HostDevice moves a device of the host into the container.
	HostDevice
)

// Mode is a macvlan or ipvlan mode, as in ip-link(8). Networks of other drivers have none.
type Mode uint8

// The modes: five of macvlan, of which ModeBridge is the default, and three of ipvlan, of which ModeL2 is.
const (
	ModeBridge Mode = iota + 1
	ModePrivate
	ModeVEPA
	ModePassthru
	ModeSource
	ModeL2
	ModeL3
	ModeL3S
)

// Flag says which containers of an ipvlan parent reach each other, as in ip-link(8).
type Flag uint8

// The flags of ipvlan. FlagBridge is the default.
const (
	FlagBridge Flag = iota + 1
	FlagPrivate
	FlagVEPA
)

// VLANProtocol is the kind of a VLAN tag.
type VLANProtocol uint8

// The kinds of VLAN tags. Dot1Q is the default, but for the outer of two tags, which is Dot1AD.
const (
	// Dot1Q is a customer's tag, EtherType 0x8100 (IEEE 802.1Q).
	Dot1Q VLANProtocol = iota + 1
	// Dot1AD is a provider's tag, EtherType 0x88a8 (IEEE 802.1ad).
	Dot1AD
)

// Tag is one VLAN tag.
type Tag struct {
	// ID is 1 to 4094.
	ID       int
	Protocol VLANProtocol
}

// MACPolicy says where the MAC address of an interface comes from when the container asks for none.
type MACPolicy uint8

// The MAC policies. MACStable is the default.
const (
	// MACStable derives it from host id, network and workload name.
	MACStable MACPolicy = iota + 1
	// MACRandom takes another one each time.
	MACRandom
	// MACFromIP writes the IPv4 address behind 02:42, as Docker did.
	MACFromIP
	// MACKeep leaves the address that the link has: of the driver vlan its parent's, of host-device its own. It is the default
	// of both, and what ipvlan has, whose links have their parent's address and no other.
	MACKeep
)

// IPAM is how addresses are chosen.
type IPAM uint8

// The ways to choose addresses. IPAMLocal is the default of a network with subnets, IPAMNone of one without.
const (
	// IPAMLocal picks free addresses from the subnets' ranges.
	IPAMLocal IPAM = iota + 1
	// IPAMStatic uses only addresses that the container asks for.
	IPAMStatic
	// IPAMNone gives no address.
	IPAMNone
)

// Network is one [network.NAME] of the policy, or an attachment spelled out under a rule that allows it.
type Network struct {
	// Name is "" for an attachment that was spelled out.
	Name   string
	Driver Driver
	Mode   Mode
	Parent Parent
	// Flag is set for the driver ipvlan only.
	Flag Flag
	// VLAN are the tags of the parent's sub-interface on which the driver macvlan, ipvlan or vlan works, the outermost first, two
	// at most; none for the parent itself.
	VLAN []Tag
	// Device is the device that the driver host-device moves.
	Device Device
	// ParentWait is how long an attach waits for the parent to appear and, with ParentUp, be up.
	ParentWait time.Duration
	// ParentUp refuses a parent that is down. It is set where the policy says for how long to wait, and for the driver vlan, whose
	// link cannot be brought up then (net/8021q/vlan_dev.c, vlan_dev_open).
	ParentUp bool
	// Bridge is the bridge's name, set for the driver bridge only.
	Bridge string
	// Uplink is the host's link that is a port of a bridge of lanhook's; no field of it is set for none. A name such as
	// "eth0.50" is a sub-interface, which is made when it is missing.
	Uplink Parent
	// Access is the VLAN of a container's port on a bridge without a tag, 0 for none; Trunk are those with one, sorted, without
	// overlap and without Access. With either of them the bridge filters VLANs.
	Access int
	Trunk  []VLANRange
	// DefaultVLAN leaves VLAN 1 on ports and uplink, which the kernel gives them; only where the bridge filters VLANs.
	DefaultVLAN bool
	// VRF is the VRF that the bridge is a port of, "" for none. It has to be there.
	VRF string
	// SourceRouting answers by the interface that was asked, where a container has several.
	SourceRouting bool
	// MTU is in bytes; 0 means the parent's, or for a bridge that of the host's default route.
	MTU     int
	MAC     MACPolicy
	IPAM    IPAM
	Subnets []Subnet
	// Reserve are addresses that workloads have by their names, in the order of these.
	Reserve  []Reservation
	Internal bool
	// Conflict is what becomes of addresses that others have.
	Conflict Conflict
	// Announce tells neighbours of addresses.
	Announce bool
	// IPv6 is the zero value for an attachment that was spelled out, see [Attachment.IPv6].
	IPv6 IPv6
	// SLAACWait is how long an attach waits for a router's address.
	SLAACWait time.Duration
	// DefaultRoute is false when the network never gives one.
	DefaultRoute bool
	// Metric is that of the default routes, 0 for the kernel's default.
	Metric  int
	Routes  []request.Route
	Sysctls []request.Sysctl
	// Sources are the MAC addresses that a macvlan in source mode accepts.
	Sources []net.HardwareAddr
	// BroadcastQueue is macvlan's bcqueuelen, 0 for the kernel's default.
	BroadcastQueue int
	// TxQueueLen is 0 for the kernel's default.
	TxQueueLen  int
	Promiscuous bool
	AllMulti    bool
	// Hairpin lets a bridge port send a frame back where it came from.
	Hairpin bool
	// Firewall is false when lanhook makes no rules for the network at all, but for those of SpoofCheck and Rates. It is false
	// for every driver but bridge.
	Firewall bool
	// GatewayMode is set for the driver bridge only.
	GatewayMode GatewayMode
	// ICC lets containers of the network reach each other.
	ICC bool
	// Isolate keeps the network apart from the other bridge networks. Traffic between two passes where neither has it.
	Isolate bool
	// Bind are the host's addresses for published ports that name none, at most one of each family; none: all of the host's.
	Bind []netip.Addr
	// DNAT are host addresses that are a container's as a whole, at most one of each family.
	DNAT []netip.Addr
	// SpoofCheck drops what the container sends from other addresses than its own.
	SpoofCheck bool
	// Rates bound each interface.
	Rates Rates
	// HostAccess gives the host a link of its own beside the containers', which is of the same driver and mode, and routes to them.
	HostAccess bool
	// Names lets its containers find each other by name, through their hosts files.
	Names bool
	// DNS and DNSSearch are for the resolv.conf of its containers that ask for none themselves; none: the host's.
	DNS       []netip.Addr
	DNSSearch []string
}

// Parent selects the host's link that children hang on. Exactly one field is set, none for a bridge.
type Parent struct {
	Name         string
	MAC          net.HardwareAddr
	AltName      string
	DefaultRoute bool
}

// Device selects the host's device that is moved into the container. Exactly one field is set, none for other drivers.
type Device struct {
	Name string
	// MAC is the permanent address where the device has one.
	MAC net.HardwareAddr
	// PCI is its address on that bus, such as "0000:03:00.0".
	PCI string
}

// Subnet is one address range of a network.
type Subnet struct {
	Prefix netip.Prefix
	// Gateway is the zero Addr when there is none.
	Gateway netip.Addr
	// Ranges are handed out by IPAMLocal; the whole subnet when empty. Each lies inside Prefix.
	Ranges []ipam.Range
	// Exclude is never handed out, nor given when asked for.
	Exclude []ipam.Range
	// Masquerade hides what leaves the network behind an address of the host: SNAT where it is valid, otherwise that of
	// the link it leaves by.
	Masquerade bool
	SNAT       netip.Addr
	// HostAddress is the host's own by host-access, which nobody else gets; the zero Addr where the policy names none.
	HostAddress netip.Addr
}

// GatewayMode is what the host is for the containers of a bridge network, in Docker's words.
type GatewayMode uint8

// The gateway modes. GatewayNAT is the default.
const (
	// GatewayNAT lets containers out, and in only what is published.
	GatewayNAT GatewayMode = iota + 1
	// GatewayRouted is for networks that others have routes to: what is published can be reached at the container's own
	// address, without translation.
	GatewayRouted
	// GatewayIsolated gives the host no address on the bridge; nothing goes in or out.
	GatewayIsolated
)

// Rates bound what an interface carries.
type Rates struct {
	// In is towards the container, Out away from it.
	In, Out Rate
}

// Rate is a bound, the zero value for none.
type Rate struct {
	// Bits are bits a second.
	Bits uint64
	// Burst is in bytes. A rate always has one.
	Burst uint64
}

// Publish is host ports, of one address family, that go to as many ports of the container.
type Publish struct {
	Protocol request.Protocol
	// Addr is the host's address, the unspecified one for all of its family.
	Addr netip.Addr
	// Host is the first of the host's ports; 0 for free ones that are chosen from Free.
	Host uint16
	// Container is the first of the container's ports.
	Container uint16
	// Count is how many ports there are, 1 at least.
	Count int
	// Free are the ranges that the rule grants, set where Host is 0.
	Free []PortRange
	// Asked is the place in the request. Entries with the same place and without a host port get the same one.
	Asked int
}

// Rule is one [[rule]]: whom it matches and what it grants.
type Rule struct {
	// Name is for messages; "#3" when the file gives none.
	Name  string
	Match Match
	// Networks are globs of network names.
	Networks []string
	// IP are the addresses that may be asked for; IPAny means any in the network's subnets.
	IP    []netip.Prefix
	IPAny bool
	// IPSingle are those of IP that are written as one address each. Only these may be a gateway's.
	IPSingle []netip.Addr
	// MAC are globs such as "02:42:*"; MACAny means any.
	MAC    []string
	MACAny bool
	// Names are globs of the names of workloads that may have what networks reserve for them, nil for the names that engines
	// give themselves.
	Names []string
	// Publish are the port ranges that may be published.
	Publish []PortRange
	// DNAT are the host addresses that may be asked for as a whole.
	DNAT []netip.Prefix
	// Rates bound each interface, beside what its network says; the lower of both holds.
	Rates Rates
	// Sysctl are globs of the keys that may be asked for, with IFNAME as written.
	Sysctl []string
	// SLAAC allows ipv6=slaac on networks that do not say so.
	SLAAC bool
	// MaxInterfaces is 0 for no limit but the built-in one.
	MaxInterfaces int
	NetNS         []string
	SpellOut      *SpellOut
}

// Match are the conditions of a rule. All that are set must hold; each is a list of globs of which one must match.
type Match struct {
	Annotations map[string][]string
	Engine      []string
	Namespace   []string
	Bundle      []string
	CGroup      []string
	ID          []string
}

// PortRange is a range of host ports that a rule allows to publish.
type PortRange struct {
	From, To uint16
	Protocol request.Protocol
}

// VLANRange is a range of VLAN ids, both ends included.
type VLANRange struct{ From, To int }

// String is the range as it stands in the policy: "10", "20-29".
func (r VLANRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// Subject is who asks: what the engine or the kernel says of the container. Of its fields only Annotations can be
// forged by whoever starts the container, and of those not the ones that an engine sets itself.
type Subject struct {
	ID          string
	Annotations map[string]string
	// Engine and Namespace come from where the bundle lies; "" when that tells nothing.
	Engine    string
	Namespace string
	Bundle    string
	// CGroup is the container's cgroup path, "" when unknown.
	CGroup string
	// Name is the workload's name, and Named says that its engine gave it, and not whoever wrote annotations.
	Name  string
	Named bool
}

// Attachment is one interface that the policy allows, with all that the container asked for merged in. Only
// [Policy.Decide] makes one.
type Attachment struct {
	IfName string
	// Network is never nil and is not to be changed.
	Network *Network
	// Rule is the name of the rule that allowed it.
	Rule string
	// IPs are the addresses asked for, each in a subnet of the network; the rest is picked.
	IPs []netip.Prefix
	// Reserved are the addresses that the network keeps for the workload's name, which it has where it asks for none.
	Reserved []netip.Prefix
	// Withheld says that the network keeps addresses for that name, and that the rule does not let the container have it.
	Withheld bool
	// MAC is nil when none was asked for.
	MAC net.HardwareAddr
	// MTU is the one asked for, 0 for the network's.
	MTU int
	// Gateways replace those of the subnets of their family when not empty.
	Gateways     []netip.Addr
	DefaultRoute request.DefaultRoute
	// Routes are the network's, then the container's.
	Routes []request.Route
	// Sysctls are the network's, then the container's.
	Sysctls []request.Sysctl
	// IPv6 is the mode asked for, or the network's; never the zero value.
	IPv6 IPv6
	// Publish are the ports published to this interface, in the order of the request.
	Publish []Publish
	// DNAT are the host addresses that are this interface's as a whole, at most one of each family.
	DNAT []netip.Addr
	// Rates are those of network and rule together.
	Rates Rates
}
