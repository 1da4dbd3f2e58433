//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// published is a container on the bridge network whose web server is the host's port 8080.
const published = "apps 8080:8000"

// request is the shell command of a client that asks the server at address $0.
const request = `printf 'GET /cgi-bin/who HTTP/1.0\r\n\r\n' | busybox nc -w 3 "$0" 8080`

// serve starts the web server of a container. It goes on behind the command that starts it, and ends with the container.
// Of a pod's containers the first one to start it has the port.
func serve(exec func(args ...string)) {
	exec("/bin/sh", "-c", "/bin/busybox httpd -p 8000 -h /www || true")
}

// portsOf are the published ports that lanhook shows, all or those of one container.
func (h *host) portsOf(t *testing.T, ids ...string) []string {
	t.Helper()
	var ports []struct {
		Container, Protocol, Address string
		Port                         int
		ToPort                       int `json:"to_port"`
	}
	if err := json.Unmarshal([]byte(h.lanhook(t, append([]string{"ports", "--json"}, ids...)...)), &ports); err != nil {
		t.Fatalf("lanhook ports --json: %v", err)
	}
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = fmt.Sprintf("%s %s %s:%d->%d", p.Container, p.Protocol, p.Address, p.Port, p.ToPort)
	}
	slices.Sort(list)
	return list
}

// shownPorts is what lanhook shows of a container that publishes.
func shownPorts(id string) []string {
	return []string{id + " tcp 0.0.0.0:8080->8000", id + " tcp :::8080->8000"}
}

// hears is what a client hears from port 8080 of an address, the client's own address as the server sees it, and "" when
// nobody answers.
func hears(t *testing.T, namespace, address string) string {
	t.Helper()
	client := within(namespace, "sh", "-c", request, address)
	stdout, _, err := try(client[0], client[1:]...)
	if lines := strings.Fields(stdout); err == nil && len(lines) > 0 {
		return strings.TrimPrefix(strings.Trim(lines[len(lines)-1], "[]"), "::ffff:")
	}
	return ""
}

// reached starts the container's server and asks it by the host's addresses, from the LAN, from the host and from the
// container itself. By the container's own address the neighbour does not get there.
func (h *host) reached(t *testing.T, id string, exec func(args ...string)) {
	t.Helper()
	serve(exec)
	for _, c := range []struct{ from, to, want string }{
		{"neighbour", "10.77.0.1", "10.77.0.254"},
		{"neighbour", "fd77::1", "fd77::fe"},
		{"", "10.77.0.1", "10.77.0.1"},
		{"", "127.0.0.1", "172.30.7.1"},
	} {
		var got string
		// The server has been started, and may not listen yet.
		if !eventually(func() bool {
			got = hears(t, c.from, c.to)
			return got == c.want
		}) {
			t.Errorf("%s from %q: the container sees %q, want %q", c.to, c.from, got, c.want)
		}
	}
	exec("/bin/sh", "-c", request+` | /bin/busybox grep 172\.30\.7\.1`, "10.77.0.1")
	var own string
	for _, prefix := range h.attached(t, id).Interfaces[0].Addresses {
		if prefix.Addr().Is4() {
			own = prefix.Addr().String()
		}
	}
	direct := within("neighbour", "sh", "-c", `busybox nc -w 1 "$0" 8000 </dev/null`, own)
	if _, stderr, err := try(direct[0], direct[1:]...); err == nil || !strings.Contains(stderr, "timed out") {
		t.Errorf("the neighbour reaches %s, which is behind the host: %v, %s", own, err, stderr)
	}
	if diff := cmp.Diff(shownPorts(id), h.portsOf(t)); diff != "" {
		t.Errorf("lanhook ports (-want +got):\n%s", diff)
	}
	h.lanhook(t, "check")
}

// unpublished fails when something of the port is left, but for what the host's comparison sees.
func (h *host) unpublished(t *testing.T) {
	t.Helper()
	if list := h.portsOf(t); len(list) > 0 {
		t.Errorf("lanhook ports still has %q", list)
	}
	for _, c := range []struct{ from, to string }{{"neighbour", "10.77.0.1"}, {"", "127.0.0.1"}} {
		if got := hears(t, c.from, c.to); got != "" {
			t.Errorf("%s from %q still answers %q", c.to, c.from, got)
		}
	}
	// They go after the record, for which those have waited whose engine does not wait for poststop.
	tables := ""
	if !eventually(func() bool {
		tables = run(t, "nft", "list", "tables")
		return !strings.Contains(tables, "lanhook")
	}) {
		t.Errorf("tables are left:\n%s", tables)
	}
}

// whileTaken calls fn while the test itself listens on the host's port 8080.
func whileTaken(t *testing.T, fn func()) {
	t.Helper()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: 8080})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	fn()
}

// takenByTest is what a user reads while the test listens.
func takenByTest(t *testing.T) string {
	t.Helper()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("port 8080/tcp of 0.0.0.0 is taken by %s (pid %d)", strings.TrimSpace(string(name)), os.Getpid())
}

// refusal is a start that fails. Its user reads why, but with crun, which keeps the words of hooks to itself: there
// lanhook's log has them.
func (h *host) refusal(t *testing.T, program, why string, start func() (string, error)) {
	t.Helper()
	log := filepath.Join(h.state, "log")
	if err := os.RemoveAll(log); err != nil {
		t.Fatal(err)
	}
	output, err := start()
	if program == "crun" {
		output += tail(log)
	}
	if err == nil || !strings.Contains(output, why) {
		t.Errorf("error %v and %q, want %q", err, output, why)
	}
}

