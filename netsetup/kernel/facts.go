//go:build linux

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/policy"
)

// Query is what is to be found out for one attachment.
type Query struct {
	// IfName is the name that the container asks for.
	IfName string
	// Parent selects the parent. It is not looked at when Bridge is set.
	Parent policy.Parent
	// Bridge is the name of the network's bridge, "" for none.
	Bridge string
	// VLAN are the tags of the parent's sub-interface that is wanted, see [policy.Network]. Own is the tag of a further one on it
	// that is to be the container's own, the zero Tag for none: it is asked whether the host has that.
	VLAN []policy.Tag
	Own  policy.Tag
	// Mode and Flag are those of an ipvlan child that is to hang on the parent: it is asked whether the host has one there that
	// has others. Flag is 0 for no such child.
	Mode policy.Mode
	Flag policy.Flag
	// Uplink selects the link that is to be a port of Bridge, no field of it is set for none.
	Uplink policy.Parent
	// VRF is the name of a VRF that Bridge is to be a port of, "" for none.
	VRF string
	// Device selects the device of the driver host-device.
	Device policy.Device
	// WantAddresses asks for the host's addresses on the parent or bridge too.
	WantAddresses bool
	// Publish are the ports to be published: who has those that name a host port, and whether the host has their addresses.
	Publish []policy.Publish
	// Ports asks which ports the host chooses from for its own connections, and which of them it does not take.
	Ports bool
	// Local are further addresses of which it is asked whether the host has them: for dnat and snat.
	Local []netip.Addr
	// Gateways are the addresses that the host is to have on the bridge: where there is no bridge yet, it is asked which other
	// link has them.
	Gateways []netip.Addr
	// Whole are addresses of which everything is to go to a container: it is asked who listens there, and whether the host has
	// another one by which it is reached. Given are those that are containers' already.
	Whole, Given []netip.Addr
	// Ways are addresses of which it is asked by which link the host sends to them.
	Ways []netip.Addr
	// Forwards are the families that are to pass between the bridge and other links: for IPv4, the links of the host's
	// default routes and of its addresses in Publish and Local.
	Forwards plan.Families
	// Anywhere adds all links on which the host has an IPv4 address, but for lanhook's own bridges.
	Anywhere bool
}

// Facts finds out what a plan needs. ns may be nil when there is no container yet; nothing is said of it then. A parent
// or bridge that is not there is no error but has no entry in Uplink.
func (h *Host) Facts(ctx context.Context, ns *Namespace, queries []Query) (plan.Facts, error) {
	facts := plan.Facts{Uplink: map[string]plan.Link{}, Taken: map[string]bool{}}
	wantMTU := false
	for _, q := range queries {
		if err := context.Cause(ctx); err != nil {
			return plan.Facts{}, failed(err, "look at the links for %s", q.IfName)
		}
		if err := h.deviceFacts(&facts, q); err != nil {
			return plan.Facts{}, err
		}
		ok, err := h.linkFacts(&facts, q)
		if err != nil {
			return plan.Facts{}, err
		}
		wantMTU = wantMTU || !ok && q.Bridge != ""
	}
	if wantMTU {
		s, ok, err := h.defaultLink()
		if err != nil {
			return plan.Facts{}, err
		}
		if ok {
			facts.DefaultMTU = s.MTU
		}
	}
	if err := h.publishFacts(&facts, queries); err != nil {
		return plan.Facts{}, err
	}
	if ns == nil {
		return facts, nil
	}
	err := ns.containerFacts(&facts, queries)
	if err == nil {
		facts.NoIPv6, err = missingIPv6()
	}
	return facts, err
}

// linkFacts finds out about the parent or bridge of one attachment, and what depends on it; false when there is none yet. It looks
// again when another attach has made the bridge after it was looked for: its uplink is a port of it by then.
func (h *Host) linkFacts(facts *plan.Facts, q Query) (ok bool, err error) {
	for range maxLooks {
		if ok, err = h.linkFactsOnce(facts, q); err != nil {
			return false, err
		}
		up := facts.PortUplink[q.IfName]
		if up.MasterKind != kindBridge || up.Master == facts.Uplink[q.IfName].Index {
			break
		}
		master, there, err := h.conn.link(by{index: up.Master})
		if err != nil {
			return false, err
		}
		if there && master.Name != q.Bridge {
			break // it is another bridge's
		}
	}
	return ok, nil
}

func (h *Host) linkFactsOnce(facts *plan.Facts, q Query) (bool, error) {
	delete(facts.Uplink, q.IfName)
	delete(facts.PortUplink, q.IfName)
	link, ok, err := h.uplink(q)
	if err != nil {
		return false, err
	}
	if ok {
		facts.Uplink[q.IfName] = link
		if err = h.siblings(facts, q, link); err == nil {
			err = h.tagFacts(facts, q, link)
		}
	} else if q.Bridge != "" {
		err = h.gatewayFacts(facts, q)
	}
	if err == nil {
		err = h.bridgeFacts(facts, q)
	}
	return ok, err
}

