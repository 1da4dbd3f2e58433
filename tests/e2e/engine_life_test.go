//go:build linux

package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// contender is one way to start containers of the image. A network is said as in our annotation, without its key, whose
// interface is the contender's to choose; behind a blank come the ports to publish.
type contender interface {
	// start starts a container and gives the id that lanhook has for it.
	start(t *testing.T, name, annotation string) string
	// begin is start on its own time. What it gives waits for the end and for the engine's words.
	begin(name, annotation string) func() (string, error)
	// exec runs a program in the container that lanhook knows by id.
	exec(t *testing.T, id string) func(args ...string)
	restart(t *testing.T, id string)
	stop(t *testing.T, id string)
	// remove removes a container, by its name or id, that may be running, have stopped, or never have started.
	remove(t *testing.T, id string)
	// workload is the name that lanhook is told by the engine of a container, or the id that stands for it.
	workload(name, id string) string
	// clears says whether the engine calls poststop by itself when the container's process has ended.
	clears() bool
	// survives says whether the container goes on when the engine is killed and started again.
	survives() bool
}

// way is a contender and its name in tests.
type way struct {
	name string
	contender
}

// asked are the annotations, KEY=VALUE, of what a contender is told. The key is the network's.
func asked(key, annotation string) []string {
	network, ports, _ := strings.Cut(annotation, " ")
	list := []string{key + "=" + network}
	if ports != "" {
		list = append(list, "io.lanhook.publish="+ports)
	}
	return list
}

// annotate gives each annotation by the option that nearly all programs have.
func annotate(annotations []string) []string {
	var args []string
	for _, a := range annotations {
		args = append(args, "--annotation", a)
	}
	return args
}

// begin runs a program on its own time.
func begin(program string, args ...string) func() (string, error) {
	type end struct {
		output string
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		stdout, stderr, err := try(program, args...)
		ended <- end{stdout + stderr, err}
	}()
	return func() (string, error) {
		e := <-ended
		return e.output, e.err
	}
}

// lives runs the matrix of an engine: each way to lanhook, with each runtime, on each network.
func (s *site) lives(t *testing.T, e engine, ways []way) {
	t.Helper()
	for _, w := range ways {
		for _, program := range runtimes() {
			s.runtime(t, s.runtimePath(t, e, program))
			for _, name := range []string{"lan", "apps"} {
				n := networkOf(name)
				t.Run(strings.Join([]string{w.name, program, n.name}, " "), func(t *testing.T) { s.life(t, w, n) })
			}
			t.Run(strings.Join([]string{w.name, program, "publish"}, " "), func(t *testing.T) { s.publishes(t, w) })
			t.Run(strings.Join([]string{w.name, program, "taken"}, " "), func(t *testing.T) { s.taken(t, w, program) })
		}
	}
}

// life is what an ordinary container lives through.
func (s *site) life(t *testing.T, c contender, n network) {
	t.Helper()
	s.unchanged(t, c, "e2e-life")
	id := c.start(t, "e2e-life", n.name)
	first := s.attached(t, id)
	n.pings(t, first, c.exec(t, id))
	s.lanhook(t, "check", id)
	want := c.workload("e2e-life", id)
	if first.Workload != want {
		t.Errorf("the workload is called %q, want %q", first.Workload, want)
	}
	// An engine that gives a name gives what is reserved for it.
	kept := slices.ContainsFunc(first.Interfaces[0].Addresses, func(p netip.Prefix) bool { return p.Addr().String() == reservedAddr })
	if reserved := n.name == "lan" && want == reservedName; kept != reserved {
		t.Errorf("%s has %v; that %s is to be among them is %t", want, first.Interfaces[0].Addresses, reservedAddr, reserved)
	}

	c.restart(t, id)
	second := s.attached(t, id)
	if diff := cmp.Diff(first.Interfaces, second.Interfaces, cmpPrefix()); diff != "" {
		t.Errorf("interfaces after a restart (-first +second):\n%s", diff)
	}
	n.pings(t, second, c.exec(t, id))

	c.stop(t, id)
	if !eventually(func() bool { return len(s.ls(t)) == 0 }) {
		t.Errorf("records after the stop: %+v", s.ls(t))
	}
	c.remove(t, id)
	s.gone(t)
}

// refused is a container that asks for what it may not have. The engine's user reads our line, unless the runtime keeps
// the words of hooks to itself, as crun does.
func (s *site) refused(t *testing.T, w way) {
	t.Helper()
	s.unchanged(t, w, "e2e-refused")
	output, err := w.begin("e2e-refused", "nosuch")()
	if err == nil {
		t.Errorf("a container starts on a network that does not exist: %s", output)
	}
	if want := "the policy has no network"; !strings.Contains(output, want) {
		t.Errorf("the engine does not show %q: %s", want, output)
	}
	w.remove(t, "e2e-refused")
	s.gone(t)
}

// mistaken is a container whose annotation cannot be read. lanhook-runtime sees it before the runtime is started, so that
// its user reads why even with crun.
func (s *site) mistaken(t *testing.T, w way) {
	t.Helper()
	s.unchanged(t, w, "e2e-mistaken")
	output, err := w.begin("e2e-mistaken", "lan,colour=red")()
	if err == nil {
		t.Errorf("a container starts with an annotation that nobody can read: %s", output)
	}
	if want := "colour"; !strings.Contains(output, want) {
		t.Errorf("the engine does not show %q: %s", want, output)
	}
	w.remove(t, "e2e-mistaken")
	s.gone(t)
}
