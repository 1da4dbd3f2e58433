package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Several containers may have one network namespace: those of a pod, or one started into the namespace of another. The
// first that asks for an interface makes it: its record is the owner of it. A later one that asks for the same joins.
//
//	            attach                                    another joins
//	(no record) ──────► pending ──────► attached ◄──────────────────────┐
//	                       │ failed         │ its container stops       │
//	                       ▼                ├── others have joined: left ┘
//	                   (undone)             └── nobody has: leaving ──► (undone)
//
// What is left is undone with the last living member. Each of these decisions is made within one transaction of the
// store, and one who is to undo says so in the record before, so that nobody joins what is about to go.

// joinWait bounds how long an attach waits for another one in the same namespace that is making, or taking back, an
// interface that it asks for too. It is below the hook's own deadline.
const joinWait = 10 * time.Second

// orphanWait is how long an attach waits for the poststop of an owner whose process is dead, before it takes back itself
// what nobody uses any more.
const orphanWait = time.Second

// group is all records of one namespace.
type group []store.Record

// groupOf reads the records of a namespace, without those of another boot.
func (s *Setup) groupOf(tx *store.Tx, ns store.NetNS) (group, error) {
	all, err := tx.ByNamespace(ns)
	return slices.DeleteFunc(all, func(r store.Record) bool { return r.BootID != s.BootID }), err
}

// held says whether a container that may live has joined a record. except is one that does not count, since it is about
// to go.
func (g group) held(ref, except store.Ref) bool {
	return slices.ContainsFunc(g, func(m store.Record) bool {
		switch {
		case !slices.Contains(m.Joined, ref), m.Ref() == except:
			return false
		case m.State == store.Pending:
			return alive(m.Writer)
		}
		return m.State == store.Attached && mayLive(m.Process)
	})
}

// joinable says whether what a record made is there to stay. Of an owner that has stopped and that nobody has joined, a
// poststop may be on its way which has looked already, and which undoes it without another look.
func (g group) joinable(rec store.Record) bool {
	return rec.Left || mayLive(rec.Process) || g.held(rec.Ref(), store.Ref{})
}

// mayLive says whether a process lives, or is not known.
func mayLive(p store.Process) bool { return p.PID == 0 || alive(p) }

// busyError says that an interface is being made or taken back by somebody else, or the host's link beside containers.
type busyError struct {
	rec store.Record
	// host is the address of the host's link, zero for an interface.
	host netip.Addr
	// orphan is true when nobody is seen to do so, but may.
	orphan bool
}

func (e *busyError) Error() string {
	switch {
	case e.host.IsValid():
		return fmt.Sprintf("somebody on the LAN has address %s, which the host has while process %d attaches container %s",
			e.host, e.rec.Writer.PID, e.rec.Container)
	case e.orphan:
		return fmt.Sprintf("container %s has stopped, and its interfaces are still there", e.rec.Container)
	case e.rec.State == store.Pending:
		return fmt.Sprintf("container %s of the same network namespace is being attached by process %d right now",
			e.rec.Container, e.rec.Writer.PID)
	}
	return fmt.Sprintf("container %s of the same network namespace is being detached by process %d right now",
		e.rec.Container, e.rec.Writer.PID)
}

// staleError says that the container's interfaces are not those that the records tell of: some came or went between the
// look at the kernel and that at the records, or behind lanhook's back.
type staleError struct{}

func (*staleError) Error() string { return "the container's interfaces changed meanwhile" }

// joinError says that an interface which another container of the namespace made is not what this one asks for.
type joinError struct {
	ifName, owner, why string
}

func (e *joinError) Error() string {
	return fmt.Sprintf("%s: container %s of the same network namespace has made it, but %s", e.ifName, e.owner, e.why)
}

// Hint says what would help.
func (e *joinError) Hint() string {
	return "ask for the same, or for an interface of another name: " + request.Prefix + "network.NAME"
}

