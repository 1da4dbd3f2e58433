package netsetup

import (
	"context"
	"errors"
	"fmt"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// checkVLAN compares a sub-interface with what a step made, or found. One that is gone took its children with it.
func (s *Setup) checkVLAN(v plan.EnsureVLAN) ([]Drift, error) {
	drift := func(repair bool, format string, args ...any) []Drift {
		return []Drift{{What: fmt.Sprintf(format, args...), Repair: repair}}
	}
	link, ok, err := s.Host.Link(v.Name)
	if err != nil {
		return nil, err
	}
	parent, there, err := s.Host.Link(v.Parent)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return drift(there && parent.Up, "VLAN %s is gone", v.Name), nil
	case !there:
		return drift(false, "link %s, on which VLAN %s is, is gone or has another name", v.Parent, v.Name), nil
	case link.Kind != "vlan" || link.Tag != v.Tag || link.Parent != parent.Index:
		return drift(false, "link %s is not VLAN %s of %s", v.Name, v.Tag, v.Parent), nil
	case !link.Up:
		return drift(link.Group == plan.Group && parent.Up, "VLAN %s is down", v.Name), nil
	}
	return nil, nil
}

// repairVLANs makes sub-interfaces anew, and brings those of lanhook's up that are down, while their parents are up.
func (s *Setup) repairVLANs(ctx context.Context, records []store.Record, r *Repaired) error {
	var errs []error
	k := s.Host.KernelByID(-1, nil)
	for _, rec := range records {
		for _, step := range rec.Steps {
			v, ok := step.(plan.EnsureVLAN)
			if !ok {
				continue
			}
			drift, err := s.checkVLAN(v)
			if err != nil || len(drift) == 0 || !drift[0].Repair {
				errs = append(errs, err)
				continue
			}
			if err := k.Apply(ctx, v); err != nil {
				errs = append(errs, err)
				continue
			}
			r.Links = append(r.Links, drift[0].What)
		}
	}
	return errors.Join(errs...)
}
