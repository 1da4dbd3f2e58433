package netsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"syscall"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// Repaired is what [Setup.Repair] found amiss and put right, in words.
type Repaired struct {
	// Rules are of the firewall.
	Rules []string `json:"rules"`
	// Links are of bridges and VLANs, the host's links beside containers, and containers' links whose parent was made anew.
	Links []string `json:"links"`
	// Settings are of the host's settings.
	Settings []string `json:"settings"`
	// Announced is of how many containers the addresses were told to their LANs again.
	Announced int `json:"announced"`
}

// None says whether all was well: to announce addresses changes nothing.
func (r Repaired) None() bool { return len(r.Rules)+len(r.Links)+len(r.Settings) == 0 }

// Repair puts right what containers share on the host and what somebody else has changed, by the records alone: the rules
// of the firewall, VLANs and bridges of lanhook's that are down, addresses that bridges have lost, their uplinks, VLANs of
// ports, forwarding, and reserved ports. Links of containers that ended with their parents, and VLANs of lanhook's, are made
// anew once these parents are there again. It tells the LANs again which addresses living containers have. It changes nothing
// that is as it should be, and nothing else inside of containers; a bridge that is gone it cannot bring back with its ports.
// Nobody attaches or detaches meanwhile, but while it tells LANs, which takes some 15 ms a container. It goes on past failures and
// joins them.
func (s *Setup) Repair(ctx context.Context) (Repaired, error) {
	r := Repaired{Rules: []string{}, Links: []string{}, Settings: []string{}}
	var records []store.Record
	err := s.withoutOthers(ctx, func() (err error) {
		if records, err = s.ruled(ctx); err == nil {
			err = s.agree(ctx, records)
		}
		if err != nil {
			return err
		}
		k := s.Host.KernelByID(-1, nil)
		apply := func(step plan.Step) error { return k.Apply(ctx, step) }
		followed := errors.Join(s.followParents(ctx, records, &r)...)
		return errors.Join(followed, s.repairVLANs(ctx, records, &r), s.repairHostLinks(ctx, records, &r), s.repairBridges(ctx, records, &r),
			s.repairMemberships(records, &r, apply), s.repairChildren(ctx, records, &r), s.repairRules(records, &r),
			s.repairForwarding(ctx, records, &r), s.repairPorts(ctx, records, &r))
	})
	return r, errors.Join(err, s.announce(ctx, records, &r))
}

func (s *Setup) repairRules(records []store.Record, r *Repaired) error {
	all := rulesOf(records)
	if len(all) == 0 {
		return nil // what is there without a record is gc's
	}
	drift, err := s.Host.RuleDrift(all)
	if err != nil || len(drift) == 0 {
		return err
	}
	if err = s.Host.RenewRules(all); err == nil {
		r.Rules = drift
	}
	return err
}

// repairBridges carries out anew the steps that made bridges, the newest last. They change nothing of a bridge that is
// not lanhook's.
func (s *Setup) repairBridges(ctx context.Context, records []store.Record, r *Repaired) error {
	var errs []error
	k := s.Host.KernelByID(-1, nil)
	for _, rec := range records {
		for _, step := range rec.Steps {
			b, ok := step.(plan.EnsureBridge)
			if !ok || b.AsIs {
				continue
			}
			link, there, err := s.Host.Link(b.Name)
			if err != nil || !there || link.Group != plan.Group {
				errs = append(errs, err)
				continue
			}
			drift := bridgeDrift(link, b)
			lost, err := s.lostVRF(link, b)
			if lost != "" {
				drift = append(drift, lost)
			}
			if err != nil || len(drift) == 0 {
				errs = append(errs, err)
				continue
			}
			if err := errors.Join(s.Host.RepairBridge(b), k.Apply(ctx, b)); err != nil {
				errs = append(errs, err)
				continue
			}
			r.Links = append(r.Links, drift...)
		}
	}
	return errors.Join(errs...)
}

