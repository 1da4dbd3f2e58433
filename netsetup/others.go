package netsetup

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy/request"
)

// others are the interfaces of the namespace that other records have made and that stay, this container's own earlier ones
// included. One that is being made is waited for: what is to lie on it needs it.
func (d *draft) others() ([]plan.Other, error) {
	var all []plan.Other
	for _, rec := range d.group {
		switch {
		case rec.Host != d.hostNetNS():
			continue
		case rec.State == store.Pending && alive(rec.Writer) && len(rec.Interfaces) > 0 && !d.dry:
			return nil, &busyError{rec: rec}
		case rec.State != store.Attached:
			continue
		}
		for _, i := range rec.Interfaces {
			all = append(all, d.other(rec, i))
		}
	}
	return all, nil
}

// other is an interface of a record.
func (d *draft) other(rec store.Record, i plan.Interface) plan.Other {
	o := plan.Other{IfName: i.Name, Addresses: i.Addresses, Ruled: d.ruled(rec, i)}
	for _, step := range rec.Steps {
		r, ok := step.(plan.AddRoute)
		if !ok || r.Route.Table != 0 {
			continue
		}
		// What lies on no link is told once, with the first interface.
		if r.If == i.Name || r.Route.Type != request.Unicast && i.Name == rec.Interfaces[0].Name {
			o.Routes = append(o.Routes, r.Route)
		}
	}
	return o
}

// ruled are those of an interface's addresses that need no table any more: its own record has made one, which stays as
// long as the interface does, or its network is not to have any. One that a third record has made may go with that.
func (d *draft) ruled(rec store.Record, i plan.Interface) []netip.Addr {
	var all []netip.Addr
	n, named := d.Policy.Networks[i.Network]
	for _, p := range i.Addresses {
		own := slices.ContainsFunc(rec.Steps, func(step plan.Step) bool {
			s, ok := step.(plan.AddRouteRule)
			return ok && s.From == p.Addr()
		})
		if own || named && !n.SourceRouting {
			all = append(all, p.Addr())
		}
	}
	return all
}
