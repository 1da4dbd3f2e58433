package netsetup

import (
	"fmt"
	"slices"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// The kernel has one sub-interface for each VLAN of a link, in whatever namespace. With the driver vlan it is the container's
// own, and nobody else's: its record has it among what records share, as what no other may share.

// tagName is the name of a VLAN of a link that is a container's own.
func tagName(parent string, tag policy.Tag) string {
	return fmt.Sprintf("%s%s/%s/%d", sharedTag, parent, tag.Protocol, tag.ID)
}

// vlans refuses VLANs that an attachment needs and another container has as its own, or needs as its own and others use.
func (d *draft) vlans(tx *store.Tx, a policy.Attachment) error {
	uplink := d.facts.Uplink[a.IfName]
	for _, sub := range slices.Concat(uplink.Subs, d.facts.PortUplink[a.IfName].Subs) {
		if err := d.notShared(tx, tagName(sub.Parent, sub.Tag), sub.Parent, sub.Tag); err != nil {
			return err
		}
	}
	own := plan.OwnTag(a.Network)
	if own == (policy.Tag{}) {
		return nil
	}
	if err := d.notShared(tx, tagName(uplink.Name, own), uplink.Name, own); err != nil {
		return err
	}
	// One that is nobody's in particular is the plan's to refuse.
	if name, ok := d.facts.Tagged[a.IfName]; ok {
		return d.notShared(tx, sharedVLAN+name, uplink.Name, own)
	}
	return nil
}

// notShared refuses a VLAN that a record names. The error is a [*parentUsedError] about one whose container may be dead.
func (d *draft) notShared(tx *store.Tx, shared, parent string, tag policy.Tag) error {
	refs, err := usersOf(tx, shared, 0)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("VLAN %s of %s", tag, parent)
	for _, ref := range refs {
		rec, ok, err := tx.Record(ref)
		switch {
		case err != nil:
			return err
		case !ok || ref == d.rec.Ref() || d.isElsewhere(rec):
			continue
		case !d.asked[ref] && !d.dry:
			return &parentUsedError{ref, what}
		}
		lease := store.Lease{Record: ref.ID, Container: ref.Container}
		for _, i := range rec.Interfaces {
			if lease.IfName == "" || i.Driver == policy.VLAN.String() {
				lease.IfName = i.Name
			}
		}
		return tx.InUse(what, lease)
	}
	return nil
}
