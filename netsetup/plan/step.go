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
	step()
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
		// AsIs leaves a bridge that is there as it is, even with our mark: an attachment that a container spelled out
		// changes nothing for others.
		AsIs bool
		// Forward turns on forwarding of the families of Addresses for this bridge; without it, it is turned off.
		Forward bool
	}

	// AddVeth makes a pair: Name on the host, a port of Bridge and up, Peer in the container, down. EEXIST means that
	// Name is somebody else's and that the step has not begun.
	AddVeth struct {
		Name    string
		MAC     MAC
		Bridge  string
		Hairpin bool
		// MTU is the host end's: the bridge's own, since the kernel lowers a bridge to its smallest port.
		MTU     int
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
	// none (blackhole and its like), which then needs an undo of its own.
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

	// ReleaseBridge removes a bridge that bears [Group] and has no port left. Whether another record still names it is
	// the caller's to know.
	ReleaseBridge struct {
		Name string
	}
)

func (EnsureBridge) step()  {}
func (AddVeth) step()       {}
func (AddMacvlan) step()    {}
func (SetSysctls) step()    {}
func (AddAddress) step()    {}
func (SetLink) step()       {}
func (AddRoute) step()      {}
func (DelLink) step()       {}
func (DelRoute) step()      {}
func (ReleaseBridge) step() {}
