//go:build linux

package kernel

import (
	"context"
	"errors"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func (k *Kernel) addVLAN(context.Context, plan.AddVLAN) error { return errors.ErrUnsupported }

func (h *Host) ensureVLAN(plan.EnsureVLAN) error { return errors.ErrUnsupported }

func (h *Host) releaseVLAN(plan.ReleaseVLAN) error { return errors.ErrUnsupported }
