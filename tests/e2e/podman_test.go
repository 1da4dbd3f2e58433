//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// podman is podman with a runtime and with storage of its own.
type podman struct {
	*host
	flags []string
	root  string
}

func newPodman(t *testing.T, runtime string) *podman {
	t.Helper()
	h := newHost(t, "podman", "conmon", runtime)
	path, err := exec.LookPath(runtime)
	if err != nil {
		t.Fatal(err)
	}
	p := &podman{host: h, root: rootfs(t, h.dir), flags: podmanFlags(t, h, path)}
	hooks := filepath.Join(h.dir, "hooks.d")
	h.lanhook(t, "setup", "podman", "--dir", hooks, "--policy", h.policy)
	p.flags = append(p.flags, "--hooks-dir", hooks)
	t.Cleanup(func() {
		if t.Failed() {
			p.run(t, "rm", "--all", "--force", "--depend", "--time", "0")
		}
	})
	return p
}

// podmanFlags are those of a podman with its own storage, and without limits that this machine may not raise, and without
// a network or log of podman's.
func podmanFlags(t *testing.T, h *host, runtime string) []string {
	t.Helper()
	conf := filepath.Join(h.dir, "containers.conf")
	write(t, conf, "[containers]\ndefault_ulimits = []\nlog_driver = \"k8s-file\"\n"+
		"[engine]\nevents_logger = \"none\"\ncgroup_manager = \"cgroupfs\"\nlock_type = \"file\"\n")
	t.Setenv("CONTAINERS_CONF", conf)
	return []string{
		"--root", filepath.Join(h.dir, "storage"), "--runroot", filepath.Join(h.dir, "run"),
		"--tmpdir", filepath.Join(h.dir, "tmp"), "--storage-driver", "vfs", "--runtime", runtime,
	}
}

func (p *podman) run(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "podman", append(p.flags, args...)...))
}

// start starts a container that sleeps, and gives its id.
func (p *podman) start(t *testing.T, name string, annotations ...string) string {
	t.Helper()
	return p.run(t, p.startArgs(name, annotations...)...)
}

func (p *podman) startArgs(name string, annotations ...string) []string {
	args := []string{
		"run", "--detach", "--name", name, "--cgroup-parent", os.Getenv(group), "--network", "none", "--cap-add", "NET_RAW",
		"--stop-timeout", "0",
	}
	args = append(args, annotate(annotations)...)
	return append(args, "--rootfs", p.root, "/bin/sleep", "1000")
}

func (p *podman) exec(t *testing.T, name string) func(args ...string) {
	t.Helper()
	return func(args ...string) {
		t.Helper()
		p.run(t, append([]string{"exec", name}, args...)...)
	}
}

// remove takes the container away, and podman's storage mounts with it.
func (p *podman) remove(t *testing.T, name string) {
	t.Helper()
	p.run(t, "rm", "--force", "--time", "0", name)
}

func TestPodman(t *testing.T) {
	for _, runtime := range runtimes() {
		for _, n := range networks() {
			t.Run(runtime+" "+n.name, func(t *testing.T) {
				p := newPodman(t, runtime)
				id := p.start(t, "e2e-life", "io.lanhook.network="+n.name)
				first := p.attached(t, id)
				n.pings(t, first, p.exec(t, "e2e-life"))

				p.run(t, "restart", "--time", "0", "e2e-life")
				second := p.attached(t, id)
				if diff := cmp.Diff(first.Interfaces, second.Interfaces, cmpPrefix()); diff != "" {
					t.Errorf("interfaces after podman restart (-first +second):\n%s", diff)
				}
				n.pings(t, second, p.exec(t, "e2e-life"))

				p.run(t, "stop", "--time", "0", "e2e-life")
				p.gone(t)
				p.run(t, "start", "e2e-life")
				third := p.attached(t, id)
				if diff := cmp.Diff(first.Interfaces, third.Interfaces, cmpPrefix()); diff != "" {
					t.Errorf("interfaces after podman stop and start (-first +third):\n%s", diff)
				}
				n.pings(t, third, p.exec(t, "e2e-life"))
				p.remove(t, "e2e-life")
				p.gone(t)
			})
		}
	}
}

// TestPodmanKilled ends a container and its monitor behind podman's back.
func TestPodmanKilled(t *testing.T) {
	for _, runtime := range runtimes() {
		t.Run(runtime+" process", func(t *testing.T) {
			p := newPodman(t, runtime)
			p.start(t, "e2e-killed", "io.lanhook.network=apps")
			p.kill(t, "{{.State.Pid}}", "e2e-killed")
			// conmon sees it and has podman call poststop.
			if !eventually(func() bool { return len(p.ls(t)) == 0 }) {
				t.Errorf("records of a container that was killed: %+v", p.ls(t))
			}
			p.remove(t, "e2e-killed")
		})
		t.Run(runtime+" conmon", func(t *testing.T) {
			p := newPodman(t, runtime)
			p.start(t, "e2e-orphan", "io.lanhook.network=apps")
			pid := p.pid(t, "{{.State.Pid}}", "e2e-orphan")
			p.kill(t, "{{.State.ConmonPid}}", "e2e-orphan")
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if !eventually(func() bool {
				p.lanhook(t, "gc")
				return len(p.ls(t)) == 0
			}) {
				t.Errorf("gc leaves the records of a container whose monitor was killed: %+v", p.ls(t))
			}
			p.remove(t, "e2e-orphan")
			p.gone(t)
		})
	}
}

