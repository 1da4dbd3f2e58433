package netsetup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Drift is one difference between a record and the kernel.
type Drift struct {
	IfName string
	What   string
	// Repair says that [Setup.Repair] puts it right.
	Repair bool
	// Collect says that it is [Setup.Collect]'s, now or as soon as it is proved dead.
	Collect bool
	// Waits says that [Setup.Repair] puts it right once a link of the host's that has gone is there again.
	Waits bool
}

// Checked is what [Setup.Check] found.
type Checked struct {
	// Of are the differences of each record, by the same index.
	Of [][]Drift
	// Host are those of what records share and that are not of a single one: the firewall's chains, forwarding.
	Host []string
}

// Check compares what the kernel has with what records say. It changes nothing. What is listed as a whole, such as the
// firewall's rules, it lists once.
func (s *Setup) Check(ctx context.Context, records []store.Record) (Checked, error) {
	c := Checked{Of: make([][]Drift, len(records))}
	all, err := s.ruled(ctx)
	if err != nil {
		return Checked{}, err
	}
	said := newestWords(all)
	for i, rec := range records {
		// An older record may say of a bridge what an earlier policy made of it.
		rec.Steps, _ = following(rec.Steps, said)
		if c.Of[i], err = s.check(ctx, rec); err != nil {
			return Checked{}, err
		}
	}
	checked := func(r store.Record) bool {
		return s.isHere(r) && r.State == store.Attached && slices.ContainsFunc(r.Steps, byRecord)
	}
	if !slices.ContainsFunc(records, checked) {
		return c, nil
	}
	shared, err := s.sharedDrift(ctx)
	if err != nil {
		return Checked{}, err
	}
	for i, rec := range records {
		if !checked(rec) {
			continue
		}
		for _, line := range shared.rules {
			if strings.Contains(line, rec.ID) {
				c.Of[i] = append(c.Of[i], Drift{What: line, Repair: true})
			}
		}
		for _, port := range reserved(rec) {
			if !within(shared.reserved, port) {
				c.Of[i] = append(c.Of[i], Drift{What: portDrift(port), Repair: true})
			}
		}
	}
	c.Host = slices.Concat(shared.host(), shared.forwarding)
	return c, nil
}

// sharedDrift is what the kernel has of what records share.
type sharedDrift struct {
	records    []store.Record
	rules      []string
	forwarding []string
	reserved   []plan.Ports
}

// host are the differences of rules that are of no record.
func (d sharedDrift) host() []string {
	return slices.DeleteFunc(slices.Clone(d.rules), func(line string) bool {
		return slices.ContainsFunc(d.records, func(r store.Record) bool { return strings.Contains(line, r.ID) })
	})
}

// sharedDrift compares what all records share, while nobody changes either.
func (s *Setup) sharedDrift(ctx context.Context) (sharedDrift, error) {
	var d sharedDrift
	err := s.withoutOthers(ctx, func() error {
		var err error
		if d.records, err = s.ruled(ctx); err != nil {
			return err
		}
		if all := rulesOf(d.records); len(all) > 0 {
			if d.rules, err = s.Host.RuleDrift(all); err != nil {
				return err
			}
		}
		facts, err := s.forwardingFacts(ctx, d.records)
		if err != nil {
			return err
		}
		d.forwarding = forwardingDrift(facts)
		d.reserved, _, err = s.reservedPorts(ctx, d.records)
		return err
	})
	return d, err
}

// check compares what the container and its links have with what a record says.
func (s *Setup) check(ctx context.Context, rec store.Record) ([]Drift, error) {
	if rec.BootID != s.BootID {
		return []Drift{{What: "the record is of another boot; lanhook gc removes it", Collect: true}}, nil
	}
	switch rec.State {
	case store.Pending:
		return []Drift{{What: "the attach is under way or was cut off; lanhook gc takes back what was cut off", Collect: true}}, nil
	case store.Leaving:
		return []Drift{{What: "the detach is under way or was cut off; lanhook gc finishes what was cut off", Collect: true}}, nil
	case store.Attached:
	}
	if len(rec.Interfaces)+len(rec.Joined) == 0 {
		return nil, nil // there is nothing that could differ, and its namespace may be the host's
	}
	ns, err := s.open(rec)
	if err != nil {
		return []Drift{{What: "the container's namespace is gone; lanhook gc removes the record", Collect: true}}, nil
	}
	defer ns.Close()
	drift, err := s.checkJoined(ctx, rec)
	if err != nil {
		return nil, err
	}
	for _, i := range rec.Interfaces {
		var found []Drift
		if found, err = checkInterface(ns, rec, i); err != nil {
			return nil, err
		}
		if found, err = s.repairable(ctx, rec, i, found); err != nil {
			return nil, err
		}
		drift = append(drift, found...)
	}
	found, err := checkRouteRules(ns, rec)
	if err != nil {
		return nil, err
	}
	drift = append(drift, found...)
	host, err := s.checkHost(rec)
	return append(drift, host...), err
}

