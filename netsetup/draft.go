package netsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/lanhook/lanhook/netsetup/ipam"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// draft is one attach within the store's transaction: what is in use, what is chosen, the plan, the record.
type draft struct {
	*Setup
	container Container
	ns        *kernel.Namespace
	// nsid is the number by which the host knows ns.
	nsid        int
	attachments []policy.Attachment
	facts       plan.Facts
	// relooked says that facts were taken again after they did not fit what the records say.
	relooked bool
	patience patience
	// member says that the container was put into the namespace of another, whose interfaces are all that it has.
	member bool
	// reads says that the container has guest files by another record of its.
	reads bool
	// first says that no other container of the namespace has a record.
	first bool
	// dry is true for a plan that is only shown.
	dry bool
	// asked are the records of the same workload that were looked at, and live.
	asked map[store.Ref]bool

	// own are the attachments that this container makes itself; shared are the interfaces that others of the namespace
	// made, and joined their records.
	own    []policy.Attachment
	shared []plan.Interface
	joined []store.Ref
	// group are all records of the namespace.
	group group
	// host are the addresses that were chosen for the host itself, by scope.
	host map[string][]hostAddress

	rec     store.Record
	already bool
	// anew says that all was taken back for another try.
	anew bool
	// remains is what a dead container whose record was in the way has left.
	remains error
	// tried are the addresses that others turned out to have, and rivals says that one was asked for at the same time.
	tried  []netip.Addr
	rivals bool
	// doubts are the plan's warnings, and taken are addresses that others have too: the container is attached all the same.
	doubts, taken []error
	// silent says that routers gave no address in time.
	silent error
	// withheld is why it does not have what is reserved for its name.
	withheld []error
	// crowded is true when many containers are attached.
	crowded bool
}

// crowd is from how many records on a /proc of our own takes less time than the list in the usual one.
const crowd = 300

// usesShared says whether an attachment uses what others may remove meanwhile: a bridge, with or without an uplink, a
// sub-interface, or a link of the host beside containers.
func (d *draft) usesShared() bool {
	return slices.ContainsFunc(d.attachments, func(a policy.Attachment) bool {
		return a.Network.Driver == policy.Bridge || a.Network.HostAccess || len(d.facts.Uplink[a.IfName].Subs) > 0
	})
}

// namesakeError says that an address or MAC which this workload would get again is held by a record of its own name.
type namesakeError struct{ ref store.Ref }

func (e *namesakeError) Error() string {
	return "its address is held by an earlier container, " + e.ref.Container
}

// record does all that an attach needs from the store. Nothing in it changes the kernel; a free port is tried there.
func (d *draft) record(tx *store.Tx) error {
	d.rec, d.already = store.Record{}, false
	if d.asked == nil {
		d.asked = map[store.Ref]bool{}
	}
	if err := d.share(tx); err != nil {
		return err
	}
	if err := d.existing(tx); err != nil || d.already {
		return err
	}
	d.rec = d.newRecord()
	if len(d.own) > 0 {
		if err := d.plan(tx); err != nil {
			return err
		}
	} else {
		d.rec.State = store.Attached // there is nothing to do
	}
	for _, a := range d.attachments {
		if a.Network.Names && !slices.Contains(d.rec.Names, a.Network.Name) {
			d.rec.Names = append(d.rec.Names, a.Network.Name)
		}
	}
	if d.dry {
		return nil
	}
	return tx.Put(d.rec)
}

// plan chooses the addresses and makes the plan of what the container gets for itself.
func (d *draft) plan(tx *store.Tx) error {
	if err := d.count(tx); err != nil {
		return err
	}
	d.host = nil
	facts, err := d.users(tx)
	if err != nil {
		return err
	}
	in := plan.Input{
		Record:      d.rec.ID,
		HostID:      d.HostID,
		Attachments: d.own,
		Facts:       facts,
	}
	if in.Others, err = d.others(); err != nil {
		return err
	}
	d.withheld = nil
	for _, a := range d.own {
		var choice plan.Choice
		if choice, err = d.choose(tx, a); err != nil {
			return err
		}
		in.Choices = append(in.Choices, choice)
	}
	err = d.publish(tx, in.Choices)
	if err == nil {
		in.OwnReserved, err = d.ownReserved(tx, in.Choices)
	}
	if err != nil {
		return err
	}
	p, err := plan.Build(in)
	if err != nil {
		return err
	}
	d.rec.Steps, d.rec.Interfaces, d.rec.Shared = p.Steps, p.Interfaces, sharedBy(p.Steps)
	d.doubts = p.Warnings
	return nil
}

// count looks how many containers are attached.
func (d *draft) count(tx *store.Tx) error {
	n, err := tx.Len()
	d.crowded = n >= crowd
	return err
}