// share tells the interfaces that the container shares with others of its namespace from those that it gets itself.
func (d *draft) share(tx *store.Tx) error {
	d.own, d.shared, d.joined, d.first, d.group = d.attachments, nil, nil, true, nil
	if d.ns == nil {
		return nil
	}
	id := d.ns.Identity()
	g, err := d.groupOf(tx, store.NetNS{Inode: id.Inode, Cookie: id.Cookie})
	if err != nil {
		return err
	}
	d.group = g
	d.first = !slices.ContainsFunc(g, func(r store.Record) bool { return r.Container != d.container.ID })
	d.own = nil
	if d.member {
		return d.shareAll(g)
	}
	for _, a := range d.attachments {
		rec, i, ok := g.maker(a.IfName)
		if !ok || rec.Container == d.container.ID {
			if !ok && d.facts.Taken[a.IfName] && !d.relooked {
				return &staleError{}
			}
			d.own = append(d.own, a)
			continue
		}
		if err := d.join(g, rec, i, a); err != nil {
			return err
		}
	}
	return nil
}

// shareAll joins all that have made interfaces in the namespace.
func (d *draft) shareAll(g group) error {
	for _, rec := range g {
		switch {
		case rec.Container == d.container.ID || len(rec.Interfaces) == 0:
			continue
		case rec.State != store.Attached && alive(rec.Writer):
			return &busyError{rec: rec}
		case rec.State != store.Attached:
			continue
		case !g.joinable(rec):
			return &busyError{rec: rec, orphan: true}
		}
		d.shared = append(d.shared, rec.Interfaces...)
		d.joined = union(d.joined, []store.Ref{rec.Ref()})
	}
	return nil
}

// maker is the record that made an interface.
func (g group) maker(ifName string) (store.Record, plan.Interface, bool) {
	for _, rec := range g {
		for _, i := range rec.Interfaces {
			if i.Name == ifName {
				return rec, i, true
			}
		}
	}
	return store.Record{}, plan.Interface{}, false
}

// join shares an interface of another container, when it is what the attachment asks for.
func (d *draft) join(g group, rec store.Record, i plan.Interface, a policy.Attachment) error {
	switch {
	case rec.State != store.Attached && alive(rec.Writer):
		return &busyError{rec: rec}
	case rec.State != store.Attached, rec.Host != d.hostNetNS():
		return &store.InUseError{What: "interface " + i.Name + " of the network namespace", Holder: rec.Ref(), IfName: i.Name}
	case !g.joinable(rec):
		return &busyError{rec: rec, orphan: true}
	case !d.facts.Taken[i.Name] && !d.relooked:
		return &staleError{}
	case !d.facts.Taken[i.Name]:
		return &attachedError{rec, fmt.Sprintf("has a record of %s, but the interface is gone", i.Name)}
	}
	why := d.differs(i, a)
	if why == "" {
		why = d.lacks(rec, i, a)
	}
	if why == "" {
		why = unpublished(i, a)
	}
	if why != "" {
		return &joinError{i.Name, rec.Container, why}
	}
	d.shared = append(d.shared, i)
	d.joined = union(d.joined, []store.Ref{rec.Ref()})
	return nil
}

// lacks says what of the routes and settings that the container asks for itself an interface does not have, "" for
// nothing. What its network has by the policy was decided when the interface was made.
func (d *draft) lacks(rec store.Record, i plan.Interface, a policy.Attachment) string {
	at := slices.IndexFunc(d.container.Request.Attachments, func(r request.Attachment) bool { return r.IfName == a.IfName })
	if at < 0 {
		return ""
	}
	asked := d.container.Request.Attachments[at]
	routes, settings := made(rec.Steps, i.Name)
	for _, r := range asked.Routes {
		if !slices.Contains(routes, r) {
			return fmt.Sprintf("it does not have the route %s", r)
		}
	}
	for _, s := range asked.Sysctls {
		if !slices.Contains(settings, s) {
			return fmt.Sprintf("it does not have the setting %s=%s", s.Key, s.Value)
		}
	}
	for _, g := range asked.Gateways {
		other := slices.IndexFunc(i.Gateways, func(has netip.Addr) bool { return has.Is4() == g.Is4() && has != g })
		if other >= 0 {
			return fmt.Sprintf("its gateway is %s, not %s", i.Gateways[other], g)
		}
	}
	if why := otherIPv6(i, asked.IPv6); why != "" {
		return why
	}
	want := asked.DefaultRoute
	if !want.Want {
		return ""
	}
	if len(i.Gateways) == 0 && !leads(rec.Steps, i.Name) {
		return "it does not have the default route"
	}
	metric := func(r request.Route) bool { return r.Dst.Bits() == 0 && r.Metric == want.Metric }
	if want.Metric != 0 && !slices.ContainsFunc(routes, metric) {
		return fmt.Sprintf("its default route does not have the metric %d", want.Metric)
	}
	return ""
}

