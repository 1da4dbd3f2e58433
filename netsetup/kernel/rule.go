//go:build linux

package kernel

import (
	"errors"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func (k *Kernel) addRouteRule(plan.AddRouteRule) error { return errors.ErrUnsupported }

func (k *Kernel) delRouteRule(plan.DelRouteRule) error { return errors.ErrUnsupported }
