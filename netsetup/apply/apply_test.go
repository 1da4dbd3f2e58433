package apply_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/apply"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
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

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// plans are plans of every driver, alone and together.
func plans(t *testing.T) map[string]plan.Plan {
	t.Helper()
	lan := &policy.Network{
		Name: "lan", Driver: policy.Macvlan, Mode: policy.ModeBridge, DefaultRoute: true,
		Subnets: []policy.Subnet{{
			Prefix: netip.MustParsePrefix("192.168.1.0/24"), Gateway: netip.MustParseAddr("192.168.1.1"),
		}},
	}
	thru := &policy.Network{Name: "thru", Driver: policy.Macvlan, Mode: policy.ModePassthru}
	apps := &policy.Network{
		Name: "apps", Driver: policy.Bridge, Bridge: "lh-apps", DefaultRoute: true,
		Subnets: []policy.Subnet{
			{Prefix: netip.MustParsePrefix("172.30.0.0/16"), Gateway: netip.MustParseAddr("172.30.0.1")},
			{Prefix: netip.MustParsePrefix("fd00:30::/64"), Gateway: netip.MustParseAddr("fd00:30::1")},
		},
		Routes: []request.Route{
			{Dst: netip.MustParsePrefix("10.1.0.0/16"), Via: netip.MustParseAddr("10.9.0.1")},
			{Type: request.Blackhole, Dst: netip.MustParsePrefix("10.2.0.0/16")},
		},
	}
	uplink := plan.Link{Index: 3, Name: "ens192", MAC: plan.MAC(mac(t, "d0:00:00:00:00:01")), MTU: 1500, Up: true}
	onLAN := plan.Choice{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.9/24")}, MAC: plan.MAC(mac(t, "02:00:00:00:00:09")),
	}
	onApps := plan.Choice{
		Addresses: []netip.Prefix{netip.MustParsePrefix("172.30.0.9/16"), netip.MustParsePrefix("fd00:30::9/64")},
		MAC:       plan.MAC(mac(t, "02:00:00:00:00:0a")),
	}
	attach := func(ifname string, n *policy.Network) policy.Attachment {
		return policy.Attachment{IfName: ifname, Network: n, Routes: n.Routes}
	}
	inputs := map[string]plan.Input{
		"macvlan":  {Attachments: []policy.Attachment{attach("eth0", lan)}, Choices: []plan.Choice{onLAN}},
		"passthru": {Attachments: []policy.Attachment{attach("eth0", thru)}, Choices: []plan.Choice{{}}},
		"bridge":   {Attachments: []policy.Attachment{attach("eth0", apps)}, Choices: []plan.Choice{onApps}},
		"both": {
			Attachments: []policy.Attachment{attach("eth0", apps), attach("eth1", lan)},
			Choices:     []plan.Choice{onApps, onLAN},
		},
	}
	made := map[string]plan.Plan{}
	for name, in := range inputs {
		in.Record, in.HostID = "abcdefghij", "host"
		in.Facts.Uplink = map[string]plan.Link{}
		for _, a := range in.Attachments {
			if a.Network.Driver == policy.Macvlan {
				in.Facts.Uplink[a.IfName] = uplink
			}
		}
		p, err := plan.Build(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		made[name] = p
	}
	return made
}

// worlds are kernels to begin with: empty, and with somebody else's things under the names that we use.
func worlds() map[string]func() *model {
	return map[string]func() *model{
		"empty": newModel,
		"foreign bridge": func() *model {
			m := newModel()
			m.host["lh-apps"] = &modelLink{kind: "bridge", mac: "d0:00:00:00:00:02", up: true}
			return m
		},
		"foreign links with our names": func() *model {
			m := newModel()
			m.host["lhabcdefghija"] = &modelLink{kind: "veth", mac: "d0:00:00:00:00:03"}
			m.container["lhabcdefghija"] = &modelLink{kind: "macvlan", mac: "d0:00:00:00:00:04"}
			return m
		},
		"name taken in the container": func() *model {
			m := newModel()
			m.container["eth0"] = &modelLink{kind: "veth", mac: "d0:00:00:00:00:05", up: true}
			return m
		},
	}
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
							if err := apply.Undo(t.Context(), m, plan.Undo(journal(t, p.Steps))); err != nil {
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
	if cases < 300 {
		t.Errorf("only %d cases ran", cases)
	}
}

// TestUndoKilled kills the undo itself at each step, and lets another finish it.
func TestUndoKilled(t *testing.T) {
	for name, p := range plans(t) {
		for i := range plan.Undo(p.Steps) {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/step %d after=%t", name, i, after), func(t *testing.T) {
					m := newModel()
					before := m.snapshot()
					if err := apply.Run(t.Context(), m, p.Steps); err != nil {
						t.Fatal(err)
					}
					k := &fault{Kernel: m, at: i, after: after, die: true}
					var err error
					if !survive(t, func() { err = apply.Undo(t.Context(), k, plan.Undo(p.Steps)) }) {
						t.Fatalf("the undo was not killed: %v", err)
					}
					if err := apply.Undo(t.Context(), m, plan.Undo(p.Steps)); err != nil {
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
