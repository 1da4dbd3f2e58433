// Package plan decides what an attach does: attachments, facts and addresses come in, a [Plan] goes out. A plan is a
// value, the same for the same input, and is made without touching the kernel. The steps of a plan are also its
// journal: what undoes them is computed from them alone, see [Undo].
package plan

import (
	"net/netip"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Group marks the links that lanhook shares among containers, such as bridges: the kernel sets it in the message that
// makes the link (IFLA_GROUP), so there is no moment at which such a link bears no mark. 0x6c68 is "lh".
const Group = 0x6c68

// Link is what a plan needs to know of one host link.
type Link struct {
	Index int    `json:"index"`
	Name  string `json:"name"`
	Kind  string `json:"kind,omitempty"`
	MAC   MAC    `json:"mac,omitempty"`
	MTU   int    `json:"mtu"`
	Up    bool   `json:"up"`
	// MasterKind is the kind of the link it is a port of, "" for none.
	MasterKind string `json:"master_kind,omitempty"`
	// Wireless is true for an 802.11 station, which carries no MAC address but its own.
	Wireless bool `json:"wireless,omitempty"`
	// Loopback is true for lo.
	Loopback bool `json:"loopback,omitempty"`
	// Group is IFLA_GROUP; [Group] says that lanhook made it.
	Group uint32 `json:"group,omitempty"`
	// Addresses are the host's own on this link.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Base is the link below all VLAN tags, "" for this one itself; Tags are those from there to this one, the outermost first.
	Base string       `json:"base,omitempty"`
	Tags []policy.Tag `json:"tags,omitempty"`
	// Subs are the sub-interfaces from Base up to this one that are lanhook's or are missing, the lowest first. With a missing
	// one, Index is 0, and MTU, MAC and Up are those that it will have.
	Subs []Sub `json:"subs,omitempty"`
	// BondMode is a bond's mode by its number (linux/if_bonding.h), -1 for what is no bond.
	BondMode int `json:"bond_mode"`
	// Master is the index of the link it is a port of, 0 for none.
	Master int `json:"master,omitempty"`
	// FiltersVLANs is true for a bridge that filters VLANs, DefaultVLAN the one that such a bridge gives its ports by itself, 0
	// for none.
	FiltersVLANs bool `json:"filters_vlans,omitempty"`
	DefaultVLAN  int  `json:"default_vlan,omitempty"`
	// Uplink is the name of the uplink for which a bridge of lanhook's was made, "" for none, and as long as it is down.
	Uplink string `json:"uplink,omitempty"`
	// VLANs are those of a bridge's port that have a tag there, Above the sub-interfaces of the host that hang on the link.
	// Both are looked up for uplinks only.
	VLANs []policy.VLANRange `json:"vlans,omitempty"`
	Above []Sub              `json:"above,omitempty"`
	// Bridged is the bridge of lanhook's that has the VLAN of a sub-interface which is missing, by an uplink below that: the
	// kernel would take it from there. It is "" for none.
	Bridged string `json:"bridged,omitempty"`
	// Localnet is true when what is sent from 127.0.0.0/8 may leave by it (route_localnet).
	Localnet bool `json:"localnet,omitempty"`
}

// Sub is a VLAN sub-interface of the host.
type Sub struct {
	Name   string     `json:"name"`
	Parent string     `json:"parent"`
	Tag    policy.Tag `json:"tag"`
}

// Facts are what the kernel says before a plan is made, by interface name of the attachment.
type Facts struct {
	// Uplink is the parent of a macvlan or the existing bridge; no entry where there is none.
	Uplink map[string]Link `json:"uplink,omitempty"`
	// Device is the host's device of an attachment of the driver host-device; no entry where there is none.
	Device map[string]FoundDevice `json:"device,omitempty"`
	// PortUplink is the link that a bridge network has as its uplink; no entry where there is none.
	PortUplink map[string]Link `json:"port_uplink,omitempty"`
	// VRF is the link of the name that a bridge network has as its VRF; no entry where there is none.
	VRF map[string]Link `json:"vrf,omitempty"`
	// Users say who has a child of the other of macvlan and ipvlan, or of ipvlan in another mode or with another flag, on the
	// parent of an attachment: in words, such as "container web has a macvlan child on it".
	Users map[string]string `json:"users,omitempty"`
	// Tagged are links of the host that have the tag which is to be a container's own, with the driver vlan.
	Tagged map[string]string `json:"tagged,omitempty"`
	// Wires are what networks of the policy send on, by their names, where only the kernel can tell: see [policy.Policy.Elsewhere].
	Wires map[string]string `json:"wires,omitempty"`
	// Taken are the names asked for that the container has already.
	Taken map[string]bool `json:"taken,omitempty"`
	// DefaultMTU is that of the link with the host's default route, 0 without one.
	DefaultMTU int `json:"default_mtu,omitempty"`
	// HasDefault says whether the container has a default route already.
	HasDefault Families `json:"has_default,omitzero"`
	// DefaultOn are the links on which these default routes lie.
	DefaultOn FamilyNames `json:"default_on,omitzero"`
	// HasAddress says whether the container has an address already that is not of its loopback or of a single link.
	HasAddress Families `json:"has_address,omitzero"`
	// NoIPv6 is true when the container's namespace has no IPv6.
	NoIPv6 bool `json:"no_ipv6,omitempty"`
	// Local says of each host address that the attachments name whether the host has it.
	Local map[netip.Addr]bool `json:"local,omitempty"`
	// Held are the gateways of bridges that are not there yet which the host has already, and the names of the links that
	// have them.
	Held map[netip.Addr]string `json:"held,omitempty"`
	// Ways are the indexes of the links by which the host sends to containers' addresses; those that are its own, and that it
	// has no way to, are left out. Asked for only where what is spelled out publishes.
	Ways map[netip.Addr]int `json:"ways,omitempty"`
	// Only are those addresses of the host, of what would go to containers as a whole, besides which it has none of the same
	// family by which it could be reached.
	Only []netip.Addr `json:"only,omitempty"`
	// Listeners are processes of the host that have a port which the attachments name, or that listen on TCP at an address
	// which would go to a container as a whole.
	Listeners []Listener `json:"listeners,omitempty"`
	// Ephemeral are the ports that the host chooses from for its own connections, Reserved those of them that it does not
	// take; asked for only where ports are published.
	Ephemeral Ports   `json:"ephemeral,omitzero"`
	Reserved  []Ports `json:"reserved,omitempty"`
	// NotForwarding are those links of the host by which IPv4 packets for containers come in, and that do not forward them.
	// NotForwarding6 is true when the host does not forward IPv6. Asked for only where a bridge network has a way out.
	NotForwarding  []string `json:"not_forwarding,omitempty"`
	NotForwarding6 bool     `json:"not_forwarding6,omitempty"`
}

// Ports is a range of port numbers, both ends included.
type Ports struct {
	From uint16 `json:"from"`
	To   uint16 `json:"to"`
}

// Has says whether a port is in the range. Nobody has port 0, which is in the zero range only.
func (r Ports) Has(port uint16) bool { return r.From <= port && port <= r.To && port != 0 }

// Listener is a process that has a port of the host.
type Listener struct {
	Protocol request.Protocol `json:"protocol"`
	// Addr is the unspecified address for all of the host's.
	Addr netip.Addr `json:"addr"`
	Port uint16     `json:"port"`
	// PID and Name are of the process, 0 and "" when it is not known.
	PID  int    `json:"pid,omitempty"`
	Name string `json:"name,omitempty"`
}

// Families says something of IPv4 and of IPv6.
type Families struct {
	V4 bool `json:"v4,omitempty"`
	V6 bool `json:"v6,omitempty"`
}

// FamilyNames are names of links for IPv4 and for IPv6, "" for none.
type FamilyNames struct {
	V4 string `json:"v4,omitempty"`
	V6 string `json:"v6,omitempty"`
}

// Choice is what was chosen for one attachment: by the container, or by the store within its transaction.
type Choice struct {
	Addresses []netip.Prefix
	// MAC is nil for macvlan in passthru mode, which has its parent's.
	MAC MAC
	// Ports are the first host ports of the attachment's Publish, by the same index.
	Ports []uint16
	// Host are the host's own addresses on a network with host-access, one a subnet.
	Host []netip.Addr
	// HostIsNew says that no container is attached with Host yet, so that others may be chosen.
	HostIsNew bool
}

// Input is all that a plan is made from.
type Input struct {
	// Record is the record's id, from which the names of the container's links are made: 10 characters of [a-z2-7].
	Record string
	// HostID goes into the MAC addresses of bridges.
	HostID string
	// Attachments, and Choices by the same index.
	Attachments []policy.Attachment
	Choices     []Choice
	Facts       Facts
	// Others are the interfaces that other records of the namespace have made.
	Others []Other
	// OwnReserved are the ports of Facts.Reserved that lanhook has reserved, for this or another record.
	OwnReserved []uint16
}

// Plan is what an attach does, in order, and what the container gets by it.
type Plan struct {
	Record     string
	Steps      Steps
	Interfaces []Interface
	// Warnings are what will not work as somebody may expect.
	Warnings []error
}

// Interface is one interface as the container gets it.
type Interface struct {
	Name      string         `json:"name"`
	Network   string         `json:"network,omitempty"`
	Driver    string         `json:"driver"`
	Uplink    string         `json:"uplink"`
	MAC       MAC            `json:"mac"`
	MTU       int            `json:"mtu"`
	Addresses []netip.Prefix `json:"addresses"`
	// Gateways are those of its default routes, but for such as come behind another interface's.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	Rule     string       `json:"rule,omitempty"`
	// Publish are host ports that go to this interface, DNAT whole host addresses.
	Publish []Publish     `json:"publish,omitempty"`
	DNAT    []Translation `json:"dnat,omitempty"`
	// Host are the addresses at which it reaches the host by a link beside its own.
	Host []netip.Addr `json:"host,omitempty"`
	// IPv6 says that its IPv6 addresses come from routers, or that it has none at all; the zero value for what is usual.
	IPv6 policy.IPv6 `json:"ipv6,omitempty"`
	// Learned are the addresses that routers had given by the end of the attach.
	Learned []netip.Prefix `json:"learned,omitempty"`
	// Parent is how the network selects its parent where that is not by a name: one that is made anew may have another. It is
	// the zero value too where the link hangs on a sub-interface of the administrator's, of which only the name is known.
	Parent policy.Parent `json:"-"`
}
