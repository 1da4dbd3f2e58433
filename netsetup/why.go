package netsetup

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy/request"
)

// Question is what somebody wants to know the owner of: an address, a MAC address or a port of the host.
type Question struct {
	// Addr is the address; with Port the host's address at which the port is, and then not valid for all of them.
	Addr netip.Addr
	MAC  plan.MAC
	Port uint16
	// Protocols are those of Port that are meant.
	Protocols []request.Protocol
}

// OwnerKind says what sort of owner one is.
type OwnerKind string

// The kinds of owners.
const (
	// OwnerContainer is a container that a record gives it to.
	OwnerContainer OwnerKind = "container"
	// OwnerHost is a link of the host.
	OwnerHost OwnerKind = "host"
	// OwnerProcess is a process of the host that has the port.
	OwnerProcess OwnerKind = "process"
	// OwnerPolicy is a network of the policy that keeps it back or hands it out.
	OwnerPolicy OwnerKind = "policy"
	// OwnerNeighbour is somebody of whom the host has heard on a link.
	OwnerNeighbour OwnerKind = "neighbour"
)

// Owner is one who has what was asked for, as one source of facts tells it. Several may, and then they say different things of one
// owner, or there is a conflict.
type Owner struct {
	Kind OwnerKind `json:"kind"`
	// What is in words how it is owned.
	What string `json:"what"`
	// Free is true for a network that may hand it out: nobody has it by that.
	Free bool `json:"free,omitempty"`
	// Container, Workload, Record, Interface and State are set for a container only. Since is when it was attached, or when an attach
	// heard of a neighbour. Network is set for a container on one that has a name, for such a neighbour, and for a network.
	Container string     `json:"container,omitempty"`
	Workload  string     `json:"workload,omitempty"`
	Record    string     `json:"record,omitempty"`
	Interface string     `json:"interface,omitempty"`
	State     string     `json:"state,omitempty"`
	Since     *time.Time `json:"since,omitempty"`
	Network   string     `json:"network,omitempty"`
	// Lives says of a container whether it cannot be proved dead, and Evidence what is known of that.
	Lives    *bool    `json:"lives,omitempty"`
	Evidence []string `json:"evidence,omitempty"`
	// Link is the host's on which it is, for an interface the parent or bridge. MAC is that of the interface, link or neighbour, and
	// Address the link's, the neighbour's or the process's.
	Link    string     `json:"link,omitempty"`
	MAC     plan.MAC   `json:"mac,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
	// Answers says of a neighbour that it was asked and has answered.
	Answers bool `json:"answers,omitempty"`
	// Conflict says of a neighbour that somebody here has the address too.
	Conflict bool `json:"conflict,omitempty"`
	// PID and Program are the process's, 0 and "" where they are not known.
	PID     int    `json:"pid,omitempty"`
	Program string `json:"program,omitempty"`
}

// Answer is who has what is asked for, containers first.
type Answer struct {
	Owners []Owner
	// Unasked is why some LAN was not asked, nil when all were or when there was nothing to ask them for.
	Unasked error
}

// Why says who has what is asked for. Without a policy nothing is said of what it keeps back.
func (s *Setup) Why(ctx context.Context, q Question) (Answer, error) {
	var all []store.Record
	if err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		all, err = s.all(tx)
		return err
	}); err != nil {
		return Answer{}, err
	}
	owners, err := s.containers(q, all)
	if err != nil {
		return Answer{}, err
	}
	host, err := s.onHost(ctx, q)
	if err != nil {
		return Answer{}, err
	}
	var unasked error
	if q.Port == 0 && q.Addr.IsValid() {
		host, unasked = s.answers(ctx, q.Addr, host)
		markConflicts(owners, host)
		before, err := s.remembered(ctx, q.Addr, host)
		if err != nil {
			return Answer{}, err
		}
		host = append(host, before...)
	}
	keep := keepers(s.Policy, q)
	if len(owners) > 0 || slices.ContainsFunc(host, func(o Owner) bool { return o.Kind == OwnerHost }) {
		// What a container or this host has is not handed out; that a network may hand out what a neighbour has is news.
		keep = slices.DeleteFunc(keep, func(o Owner) bool { return o.Free })
	}
	return Answer{Owners: slices.Concat(owners, host, keep), Unasked: unasked}, nil
}

// markConflicts finds neighbours that answer for what a living container, or a link of the host, has on the same link. The host's
// table tells of the past: the kernel keeps an entry that it does not use, and whoever was there may have left.
func markConflicts(containers, host []Owner) {
	here := slices.DeleteFunc(slices.Concat(containers, host), func(o Owner) bool {
		return o.MAC == nil || o.Kind == OwnerNeighbour || o.Kind == OwnerContainer && !*o.Lives
	})
	for i := range host {
		o := &host[i]
		same := func(h Owner) bool { return bytes.Equal(h.MAC, o.MAC) }
		near := func(h Owner) bool { return h.Link == o.Link }
		if o.Answers && slices.ContainsFunc(here, near) && !slices.ContainsFunc(here, same) {
			o.Conflict = true
			o.What += ": a conflict"
		}
	}
}

// containers are those that a record gives what is asked for, with the proof that they live or do not.
func (s *Setup) containers(q Question, all []store.Record) ([]Owner, error) {
	var (
		owners []Owner
		l      liveness
	)
	groups := grouped(all, s.BootID)
	for _, rec := range all {
		held := holds(rec, q)
		if len(held) == 0 {
			continue
		}
		v, err := l.look(s, rec, groups[identity(rec)])
		if err != nil {
			return nil, fmt.Errorf("see whether container %s lives: %w", rec.Container, err)
		}
		lives := v == living
		evidence, err := s.evidence(rec, v, all)
		if err != nil {
			return nil, err
		}
		for _, o := range held {
			o.Lives, o.Evidence = &lives, evidence
			owners = append(owners, o)
		}
	}
	return owners, nil
}

// holds are the ways in which a record has what is asked for.
func holds(rec store.Record, q Question) []Owner {
	var owners []Owner
	add := func(i plan.Interface, mac plan.MAC, what string) {
		since := rec.Created
		owners = append(owners, Owner{
			Kind: OwnerContainer, What: what, Container: rec.Container, Workload: rec.Workload, Record: rec.ID, Interface: i.Name,
			State: rec.State.String(), Since: &since, Network: i.Network, Link: i.Uplink, MAC: mac,
		})
	}
	for _, i := range rec.Interfaces {
		on := fmt.Sprintf("%s, %s on %s", i.Name, i.Driver, i.Uplink)
		if i.Network != "" {
			on = fmt.Sprintf("%s on network %s, %s on %s", i.Name, i.Network, i.Driver, i.Uplink)
		}
		for _, p := range slices.Concat(i.Addresses, i.Learned) {
			if q.Port == 0 && p.Addr() == q.Addr {
				add(i, i.MAC, on)
			}
		}
		if q.MAC != nil && bytes.Equal(i.MAC, q.MAC) {
			add(i, i.MAC, on)
		}
		for _, t := range i.DNAT {
			if t.From == q.Addr || q.Port != 0 && !q.Addr.IsValid() {
				add(i, nil, fmt.Sprintf("all that is sent to %s goes to %s of %s", t.From, t.To, i.Name))
			}
		}
		for _, p := range i.Publish {
			if publishes(p, q) {
				add(i, nil, fmt.Sprintf("%s of %s", p, i.Name))
			}
		}
	}
	if at := slices.IndexFunc(rec.Leases, func(l store.Lease) bool { return leases(l, q) }); at >= 0 && len(owners) == 0 {
		add(plan.Interface{Name: rec.Leases[at].IfName}, nil, "kept for "+rec.Leases[at].IfName)
	}
	return owners
}

// leases says whether a lease is of the address or MAC address that is asked for.
func leases(l store.Lease, q Question) bool {
	return q.Port == 0 && (q.Addr.IsValid() && l.Addr == q.Addr || q.MAC != nil && bytes.Equal(l.MAC, q.MAC))
}

// publishes says whether a published range is what is asked for: a port, or an address that it names itself.
func publishes(p plan.Publish, q Question) bool {
	if q.Port == 0 {
		return q.Addr.IsValid() && p.Addr == q.Addr
	}
	at := p.Addr == q.Addr || !q.Addr.IsValid() || p.Addr.IsUnspecified() && p.Addr.Is4() == q.Addr.Is4() ||
		q.Addr.IsUnspecified() && p.Addr.Is4() == q.Addr.Is4()
	return at && slices.Contains(q.Protocols, p.Protocol) && p.Host <= q.Port && int(q.Port) < int(p.Host)+p.Count
}

// evidence is what is known of a record's process and namespace, in words, and what follows from a proof of its end.
func (s *Setup) evidence(rec store.Record, v verdict, all []store.Record) ([]string, error) {
	if rec.BootID != s.BootID {
		return []string{"it is of an earlier boot: nothing of it exists any more, and lanhook gc gives it back"}, nil
	}
	var list []string
	switch p := rec.Process; {
	case p.PID == 0:
		list = append(list, "its first process is not known")
	case alive(p):
		list = append(list, fmt.Sprintf("its process %d runs, by its number and its start", p.PID))
	default:
		list = append(list, fmt.Sprintf("its process %d has ended", p.PID))
	}
	if rec.State != store.Attached && alive(rec.Writer) {
		list = append(list, fmt.Sprintf("process %d is at work on it", rec.Writer.PID))
	}
	there, err := s.namespaceText(rec)
	if err != nil {
		return nil, err
	}
	list = append(list, there)
	for _, other := range all {
		if other.BootID == s.BootID && slices.Contains(other.Joined, rec.Ref()) {
			list = append(list, fmt.Sprintf("container %s shares it", other.Container))
		}
	}
	if v != living {
		list = append(list, "it is over: lanhook gc gives it back, and so does an attach that asks for the same")
	}
	return list, nil
}

// namespaceText says whether a record's namespace is there still.
func (s *Setup) namespaceText(rec store.Record) (string, error) {
	if rec.Host != s.hostNetNS() {
		return "it was attached from another network namespace, which alone knows more", nil
	}
	name := fmt.Sprintf("network namespace %d", rec.NetNS.Inode)
	if rec.NetNS.Cookie != 0 {
		name += fmt.Sprintf(" (cookie %d)", rec.NetNS.Cookie)
	}
	there, err := s.Host.Alive(rec.NetNS.NSID)
	switch {
	case err != nil:
		return "", err
	case !there:
		return name + " is gone", nil
	case !kernel.OwnNSID(rec.NetNS.NSID):
		return name + ", or another one that has its number now, is there", nil
	}
	return name + " is there", nil
}