// checkJoined looks for the records that the container shares interfaces with.
func (s *Setup) checkJoined(ctx context.Context, rec store.Record) ([]Drift, error) {
	var drift []Drift
	for _, ref := range rec.Joined {
		owner, ok, err := s.find(ctx, ref)
		if err != nil {
			return nil, err
		}
		if !ok || owner.State != store.Attached {
			drift = append(drift, Drift{What: fmt.Sprintf("container %s, whose interfaces it shares, has them no more", ref.Container)})
		}
	}
	return drift, nil
}

// linkGone is what a link that the container lacks is called.
const linkGone = "the link is gone"

// repairable marks a link that is gone and that [Setup.Repair] can make anew, since its parent is there again.
func (s *Setup) repairable(ctx context.Context, rec store.Record, i plan.Interface, drift []Drift) ([]Drift, error) {
	if len(drift) != 1 || drift[0].What != linkGone {
		return drift, nil
	}
	for _, c := range plan.Children(rec.Steps) {
		if c.IfName != i.Name {
			continue
		}
		back, err := s.isBack(ctx, rec, c)
		if err != nil {
			return nil, err
		}
		drift[0].Repair = back
		if gone, err := s.parentEnded(c); err != nil || back || !gone {
			return drift, err
		}
		drift[0].Waits, drift[0].What = true, fmt.Sprintf("%s with its parent %s", linkGone, c.Parent)
		return drift, nil
	}
	return drift, nil
}

func checkInterface(ns *kernel.Namespace, rec store.Record, i plan.Interface) ([]Drift, error) {
	var drift []Drift
	add := func(format string, args ...any) {
		drift = append(drift, Drift{IfName: i.Name, What: fmt.Sprintf(format, args...)})
	}
	link, ok, err := ns.Link(i.Name)
	if err != nil {
		return nil, err
	}
	if !ok {
		add(linkGone)
		return drift, nil
	}
	if link.MAC.String() != i.MAC.String() && !follows(rec.Steps, i) {
		add("the MAC address is %s, not %s", link.MAC, i.MAC)
	}
	if link.MTU != i.MTU {
		add("the MTU is %d, not %d", link.MTU, i.MTU)
	}
	if !link.Up {
		add("the link is down")
	}
	for _, a := range i.Addresses {
		if !slices.Contains(link.Addresses, a) {
			add("address %s is gone", a)
		}
	}
	for _, s := range rec.Steps {
		switch s := s.(type) {
		case plan.AddRoute:
			if s.If == i.Name && !hasRoute(link.Routes, s.Route) {
				add("route %s is gone", s.Route)
			}
		case plan.AddIPVLAN:
			if named(rec.Steps, s.Name) == i.Name && (link.Mode != s.Mode || link.Flag != s.Flag) {
				add("the ipvlan mode of its parent is %s %s, not %s %s", link.Mode, link.Flag, s.Mode, s.Flag)
			}
		default:
		}
	}
	return drift, nil
}

// follows says whether an interface has its parent's MAC address, whatever that is, and nothing depends on it.
func follows(steps plan.Steps, i plan.Interface) bool {
	return i.Driver == policy.IPVLAN.String() && !slices.ContainsFunc(steps, func(step plan.Step) bool {
		g, ok := step.(plan.AddGuard)
		return ok && g.If == i.Name && g.Spoof
	})
}