// bridgeDrift says in what a bridge of lanhook's is not what a step made it.
func bridgeDrift(link kernel.State, b plan.EnsureBridge) []string {
	var drift []string
	if !link.Up {
		drift = append(drift, fmt.Sprintf("bridge %s is down", b.Name))
	}
	if b.VLANs && !link.FiltersVLANs {
		drift = append(drift, noFilter(b.Name))
	}
	for _, a := range b.Addresses {
		if !slices.Contains(link.Addresses, a) {
			drift = append(drift, fmt.Sprintf("address %s of bridge %s is gone", a, b.Name))
		}
	}
	for _, a := range b.Without {
		if slices.Contains(link.Addresses, a) {
			drift = append(drift, fmt.Sprintf("bridge %s of an isolated network has the address %s", b.Name, a))
		}
	}
	if b.Localnet && !link.Localnet {
		drift = append(drift, fmt.Sprintf("bridge %s does not take what the host sends from 127.0.0.0/8 (route_localnet)", b.Name))
	}
	return drift
}

func noFilter(bridge string) string {
	return fmt.Sprintf("bridge %s does not keep VLANs apart (vlan_filtering)", bridge)
}

// lostVRF says that a bridge of lanhook's is not in its VRF, "" where it is.
func (s *Setup) lostVRF(link kernel.State, b plan.EnsureBridge) (string, error) {
	if b.VRF == "" {
		return "", nil
	}
	vrf, ok, err := s.Host.Link(b.VRF)
	if err != nil || ok && vrf.Index == link.Master {
		return "", err
	}
	return fmt.Sprintf("bridge %s is not in vrf %s", b.Name, b.VRF), nil
}

// repairForwarding turns forwarding on again where containers need it.
func (s *Setup) repairForwarding(ctx context.Context, records []store.Record, r *Repaired) error {
	facts, err := s.forwardingFacts(ctx, records)
	if err != nil {
		return err
	}
	drift := forwardingDrift(facts)
	if len(drift) == 0 {
		return nil
	}
	step := plan.EnsureForwarding{Links: facts.NotForwarding, V6: facts.NotForwarding6}
	if err = s.Host.KernelByID(-1, nil).Apply(ctx, step); err == nil {
		r.Settings = append(r.Settings, drift...)
	}
	return err
}

// forwardingFacts asks which of the host's links should forward for containers, and do not.
func (s *Setup) forwardingFacts(ctx context.Context, records []store.Record) (plan.Facts, error) {
	var q kernel.Query
	for _, rules := range rulesOf(records) {
		for _, of := range rules.Of {
			if of.Gate == plan.NAT || of.Gate == plan.Routed {
				forwardsFor(&q, of)
			}
		}
	}
	if q.Forwards == (plan.Families{}) {
		return plan.Facts{}, nil
	}
	return s.Host.Facts(ctx, nil, []kernel.Query{q})
}

// forwardsFor adds to a query what [queryOf] has asked when the rules were planned.
func forwardsFor(q *kernel.Query, of plan.Rules) {
	for _, a := range of.Addresses {
		q.Forwards.V4, q.Forwards.V6 = q.Forwards.V4 || a.Is4(), q.Forwards.V6 || a.Is6()
	}
	q.Anywhere = q.Anywhere || of.Gate == plan.Routed || slices.ContainsFunc(of.Masquerade, netip.Addr.Is4)
	add := func(host netip.Addr) {
		if host.Is4() && !host.IsUnspecified() && !slices.Contains(q.Local, host) {
			q.Local = append(q.Local, host)
		}
	}
	for _, p := range of.Publish {
		q.Anywhere = q.Anywhere || isAll4(p.Addr)
		add(p.Addr)
	}
	for _, t := range of.DNAT {
		add(t.From)
	}
	for _, t := range of.SNAT {
		q.Anywhere = q.Anywhere || t.To.Is4()
	}
}

