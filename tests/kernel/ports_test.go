//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

const reserved = "ipv4/ip_local_reserved_ports"

// setting reads one of the namespace's settings below /proc/sys/net.
func setting(t *testing.T, s *nettest.Space, name string) string {
	t.Helper()
	var value string
	s.Do(t, func() {
		file, err := os.Open("/proc/sys/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		// One read(2): to a second one the kernel says nothing more.
		buf := make([]byte, 1<<19)
		n, err := file.Read(buf)
		if err != nil && n == 0 && err.Error() != "EOF" {
			t.Fatal(err)
		}
		value = strings.TrimSpace(string(buf[:n]))
	})
	return value
}

func TestReservedPorts(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	for name, c := range map[string]struct {
		before string
		steps  []plan.Step
		want   []string // after each step
	}{
		"PP-16 given back": {
			steps: []plan.Step{plan.ReservePorts{Ports: []uint16{40000}}, plan.ReleasePorts{Ports: []uint16{40000}}},
			want:  []string{"40000", ""},
		},
		"neighbours become a range": {
			before: "40001",
			steps: []plan.Step{
				plan.ReservePorts{Ports: []uint16{40002, 40000, 50000}}, plan.ReleasePorts{Ports: []uint16{40000, 40002, 50000}},
			},
			want: []string{"40000-40002,50000", "40001"},
		},
		"others stay": {
			before: "35000-35010,60000",
			steps:  []plan.Step{plan.ReservePorts{Ports: []uint16{35020}}, plan.ReleasePorts{Ports: []uint16{35020}}},
			want:   []string{"35000-35010,35020,60000", "35000-35010,60000"},
		},
		"twice": {
			steps: []plan.Step{
				plan.ReservePorts{Ports: []uint16{40000}},
				plan.ReservePorts{Ports: []uint16{40000}},
				plan.ReleasePorts{Ports: []uint16{40000}},
				plan.ReleasePorts{Ports: []uint16{40000}},
			},
			want: []string{"40000", "40000", "", ""},
		},
		"ends of all ports": {
			before: "1",
			steps:  []plan.Step{plan.ReservePorts{Ports: []uint16{65535}}, plan.ReleasePorts{Ports: []uint16{1, 65535}}},
			want:   []string{"1,65535", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n.Host.Do(t, func() { nettest.WriteSysctl(t, reserved, c.before+"\n") })
			for i, s := range c.steps {
				run(t, k, s)
				if got := setting(t, n.Host, reserved); got != c.want[i] {
					t.Errorf("after %s: %q, want %q", s, got, c.want[i])
				}
			}
		})
	}
	n.Host.Do(t, func() { nettest.WriteSysctl(t, reserved, "\n") })
}

// A list that is longer than what the kernel takes, or a first read gets, at once.
func TestManyReservedPorts(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	var every []uint16
	var words []string
	for p := 1; p < 1<<16; p += 2 {
		every = append(every, uint16(p))
		words = append(words, fmt.Sprint(p))
	}
	run(t, k, plan.ReservePorts{Ports: every})
	if got := setting(t, n.Host, reserved); got != strings.Join(words, ",") {
		t.Errorf("%d bytes, want %d: %.80s", len(got), len(strings.Join(words, ",")), got)
	}
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{{Ports: true}})
	if err != nil || len(facts.Reserved) != len(every) {
		t.Errorf("%d ranges (%v), want %d", len(facts.Reserved), err, len(every))
	}
	run(t, k, plan.ReleasePorts{Ports: slices.DeleteFunc(every, func(p uint16) bool { return p == 4711 })})
	if got := setting(t, n.Host, reserved); got != "4711" {
		t.Errorf("%.80q, want 4711", got)
	}
	run(t, k, plan.ReleasePorts{Ports: []uint16{4711}})
}

// Attaches that run at once, in processes of their own, lose nothing of each other.
func TestReserveAtOnce(t *testing.T) {
	n := nettest.New(t)
	var hosts []*kernel.Host
	for range 8 {
		hosts = append(hosts, openHost(t, n))
	}
	hosts[0].OwnProc() // The lock is one for every /proc.
	each := func(step func(ports []uint16) plan.Step) {
		var wg sync.WaitGroup
		for i, h := range hosts {
			wg.Go(func() {
				for p := range uint16(20) {
					s := step([]uint16{40000 + uint16(i)*100 + p*2})
					if err := h.KernelByID(-1, nil).Apply(context.Background(), s); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	each(func(ports []uint16) plan.Step { return plan.ReservePorts{Ports: ports} })
	if got := strings.Split(setting(t, n.Host, reserved), ","); len(got) != 8*20 {
		t.Errorf("%d ports are reserved, want %d: %v", len(got), 8*20, got)
	}
	each(func(ports []uint16) plan.Step { return plan.ReleasePorts{Ports: ports} })
	if got := setting(t, n.Host, reserved); got != "" {
		t.Errorf("%q is left", got)
	}
}

// Whoever waits for the list gives up when his time is over.
func TestReserveWaits(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	var lock *os.File
	n.Host.Do(t, func() {
		var err error
		if lock, err = os.Open("/proc/thread-self/ns/net"); err == nil {
			err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	k := h.KernelByID(-1, nil)
	err := k.Apply(ctx, plan.ReservePorts{Ports: []uint16{40000}})
	if !errors.Is(err, context.DeadlineExceeded) || setting(t, n.Host, reserved) != "" {
		t.Errorf("error %v, want the end of the time", err)
	}
	lock.Close()
	run(t, k, plan.ReservePorts{Ports: []uint16{40000}}, plan.ReleasePorts{Ports: []uint16{40000}})
}

func TestPortFacts(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	n.Host.Do(t, func() {
		nettest.WriteSysctl(t, "ipv4/ip_local_port_range", "40000 50000")
		nettest.WriteSysctl(t, reserved, "41000-41005,42000\n")
	})
	n.Host.Remember(t)
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{{Ports: true}})
	if err != nil {
		t.Fatal(err)
	}
	want := plan.Facts{
		Uplink: map[string]plan.Link{}, Taken: map[string]bool{},
		Ephemeral: plan.Ports{From: 40000, To: 50000},
		Reserved:  []plan.Ports{{From: 41000, To: 41005}, {From: 42000, To: 42000}},
	}
	if diff := cmp.Diff(want, facts, byText()); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}
