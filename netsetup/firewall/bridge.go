//go:build linux

package firewall

import (
	"github.com/google/nftables"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// bridgeTable is where frames go through that a guarded port of a bridge receives.
func bridgeTable() table {
	return table{family: nftables.TableFamilyBridge, name: tableName}
}

// port adds what is said of the container's port itself.
func (c *compiler) port(plan.Rules) {}
