//go:build linux

package boot

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanhook/lanhook/tests/vm"
)

func TestGuest(t *testing.T) {
	t.Parallel()
	kernels(t, func(t *testing.T, kernel string) {
		g := vm.New(t, vm.Options{Kernel: kernel, Hostname: "tester", Env: []string{"OF_GUEST=1"}})
		if got := g.Script(t, "hostname; uname -r | cut -d . -f 1-2"); got != "tester\n"+kernel {
			t.Errorf("got %q", got)
		}
		content := make([]byte, 1<<20)
		if _, err := rand.Read(content); err != nil {
			t.Fatal(err)
		}
		run := func(c vm.Cmd) vm.Result {
			t.Helper()
			r, err := g.Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		r := run(vm.Cmd{Args: []string{"sh", "-c", "cat; exit 4"}, Stdin: content})
		if !bytes.Equal([]byte(r.Stdout), content) || r.Exit != 4 {
			t.Errorf("exit %d and %d bytes, want 4 and the %d of standard input", r.Exit, len(r.Stdout), len(content))
		}
		r = run(vm.Cmd{Args: []string{"sh", "-c", `echo "$OF_GUEST $OF_CMD $PWD"; echo err >/dev/stderr`}, Env: []string{"OF_CMD=2"}, Dir: "/usr"})
		if want := (vm.Result{Stdout: "1 2 /usr\n", Stderr: "err\n"}); r != want {
			t.Errorf("got %+v, want %+v", r, want)
		}
		if r := run(vm.Cmd{Args: []string{"sh", "-c", "kill -TERM $$"}}); r.Exit != 128+15 {
			t.Errorf("exit %d of a command ended by signal 15", r.Exit)
		}
		if r, err := g.Run(t.Context(), vm.Cmd{Args: []string{"no-such-program"}}); err == nil || r.Exit != 127 {
			t.Errorf("exit %d of a program that is not there, %v", r.Exit, err)
		}
		if r, err := g.Run(t.Context(), vm.Cmd{Args: []string{"true"}, Dir: "/no-such-folder"}); err == nil || r.Exit == 0 {
			t.Errorf("exit %d in a folder that is not there, %v", r.Exit, err)
		}
	})
}

// TestGuestTogether runs commands that wait for each other.
func TestGuestTogether(t *testing.T) {
	t.Parallel()
	g := vm.New(t, vm.Options{})
	g.Script(t, "mkfifo /run/a /run/b; sleep 1000 & echo left")
	var wait sync.WaitGroup
	for _, script := range []string{"echo 1 >/run/a; cat /run/b", "cat /run/a; echo 1 >/run/b"} {
		wait.Go(func() {
			r, err := g.Run(t.Context(), vm.Cmd{Args: []string{"sh", "-euc", script}})
			if err != nil || r.Stdout != "1\n" {
				t.Errorf("%s: %+v, %v", script, r, err)
			}
		})
	}
	wait.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r, err := g.Run(ctx, vm.Cmd{Args: []string{"sh", "-c", "echo begun; sleep 1000"}})
	if !errors.Is(err, context.DeadlineExceeded) || r.Stdout != "begun\n" || r.Exit != 137 {
		t.Errorf("a command that was given up: %+v, %v", r, err)
	}
	g.Script(t, "pgrep sleep")
}

func TestGuestPanics(t *testing.T) {
	t.Parallel()
	g, err := vm.Start(t.Context(), vm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Run(t.Context(), vm.Cmd{Args: []string{"sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100"}})
	if err == nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("error of a guest that panics: %v", err)
	}
	if err := g.Close(); err == nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("error of closing a guest that has panicked: %v", err)
	}
}

