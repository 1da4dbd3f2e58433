package policy

import (
	"slices"

	"github.com/lanhook/lanhook/netsetup/ipam"
)

// Reserved is what the networks on one layer 2 keep back, whichever of them an address is asked from: their gateways and
// exclusions. uplink is the parent's or the bridge's name; a parent that the policy finds in another way is not known
// here by name, and its networks reserve for themselves only.
func (p *Policy) Reserved(d Driver, uplink string) []ipam.Range {
	var reserved []ipam.Range
	for _, n := range p.Networks {
		if n.Driver != d || n.Bridge != uplink && n.Parent.Name != uplink {
			continue
		}
		for _, s := range n.Subnets {
			reserved = slices.Concat(reserved, s.Pool().Exclude)
		}
	}
	return reserved
}