// pid reads a process id that podman knows of a container.
func (p *podman) pid(t *testing.T, format, name string) int {
	t.Helper()
	pid, err := strconv.Atoi(p.run(t, "inspect", "--format", format, name))
	if err != nil || pid <= 1 {
		t.Fatalf("podman inspect gives process %d: %v", pid, err)
	}
	return pid
}

func (p *podman) kill(t *testing.T, format, name string) {
	t.Helper()
	if err := syscall.Kill(p.pid(t, format, name), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestPodmanRefused is a container that no rule allows: it does not start, and podman never calls poststop for it.
func TestPodmanRefused(t *testing.T) {
	for _, runtime := range runtimes() {
		t.Run(runtime, func(t *testing.T) {
			p := newPodman(t, runtime)
			_, stderr, err := try("podman", append(p.flags, "run", "--detach", "--name", "e2e-refused",
				"--cgroup-parent", os.Getenv(group), "--network", "none", "--annotation", "io.lanhook.network=nosuch", "--rootfs", p.root, "/bin/sleep", "1000")...)
			if err == nil {
				t.Error("podman run succeeded with a network that does not exist")
			}
			if runtime == "runc" && !strings.Contains(stderr, "nosuch") {
				t.Errorf("stderr does not name the network: %s", stderr)
			}
			p.remove(t, "e2e-refused")
			p.gone(t)
		})
	}
}

// TestPodmanNothingAsked is a container without our annotation: podman does not call the hook at all.
func TestPodmanNothingAsked(t *testing.T) {
	p := newPodman(t, "runc")
	p.start(t, "e2e-nothing", "xio.lanhook.network=lan", "net.example/io.lanhook.network=lan")
	p.gone(t)
	p.remove(t, "e2e-nothing")
}

// TestPodmanJoined is RT-09: containers that join another one's namespace. One that asks for nothing shares what is
// there, and its end changes nothing; one that asks for the same does so with a record; one that asks for the same
// interface on another network is refused, and the first keeps its own. The namespace ends with its last container.
func TestPodmanJoined(t *testing.T) {
	n := networkOf("lan")
	p := newPodman(t, "runc")
	first := p.start(t, "e2e-first", "io.lanhook.network="+n.name)
	join := func(name string, flags ...string) []string {
		return slices.Concat(p.flags, []string{
			"run", "--detach", "--name", name, "--cgroup-parent", os.Getenv(group), "--network", "container:e2e-first",
			"--cap-add", "NET_RAW", "--stop-timeout", "0",
		}, flags, []string{"--rootfs", p.root, "/bin/sleep", "1000"})
	}
	run(t, "podman", join("e2e-second")...)
	n.pings(t, p.attached(t, first), p.exec(t, "e2e-second"))
	p.remove(t, "e2e-second")
	n.pings(t, p.attached(t, first), p.exec(t, "e2e-first"))

	third := strings.TrimSpace(run(t, "podman", join("e2e-third", "--annotation", "io.lanhook.network="+n.name)...))
	p.shares(t, third, first)
	n.pings(t, p.attached(t, first), p.exec(t, "e2e-third"))
	p.remove(t, "e2e-third")
	n.pings(t, p.attached(t, first), p.exec(t, "e2e-first"))

	_, stderr, err := try("podman", join("e2e-fourth", "--annotation", "io.lanhook.network=apps")...)
	if want := "it is on network lan, not apps"; err == nil || !strings.Contains(stderr, "eth0") || !strings.Contains(stderr, want) {
		t.Errorf("another eth0 in one namespace: error %v, want %q: %s", err, want, stderr)
	}
	p.remove(t, "e2e-fourth")
	n.pings(t, p.attached(t, first), p.exec(t, "e2e-first"))
	p.remove(t, "e2e-first")
	p.gone(t)
}

// shares fails the test unless a container has no interface but those that it shares with another.
func (h *host) shares(t *testing.T, id, owner string) {
	t.Helper()
	list := h.ls(t)
	i := slices.IndexFunc(list, func(c container) bool { return c.Container == id })
	if i < 0 || len(list[i].Interfaces) > 0 || len(list[i].Joined) != 1 || list[i].Joined[0].Container != owner {
		t.Errorf("container %s does not share what %s has: %+v", id, owner, list)
	}
}

// TestPodmanPod is RT-09 in a pod, whose namespace an infrastructure container holds that asks for nothing: two of its
// containers ask for the same, start, restart, and stop one after the other.
func TestPodmanPod(t *testing.T) {
	for _, runtime := range runtimes() {
		for _, n := range networks() {
			t.Run(runtime+" "+n.name, func(t *testing.T) {
				p := newPodman(t, runtime)
				p.pod(t, "e2e-pod")
				first := p.member(t, "e2e-first", "io.lanhook.network="+n.name)
				was := p.attached(t, first)
				n.pings(t, was, p.exec(t, "e2e-first"))
				second := p.member(t, "e2e-second", "io.lanhook.network="+n.name)
				p.shares(t, second, first)
				n.pings(t, was, p.exec(t, "e2e-second"))

				p.run(t, "restart", "--time", "0", "e2e-second")
				p.shares(t, second, first)
				p.run(t, "restart", "--time", "0", "e2e-first")
				if diff := cmp.Diff(was.Interfaces, p.attached(t, first).Interfaces, cmpPrefix()); diff != "" {
					t.Errorf("interfaces after restarts (-first +now):\n%s", diff)
				}
				n.pings(t, was, p.exec(t, "e2e-first"))

				p.run(t, "stop", "--time", "0", "e2e-first")
				if now := p.attached(t, first); !now.Left {
					t.Errorf("the first has stopped, and its record says %+v", now)
				}
				n.pings(t, was, p.exec(t, "e2e-second"))
				p.run(t, "stop", "--time", "0", "e2e-second")
				p.gone(t)

				// The pod as a whole: started, killed, started again, and removed with all in it running.
				p.run(t, "pod", "start", "e2e-pod")
				if list := p.ls(t); len(list) != 2 {
					t.Errorf("records of two containers: %+v", list)
				}
				p.run(t, "pod", "kill", "e2e-pod")
				if !eventually(func() bool { return len(p.ls(t)) == 0 }) {
					t.Errorf("records of a pod that was killed: %+v", p.ls(t))
				}
				p.run(t, "pod", "start", "e2e-pod")
				if list := p.ls(t); len(list) != 2 {
					t.Errorf("records of two containers: %+v", list)
				}
				p.run(t, "pod", "rm", "--force", "--time", "0", "e2e-pod")
				p.gone(t)
			})
		}
	}
}

// pod makes a pod without a network of podman's, of an image made on the spot.
func (p *podman) pod(t *testing.T, name string) {
	t.Helper()
	tar := filepath.Join(p.dir, "rootfs.tar")
	run(t, "tar", "-C", p.root, "-cf", tar, ".")
	const image = "localhost/infra:e2e"
	p.run(t, "import", "--quiet", tar, image)
	t.Cleanup(func() { p.run(t, "rmi", "--force", image) })
	p.run(t, "pod", "create", "--name", name, "--network", "none", "--cgroup-parent", os.Getenv(group),
		"--infra-image", image, "--infra-command", "/bin/sleep 1000", "--exit-policy", "continue")
	p.run(t, "pod", "start", name)
}

// member starts a container of the pod.
func (p *podman) member(t *testing.T, name string, annotations ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "podman", p.memberArgs(name, annotations...)...))
}