// named is the name that steps give to a link of theirs, "" when they do not.
func named(steps plan.Steps, own string) string {
	for _, step := range steps {
		if s, ok := step.(plan.SetLink); ok && s.From == own {
			return s.Name
		}
	}
	return ""
}

// hasRoute compares what tells routes apart for people: type, destination, gateway, table.
func hasRoute(routes []request.Route, want request.Route) bool {
	return slices.ContainsFunc(routes, func(r request.Route) bool {
		return r.Type == want.Type && r.Dst == want.Dst && r.Via == want.Via && inTable(r) == inTable(want)
	})
}

// inTable is the table of a route, which is 0 or 254 for the main one.
func inTable(r request.Route) int {
	if r.Table == 0 {
		return mainTable
	}
	return r.Table
}

// mainTable is RT_TABLE_MAIN.
const mainTable = 254

// checkRouteRules compares the rules by which the container answers by the interface that was asked.
func checkRouteRules(ns *kernel.Namespace, rec store.Record) ([]Drift, error) {
	if !slices.ContainsFunc(rec.Steps, isRouteRule) {
		return nil, nil
	}
	there, err := ns.Rules()
	if err != nil {
		return nil, err
	}
	var drift []Drift
	for _, step := range rec.Steps {
		if s, ok := step.(plan.AddRouteRule); ok && !slices.Contains(there, kernel.Rule(s)) {
			drift = append(drift, Drift{What: fmt.Sprintf("rule from %s to table %d is gone", s.From, s.Table)})
		}
	}
	return drift, nil
}

func isRouteRule(s plan.Step) bool {
	_, ok := s.(plan.AddRouteRule)
	return ok
}

// checkHost compares the host's side of the record's links.
func (s *Setup) checkHost(rec store.Record) ([]Drift, error) {
	var drift []Drift
	for _, step := range rec.Steps {
		var err error
		var found []Drift
		switch st := step.(type) {
		case plan.AddVeth:
			found, err = s.checkPort(st)
		case plan.EnsureBridge:
			found, err = s.checkBridge(st)
		case plan.EnsureVLAN:
			found, err = s.checkVLAN(st)
		case plan.EnsureUplink:
			found, err = s.checkUplink(st)
		case plan.EnsureHostLink:
			found, err = s.checkHostLink(st)
		case plan.AddHostRoute:
			found, err = s.checkHostRoute(st)
		default:
		}
		if err != nil {
			return nil, err
		}
		drift = append(drift, found...)
	}
	return drift, nil
}

func (s *Setup) checkPort(v plan.AddVeth) ([]Drift, error) {
	port, ok, err := s.Host.Link(v.Name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return []Drift{{What: fmt.Sprintf("the host's end %s is gone", v.Name)}}, nil
	}
	var drift []Drift
	bridge, ok, err := s.Host.Link(v.Bridge)
	if err != nil || !ok || port.Master != bridge.Index {
		return append(drift, Drift{What: fmt.Sprintf("the host's end %s is no port of %s", v.Name, v.Bridge)}), err
	}
	if !port.Up {
		drift = append(drift, Drift{What: fmt.Sprintf("the host's end %s is down", v.Name)})
	}
	if v.VLANs.None() {
		return drift, nil
	}
	vlans, err := s.vlanDrift(v.Name, v.VLANs, true)
	return append(drift, vlans...), err
}

func (s *Setup) checkBridge(b plan.EnsureBridge) ([]Drift, error) {
	bridge, ok, err := s.Host.Link(b.Name)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return []Drift{{What: fmt.Sprintf("bridge %s is gone", b.Name)}}, nil
	}
	var drift []Drift
	if bridge.Group != plan.Group {
		if !bridge.Up {
			drift = append(drift, Drift{What: fmt.Sprintf("bridge %s is down", b.Name)})
		}
		if b.VLANs && !bridge.FiltersVLANs {
			drift = append(drift, Drift{What: noFilter(b.Name)})
		}
		return drift, nil
	}
	if lost, err := s.lostVRF(bridge, b); err != nil || lost != "" {
		drift = append(drift, Drift{What: lost, Repair: bridge.Master == 0})
		if err != nil {
			return nil, err
		}
	}
	for _, what := range bridgeDrift(bridge, b) {
		drift = append(drift, Drift{What: what, Repair: true})
	}
	return drift, nil
}
