//go:build linux

package kernel

import (
	"context"
	"errors"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func (k *Kernel) addIPVLAN(context.Context, plan.AddIPVLAN) error { return errors.ErrUnsupported }
