package netsetup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// uplinkName is the name in [store.Record.Shared] of VLANs that a bridge's uplink carries.
func uplinkName(bridge string, vlans policy.VLANRange) string {
	return sharedUplink + bridge + "/" + vlans.String()
}

// uplinkNames are the names under which records have VLANs of a bridge's uplink: as many as there are networks, more or less.
func uplinkNames(tx *store.Tx, bridge string) ([]string, error) {
	return tx.SharedNames(sharedUplink + bridge + "/")
}

// vlansOf reads a name of uplinkName; false for one that is none.
func vlansOf(name, bridge string) (policy.VLANRange, bool) {
	text, ok := strings.CutPrefix(name, sharedUplink+bridge+"/")
	first, last, several := strings.Cut(text, "-")
	if !several {
		last = first
	}
	from, err := strconv.Atoi(first)
	to, lastErr := strconv.Atoi(last)
	return policy.VLANRange{From: from, To: to}, ok && err == nil && lastErr == nil
}

// idleVLANs is the part of a removal that takes VLANs from an uplink which no record needs; false for nothing. The ranges of
// records overlap as they like. names are all that records have of the bridge.
func idleVLANs(s plan.ReleaseUplink, names []string, idle func(name string) bool) (plan.ReleaseUplink, bool) {
	var needed []policy.VLANRange
	for _, name := range names {
		if r, ok := vlansOf(name, s.Bridge); ok && !idle(name) {
			needed = append(needed, r)
		}
	}
	s.VLANs = plan.WithoutVLANs(s.VLANs, needed)
	return s, len(s.VLANs) > 0
}

// vlanDrift are the differences in the VLANs of a port or uplink, none where the kernel knows no VLANs.
func (s *Setup) vlanDrift(port string, want plan.PortVLANs, only bool) ([]Drift, error) {
	has, ok, err := s.Host.PortVLANs(port)
	if err != nil || !ok {
		return nil, err
	}
	var drift []Drift
	for _, what := range kernel.VLANDrift(port, has, want, only) {
		drift = append(drift, Drift{What: what, Repair: true})
	}
	return drift, nil
}

// checkUplink compares the uplink of a bridge of lanhook's. It may carry more VLANs, for others.
func (s *Setup) checkUplink(u plan.EnsureUplink) ([]Drift, error) {
	link, ok, err := s.Host.Link(u.Link)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return []Drift{{What: fmt.Sprintf("uplink %s of bridge %s is gone", u.Link, u.Bridge)}}, nil
	}
	var drift []Drift
	if !link.Up {
		drift = append(drift, Drift{What: fmt.Sprintf("uplink %s is down", u.Link)})
	}
	bridge, ok, err := s.Host.Link(u.Bridge)
	if err != nil || !ok {
		return drift, err // that it is gone the step of the bridge says
	}
	if link.Master != bridge.Index {
		return append(drift, Drift{
			What: fmt.Sprintf("uplink %s is no port of bridge %s", u.Link, u.Bridge), Repair: link.Master == 0,
		}), nil
	}
	if len(u.Port().All()) == 0 {
		return drift, nil
	}
	vlans, err := s.vlanDrift(u.Link, u.Port(), false)
	return append(drift, vlans...), err
}

// repairMemberships gives ports and uplinks their VLANs again, and bridges their uplinks.
func (s *Setup) repairMemberships(records []store.Record, r *Repaired, apply func(plan.Step) error) error {
	var errs []error
	for _, rec := range records {
		for _, step := range rec.Steps {
			var (
				drift []Drift
				err   error
				put   func() error
			)
			switch st := step.(type) {
			case plan.AddVeth:
				if st.VLANs.None() {
					continue
				}
				drift, err = s.vlanDrift(st.Name, st.VLANs, true)
				put = func() error { return s.Host.RepairPort(st) }
			case plan.EnsureUplink:
				drift, err = s.checkUplink(st)
				put = func() error { return apply(st) }
			default:
				continue
			}
			drift = slices.DeleteFunc(drift, func(d Drift) bool { return !d.Repair })
			if err == nil && len(drift) > 0 {
				err = put()
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			for _, d := range drift {
				r.Links = append(r.Links, d.What)
			}
		}
	}
	return errors.Join(errs...)
}
