//go:build linux

package kernel

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// ensureUplink makes a link a port of a bridge of lanhook's. It comes without any VLAN, since such a bridge gives none by
// itself, so that nothing passes by it before it has its own.
func (h *Host) ensureUplink(s plan.EnsureUplink) error {
	op := "make " + s.Link + " a port of bridge " + s.Bridge
	bridge, ok, err := h.conn.link(by{name: s.Bridge})
	switch {
	case err != nil:
		return err
	case !ok || bridge.Kind != kindBridge:
		return &Error{Op: op, Cause: "there is no such bridge", Err: unix.ENODEV}
	case bridge.Group != plan.Group:
		return &Error{Op: op, Cause: "lanhook does not change a bridge that it has not made", Err: unix.EPERM}
	}
	link, ok, err := h.conn.link(by{name: s.Link})
	switch {
	case err != nil:
		return err
	case !ok:
		return &Error{Op: op, Cause: "there is no link " + s.Link, Err: unix.ENODEV}
	case link.Master != 0 && link.Master != bridge.Index:
		return &Error{Op: op, Cause: "it is a port of a " + link.MasterKind + " already", Err: unix.EBUSY}
	case link.Master == 0:
		if err = h.enslave(link, bridge); err != nil {
			return uplinkFailed(err, op)
		}
	}
	if !bridge.FiltersVLANs {
		return nil
	}
	return h.setVLANs(link, bridge, s.Port())
}

// enslave makes a link a port.
func (h *Host) enslave(link, master State) error {
	return h.conn.change(unix.RTM_SETLINK, 0, indexMessage(link.Index), number(unix.IFLA_MASTER, master.Index))
}

func uplinkFailed(err error, op string) error {
	e := &Error{Op: op, Err: err}
	switch {
	case errors.Is(err, unix.EBUSY):
		// A link has one receive handler (net/core/dev.c, netdev_rx_handler_register).
		e.Cause = "another driver takes what it receives, as with macvlan or ipvlan children"
		e.hint = "see what hangs on it with: ip -d link; a link has children or is a port of a bridge, not both"
	case errors.Is(err, unix.ELOOP):
		e.Cause = "it is a bridge itself"
	case errors.Is(err, unix.EOPNOTSUPP):
		e.Cause = "a link of this kind cannot be a port of a bridge"
	default:
		return failed(err, "%s", op)
	}
	return e
}

// releaseUplink takes VLANs from the uplink of a bridge that is ours.
func (h *Host) releaseUplink(s plan.ReleaseUplink) error {
	bridge, ok, err := h.conn.link(by{name: s.Bridge})
	if err != nil || !ok || bridge.Kind != kindBridge || bridge.Group != plan.Group {
		return err
	}
	link, ok, err := h.conn.link(by{name: s.Link})
	if err != nil || !ok || link.Master != bridge.Index || len(s.VLANs) == 0 {
		return err
	}
	return h.dropVLANs(link, s.VLANs)
}

// uplinkAlias begins the alias of a bridge that is made for an uplink, whose name is the rest. So it is known in each
// message of the bridge, and without a record. The bridge gets it in the message that brings it up, since the kernel takes
// none in the one that makes it.
const uplinkAlias = "lanhook uplink "

// uplinkOf is the name of the uplink for which a bridge of ours was made, "" for none.
func uplinkOf(bridge State) string {
	name, ok := strings.CutPrefix(bridge.Alias, uplinkAlias)
	if !ok || bridge.Group != plan.Group {
		return ""
	}
	return name
}

// hasPorts says whether a bridge of ours has ports, but for its uplink and other links that are named.
func (h *Host) hasPorts(bridge State, but ...string) (bool, error) {
	ports, err := h.conn.links(number(unix.IFLA_MASTER, bridge.Index))
	if err != nil {
		return false, failed(err, "list ports of bridge %s", bridge.Name)
	}
	but = append(but, uplinkOf(bridge))
	for _, p := range ports {
		if !slices.Contains(but, p.Name) {
			return true, nil
		}
	}
	return false, nil
}

// portUplink is the link that is to be the uplink of a bridge, with what would keep it from that. Which VLANs it carries is
// asked only where it is another's port: those of a bridge of lanhook's are given as they are needed.
func (h *Host) portUplink(q Query, ours bool) (plan.Link, bool, error) {
	l, ok, err := h.uplink(Query{Parent: q.Uplink, WantAddresses: true})
	if err != nil || !ok || l.Index == 0 {
		return l, ok, err
	}
	vlans, err := h.conn.linksOfKind(kindVLAN)
	if err != nil {
		return plan.Link{}, false, failed(err, "list VLAN sub-interfaces")
	}
	for _, s := range vlans {
		if s.isOn(l.Index) {
			l.Above = append(l.Above, plan.Sub{Name: s.Name, Parent: l.Name, Tag: s.Tag})
		}
	}
	if l.MasterKind != kindBridge || ours {
		return l, true, nil
	}
	has, err := h.conn.portVLANs(l.Index)
	for _, v := range has {
		if !v.Untagged {
			l.VLANs = append(l.VLANs, v.Range)
		}
	}
	return l, true, failed(err, "list VLANs of %s", l.Name)
}

// hasUplink says whether a query names one.
func (q Query) hasUplink() bool {
	return q.Uplink.Name != "" || q.Uplink.AltName != "" || len(q.Uplink.MAC) > 0 || q.Uplink.DefaultRoute
}

// bridgeFacts find out what a bridge network needs to know of other links: its uplink and its VRF.
func (h *Host) bridgeFacts(facts *plan.Facts, q Query) error {
	if q.hasUplink() {
		link, ok, err := h.portUplink(q, facts.Uplink[q.IfName].Group == plan.Group)
		if err != nil {
			return err
		}
		if ok {
			put(&facts.PortUplink, q.IfName, link)
		}
	}
	if q.VRF == "" {
		return nil
	}
	vrf, ok, err := h.conn.link(by{name: q.VRF})
	if ok {
		put(&facts.VRF, q.IfName, plan.Link{Index: vrf.Index, Name: vrf.Name, Kind: vrf.Kind, MTU: vrf.MTU, Up: vrf.Up})
	}
	return err
}

// put adds an entry to a map that is made with its first one.
func put(links *map[string]plan.Link, ifName string, l plan.Link) {
	if *links == nil {
		*links = map[string]plan.Link{}
	}
	(*links)[ifName] = l
}

// PortVLAN is a range of VLANs of a bridge's port.
type PortVLAN struct {
	Range policy.VLANRange
	// PVID says that what comes in without a tag is in it, Untagged that what goes out has none.
	PVID, Untagged bool
}
