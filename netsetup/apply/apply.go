// Package apply carries plans out: steps come in, and the kernel is changed, or put back.
package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Kernel carries out one step. The real one speaks netlink; tests have one that holds its state in maps.
//
// A step that fails has changed nothing, or only what its undo takes back. A step that undoes succeeds when what it
// removes is not there, or is not ours.
type Kernel interface {
	Apply(ctx context.Context, s plan.Step) error
}

// StepError is a step that failed.
type StepError struct {
	// Index is the step's place in the plan, from 0.
	Index int
	Step  plan.Step
	// Begun is false when the step was not even tried.
	Begun bool
	Err   error
}

func (e *StepError) Error() string { return e.Err.Error() }

func (e *StepError) Unwrap() error { return e.Err }

// Run carries out the steps in order and stops at the first that fails, with a [StepError]. Taking back what was done
// is the caller's: it has the journal.
func Run(ctx context.Context, k Kernel, steps plan.Steps) error {
	for i, s := range steps {
		if err := context.Cause(ctx); err != nil {
			return &StepError{Index: i, Step: s, Err: fmt.Errorf("cut off before %q: %w", s, err)}
		}
		if err := k.Apply(ctx, s); err != nil {
			return &StepError{Index: i, Step: s, Begun: true, Err: err}
		}
	}
	return nil
}

// Undo carries out steps that undo, as [plan.Undo] gives them, past every failure; the failures come back joined.
func Undo(ctx context.Context, k Kernel, steps plan.Steps) error {
	var errs []error
	for _, s := range steps {
		if err := k.Apply(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("undo %q: %w", s, err))
		}
	}
	return errors.Join(errs...)
}