func (p *podman) memberArgs(name string, annotations ...string) []string {
	args := []string{"run", "--detach", "--name", name, "--pod", "e2e-pod", "--cap-add", "NET_RAW", "--stop-timeout", "0"}
	return slices.Concat(p.flags, args, annotate(annotations), []string{"--rootfs", p.root, "/bin/sleep", "1000"})
}

// TestPodmanFolder is podman without --hooks-dir: it has to find what setup writes where nothing else is said.
func TestPodmanFolder(t *testing.T) {
	const share = "/usr/share/containers"
	p := newPodman(t, "runc")
	layer := t.TempDir()
	if err := syscall.Mount("tmpfs", layer, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, layer) })
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	if err := makeDirs(upper, work); err != nil {
		t.Fatal(err)
	}
	options := "lowerdir=" + share + ",upperdir=" + upper + ",workdir=" + work
	if err := syscall.Mount("overlay", share, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, share) })
	p.lanhook(t, "setup", "podman", "--policy", p.policy)
	p.flags = p.flags[:len(p.flags)-2]
	p.attached(t, p.start(t, "e2e-folder", "io.lanhook.network=lan"))
	p.remove(t, "e2e-folder")
	p.gone(t)
}

func unmount(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Unmount(path, 0); err != nil {
		t.Error(err)
	}
}

// TestPodmanComma is podman's --annotation, which is cut at commas unless it is quoted within: what was cut off is
// refused, not lost.
func TestPodmanComma(t *testing.T) {
	p := newPodman(t, "runc")
	const asked = "io.lanhook.network=lan,default-route=false"
	_, stderr, err := try("podman", append(p.flags, "run", "--detach", "--name", "e2e-comma", "--cgroup-parent",
		os.Getenv(group), "--network", "none", "--annotation", asked, "--rootfs", p.root, "/bin/sleep", "1000")...)
	if want := "the engine cut it off at the comma"; err == nil || !strings.Contains(stderr, want) {
		t.Errorf("error %v and %q, want %q", err, stderr, want)
	}
	p.remove(t, "e2e-comma")
	p.attached(t, p.start(t, "e2e-quoted", `"`+asked+`"`))
	p.remove(t, "e2e-quoted")
	p.gone(t)
}
