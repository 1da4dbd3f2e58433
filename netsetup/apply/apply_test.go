package apply_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/plan"
)

var errFault = errors.New("injected")

// fault lets one step fail, or the process die, before or after the step took place.
type fault struct {
	apply.Kernel
	at    int
	after bool
	die   bool
	n     int
}

// died is what a test recovers from in place of a process that was killed.
type died struct{}

func (f *fault) Apply(ctx context.Context, s plan.Step) error {
	hit := f.n == f.at
	f.n++
	if hit && !f.after {
		return f.fail()
	}
	err := f.Kernel.Apply(ctx, s)
	if hit && err == nil {
		return f.fail()
	}
	return err
}

func (f *fault) fail() error {
	if f.die {
		panic(died{})
	}
	return errFault
}

// survive runs fn and says whether the process died in it.
func survive(t *testing.T, fn func()) (dead bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(died); !ok {
				panic(r)
			}
			dead = true
		}
	}()
	fn()
	return false
}

// journal is what a process that comes after reads of the steps: not our memory, but the record's bytes.
func journal(t *testing.T, steps plan.Steps) plan.Steps {
	t.Helper()
	data, err := steps.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var read plan.Steps
	if err := read.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return read
}

// TestCrashMatrix lets each step of an attach fail, or the process die in it, before and after the step took place, in
// worlds with and without foreign things under our names, and looks that undoing the journal leaves what was before.
func TestCrashMatrix(t *testing.T) {
	cases := 0
	for planName, p := range plans(t) {
		for worldName, world := range worlds() {
			for i := range len(p.Steps) + 1 {
				for _, after := range []bool{false, true} {
					for _, die := range []bool{false, true} {
						cases++
						name := fmt.Sprintf("%s/%s/step %d after=%t die=%t", planName, worldName, i, after, die)
						t.Run(name, func(t *testing.T) {
							m := world()
							before := m.snapshot()
							k := &fault{Kernel: m, at: i, after: after, die: die}
							survive(t, func() {
								if err := apply.Run(t.Context(), k, p.Steps); err == nil && i < len(p.Steps) {
									t.Error("the attach succeeded")
								}
							})
							if err := apply.Undo(t.Context(), m, m.undo(journal(t, p.Steps))); err != nil {
								t.Fatalf("undo: %v", err)
							}
							if diff := cmp.Diff(before, m.snapshot()); diff != "" {
								t.Errorf("not as before (-before +after):\n%s", diff)
							}
						})
					}
				}
			}
		}
	}
	if cases < 8000 {
		t.Errorf("only %d cases ran", cases)
	}
}

// TestUndoKilled kills the undo itself at each step, and lets another finish it.
func TestUndoKilled(t *testing.T) {
	for name, p := range plans(t) {
		for i := range newModel().undo(p.Steps) {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/step %d after=%t", name, i, after), func(t *testing.T) {
					m := newModel()
					before := m.snapshot()
					if err := apply.Run(t.Context(), m, p.Steps); err != nil {
						t.Fatal(err)
					}
					k := &fault{Kernel: m, at: i, after: after, die: true}
					var err error
					if !survive(t, func() { err = apply.Undo(t.Context(), k, m.undo(p.Steps)) }) {
						t.Fatalf("the undo was not killed: %v", err)
					}
					if err := apply.Undo(t.Context(), m, m.undo(p.Steps)); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(before, m.snapshot()); diff != "" {
						t.Errorf("not as before (-before +after):\n%s", diff)
					}
				})
			}
		}
	}
}

// TestUndoGoesOn looks that a failure in the middle of an undo does not keep the rest from being undone, and is told.
func TestUndoGoesOn(t *testing.T) {
	p := plans(t)["both"]
	m := newModel()
	if err := apply.Run(t.Context(), m, p.Steps); err != nil {
		t.Fatal(err)
	}
	err := apply.Undo(t.Context(), &fault{Kernel: m, at: 0}, plan.Undo(p.Steps))
	if !errors.Is(err, errFault) || !strings.Contains(err.Error(), "delete route") {
		t.Errorf("error is %v, want the injected one that names its step", err)
	}
	for _, gone := range []string{"eth0", "eth1"} {
		if m.container[gone] != nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if m.host["lh-apps"] != nil {
		t.Error("the bridge is still there")
	}
}

func TestRunStops(t *testing.T) {
	p := plans(t)["macvlan"]
	t.Run("at the step that fails", func(t *testing.T) {
		err := apply.Run(t.Context(), &fault{Kernel: newModel(), at: 1}, p.Steps)
		var step *apply.StepError
		if !errors.As(err, &step) || step.Index != 1 || !errors.Is(err, errFault) {
			t.Errorf("error is %#v, want a StepError of step 1", err)
		}
	})
	t.Run("when its time is over", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errFault)
		m := newModel()
		before := m.snapshot()
		if err := apply.Run(ctx, m, p.Steps); !errors.Is(err, errFault) {
			t.Errorf("error is %v, want the context's cause", err)
		}
		if diff := cmp.Diff(before, m.snapshot()); diff != "" {
			t.Errorf("something was changed:\n%s", diff)
		}
	})
}

