package plan

import (
	"net/netip"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Step is one change to the kernel. The set is closed: every user switches over all of them.
//
// The first group is what an attach does, the second what undoes it.
type Step interface {
	// String is the step as one readable line, close to what ip(8) would be told.
	String() string
	// fields visits the step's fields. It returns the step, with what was read.
	fields(c *Codec) Step
}

// Side is the namespace in which a step looks for its link.
type Side uint8

// The two sides.
const (
	Host Side = iota
	Container
)

type (
	// EnsureBridge makes a bridge that containers share, up, with MAC, MTU, addresses and [Group], or uses as it is a
	// bridge that is there already without our mark. Of a bridge with our mark it ensures the addresses.
	EnsureBridge struct {
		Name string
		MAC  MAC
		MTU  int
		// Addresses are the gateways that the host holds on it.
		Addresses []netip.Prefix
		// Without are addresses that are taken from it, where it is lanhook's: gateways of a network that has become isolated.
		Without []netip.Prefix
		// AsIs leaves a bridge that is there as it is, even with our mark: an attachment that a container spelled out
		// changes nothing for others.
		AsIs bool
		// Forward turns on forwarding of the families of Addresses for this bridge; without it, it is turned off.
		Forward bool
		// Localnet lets what the host sends from 127.0.0.0/8 reach published ports by this bridge (route_localnet). It is
		// never turned off again while there is the bridge.
		Localnet bool
		// Filtered says that rules keep the bridge apart, see [Rules].
		Filtered bool
		// VLANs says that the bridge filters VLANs (vlan_filtering). One of lanhook's gives its ports no VLAN by itself
		// (vlan_default_pvid 0). One that is there without our mark is not switched over.
		VLANs bool
		// VRF is the VRF that a bridge of lanhook's is a port of, "" for none.
		VRF string
		// Uplink is the link that is going to be a port of a bridge of lanhook's, see [EnsureUplink], "" for none. The bridge
		// bears its name from the moment on when it is up.
		Uplink string
	}

	// EnsureForwarding turns on forwarding on links by which answers come in, and for IPv6 as a whole, since the kernel
	// has no other switch there. It is not undone: by then others may count on it.
	EnsureForwarding struct {
		// Links are those that are to forward IPv4.
		Links []string
		V6    bool
	}

	// AddVeth makes a pair: Name on the host, a port of Bridge and up, Peer in the container, down. EEXIST means that
	// Name is somebody else's and that the step has not begun.
	AddVeth struct {
		Name    string
		MAC     MAC
		Bridge  string
		Hairpin bool
		// Isolated keeps the port from reaching other isolated ports of the bridge (IFLA_BRPORT_ISOLATED).
		Isolated bool
		// MTU is the host end's: the bridge's own, since the kernel lowers a bridge to its smallest port.
		MTU int
		// VLANs are those of the port, for a bridge that filters them. No other VLAN is left on it.
		VLANs   PortVLANs
		Peer    string
		PeerMAC MAC
		PeerMTU int
	}

	// AddMacvlan makes a macvlan child of Parent directly in the container's namespace, down, named Name there. EEXIST
	// means that Name is somebody else's and that the step has not begun.
	AddMacvlan struct {
		Name string
		// Parent is for people; the kernel is told ParentIndex.
		Parent      string
		ParentIndex int
		Mode        policy.Mode
		// Index is the link's own in the container, known once it is made: nothing that the container does changes it.
		Index int
		// MAC is the parent's own in passthru mode.
		MAC            MAC
		MTU            int
		BroadcastQueue int
		Sources        []MAC
	}

	// AddRules adds the firewall's entries for one record, in one transaction. The entries are idempotent.
	AddRules struct {
		// Record is the comment of each entry.
		Record string
		Of     []Rules
	}

	// ReservePorts keeps ports of the host from being chosen for its own connections (ip_local_reserved_ports).
	ReservePorts struct{ Ports []uint16 }

	// SetRate bounds what leaves by a link, with a queue (sch_tbf) that stays when the link gets another name. If is its
	// own name, so that the step for the container's link stands before [SetLink].
	SetRate struct {
		Side Side
		If   string
		Rate policy.Rate
	}

	// AddGuard makes a table of the container's own namespace that drops what its link If sends from foreign addresses, and
	// what it receives above a rate. It is for links that the host does not see.
	AddGuard struct {
		// Table is the table's name: the link's own, which no other link of a shared namespace has.
		Table string
		// If is the link's name by then, the one asked for. The step stands after the [SetLink] that gives it: since Linux
		// 6.16 a chain lets go of a link that gets another name (net/netfilter/nft_chain_filter.c, nft_netdev_event).
		If string
		// Spoof drops what does not come from MAC and, where there are any, Addresses.
		Spoof     bool
		MAC       MAC
		Addresses []netip.Addr
		// SharedMAC says that MAC is the parent's too: the link-local address that is made of it is not the container's.
		SharedMAC bool
		// In is the rate of what is received.
		In policy.Rate
	}

	// SetSysctls writes per-interface settings for the container's link If, in order. IFNAME in a key stands for If.
	SetSysctls struct {
		If     string
		Values []request.Sysctl
	}

	// AddAddress puts an address on the container's link If. An IPv6 address is used at once, without waiting for
	// duplicate address detection (IFA_F_NODAD).
	AddAddress struct {
		If      string
		Address netip.Prefix
	}

	// SetLink gives the container's link From its name and alias and brings it up, in one message.
	SetLink struct {
		From        string
		Name        string
		Alias       string
		TxQueueLen  int
		Promiscuous bool
		AllMulti    bool
	}

	// AddRoute adds a route in the container. If is its link, "" for one of another link (found by its gateway) or of
	// none (blackhole and its like). One that is not on a link of this record needs an undo of its own. One in a table of
	// lanhook's ([OwnTable]) on a link of another record is not added when that link is gone.
	AddRoute struct {
		If    string
		Route request.Route
	}
)

type (
	// DelLink removes a link of ours, and succeeds when it is not there. It is known by Name and MAC, or, once it has
	// been given its name in the container, by IfName and Alias, or by Index: by then the container may have changed
	// all the rest. Any other link of one of these names is somebody else's and stays.
	DelLink struct {
		Side   Side
		Name   string
		IfName string
		Alias  string
		// Index is 0 where it is not known.
		Index int
		Kind  string
		MAC   MAC
	}

	// DelRoute removes a route that does not go with a link of ours, and succeeds when it is not there.
	DelRoute struct {
		Route request.Route
	}

	// ReleaseBridge removes a bridge that bears [Group] and has no port left, and what rules say of it. Whether another
	// record still names it is the caller's to know.
	ReleaseBridge struct {
		Name string
		// Filtered says that there are rules for it.
		Filtered bool
		// Uplink is a port that does not count, "" for none: it becomes free with the bridge.
		Uplink string
	}

	// DelRules takes back what AddRules added, and forgets the connections that went by it.
	DelRules struct {
		Record string
		Of     []Rules
	}

	// ReleaseRules removes lanhook's tables, but for what the administrator has put there. Whether a record still needs
	// them is the caller's to know.
	ReleaseRules struct{}

	// ReleasePorts takes back what ReservePorts did. Whether another record still needs a port is the caller's to know.
	ReleasePorts struct{ Ports []uint16 }

	// DelGuard removes the table of AddGuard, and succeeds when it is not there.
	DelGuard struct{ Table string }
)

// Rules are the firewall's entries for one interface, as plain values: package firewall knows where each goes.
type Rules struct {
	// Bridge is the bridge's name and Port the host end's.
	Bridge string
	Port   string
	// Gate says what may pass between the bridge and everything else, [Open] for a bridge that is not lanhook's.
	Gate Gate
	// ICC lets what is routed or filtered pass from the bridge to itself.
	ICC bool
	// Isolate is false where what comes from, or goes to, other bridges without it may pass.
	Isolate bool
	// Addresses are the container's on this interface.
	Addresses []netip.Addr
	// Masquerade are those of them that are hidden behind the address of the link by which they leave.
	Masquerade []netip.Addr
	// SNAT are those that are hidden behind another address.
	SNAT []Translation
	// DNAT are host addresses of which everything goes to the container.
	DNAT    []Translation
	Publish []Publish
	// Detour are those of Addresses from which the answer to what is published would take another way than by Bridge. What
	// is translated to them is hidden behind the host's address on Bridge, so that it is answered there.
	Detour []netip.Addr
	// Unbound are those for which that holds for all protocols but TCP, see [AddRouteRule].
	Unbound []netip.Addr
	// Spoof drops what Port receives from other addresses than MAC and, where there are any, Addresses; and router
	// advertisements.
	Spoof bool
	MAC   MAC
	// Out is the rate of what Port receives.
	Out policy.Rate
}

// Translation is one address for another.
type Translation struct {
	From netip.Addr `json:"from"`
	To   netip.Addr `json:"to"`
}

// Publish is Count ports of the host, from Host on, that go to as many of the container, from To on.
type Publish struct {
	Protocol request.Protocol `json:"protocol"`
	// Addr is the host's address, the unspecified one for all of its family.
	Addr  netip.Addr     `json:"address"`
	Host  uint16         `json:"port"`
	Count int            `json:"count"`
	To    netip.AddrPort `json:"to"`
}

// Gate is what may pass between a bridge and everything else but the host itself.
type Gate uint8

// The gates.
const (
	// Open has no rules.
	Open Gate = iota
	// NAT lets out what containers begin, and in what is published.
	NAT
	// Routed lets in what is published at the container's own address, too, and ICMP.
	Routed
	// Closed lets nothing pass.
	Closed
)