// pair starts two guests, one on each kernel, at the same time.
func pair(t *testing.T, nics [2][]*vm.Port) [2]*vm.Guest {
	t.Helper()
	var guests [2]*vm.Guest
	var errs [2]error
	var wait sync.WaitGroup
	for i, kernel := range vm.Kernels() {
		wait.Go(func() {
			guests[i], errs[i] = vm.Start(t.Context(), vm.Options{Kernel: kernel, Memory: 512, Hostname: fmt.Sprintf("host%d", i), NICs: nics[i]})
		})
	}
	wait.Wait()
	for i, g := range guests {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		t.Cleanup(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return guests
}

func newSwitch(t *testing.T) *vm.Switch {
	t.Helper()
	s := vm.NewSwitch()
	t.Cleanup(s.Close)
	return s
}

func port(t *testing.T, s *vm.Switch, name string, o vm.PortOptions) *vm.Port {
	t.Helper()
	p, err := s.Port(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSwitch has two guests on one switch, with two cards each: trunks, and a cable to a port of VLAN 30.
func TestSwitch(t *testing.T) {
	t.Parallel()
	s := newSwitch(t)
	trunk := port(t, s, "trunk", vm.PortOptions{})
	guests := pair(t, [2][]*vm.Port{
		{trunk, port(t, s, "access", vm.PortOptions{Access: 30})},
		{port(t, s, "limited", vm.PortOptions{VLANs: []uint16{0, 10, 30}}), port(t, s, "spare", vm.PortOptions{Access: 99})},
	})
	for i, g := range guests {
		g.Script(t, fmt.Sprintf(`
			sysctl -qw net.ipv6.conf.default.accept_dad=0
			ip addr add 10.0.0.%[1]d/24 dev eth0
			ip link set eth0 up; ip link set eth1 up
			for v in 10 20; do
				ip link add link eth0 name eth0.$v type vlan id $v
				ip addr add 10.0.$v.%[1]d/24 dev eth0.$v
				ip link set eth0.$v up
			done`, i+1))
	}
	a, b := guests[0], guests[1]
	if got := a.Script(t, "cat /sys/class/net/eth0/address"); got != trunk.MAC().String() {
		t.Errorf("eth0 is %s, want %s", got, trunk.MAC())
	}
	tap := s.Tap()
	defer tap.Close()
	const ping = "ping -q -c 2 -i 0.2 -W 2 "
	a.Script(t, ping+"10.0.0.2")
	b.Script(t, ping+"10.0.10.1")
	a.Script(t, "! "+ping+"10.0.20.2 >&2")
	// The access port's frames have no tag in the one guest, and in the other one they have.
	a.Script(t, "ip addr add 10.0.30.1/24 dev eth1")
	b.Script(t, "ip link add link eth0 name eth0.30 type vlan id 30; ip addr add 10.0.30.2/24 dev eth0.30; ip link set eth0.30 up")
	a.Script(t, ping+"10.0.30.2")

	const arp, ipv4 = 0x0806, 0x0800
	var count [31]int
	for _, f := range tap.Frames() {
		if f.Type() == arp && f.VLAN < uint16(len(count)) {
			count[f.VLAN]++
		}
	}
	if count[0] < 2 || count[10] < 2 || count[20] < 1 || count[30] < 2 {
		t.Errorf("frames of ARP by VLAN: %v", count)
	}

	// What the switch drops does not arrive.
	s.Filter(func(f vm.Frame) bool { return f.Type() != ipv4 })
	a.Script(t, "! "+ping+"10.0.0.2 >&2")
	s.Filter(nil)

	// What the test sends does: somebody at a port of VLAN 10 asks for an address of the first guest's.
	stranger := port(t, s, "stranger", vm.PortOptions{Access: 10})
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	stranger.Send(question(mac, [4]byte{10, 0, 10, 9}, [4]byte{10, 0, 10, 1}))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	answer, err := tap.Await(ctx, func(f vm.Frame) bool { return f.Type() == arp && bytes.Equal(f.Destination(), mac) })
	if err != nil || !bytes.Equal(answer.Source(), trunk.MAC()) || answer.VLAN != 10 {
		t.Errorf("answer %v, %v", answer, err)
	}
}

// question is a frame of ARP that asks who has an address.
func question(from net.HardwareAddr, sender, target [4]byte) []byte {
	frame := append(bytes.Repeat([]byte{0xff}, 6), from...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1)
	frame = append(append(frame, from...), sender[:]...)
	return append(append(frame, 0, 0, 0, 0, 0, 0), target[:]...)
}