// published writes a bundle of a container that publishes.
func (r *oci) published(t *testing.T, id string) string {
	t.Helper()
	network, ports, _ := strings.Cut(published, " ")
	root := filepath.Join(r.dir, "rootfs")
	if _, err := os.Stat(root); err != nil {
		root = rootfs(t, r.dir)
	}
	return r.bundle(t, newSpec(id, root, annotated("network="+network, "publish="+ports)))
}

// TestRuntimePublish is PP-16 with a container that is ended by its runtime, and behind its back.
func TestRuntimePublish(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			bundle := r.published(t, "e2e-publish")
			r.start(t, "e2e-publish", bundle)
			r.reached(t, "e2e-publish", r.exec(t, "e2e-publish"))
			r.kill(t, "e2e-publish")
			r.delete(t, "e2e-publish")
			r.gone(t)
			r.unpublished(t)

			// Behind the runtime's back: gc takes the port back.
			c := r.start(t, "e2e-publish", bundle)
			r.reached(t, "e2e-publish", r.exec(t, "e2e-publish"))
			if err := syscall.Kill(c.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if !eventually(func() bool {
				r.lanhook(t, "gc")
				return len(r.ls(t)) == 0
			}) {
				t.Errorf("gc leaves records: %+v", r.ls(t))
			}
			r.unpublished(t)
			r.delete(t, "e2e-publish")
		})
	}
}

// TestRuntimeTaken is PP-09 and PP-11: a port that a process or another container has.
func TestRuntimeTaken(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			first, second := r.published(t, "e2e-first"), r.published(t, "e2e-second")
			refused := func(id, bundle, why string) {
				t.Helper()
				r.refusal(t, program, why, func() (string, error) { return begin(program, r.args("create", "--bundle", bundle, id)...)() })
				r.forceDelete(id)
			}
			whileTaken(t, func() { refused("e2e-first", first, takenByTest(t)) })
			r.gone(t)
			r.start(t, "e2e-first", first)
			refused("e2e-second", second, "container e2e-first")
			r.reached(t, "e2e-first", r.exec(t, "e2e-first"))
			r.run(t, "delete", "--force", "e2e-first")
			r.start(t, "e2e-second", second)
			r.reached(t, "e2e-second", r.exec(t, "e2e-second"))
			r.run(t, "delete", "--force", "e2e-second")
			r.gone(t)
			r.unpublished(t)
		})
	}
}

// TestPodmanPublish is PP-16 with a container that is restarted, killed and started again.
func TestPodmanPublish(t *testing.T) {
	for _, runtime := range runtimes() {
		t.Run(runtime, func(t *testing.T) {
			p := newPodman(t, runtime)
			id := p.start(t, "e2e-publish", asked("io.lanhook.network", published)...)
			p.reached(t, id, p.exec(t, "e2e-publish"))
			p.run(t, "restart", "--time", "0", "e2e-publish")
			p.reached(t, id, p.exec(t, "e2e-publish"))

			p.kill(t, "{{.State.Pid}}", "e2e-publish")
			if !eventually(func() bool { return len(p.ls(t)) == 0 }) {
				t.Errorf("records of a container that was killed: %+v", p.ls(t))
			}
			p.unpublished(t)

			whileTaken(t, func() {
				start := slices.Concat(p.flags, []string{"start", "e2e-publish"})
				p.refusal(t, runtime, takenByTest(t), func() (string, error) { return begin("podman", start...)() })
			})
			p.run(t, "start", "e2e-publish")
			p.reached(t, id, p.exec(t, "e2e-publish"))
			p.remove(t, "e2e-publish")
			p.gone(t)
			p.unpublished(t)
		})
	}
}

// TestPodmanPodPublish is RT-09: two containers of a pod that publish the same share it until the last has stopped, and one
// that would publish more is refused.
func TestPodmanPodPublish(t *testing.T) {
	for _, runtime := range runtimes() {
		t.Run(runtime, func(t *testing.T) {
			p := newPodman(t, runtime)
			p.pod(t, "e2e-pod")
			annotations := asked("io.lanhook.network", published)
			first := p.member(t, "e2e-first", annotations...)
			second := p.member(t, "e2e-second", annotations...)
			p.shares(t, second, first)
			p.reached(t, first, p.exec(t, "e2e-second"))
			if diff := cmp.Diff(shownPorts(first), p.portsOf(t, second)); diff != "" {
				t.Errorf("lanhook ports of the second (-want +got):\n%s", diff)
			}

			more := p.memberArgs("e2e-more", annotations[0], "io.lanhook.publish=8081:8000")
			p.refusal(t, runtime, "8081", func() (string, error) { return begin("podman", more...)() })
			p.remove(t, "e2e-more")

			// The server is the second's. What the first has made outlives it.
			p.run(t, "stop", "--time", "0", "e2e-first")
			if got, want := hears(t, "neighbour", "10.77.0.1"), "10.77.0.254"; got != want {
				t.Errorf("with the first stopped, the second sees %q, want %q", got, want)
			}
			p.run(t, "pod", "rm", "--force", "--time", "0", "e2e-pod")
			p.gone(t)
			p.unpublished(t)
		})
	}
}