// TestModelRefuses looks that the model sees steps in an order that leaves a link without its rules: what the crash
// matrix says is worth as much as that.
func TestModelRefuses(t *testing.T) {
	all := plans(t)
	is := func(kind plan.Step) func(plan.Step) bool {
		return func(s plan.Step) bool { return fmt.Sprintf("%T", s) == fmt.Sprintf("%T", kind) }
	}
	for name, test := range map[string]struct {
		plan string
		// move is the step that is run first, or last.
		move        plan.Step
		first, undo bool
		want        error
	}{
		"rules before their port":         {plan: "bridge", move: plan.AddRules{}, first: true, want: errNoDev},
		"rules after the link is up":      {plan: "bridge", move: plan.AddRules{}, want: errBusy},
		"forwarding before rules":         {plan: "bridge", move: plan.EnsureForwarding{}, first: true, want: errBusy},
		"rate of a link with its name":    {plan: "guarded macvlan", move: plan.SetRate{}, want: errNoDev},
		"guard of a link without a name":  {plan: "guarded macvlan", move: plan.AddGuard{}, first: true, want: errNoDev},
		"no rules while the link lives":   {plan: "bridge", move: plan.DelRules{}, first: true, undo: true, want: errBusy},
		"no guard while the link lives":   {plan: "guarded macvlan", move: plan.DelGuard{}, first: true, undo: true, want: errBusy},
		"no bridge while there are ports": {plan: "bridge", move: plan.ReleaseBridge{}, first: true, undo: true, want: errBusy},
		"no tables while there are rules": {plan: "bridge", move: plan.ReleaseRules{}, first: true, undo: true, want: errBusy},
		"children before their parent":    {plan: "tagged macvlan", move: plan.EnsureVLAN{}, want: errNoDev},
		"inner tag before the outer one":  {plan: "tagged ipvlan", move: plan.EnsureVLAN{}, want: errNoDev},
		"no VLAN while there is a child":  {plan: "tagged macvlan", move: plan.ReleaseVLAN{}, first: true, undo: true, want: errBusy},
		"no VLAN while there is a VLAN":   {plan: "qinq", move: plan.ReleaseVLAN{}, first: true, undo: true, want: errBusy},
		"no VLAN while it is a port":      {plan: "uplink and rules", move: plan.ReleaseBridge{}, undo: true, want: errBusy},
		"no host link while it is used":   {plan: "host access", move: plan.ReleaseHostLink{}, first: true, undo: true, want: errBusy},
		"no VLAN while there is a link":   {plan: "host access by a VLAN", move: plan.ReleaseVLAN{}, first: true, undo: true, want: errBusy},
		"host route before its link":      {plan: "host access", move: plan.AddHostRoute{}, first: true, want: errNoDev},
		"uplink before its bridge":        {plan: "uplink and rules", move: plan.EnsureUplink{}, first: true, want: errNoDev},
		"uplink before its link":          {plan: "uplink and rules", move: plan.EnsureVLAN{}, want: errNoDev},
		"VLAN of a port off its uplink":   {plan: "uplink and rules", move: plan.ReleaseUplink{}, first: true, undo: true, want: errBusy},
	} {
		t.Run(name, func(t *testing.T) {
			m, steps := newModel(), all[test.plan].Steps
			if test.undo {
				if err := apply.Run(t.Context(), m, steps); err != nil {
					t.Fatal(err)
				}
				steps = m.undo(steps)
			}
			i := slices.IndexFunc(steps, is(test.move))
			if i < 0 {
				t.Fatalf("no step is a %T", test.move)
			}
			moved := steps[i : i+1]
			rest := slices.Concat(steps[:i], steps[i+1:])
			steps = slices.Concat(rest, moved)
			if test.first {
				steps = slices.Concat(moved, rest)
			}
			if err := apply.Run(t.Context(), m, steps); !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
}
