package plan

import (
	"slices"

	"github.com/lanhook/lanhook/policy"
)

// WithoutVLANs are the VLANs of a that are not in b, sorted.
func WithoutVLANs(a, b []policy.VLANRange) []policy.VLANRange {
	var rest []policy.VLANRange
	b = policy.UniteVLANs(b...)
	for _, r := range policy.UniteVLANs(a...) {
		for _, not := range b {
			if not.To < r.From || not.From > r.To {
				continue
			}
			if r.From < not.From {
				rest = append(rest, policy.VLANRange{From: r.From, To: not.From - 1})
			}
			r.From = not.To + 1
		}
		if r.From <= r.To {
			rest = append(rest, r)
		}
	}
	return rest
}

func oneVLAN(id int) policy.VLANRange { return policy.VLANRange{From: id, To: id} }

// defaultVLAN is the VLAN that the kernel gives each port of a bridge (vlan_default_pvid).
const defaultVLAN = 1

// All are the VLANs of a port, sorted.
func (v PortVLANs) All() []policy.VLANRange {
	all := slices.Clone(v.Trunk)
	if v.Access != 0 {
		all = append(all, oneVLAN(v.Access))
	}
	if v.Default {
		all = append(all, oneVLAN(defaultVLAN))
	}
	return policy.UniteVLANs(all...)
}

// release takes the VLANs from the uplink, which goes with its bridge.
func (s EnsureUplink) release() Steps {
	vlans := s.Port().All()
	if len(vlans) == 0 {
		return nil
	}
	return Steps{ReleaseUplink{Bridge: s.Bridge, Link: s.Link, VLANs: vlans}}
}

// Port is the uplink as a port of its bridge.
func (s EnsureUplink) Port() PortVLANs { return PortVLANs{Trunk: s.VLANs, Default: s.DefaultVLAN} }