// leads says whether steps make a default route on an interface, which may have no gateway.
func leads(steps plan.Steps, ifName string) bool {
	return slices.ContainsFunc(steps, func(step plan.Step) bool {
		r, ok := step.(plan.AddRoute)
		return ok && r.If == ifName && r.Route.Dst.Bits() == 0 && r.Route.Type == request.Unicast
	})
}

// unpublished says which of the ports and host addresses that an attachment asks for an interface does not have, "" for
// none. They belong to the record that made the interface: it is whose end gives them back.
func unpublished(i plan.Interface, a policy.Attachment) string {
	for _, p := range a.Publish {
		for n := range p.Count {
			port := p.Container + uint16(n)
			if slices.ContainsFunc(i.Publish, func(has plan.Publish) bool { return serves(has, p, n) }) {
				continue
			}
			if p.Host == 0 {
				return fmt.Sprintf("its port %d/%s is not published on %s", port, p.Protocol, p.Addr)
			}
			return fmt.Sprintf("its port %d/%s is not published as %s", port, p.Protocol,
				portText(p.Protocol, p.Addr, p.Host+uint16(n)))
		}
	}
	for _, addr := range a.DNAT {
		if !slices.ContainsFunc(i.DNAT, func(t plan.Translation) bool { return t.From == addr }) {
			return fmt.Sprintf("the host's address %s is not its own", addr)
		}
	}
	return ""
}

// serves says whether what an interface publishes is the n-th port of what is asked for.
func serves(has plan.Publish, asked policy.Publish, n int) bool {
	at := int(asked.Container) + n - int(has.To.Port())
	return has.Protocol == asked.Protocol && has.Addr == asked.Addr && at >= 0 && at < has.Count &&
		(asked.Host == 0 || int(has.Host)+at == int(asked.Host)+n)
}

// made are the routes that steps add, and the settings of the link that they give a name.
func made(steps plan.Steps, ifName string) (routes []request.Route, settings []request.Sysctl) {
	byOwn := map[string][]request.Sysctl{}
	for _, step := range steps {
		switch s := step.(type) {
		case plan.AddRoute:
			routes = append(routes, s.Route)
		case plan.SetSysctls:
			byOwn[s.If] = s.Values
		case plan.SetLink:
			if s.Name == ifName {
				settings = byOwn[s.From]
			}
		case plan.EnsureBridge, plan.AddVeth, plan.AddMacvlan, plan.AddAddress,
			plan.DelLink, plan.DelRoute, plan.ReleaseBridge:
		default:
		}
	}
	return routes, settings
}

// patience is how long an attach has waited for another.
type patience struct {
	with  store.Ref
	until time.Time
	step  time.Duration
}

// await waits a moment for who makes or takes back what this attach asks for too. When that has lasted too long it gives
// the reason back; what is left of a container that has stopped, it takes back itself.
func (s *Setup) await(ctx context.Context, d *draft, reason *busyError) error {
	p := &d.patience
	if p.with != reason.rec.Ref() {
		bound := joinWait
		if reason.orphan {
			bound = orphanWait
		}
		*p = patience{with: reason.rec.Ref(), until: time.Now().Add(bound), step: time.Millisecond}
	}
	d.relooked = false
	if time.Now().Before(p.until) {
		p.step = min(2*p.step, 50*time.Millisecond)
		if err := pause(ctx, p.step); err != nil {
			return fmt.Errorf("%w: %w", reason, err)
		}
		return nil
	}
	if !reason.orphan {
		return reason
	}
	if _, err := s.leave(ctx, p.with, stopped); err != nil {
		return errors.Join(reason, err)
	}
	return nil
}
