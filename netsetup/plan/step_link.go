package plan

import (
	"net/netip"

	"github.com/lanhook/lanhook/policy"
)

type (
	// AddIPVLAN makes an ipvlan child of Parent directly in the container's namespace, down, named Name there, with the
	// parent's MAC address. EEXIST means that Name is somebody else's and that the step has not begun.
	AddIPVLAN struct {
		Name string
		// Parent is for people where ParentIndex is set; otherwise it is looked up by it when the step is carried out, since a
		// step before makes it.
		Parent      string
		ParentIndex int
		// Mode and Flag are of all children of a parent: the kernel changes them for the others too.
		Mode policy.Mode
		Flag policy.Flag
		// Index is the link's own in the container, known once it is made.
		Index int
		MTU   int
	}

	// EnsureVLAN makes a VLAN sub-interface that containers share, up, without any address, IPv6's link-local one included,
	// and with [Group]; or uses as it is one of the same parent and tag that is there without our mark.
	EnsureVLAN struct {
		Name   string
		Parent string
		Tag    policy.Tag
	}

	// AddVLAN makes a VLAN sub-interface of Parent directly in the container's namespace, down, named Name there. The kernel
	// has one for each parent and tag: EEXIST means that it is somebody else's, or Name is, and that the step has not begun.
	AddVLAN struct {
		Name string
		// Parent and ParentIndex are as in [AddIPVLAN].
		Parent      string
		ParentIndex int
		Tag         policy.Tag
		Index       int
		// MAC is nil for the parent's.
		MAC MAC
		MTU int
	}

	// MoveLink moves a device of the host into the container, down, named Name there. What the host had of it goes back with
	// it, see [ReturnLink].
	MoveLink struct {
		Name string
		// Alias is the link's from then on.
		Alias  string
		Device Device
		// Index is the link's in the container, known once it is there.
		Index int
		// MAC and MTU are what it gets there; nil and 0 leave them.
		MAC MAC
		MTU int
	}

	// EnsureUplink makes a link of the host a port of a bridge of lanhook's, with the VLANs, of which it carries all with a tag.
	// VLANs that it carries for others stay.
	EnsureUplink struct {
		Bridge string
		// Link is found by its name.
		Link  string
		VLANs []policy.VLANRange
		// DefaultVLAN gives it VLAN 1 too, without a tag.
		DefaultVLAN bool
	}

	// AddRouteRule makes the container look up what it sends from an address in a table of its own (ip-rule(8)). What a
	// socket sends that is bound to no address, and is no connection of TCP, has no source yet when its way is looked up.
	AddRouteRule struct {
		From     netip.Addr
		Table    int
		Priority int
	}
)

type (
	// ReleaseVLAN removes a VLAN sub-interface that bears [Group] and on which nothing hangs. Whether another record still
	// names it is the caller's to know.
	ReleaseVLAN struct {
		Name   string
		Parent string
		Tag    policy.Tag
	}

	// ReturnLink gives the host its device back as it was, or, when the namespace is gone, finds it where the kernel has put it
	// and makes it what it was. It is known as in [DelLink], and by [Device.Same]. A device that was never moved is left alone,
	// and one that is gone from the machine is no error.
	ReturnLink struct {
		Name   string
		IfName string
		Alias  string
		// Index is 0 where it is not known, which is to say that the container may not have begun to run.
		Index  int
		Device Device
	}

	// ReleaseUplink takes VLANs from an uplink that no record needs any more; with none it changes nothing. Whether another
	// record needs one is the caller's to know.
	ReleaseUplink struct {
		Bridge string
		Link   string
		VLANs  []policy.VLANRange
	}

	// DelRouteRule removes the rule of AddRouteRule, and succeeds when it is not there.
	DelRouteRule struct {
		From     netip.Addr
		Table    int
		Priority int
	}
)

// PortVLANs are the VLANs of a bridge's port.
type PortVLANs struct {
	// Access is the VLAN of what has no tag, 0 for none (PVID, egress untagged).
	Access int
	// Trunk are those with a tag.
	Trunk []policy.VLANRange
	// Default gives the port VLAN 1 too, without a tag, as the kernel does by itself. It is that of what has no tag where there
	// is no Access.
	Default bool
}
