//go:build linux

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// deaths ends parts of an engine's containers by SIGKILL, and what starts them, in each way to lanhook.
func (s *site) deaths(t *testing.T, e engine, ways []way) {
	t.Helper()
	for _, w := range ways {
		for _, program := range runtimes() {
			s.runtime(t, s.runtimePath(t, e, program))
			name := w.name + " " + program + " kill "
			t.Run(w.name+" "+program+" refused", func(t *testing.T) { s.refused(t, w) })
			if w.name != "profile" {
				t.Run(w.name+" "+program+" mistaken", func(t *testing.T) { s.mistaken(t, w) })
			}
			t.Run(name+"process", func(t *testing.T) { s.killProcess(t, w) })
			t.Run(name+"shim", func(t *testing.T) { s.killShim(t, w) })
			t.Run(name+"runtime", func(t *testing.T) { s.killRuntime(t, w) })
		}
	}
}

// killProcess ends the container alone. Either the engine sees it and calls poststop, or lanhook gc finds the namespace
// gone, and poststop comes with the removal, for a container that is not known any more.
func (s *site) killProcess(t *testing.T, c contender) {
	t.Helper()
	s.unchanged(t, c, "e2e-process")
	id := c.start(t, "e2e-process", "apps")
	kill(t, s.attached(t, id).PID)
	if !c.clears() {
		s.attached(t, id)
	}
	s.freed(t, c.clears())
	c.remove(t, id)
	s.gone(t)
}

// killShim ends the process that watches the container. containerd then calls the shim's delete, which ends the
// container and calls poststop.
func (s *site) killShim(t *testing.T, c contender) {
	t.Helper()
	s.unchanged(t, c, "e2e-shim")
	id := c.start(t, "e2e-shim", "apps")
	kill(t, parent(t, s.attached(t, id).PID))
	s.freed(t, true)
	c.remove(t, id)
	s.gone(t)
}

// killRuntime ends the runtime while our hook waits for a link that never comes. Nobody will ever call poststop, which
// the hook has to see.
func (s *site) killRuntime(t *testing.T, c contender) {
	t.Helper()
	s.unchanged(t, c, "e2e-runtime")
	wait := c.begin("e2e-runtime", "waiting")
	kill(t, parent(t, s.hook(t)))
	if output, err := wait(); err == nil {
		t.Errorf("the container starts though its runtime was killed: %s", output)
	}
	s.hookEnds(t)
	c.remove(t, "e2e-runtime")
	s.gone(t)
}

// engineDeaths ends the engine: alone, which containers survive unless the engine ends them when it is started again, and
// with all that it has started.
func (s *site) engineDeaths(t *testing.T, d *daemon, ways []way) {
	t.Helper()
	for _, w := range ways {
		t.Run(w.name+" kill engine", func(t *testing.T) {
			s.unchanged(t, w, "e2e-engine")
			id := w.start(t, "e2e-engine", "apps")
			c := s.attached(t, id)
			d.kill9(t)
			d.begin(t)
			if w.survives() {
				networkOf("apps").pings(t, c, w.exec(t, id))
			} else {
				s.freed(t, true)
			}
			w.remove(t, id)
			s.gone(t)
		})
		t.Run(w.name+" kill everything", func(t *testing.T) {
			s.unchanged(t, w, "e2e-everything")
			id := w.start(t, "e2e-everything", "apps")
			pid := s.attached(t, id).PID
			d.kill9(t)
			kill(t, parent(t, pid))
			kill(t, pid)
			d.begin(t)
			s.freed(t, true)
			w.remove(t, id)
			s.gone(t)
		})
	}
}

// hook waits until the hook runs and gives its process.
func (s *site) hook(t *testing.T) int {
	t.Helper()
	var pids []int
	if !eventually(func() bool {
		pids = pidsOf(t, "lanhook")
		return len(pids) > 0
	}) {
		t.Fatal("the hook is not called")
	}
	return pids[0]
}

func (s *site) hookEnds(t *testing.T) {
	t.Helper()
	if !eventually(func() bool { return len(pidsOf(t, "lanhook")) == 0 }) {
		t.Error("the hook is still there")
	}
}

// freed waits until lanhook holds nothing any more: because the engine has called poststop, or because gc has found
// what is dead.
func (s *site) freed(t *testing.T, byEngine bool) {
	t.Helper()
	who := "the engine"
	if !byEngine {
		who = "gc"
	}
	if !eventually(func() bool {
		if !byEngine {
			s.lanhook(t, "gc")
		}
		return len(s.ls(t)) == 0
	}) {
		t.Errorf("%s leaves records: %+v", who, s.ls(t))
	}
}

// kill ends one process by SIGKILL.
func kill(t *testing.T, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("process %d is not to be killed", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill process %d: %v", pid, err)
	}
}

// parent is the process that a process is a child of: a container's is its shim, a hook's is its runtime.
func parent(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return ppid
}
