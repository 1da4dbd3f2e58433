package netsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// A device of the host is one container's at a time. Its record has, among what records share, all by which a policy may select
// it: while it is away there is nothing of it on the host to go by.

// deviceNames are the names of a device: the first tells it from all others, which have other hardware or, without any, another
// number.
func deviceNames(d plan.Device) []string {
	names := []string{
		fmt.Sprintf("%sindex/%d", sharedDevice, d.Index),
		sharedDevice + "name/" + d.Name,
		sharedDevice + "mac/" + d.MAC.String(),
	}
	if d.Path != "" {
		names[0] = sharedDevice + "at" + d.Path + "/" + d.Permanent.String()
	}
	for _, name := range d.AltNames {
		names = append(names, sharedDevice+"name/"+name)
	}
	if len(d.Permanent) > 0 && !slices.Equal(d.Permanent, d.MAC) {
		names = append(names, sharedDevice+"mac/"+d.Permanent.String())
	}
	if pci := d.PCI(); pci != "" {
		names = append(names, sharedDevice+"pci/"+pci)
	}
	return names
}

// selectedName is the name of the device that a policy selects.
func selectedName(d policy.Device) string {
	switch {
	case d.Name != "":
		return sharedDevice + "name/" + d.Name
	case len(d.MAC) > 0:
		return sharedDevice + "mac/" + d.MAC.String()
	}
	return sharedDevice + "pci/" + d.PCI
}

// device refuses a device that another container has. One that is not on the host is looked for among those that are away.
func (d *draft) device(tx *store.Tx, a policy.Attachment) error {
	name := selectedName(a.Network.Device)
	if found, ok := d.facts.Device[a.IfName]; ok {
		name = deviceNames(found.Device)[0]
	}
	return d.deviceFree(tx, name, "device "+a.Network.Device.String())
}

// away refuses a parent or an uplink that is not there since a container has it as its device.
func (d *draft) away(tx *store.Tx, a policy.Attachment) error {
	what, p, found := "parent ", a.Network.Parent, d.facts.Uplink[a.IfName].Name != ""
	if a.Network.Driver == policy.Bridge {
		what, p, found = "uplink ", a.Network.Uplink, !a.Network.HasUplink() || d.facts.PortUplink[a.IfName].Name != ""
	}
	if found {
		return nil
	}
	base, _ := policy.SplitVLAN(p.Name)
	for _, link := range []policy.Device{{Name: p.Name}, {Name: base}, {Name: p.AltName}, {MAC: p.MAC}} {
		if link.Name == "" && len(link.MAC) == 0 {
			continue
		}
		if err := d.deviceFree(tx, selectedName(link), what+p.String()); err != nil {
			return err
		}
	}
	return nil
}

// deviceFree refuses what needs a device, by one of its names, that another container has.
func (d *draft) deviceFree(tx *store.Tx, name, what string) error {
	holder, ok, err := deviceHolder(tx, name)
	if err != nil || !ok || holder.Ref() == d.rec.Ref() {
		return err
	}
	lease := store.Lease{Record: holder.ID, Container: holder.Container}
	for _, i := range holder.Interfaces {
		if step, ok := moveOf(holder.Steps, i.Name); ok && slices.Contains(deviceNames(step.Device), name) {
			lease.IfName = i.Name
		}
	}
	return tx.InUse(what, lease)
}

// leaving refuses a link on which something is to hang, directly or by a VLAN of it, while an attach of another container is
// about to move it: what hangs on it would be deleted with the move. Once that one is done, the host does not have it any more.
func (d *draft) leaving(tx *store.Tx, a policy.Attachment) error {
	var names []string
	for _, link := range []plan.Link{d.facts.Uplink[a.IfName], d.facts.PortUplink[a.IfName]} {
		names = append(names, link.Name, link.Base)
		for _, sub := range link.Subs {
			names = append(names, sub.Parent)
		}
	}
	for _, name := range names {
		holder, ok, err := deviceHolder(tx, sharedDevice+"name/"+name)
		if err != nil {
			return err
		}
		if !ok || holder.State != store.Pending || holder.Ref() == d.rec.Ref() || !d.isHere(holder) {
			continue
		}
		lease := store.Lease{Record: holder.ID, Container: holder.Container}
		i := slices.IndexFunc(holder.Interfaces, func(i plan.Interface) bool { return i.Driver == policy.HostDevice.String() })
		if i >= 0 {
			lease.IfName = holder.Interfaces[i].Name
		}
		return tx.InUse("device "+name, lease)
	}
	return nil
}

// deviceHolder is the record that has a device by one of its names.
func deviceHolder(tx *store.Tx, name string) (store.Record, bool, error) {
	refs, err := usersOf(tx, name, 0)
	if err != nil || len(refs) == 0 {
		return store.Record{}, false, err
	}
	return tx.Record(refs[0])
}

// moveOf is the step by which the interface of a name came into the container.
func moveOf(steps plan.Steps, ifName string) (plan.MoveLink, bool) {
	own := ""
	for _, step := range steps {
		if s, ok := step.(plan.SetLink); ok && s.Name == ifName {
			own = s.From
		}
	}
	for _, step := range steps {
		if s, ok := step.(plan.MoveLink); ok && s.Name == own {
			return s, true
		}
	}
	return plan.MoveLink{}, false
}

// device is the name of a network's device, and whether the host has it or a container.
func (s *Setup) device(ctx context.Context, n *policy.Network) (string, bool, error) {
	const key = "eth0"
	facts, err := s.Host.Facts(ctx, nil, []kernel.Query{{IfName: key, Device: n.Device}})
	if err != nil {
		return "", false, err
	}
	if found, ok := facts.Device[key]; ok {
		return found.Name, true, nil
	}
	name, away := n.Device.String(), false
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		holder, ok, viewErr := deviceHolder(tx, selectedName(n.Device))
		for _, step := range holder.Steps {
			if m, is := step.(plan.MoveLink); is && slices.Contains(deviceNames(m.Device), selectedName(n.Device)) {
				name = m.Device.Name
			}
		}
		away = ok
		return viewErr
	})
	return name, away, err
}

// returning carries out the steps that undo a record. That a device came back otherwise than it was is told, and keeps no
// record.
type returning struct{ *undoing }

// Apply is [apply.Kernel]'s.
func (r returning) Apply(ctx context.Context, step plan.Step) error {
	err := r.kernel.Apply(ctx, step)
	if _, only := errors.AsType[*kernel.AlteredError](err); only {
		r.altered = append(r.altered, fmt.Errorf("detach %s: %w", r.rec.Container, err))
		return nil
	}
	return err
}

var _ apply.Kernel = returning{}
