//go:build linux

package firewall

import (
	"errors"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Drift says what the kernel has that the records do not ask for, and the other way round; nil when all is as it should be.
func (c *Conn) Drift(all []plan.AddRules) ([]string, error) {
	return nil, errors.ErrUnsupported
}

// Release removes the tables, but for what the administrator has put there.
func (c *Conn) Release() error { return errors.ErrUnsupported }