func (d *draft) newRecord() store.Record {
	rec := store.Record{
		ID:        store.NewID(),
		Container: d.container.ID,
		Workload:  d.container.Workload,
		Runtime:   d.container.Runtime,
		State:     store.Pending,
		BootID:    d.BootID,
		Host:      d.hostNetNS(),
		NetNS:     store.NetNS{NSID: -1},
		Process:   store.Process(d.container.Process),
		Writer:    store.Process(d.Self),
		Created:   time.Now().UTC().Truncate(time.Second),
		Guest:     d.container.Guest,
		Joined:    d.joined,
		// A pod begins with its sandbox. One that comes later may say what it will: with its end nothing of others ends.
		Sandbox: d.container.Sandbox && d.first,
	}
	if d.ns != nil {
		id := d.ns.Identity()
		rec.NetNS = store.NetNS{Inode: id.Inode, Cookie: id.Cookie, NSID: d.nsid, Path: d.container.NetNS}
	}
	return rec
}

// choose takes the addresses and the MAC of one attachment.
func (d *draft) choose(tx *store.Tx, a policy.Attachment) (plan.Choice, error) {
	if a.Network.Driver == policy.HostDevice {
		// Its addresses on the host leave the host with it.
		if err := d.device(tx, a); err != nil {
			return plan.Choice{}, err
		}
	} else if err := d.away(tx, a); err != nil {
		return plan.Choice{}, err
	}
	if err := d.leaving(tx, a); err != nil {
		return plan.Choice{}, err
	}
	if err := d.vlans(tx, a); err != nil {
		return plan.Choice{}, err
	}
	l, err := d.withHostAddresses(tx, d.lan(a), a)
	if err != nil {
		return plan.Choice{}, err
	}
	choice := plan.Choice{Addresses: slices.Clone(a.IPs)}
	for _, p := range a.IPs {
		if err = d.takeAsked(tx, l, a, p.Addr()); err != nil {
			return plan.Choice{}, err
		}
	}
	for _, sub := range a.Network.Subnets {
		if asked(a.IPs, sub.Prefix) || sub.Prefix.Addr().Is6() && a.WithoutIPv6() {
			continue
		}
		var addr netip.Addr
		if addr, err = d.addressIn(tx, l, a, sub); err != nil {
			return plan.Choice{}, err
		}
		if addr.IsValid() {
			choice.Addresses = append(choice.Addresses, netip.PrefixFrom(addr, sub.Prefix.Bits()))
		}
	}
	if choice.MAC, err = d.mac(tx, l.scope, a, choice.Addresses); err != nil {
		return plan.Choice{}, err
	}
	choice.Host, choice.HostIsNew, err = d.hostAccess(tx, l, a)
	return choice, err
}

// lan is what is known of the layer 2 that an attachment is on.
type lan struct {
	// scope is the key of its leases.
	scope string
	// own are the host's addresses there, reserved what any network of the policy there keeps back.
	own, reserved []ipam.Range
	// host are those of own that the host has on links beside containers.
	host []hostAddress
	// kept are addresses that networks there reserve for workloads, by the names of these.
	kept map[netip.Addr]string
}

// lan looks together what is known of the layer 2 that an attachment is on.
func (d *draft) lan(a policy.Attachment) lan {
	wire := d.facts.Wire(a)
	l := lan{
		scope:    a.Network.Scope(wire),
		reserved: d.Policy.Reserved(a.Network, wire, d.facts.Wires),
		kept:     d.Policy.Reservations(a.Network, wire, d.facts.Wires),
	}
	for _, own := range d.facts.Uplink[a.IfName].Addresses {
		l.own = append(l.own, ipam.Range{From: own, To: own})
	}
	return l
}

// pool is what there is to be picked from in a subnet. Single addresses that others have are not left out of it but count as
// taken, see [lan.has]: a workload's place depends on the size of the pool, and is to stay where it is when the host gets
// another address, or the policy another reservation.
func (l lan) pool(a policy.Attachment, sub policy.Subnet) ipam.Pool {
	pool := sub.Pool()
	pool.Exclude = slices.Concat(pool.Exclude, l.reserved)
	for _, g := range a.Gateways {
		pool.Exclude = append(pool.Exclude, ipam.Range{From: g, To: g})
	}
	return pool
}

// has says who has an address of the pool by another right than a lease.
func (l lan) has(addr netip.Addr) (holder string, taken bool) {
	if name, kept := l.kept[addr]; kept {
		return name + " (reserved)", true
	}
	return "this host", contains(l.own, addr)
}

// place is where the search for a free address begins.
func (d *draft) place(a policy.Attachment) uint64 {
	return ipam.Place(d.HostID, a.Network.Name, d.container.Workload, a.IfName)
}

