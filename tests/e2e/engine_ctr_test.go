//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Names of the runtime in containerd. With the second one lanhook-runtime is the option BinaryName.
const (
	shimName    = "io.containerd.lanhook.v2"
	runcName    = "io.containerd.runc.v2"
	runtimeName = "/usr/local/bin/lanhook-runtime"
)

// containerdVersions are the beginnings of the versions that are tested.
func containerdVersions() []string { return []string{"1.6", "1.7", "2.1", "2.4"} }

// containerd is a running containerd.
type containerd struct {
	*site
	*daemon
	engine
}

// startContainerd starts containerd with its files in the usual places, and brings the image in, for CRI as well.
func (s *site) startContainerd(t *testing.T, version string) *containerd {
	t.Helper()
	e := newEngine(t, "containerd", version)
	if err := makeDirs("/etc/containerd", "/etc/cni/net.d"); err != nil {
		t.Fatal(err)
	}
	write(t, "/etc/containerd/config.toml", containerdConfig(e))
	write(t, "/etc/cni/net.d/10-e2e.conflist", podNetwork)
	c := &containerd{site: s, engine: e}
	c.daemon = s.start(t, e, "containerd", func() error {
		_, stderr, err := try(e.program("ctr"), "version")
		if err != nil {
			return fmt.Errorf("ctr version: %w: %s", err, stderr)
		}
		return nil
	})
	for _, namespace := range []string{"default", "k8s.io", "client"} {
		c.ctr(t, "--namespace", namespace, "images", "import", s.image)
	}
	return c
}

func (c *containerd) ctr(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, c.program("ctr"), args...)
}

// ctr starts containers by containerd's own command line.
type ctr struct {
	*containerd
	// flags say which runtime.
	flags []string
}

// ways are the two ways to lanhook in containerd.
func (c *containerd) ways() []way {
	return []way{
		{"shim", &ctr{c, []string{"--runtime", shimName}}},
		{"BinaryName", &ctr{c, []string{"--runtime", runcName, "--runc-binary", runtimeName}}},
	}
}

func (c *ctr) args(name, annotation string) []string {
	args := append([]string{"run", "--detach", "--cgroup", filepath.Join(os.Getenv(group), name)}, c.flags...)
	args = append(args, annotate(asked("io.lanhook.network", annotation))...)
	return append(args, imageName, name, "/bin/sleep", "1000")
}

func (c *ctr) start(t *testing.T, name, annotation string) string {
	t.Helper()
	c.ctr(t, c.args(name, annotation)...)
	return name
}

func (c *ctr) begin(name, annotation string) func() (string, error) {
	return begin(c.program("ctr"), c.args(name, annotation)...)
}

func (c *ctr) exec(t *testing.T, id string) func(args ...string) {
	t.Helper()
	return func(args ...string) {
		t.Helper()
		c.ctr(t, append([]string{"task", "exec", "--exec-id", "ping", id}, args...)...)
	}
}

func (c *ctr) restart(t *testing.T, id string) {
	t.Helper()
	c.stop(t, id)
	c.ctr(t, "task", "start", "--detach", id)
}

func (c *ctr) stop(t *testing.T, id string) {
	t.Helper()
	c.ctr(t, "task", "rm", "--force", id)
}

func (c *ctr) remove(t *testing.T, id string) {
	t.Helper()
	if strings.Contains(c.ctr(t, "task", "ls"), id+" ") {
		c.stop(t, id)
	}
	if strings.Contains(c.ctr(t, "container", "ls", "--quiet"), id) {
		c.ctr(t, "container", "rm", id)
	}
}

// clears says whether the engine removes what is left of a container whose process has ended. ctr leaves it to its user.
func (c *ctr) clears() bool { return false }

func (c *ctr) workload(_, id string) string { return id }

func (c *ctr) survives() bool { return true }

func TestEngineCtr(t *testing.T) {
	for _, version := range containerdVersions() {
		t.Run(version, func(t *testing.T) {
			s := newSite(t)
			c := s.startContainerd(t, version)
			s.lives(t, c.engine, c.ways())
			s.deaths(t, c.engine, c.ways())
			s.engineDeaths(t, c.daemon, c.ways())
			for _, w := range c.ways() {
				t.Run(w.name+" kill client", func(t *testing.T) { c.killClient(t, w) })
				t.Run(w.name+" broken runtime.toml", func(t *testing.T) { c.broken(t, w) })
			}
		})
	}
}

// killClient ends ctr while our hook waits for a link. Before 2.0 containerd lets the runtime go on, and removes what it
// has made when the link comes; later ones kill the runtime at once. Nothing is left either way.
func (c *containerd) killClient(t *testing.T, w way) {
	t.Helper()
	id := "e2e-client-" + w.name
	c.unchanged(t, w, id)
	client := exec.Command(c.program("ctr"), w.contender.(*ctr).args(id, "waiting")...)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	hook := c.hook(t)
	runtime := parent(t, hook)
	kill(t, client.Process.Pid)
	if err := client.Wait(); err == nil {
		t.Error("ctr succeeds though it was killed")
	}
	if c.version[0] == '1' {
		run(t, "ip", "link", "add", "p9", "type", "veth", "peer", "name", "p9-peer")
		run(t, "ip", "link", "set", "p9", "up")
		t.Cleanup(func() { run(t, "ip", "link", "del", "p9") })
	} else if !eventually(func() bool { return syscall.Kill(runtime, 0) != nil }) {
		t.Error("containerd does not kill the runtime")
	}
	c.hookEnds(t)
	c.freed(t, true)
	w.remove(t, id)
	c.gone(t)
	if c.version[0] == '1' {
		c.endShims(t)
	}
}

// broken is a runtime.toml that cannot be read: what asks for a network is refused, with the place of the mistake, and
// what asks for nothing starts as if lanhook were not there.
func (c *containerd) broken(t *testing.T, w way) {
	t.Helper()
	c.unchanged(t, w, "e2e-broken", "e2e-plain")
	good, err := os.ReadFile("/etc/lanhook/runtime.toml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { write(t, "/etc/lanhook/runtime.toml", string(good)) })
	write(t, "/etc/lanhook/runtime.toml", "version = 1\ncolour = \"red\"\n")
	output, err := w.begin("e2e-broken", "lan")()
	if want := "/etc/lanhook/runtime.toml:2:1"; err == nil || !strings.Contains(output, want) {
		t.Errorf("a container that asks for a network: error %v and %q, want %q", err, output, want)
	}
	w.remove(t, "e2e-broken")
	args := slices.DeleteFunc(w.contender.(*ctr).args("e2e-plain", "lan"), func(arg string) bool {
		return arg == "--annotation" || strings.HasPrefix(arg, "io.lanhook.")
	})
	c.ctr(t, args...)
	c.gone(t)
	w.remove(t, "e2e-plain")
}

// endShims ends shims that watch nothing. Now and then containerd forgets one after something was killed, or leaves it to
// end by itself, which takes it ten seconds. That is not ours to mend.
func (c *containerd) endShims(t *testing.T) {
	t.Helper()
	for _, pid := range pidsOf(t, "containerd-shim") {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil || len(children) > 0 {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("kill a forgotten shim: %v", err)
		}
	}
}