// missingIPv6 looks for a file that each namespace has when the kernel speaks IPv6, and none with ipv6.disable=1. One
// below /proc/sys/net would take longer to find, see [Host.OwnProc].
func missingIPv6() (bool, error) {
	const file = "/proc/self/net/if_inet6"
	err := unix.Access(file, unix.F_OK)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look for IPv6 in %s: %w", file, err)
	}
	return false, nil
}

// maxLooks is how often a link is looked for that goes away each time before all of it has been read.
const maxLooks = 10

// uplink looks again when a link went away while it was read, as a sub-interface does with its last user.
func (h *Host) uplink(q Query) (l plan.Link, ok bool, err error) {
	for range maxLooks {
		if l, ok, err = h.uplinkOnce(q); !errors.Is(err, unix.ENODEV) {
			break
		}
	}
	return l, ok, err
}

func (h *Host) uplinkOnce(q Query) (plan.Link, bool, error) {
	var (
		l   plan.Link
		ok  bool
		err error
	)
	if q.Bridge != "" {
		l, ok, err = h.bridge(q)
	} else {
		l, ok, err = h.parent(q.Parent, q.VLAN)
	}
	if err != nil || !ok || !q.WantAddresses || l.Index == 0 {
		return l, ok, err
	}
	prefixes, err := h.conn.addresses(l.Index)
	for _, p := range prefixes {
		l.Addresses = append(l.Addresses, p.Addr())
	}
	return l, true, failed(err, "list addresses of link %s", l.Name)
}

func (h *Host) bridge(q Query) (plan.Link, bool, error) {
	s, ok, err := h.conn.link(by{name: q.Bridge})
	if err != nil || !ok {
		return plan.Link{}, false, err
	}
	l, err := h.linkOf(s)
	l.FiltersVLANs, l.DefaultVLAN, l.Uplink = s.FiltersVLANs, s.DefaultPVID, uplinkOf(s)
	if err == nil {
		l.Localnet, err = h.localnet(s, q)
	}
	return l, err == nil, err
}

// linkByMAC finds the link that has an address of its own accord: not a child, which may have its parent's. Of several
// it is one that is no port (a bond's members and a bridge's port share an address with it), then the oldest. The
// kernel has no look-up by address, so all links are listed; this is done only where the policy names a parent so.
func (h *Host) linkByMAC(mac []byte) (State, bool, error) {
	all, err := h.conn.links()
	if err != nil {
		return State{}, false, failed(err, "list links to find %s", plan.MAC(mac))
	}
	var best State
	for _, s := range all {
		if !bytes.Equal(s.MAC, mac) || isChild(s.Kind) {
			continue
		}
		better := best.Index == 0 || s.Index < best.Index
		if (s.Master == 0) != (best.Master == 0) {
			better = best.Index == 0 || s.Master == 0
		}
		if better {
			best = s
		}
	}
	return best, best.Index != 0, nil
}

func isChild(kind string) bool {
	switch kind {
	case kindMacvlan, "macvtap", kindIPVLAN, "ipvtap", kindVLAN, "macsec":
		return true
	default:
		return false
	}
}

// defaultLink finds the link of the default route, IPv4's before IPv6's, as the kernel would choose it: by rules and
// metrics, without a listing of routes that may have a million entries.
func (h *Host) defaultLink() (State, bool, error) {
	// There are several addresses in case one has a route of its own, as a blackhole for instance.
	all := append(documentation4(), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("3fff::1"))
	for _, dst := range all {
		index, ok, err := h.conn.defaultIndex(dst)
		if err != nil {
			return State{}, false, failed(err, "find the host's default route")
		}
		if ok {
			return h.conn.link(by{index: index})
		}
	}
	return State{}, false, nil
}

// documentation4 are addresses for documentation (RFC 5737; RFC 3849 and RFC 9637 have those of IPv6), which have no
// route but the default one.
func documentation4() []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom4([4]byte{198, 51, 100, 1}),
		netip.AddrFrom4([4]byte{203, 0, 113, 1}),
	}
}

// defaultIndex is the link to which a default route sends dst; false when another route does, or none.
func (c *conn) defaultIndex(dst netip.Addr) (int, bool, error) {
	r, ok, err := c.routeTo(dst)
	return r.index, ok && r.isDefault(), err
}

// noRoute knows what the kernel answers where there is no route, or one of the types unreachable, prohibit and
// blackhole, in this order; and where it has no IPv6.
func noRoute(err error) bool {
	for _, no := range []unix.Errno{
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAFNOSUPPORT, unix.EOPNOTSUPP,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// wireless asks sysfs, for rtnetlink does not say it. The files are of the namespace in which sysfs was mounted, which
// is the host's for a process of the host; where it is another, the index differs as a rule and nothing is claimed.
func wireless(s State) bool {
	dir := "/sys/class/net/" + filepath.Base(s.Name)
	if unix.Access(dir+"/phy80211", unix.F_OK) != nil && unix.Access(dir+"/wireless", unix.F_OK) != nil {
		return false
	}
	raw, err := process.ReadFile(dir + "/ifindex")
	return err == nil && strings.TrimSpace(string(raw)) == itoa(s.Index)
}

func itoa(i int) string { return strconv.Itoa(i) }

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
