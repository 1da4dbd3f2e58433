package policy

import (
	"slices"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// Pool is what the subnet can hand out: its ranges without the gateway and without what the policy excludes.
func (s Subnet) Pool() ipam.Pool {
	exclude := slices.Clone(s.Exclude)
	if s.Gateway.IsValid() {
		exclude = append(exclude, ipam.Range{From: s.Gateway, To: s.Gateway})
	}
	return ipam.Pool{Prefix: s.Prefix, Ranges: s.Ranges, Exclude: exclude}
}
