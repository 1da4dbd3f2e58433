package policy

import (
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// Pool is what the subnet can hand out: its ranges without the gateway, the host's own address and what the policy excludes.
func (s Subnet) Pool() ipam.Pool { return s.pool(netip.Addr{}) }

// pool is what there is for somebody who may be the gateway.
func (s Subnet) pool(gateway netip.Addr) ipam.Pool {
	exclude := slices.Clone(s.Exclude)
	if s.Gateway.IsValid() && s.Gateway != gateway {
		exclude = append(exclude, ipam.Range{From: s.Gateway, To: s.Gateway})
	}
	if s.HostAddress.IsValid() {
		exclude = append(exclude, ipam.Range{From: s.HostAddress, To: s.HostAddress})
	}
	return ipam.Pool{Prefix: s.Prefix, Ranges: s.Ranges, Exclude: exclude}
}