func forwardingDrift(facts plan.Facts) []string {
	var drift []string
	for _, name := range facts.NotForwarding {
		drift = append(drift, fmt.Sprintf("link %s of the host does not forward IPv4", name))
	}
	if facts.NotForwarding6 {
		drift = append(drift, "the host does not forward IPv6")
	}
	return drift
}

// repairPorts keeps ports from the host's own connections that somebody has taken from the list.
func (s *Setup) repairPorts(ctx context.Context, records []store.Record, r *Repaired) error {
	list, known, err := s.reservedPorts(ctx, records)
	if err != nil || !known {
		return err
	}
	var lost []uint16
	for _, rec := range records {
		for _, port := range reserved(rec) {
			if !within(list, port) && !slices.Contains(lost, port) {
				lost = append(lost, port)
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	if err = s.Host.KernelByID(-1, nil).Apply(ctx, plan.ReservePorts{Ports: lost}); err != nil {
		return err
	}
	for _, port := range lost {
		r.Settings = append(r.Settings, portDrift(port))
	}
	return nil
}

// reservedPorts asks which ports are kept from the host's own connections; known is false when no record needs to know.
func (s *Setup) reservedPorts(ctx context.Context, records []store.Record) (list []plan.Ports, known bool, err error) {
	if !slices.ContainsFunc(records, func(r store.Record) bool { return len(reserved(r)) > 0 }) {
		return nil, false, nil
	}
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{Ports: true}})
	return facts.Reserved, err == nil, err
}

func portDrift(port uint16) string {
	return fmt.Sprintf("port %d is no more kept from the host's own connections (ip_local_reserved_ports)", port)
}

// announce tells LANs the addresses of living containers.
func (s *Setup) announce(ctx context.Context, records []store.Record, r *Repaired) error {
	var errs []error
	for _, rec := range records {
		step := plan.Announced(rec.Steps)
		if len(step.Links) == 0 || rec.State != store.Attached {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			errs = append(errs, fmt.Errorf("cut off before the addresses of container %s and those after it were announced: %w",
				rec.Container, err))
			break
		}
		announced, err := s.announceFor(ctx, rec, step)
		if err != nil {
			errs = append(errs, fmt.Errorf("container %s: %w", rec.Container, err))
		}
		if announced {
			r.Announced++
		}
	}
	return errors.Join(errs...)
}

// announceFor says false when there was nothing to announce: what the container has removed is passed over. Its namespace may live
// without a first process that is known, or after that has ended.
func (s *Setup) announceFor(ctx context.Context, rec store.Record, step plan.AnnounceLinks) (announced bool, err error) {
	if lives, aliveErr := s.Host.Alive(rec.NetNS.NSID); aliveErr != nil || !lives {
		return false, aliveErr
	}
	ns, err := s.open(rec)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it has just ended
	}
	if err != nil {
		return false, err
	}
	defer ns.Close()
	if step, err = present(ns, step); err != nil || len(step.Links) == 0 {
		return false, err
	}
	err = s.Host.Kernel(ns).Apply(ctx, step)
	if errors.Is(err, syscall.ENODEV) {
		return false, nil // a link was removed since
	}
	return err == nil, err
}

// present are the announcements of addresses that links of Ethernet still have: those that a container has removed may be
// another host's by now.
func present(ns *kernel.Namespace, step plan.AnnounceLinks) (plan.AnnounceLinks, error) {
	var s plan.AnnounceLinks
	for _, a := range step.Links {
		link, there, err := ns.Link(a.If)
		if err != nil {
			return s, err
		}
		if !there || !link.Up || len(link.MAC) != macLen {
			continue
		}
		a.Addresses = slices.DeleteFunc(a.Addresses, func(addr netip.Addr) bool {
			return !slices.ContainsFunc(link.Addresses, func(p netip.Prefix) bool { return p.Addr() == addr })
		})
		if len(a.Addresses) > 0 {
			s.Links = append(s.Links, a)
		}
	}
	return s, nil
}
