//go:build linux

package kernel

import (
	"errors"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func (h *Host) ensureUplink(plan.EnsureUplink) error { return errors.ErrUnsupported }

func (h *Host) releaseUplink(plan.ReleaseUplink) error { return errors.ErrUnsupported }
