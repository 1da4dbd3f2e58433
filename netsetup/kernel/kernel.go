//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Kernel carries out steps for one container. It may be used by one goroutine at a time.
type Kernel struct {
	host *Host
	// ns is the container's namespace; nil where only nsid and open lead to it.
	ns   *Namespace
	nsid nsid
	open func() (*Namespace, error)
	// Renew writes the whole ruleset anew from all records. [plan.AddRules] calls it once when the kernel's is not what it
	// was left as; nil makes that an error.
	Renew func(ctx context.Context) error
	// Warn is told of addresses that others have and that are used all the same; nil for nobody.
	Warn func(error)
	// ports are the container's links that steps made or looked up, by name.
	ports map[string]port
	// asked are the links on which LANs were asked, until what was asked for is announced.
	asked []*asked
	// learned are the addresses that routers gave, by the link's name.
	learned map[string][]netip.Prefix
	// doubted is why others have none, by the link's name.
	doubted map[string]Doubted
}

// port is a link of the container. A new name does not change its index.
type port struct {
	index int
	// parent and mac are set for a macvlan made by this Kernel.
	parent string
	mac    plan.MAC
}

// Kernel carries out steps for a container whose namespace is open.
func (h *Host) Kernel(ns *Namespace) *Kernel {
	return &Kernel{host: h, ns: ns, nsid: here, ports: map[string]port{}}
}

// KernelByID carries out steps that undo, for a container whose namespace the host knows as id, without going into it:
// by the time of an undo no path may lead there any more. Only [plan.DelRoute] and [plan.DelGuard] need a socket inside,
// for which open is called; what it opens is closed again after the step. With id -1, or that of a namespace which has
// ended, there is nothing left to undo in the container, and steps for it succeed.
func (h *Host) KernelByID(id int, open func() (*Namespace, error)) *Kernel {
	return &Kernel{host: h, nsid: nsid(id), open: open, ports: map[string]port{}} //nolint:gosec // G115: from NSID
}

// Apply carries out one step. It does not begin when ctx is done; a message to the kernel cannot be cut off, only the
// wait for an address that another link still has.
//
// Errors are of type [Error] or [NameTakenError], or package firewall's, and keep the kernel's error number.
func (k *Kernel) Apply(ctx context.Context, step plan.Step) error {
	if err := context.Cause(ctx); err != nil {
		return failed(err, "begin step %q", step)
	}
	switch s := step.(type) {
	case plan.EnsureBridge:
		return k.host.ensureBridge(s)
	case plan.AddVeth:
		return k.addVeth(s)
	case plan.AddMacvlan:
		return k.addMacvlan(ctx, s)
	case plan.SetSysctls:
		return k.setSysctls(s)
	case plan.AddAddress:
		return k.addAddress(ctx, s)
	case plan.SetLink:
		return k.setLink(ctx, s)
	case plan.AddRoute:
		return k.addRoute(s)
	case plan.SetRate:
		return k.setRate(s)
	case plan.EnsureForwarding:
		return k.host.ensureForwarding(s)
	case plan.AddRules:
		return k.addRules(ctx, s)
	case plan.AddGuard:
		return k.addGuard(s)
	case plan.ReservePorts:
		return k.host.reservePorts(ctx, s)
	case plan.AddRouteRule:
		return k.addRouteRule(s)
	case plan.ProbeLinks:
		return k.probeLinks(ctx, s)
	case plan.AnnounceLinks:
		return k.announceLinks(s)
	default:
		return k.link(ctx, step)
	}
}

// link carries out a step about links of other kinds than macvlan and bridge.
func (k *Kernel) link(ctx context.Context, step plan.Step) error {
	switch s := step.(type) {
	case plan.AddIPVLAN:
		return k.addIPVLAN(s)
	case plan.EnsureVLAN:
		return k.host.ensureVLAN(ctx, s)
	case plan.AddVLAN:
		return k.addVLAN(ctx, s)
	case plan.MoveLink:
		return k.moveLink(s)
	case plan.EnsureUplink:
		return k.host.ensureUplink(s)
	case plan.EnsureHostLink:
		return k.host.ensureHostLink(s)
	case plan.AddHostAddresses:
		return k.host.addHostAddresses(s)
	case plan.AddHostRoute:
		return k.host.addHostRoute(s)
	case plan.AwaitAddresses:
		return k.awaitAddresses(ctx, s)
	default:
		return k.undo(ctx, step)
	}
}

// undo carries out a step of the second group, see [plan.Step].
func (k *Kernel) undo(ctx context.Context, step plan.Step) error {
	switch s := step.(type) {
	case plan.DelLink:
		return k.delLink(s)
	case plan.DelRoute:
		return k.delRoute(s)
	case plan.ReleaseBridge:
		return k.host.releaseBridge(s)
	case plan.DelRules:
		return k.delRules(s)
	case plan.ReleaseRules:
		return k.host.releaseRules()
	case plan.ReleasePorts:
		return k.host.releasePorts(ctx, s)
	case plan.DelGuard:
		return k.delGuard(s)
	case plan.DelRouteRule:
		return k.delRouteRule(s)
	case plan.ReleaseVLAN:
		return k.host.releaseVLAN(s)
	case plan.ReleaseUplink:
		return k.host.releaseUplink(s)
	case plan.ReturnLink:
		return k.returnLink(ctx, s)
	case plan.ReleaseHostLink:
		return k.host.releaseHostLink(s)
	case plan.DelHostRoute:
		return k.host.delHostRoute(s)
	default:
		return fmt.Errorf("carry out step %q: there is no such kind of step", step)
	}
}

// Index is that of a link in the container which this Kernel made and named, 0 when it did not.
func (k *Kernel) Index(name string) int { return k.ports[name].index }

// Learned are the addresses that routers had given to a link when it was waited for, none before and where none came.
func (k *Kernel) Learned(name string) []netip.Prefix { return k.learned[name] }

// namespace is the container's, which only a step that undoes can do without.
func (k *Kernel) namespace() (*Namespace, error) {
	if k.ns == nil {
		return nil, errors.New("change a link in the container: its network namespace is not open")
	}
	return k.ns, nil
}

// gone says whether the container's namespace has ended.
func (k *Kernel) gone() (bool, error) {
	if k.ns != nil {
		return false, nil
	}
	alive, err := k.host.Alive(int(k.nsid))
	return !alive, err
}

// port finds a link of the container by name, asking the kernel the first time only.
func (k *Kernel) port(ns *Namespace, name string) (port, error) {
	if p := k.ports[name]; p.index != 0 {
		return p, nil
	}
	s, ok, err := ns.conn.link(by{name: name})
	if err != nil {
		return port{}, err
	}
	if !ok {
		return port{}, failed(unix.ENODEV, "look up link %s in the container", name)
	}
	p := k.ports[name]
	p.index = s.Index
	k.ports[name] = p
	return p, nil
}