// takeAsked takes an address that the container chose.
func (d *draft) takeAsked(tx *store.Tx, l lan, a policy.Attachment, addr netip.Addr) error {
	if contains(l.own, addr) {
		return fmt.Errorf("%s: address %s is this host's own", a.IfName, addr)
	}
	// A gateway that the policy lets it have is its own: then the container is the router.
	if contains(l.reserved, addr) && !a.Network.IsGateway(addr) {
		return fmt.Errorf("%s: address %s is a gateway or kept back by a network of the policy on the same LAN", a.IfName, addr)
	}
	if name, kept := l.kept[addr]; kept && !isReserved(a, addr) {
		return fmt.Errorf("%s: address %s is reserved for %q by a network of the policy on the same LAN", a.IfName, addr, name)
	}
	err := d.take(tx, store.Lease{Scope: l.scope, Addr: addr, IfName: a.IfName})
	if used, ok := errors.AsType[*store.InUseError](err); ok && used.Holder.Container == d.rec.Container {
		return &ownError{used}
	}
	return err
}

// ownError says that a container asks for an address that another interface of its own has.
type ownError struct{ used *store.InUseError }

func (e *ownError) Error() string { return e.used.Error() }

func (e *ownError) Unwrap() error { return e.used }

// Hint says that it is its own.
func (e *ownError) Hint() string {
	return "it has that already; ask for another address, or as " + e.used.IfName + ":NETWORK for the interface that is there"
}

func contains(ranges []ipam.Range, addr netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(r ipam.Range) bool { return r.Contains(addr) })
}

// asked says whether the container chose its addresses of the subnet's family itself.
func asked(ips []netip.Prefix, subnet netip.Prefix) bool {
	return slices.ContainsFunc(ips, func(p netip.Prefix) bool { return p.Addr().Is4() == subnet.Addr().Is4() })
}

// namesake stops the search when the workload's own place is held by a record of the same workload that was not asked
// about: when its container is dead, this one gets the address again.
func (d *draft) namesake(tx *store.Tx, lease store.Lease) error {
	if d.asked[lease.Ref()] || d.dry || lease.Ref() == d.rec.Ref() {
		return nil
	}
	rec, ok, err := tx.Record(lease.Ref())
	if err != nil || !ok || rec.Workload != d.container.Workload {
		return err
	}
	return &namesakeError{lease.Ref()}
}

// maxMACs bounds the search for a free MAC address: a second container of the same name takes the second one.
const maxMACs = 64

// mac takes the MAC address: nil in passthru mode, where the child has its parent's, and where the network says so.
func (d *draft) mac(tx *store.Tx, scope string, a policy.Attachment, addrs []netip.Prefix) (plan.MAC, error) {
	if a.Network.Mode == policy.ModePassthru || a.Network.MAC == policy.MACKeep && a.MAC == nil {
		return nil, nil
	}
	if a.MAC != nil {
		return plan.MAC(a.MAC), d.take(tx, store.Lease{Scope: scope, MAC: plan.MAC(a.MAC), IfName: a.IfName})
	}
	for n := range maxMACs {
		mac := plan.MAC(d.candidate(a, addrs, n))
		lease := store.Lease{Scope: scope, MAC: mac, IfName: a.IfName}
		held, taken, err := tx.HolderMAC(scope, mac)
		taken = taken && held.Ref() != d.rec.Ref()
		if err == nil && taken && n == 0 {
			err = d.namesake(tx, held)
		}
		if err != nil {
			return nil, err
		}
		if !taken {
			return mac, d.take(tx, lease)
		}
	}
	return nil, fmt.Errorf("%s: no free MAC address for workload %s after %d tries; %d containers have its name",
		a.IfName, d.container.Workload, maxMACs, maxMACs)
}

func (d *draft) candidate(a policy.Attachment, addrs []netip.Prefix, n int) net.HardwareAddr {
	if a.Network.MAC == policy.MACRandom {
		return ipam.MAC(d.rec.ID, a.IfName, strconv.Itoa(n))
	}
	if a.Network.MAC == policy.MACFromIP && n == 0 {
		for _, p := range addrs {
			if p.Addr().Is4() {
				return ipam.MACFromIP(p.Addr())
			}
		}
	}
	return ipam.MAC(d.HostID, a.Network.Name, d.container.Workload, a.IfName, strconv.Itoa(n))
}

// take leases an address for this record; a plan that is only shown looks whether it could.
func (d *draft) take(tx *store.Tx, l store.Lease) error {
	l.Record, l.Container = d.rec.ID, d.rec.Container
	d.rec.Leases = append(d.rec.Leases, l)
	if d.dry {
		return tx.Free(l)
	}
	return tx.Take(l)
}
