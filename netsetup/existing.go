package netsetup

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// earlierError is a record of an earlier start of the same container id.
type earlierError struct{ rec store.Record }

func (e *earlierError) Error() string {
	return fmt.Sprintf("container %s has a record of an earlier start, whose network namespace still lives", e.rec.Container)
}

// Hint says how to take it back by hand.
func (e *earlierError) Hint() string { return "lanhook detach " + e.rec.Container + " takes it back" }

// attachedError is an attach that does not fit what the container has.
type attachedError struct {
	rec store.Record
	why string
}

func (e *attachedError) Error() string { return fmt.Sprintf("container %s %s", e.rec.Container, e.why) }

// Hint says how to begin anew.
func (e *attachedError) Hint() string {
	return "see lanhook inspect " + e.rec.Container + "; lanhook detach " + e.rec.Container + " takes it back"
}

// existing looks at the records of the same container id. Ids are unique in one engine's namespace only, so a record
// whose process lives in another network namespace is another container's.
func (d *draft) existing(tx *store.Tx) error {
	if d.ns == nil {
		return nil
	}
	records, err := tx.ByContainer(d.container.ID)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if rec.BootID != d.BootID || rec.NetNS.Cookie != d.ns.Identity().Cookie {
			if elsewhere := rec.BootID == d.BootID && (rec.Left || alive(rec.Process)); !elsewhere {
				return &earlierError{rec}
			}
			continue
		}
		d.reads = d.reads || rec.Guest != ""
		if err := d.ours(tx, rec); err != nil || d.already {
			return err
		}
	}
	return nil
}

// ours looks at a record of the container in this namespace.
func (d *draft) ours(tx *store.Tx, rec store.Record) error {
	switch {
	case rec.State == store.Leaving && alive(rec.Writer):
		return &busyError{rec: rec}
	case rec.State == store.Pending && alive(rec.Writer):
		return fmt.Errorf("container %s is being attached by process %d right now", rec.Container, rec.Writer.PID)
	case rec.State != store.Attached:
		return &earlierError{rec}
	case len(rec.Joined) > 0 && len(rec.Interfaces) == 0:
		return d.rejoin(tx, rec)
	case d.overlaps(rec):
		return d.again(tx, rec)
	case len(d.attachments)+len(rec.Interfaces) == 0 && rec.Process == store.Process(d.container.Process):
		return d.keep(tx, rec)
	}
	return nil
}

func (d *draft) overlaps(rec store.Record) bool {
	return slices.ContainsFunc(d.own, func(a policy.Attachment) bool {
		return slices.ContainsFunc(rec.Interfaces, func(i plan.Interface) bool { return i.Name == a.IfName })
	})
}

// again is an attach of what is attached already: the same interfaces on the same networks, and still there.
func (d *draft) again(tx *store.Tx, rec store.Record) error {
	same := len(rec.Interfaces) == len(d.own)
	for i, a := range d.own {
		same = same && d.differs(rec.Interfaces[i], a) == "" && publishesSame(rec.Interfaces[i], a)
		if same && !d.facts.Taken[a.IfName] {
			return &attachedError{rec, fmt.Sprintf("has a record of %s, but the interface is gone", a.IfName)}
		}
	}
	if !same {
		return &attachedError{rec, "is attached already, but not as it asks now"}
	}
	return d.keep(tx, rec)
}

// publishesSame says whether an interface has the ports and host addresses that an attachment asks for, and no others.
func publishesSame(i plan.Interface, a policy.Attachment) bool {
	has, asked := 0, 0
	for _, p := range i.Publish {
		has += p.Count
	}
	for _, p := range a.Publish {
		asked += p.Count
	}
	return has == asked && len(i.DNAT) == len(a.DNAT) && unpublished(i, a) == ""
}

// rejoin looks at a record by which the container joined others. One that its end left behind makes room for a new one:
// a record's name stands for one process, so that gc may delete by its name the record of a dead one.
func (d *draft) rejoin(tx *store.Tx, rec store.Record) error {
	p := store.Process(d.container.Process)
	switch {
	case len(d.joined) == 0:
		return nil
	case rec.Process != p && (rec.Process.PID == 0 || alive(rec.Process)):
		return nil
	case rec.Process != p && d.dry:
		return nil
	case rec.Process != p:
		return tx.Delete(rec.Ref())
	}
	if err := d.keep(tx, rec); err != nil {
		return err
	}
	d.already, d.joined = len(d.own) == 0, nil
	return nil
}

// keep goes on with a record that the container has. With another first process in the same namespace, it is that one's
// end that counts from now on; one that had left is back.
func (d *draft) keep(tx *store.Tx, rec store.Record) error {
	d.rec, d.already = rec, true
	p := store.Process(d.container.Process)
	if p.PID == 0 || d.dry {
		return nil
	}
	joined := d.joined
	if p == rec.Process {
		joined = union(rec.Joined, d.joined)
	}
	if p == rec.Process && !rec.Left && len(joined) == len(rec.Joined) {
		return nil
	}
	d.rec.Process, d.rec.Left, d.rec.Joined = p, false, joined
	return tx.Put(d.rec)
}

func union(a, b []store.Ref) []store.Ref {
	all := slices.Clone(a)
	for _, ref := range b {
		if !slices.Contains(all, ref) {
			all = append(all, ref)
		}
	}
	return all
}

// differs says in what an interface is not what an attachment asks for, "" for nothing.
func (d *draft) differs(i plan.Interface, a policy.Attachment) string {
	uplink := d.facts.UplinkName(a)
	missing := slices.IndexFunc(a.IPs, func(p netip.Prefix) bool { return !slices.Contains(i.Addresses, p) })
	switch {
	case i.Network != a.Network.Name:
		return fmt.Sprintf("it is on network %s, not %s", titled(i.Network), titled(a.Network.Name))
	case i.Driver != a.Network.Driver.String() || uplink != "" && i.Uplink != uplink:
		return fmt.Sprintf("it is a %s of %s, not a %s of %s", i.Driver, i.Uplink, a.Network.Driver, uplink)
	case missing >= 0:
		return fmt.Sprintf("it does not have the address %s", a.IPs[missing])
	case a.MAC != nil && i.MAC.String() != a.MAC.String():
		return fmt.Sprintf("its MAC address is %s, not %s", i.MAC, a.MAC)
	case a.MTU != 0 && i.MTU != a.MTU:
		return fmt.Sprintf("its MTU is %d, not %d", i.MTU, a.MTU)
	case i.Name != a.IfName:
		return fmt.Sprintf("it is %s, not %s", i.Name, a.IfName)
	}
	return ""
}

// titled is a network as messages have it: one that a container spelled out has no name.
func titled(network string) string {
	if network == "" {
		return "(spelled out)"
	}
	return network
}
