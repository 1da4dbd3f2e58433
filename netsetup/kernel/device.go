//go:build linux

package kernel

import (
	"context"
	"errors"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func (k *Kernel) moveLink(context.Context, plan.MoveLink) error { return errors.ErrUnsupported }

func (k *Kernel) returnLink(context.Context, plan.ReturnLink) error { return errors.ErrUnsupported }
