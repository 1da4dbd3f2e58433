//go:build linux

// Package scenarios runs what the READMEs of its folders show: two hosts on a LAN, real containers on them, the policies
// and the commands that stand there, and what is seen then. The hosts are guests of tests/vm, joined by two switches:
//
//	host a                                 host b
//	  eth0 192.168.1.11/24 ──── lan ───── eth0 192.168.1.12/24
//	  eth1 no address ──────── trunk ──── eth1 no address
//
// They are booted once for all scenarios. After each, both must be what they were before it.
package scenarios

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanhook/lanhook/tests/vm"
)

// kernels is the environment variable that names the kernels of the hosts a and b, with a space between them. Without it,
// host a has the newest and host b the oldest.
const kernels = "LANHOOK_VM_KERNELS"

// cards is how many network cards a host has: one on the LAN and one on the trunk.
const cards = 2

// lifetime is how long the hosts may live.
const lifetime = 20 * time.Minute

// update is set to write what commands write into the READMEs.
var update = flag.Bool("update", false, "write what differs into the READMEs")

// hostNames are the names of the hosts.
func hostNames() []string { return []string{"a", "b"} }

// site is the hosts, by name, and what joins them.
type site struct {
	hosts      map[string]*host
	lan, trunk *vm.Switch
}

func TestScenarios(t *testing.T) {
	list := scenarios(t)
	s := newSite(t)
	for _, scenario := range list {
		t.Run(scenario.name, func(t *testing.T) { s.play(t, scenario) })
	}
}

// play gives the hosts their policies, types the commands, and looks at what is left.
func (s *site) play(t *testing.T, play scenario) {
	if err := s.each(func(h *host) error { return h.prepare(play) }); err != nil {
		t.Fatalf("prepare the hosts: %v", err)
	}
	lan, trunk := s.lan.Tap(), s.trunk.Tap()
	seen := map[int][]string{}
	for _, step := range play.steps {
		output, err := s.do(step)
		if err != nil {
			t.Errorf("README.md:%d: %v", step.line, err)
			if !*update || output == nil {
				break
			}
			seen[step.line] = output
		}
	}
	if len(seen) > 0 {
		if err := rewrite(play.name, seen, play.steps); err != nil {
			t.Error(err)
		}
	}
	lan.Close()
	trunk.Close()
	for _, c := range claims()[play.name] {
		if wire := map[bool]*vm.Tap{false: lan, true: trunk}[c.trunk]; !t.Failed() {
			c.check(t, wire.Frames())
		}
	}
	last := []func(*host) error{(*host).same, (*host).tidy}
	if t.Failed() {
		// It has not come to its end, at which all is stopped.
		slices.Reverse(last)
	}
	for _, do := range last {
		if err := s.each(do); err != nil {
			t.Error(err)
		}
	}
}

// do types a command. It is an error when it does not do what the README shows; then it gives what stands there if it is
// right.
func (s *site) do(step step) ([]string, error) {
	h := s.hosts[step.host]
	output, exit, err := h.sh(step.command)
	if err != nil {
		return nil, err
	}
	if strconv.Itoa(exit) == step.exit && pattern(step.want).MatchString(output) {
		return nil, nil
	}
	seen := []string{}
	if output = strings.TrimSuffix(output, "\n"); output != "" {
		seen = strings.Split(output, "\n")
	}
	if exit != 0 {
		seen = append(seen, fmt.Sprintf("exit status %d", exit))
	}
	return seen, fmt.Errorf("%s# %s\n%s\n--- the README shows exit status %s and\n%s\n--- %s", step.host, step.command,
		strings.Join(seen, "\n"), step.exit, strings.Join(step.want, "\n"), h.news())
}

// each does something on all hosts at once.
func (s *site) each(do func(*host) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(s.hosts))
	for i, name := range hostNames() {
		all.Go(func() {
			if err := do(s.hosts[name]); err != nil {
				errs[i] = fmt.Errorf("host %s: %w", name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// newSite boots the hosts, which end with the test.
func newSite(t *testing.T) *site {
	t.Helper()
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	need(t, checkout)
	kernel := []string{vm.Newest, vm.Oldest}
	if text, set := os.LookupEnv(kernels); set {
		kernel = strings.Fields(text)
	}
	if len(kernel) != len(hostNames()) {
		t.Fatalf("%s: %q is not a kernel for each of the hosts %v", kernels, kernel, hostNames())
	}
	s := &site{hosts: map[string]*host{}, lan: vm.NewSwitch(), trunk: vm.NewSwitch()}
	t.Cleanup(func() {
		s.lan.Close()
		s.trunk.Close()
	})
	for i, name := range hostNames() {
		var ports []*vm.Port
		for j, wire := range [cards]*vm.Switch{s.lan, s.trunk} {
			port, err := wire.Port(name, vm.PortOptions{MAC: cardMAC(i, j)})
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, port)
		}
		s.hosts[name] = &host{number: i, options: vm.Options{
			Kernel: kernel[i], Hostname: name, Dir: checkout, NICs: ports, Timeout: lifetime,
		}}
	}
	t.Cleanup(func() {
		if err := s.each((*host).close); err != nil {
			t.Error(err)
		}
	})
	if err := s.each(func(h *host) error { return h.start(t.Context(), checkout) }); err != nil {
		t.Fatalf("start the hosts: %v", err)
	}
	return s
}

// cardMAC is the address of a host's network card, such that one can read it: 02:00:00:00:00:0a is eth0 of host a,
// 02:00:00:00:01:0b eth1 of host b.
func cardMAC(host, card int) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, byte(card), byte(0xa + host)}
}

// need skips the test where it cannot run, which fails it in a lane that has said what it has.
func need(t *testing.T, checkout string) {
	t.Helper()
	missing := t.Skipf
	if _, stated := os.LookupEnv("LANHOOK_TEST_HAVE"); stated {
		missing = t.Fatalf
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		missing("needs QEMU: %v", err)
	}
	for _, file := range []string{"bin/lanhook", "bin/vm"} {
		if _, err := os.Stat(filepath.Join(checkout, file)); err != nil {
			missing("needs what make build and make vm make: %v", err)
		}
	}
}
