//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oci is a runtime with runc's command line, and one host that it runs containers on.
type oci struct {
	*host
	program string
	root    string
}

func runtimes() []string { return []string{"runc", "crun"} }

func newOCI(t *testing.T, program string) *oci {
	t.Helper()
	h := newHost(t, program)
	r := &oci{host: h, program: program, root: filepath.Join(h.dir, program)}
	t.Cleanup(func() {
		if t.Failed() {
			for id := range strings.FieldsSeq(r.run(t, "list", "--quiet")) {
				r.forceDelete(id)
			}
		}
	})
	return r
}

func (r *oci) args(args ...string) []string { return append([]string{"--root", r.root}, args...) }

func (r *oci) run(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, r.program, r.args(args...)...)
}

// bundle writes a bundle with the hooks in it. Containers share a root filesystem, which is read-only.
func (r *oci) bundle(t *testing.T, s spec) string {
	t.Helper()
	bundle := filepath.Join(r.dir, "bundle-"+s.Hostname)
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(bundle, "config.json"), string(data))
	r.lanhook(t, "setup", "runc", "--bundle", bundle, "--policy", r.policy)
	return bundle
}

// start creates and starts a container.
func (r *oci) start(t *testing.T, id, bundle string) container {
	t.Helper()
	r.run(t, "create", "--bundle", bundle, id)
	r.run(t, "start", id)
	return r.attached(t, id)
}

// exec runs a command in a container.
func (r *oci) exec(t *testing.T, id string) func(args ...string) {
	t.Helper()
	return func(args ...string) {
		t.Helper()
		r.run(t, append([]string{"exec", id}, args...)...)
	}
}

// kill ends a container's process and waits until the runtime knows. Nobody calls poststop for that.
func (r *oci) kill(t *testing.T, id string) {
	t.Helper()
	r.run(t, "kill", id, "KILL")
	if !eventually(func() bool {
		var state struct{ Status string }
		if err := json.Unmarshal([]byte(r.run(t, "state", id)), &state); err != nil {
			t.Fatal(err)
		}
		return state.Status == "stopped"
	}) {
		t.Fatalf("%s: container %s does not stop", r.program, id)
	}
}

func (r *oci) delete(t *testing.T, id string) {
	t.Helper()
	r.run(t, "delete", id)
}

// forceDelete clears up after a failed create, where the runtime may or may not know the container.
func (r *oci) forceDelete(id string) {
	_, _, err := try(r.program, r.args("delete", "--force", id)...)
	_ = err // either answer is right
}

func TestRuntime(t *testing.T) {
	for _, program := range runtimes() {
		for _, n := range networks() {
			t.Run(program+" "+n.name, func(t *testing.T) {
				r := newOCI(t, program)
				s := newSpec("e2e-life", rootfs(t, r.dir), map[string]string{"io.lanhook.network": n.name})
				bundle := r.bundle(t, s)

				first := r.start(t, "e2e-life", bundle)
				n.pings(t, first, r.exec(t, "e2e-life"))
				r.lanhook(t, "check", "e2e-life")
				r.kill(t, "e2e-life")
				r.delete(t, "e2e-life")
				r.gone(t)

				// The same container again gets the same addresses and MAC.
				second := r.start(t, "e2e-life", bundle)
				if diff := cmp.Diff(first.Interfaces, second.Interfaces, cmpPrefix()); diff != "" {
					t.Errorf("interfaces after a restart (-first +second):\n%s", diff)
				}
				n.pings(t, second, r.exec(t, "e2e-life"))
				r.run(t, "delete", "--force", "e2e-life")
				r.gone(t)
			})
		}
	}
}

func TestRuntimeTwoNetworks(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			bundle := r.bundle(t, newSpec("e2e-two", rootfs(t, r.dir), map[string]string{
				"io.lanhook.network":      "lan,ip=10.77.0.200",
				"io.lanhook.network.eth1": "apps,default-route=false",
			}))
			c := r.start(t, "e2e-two", bundle)
			if len(c.Interfaces) != 2 || c.Interfaces[0].Name != "eth0" || c.Interfaces[1].Name != "eth1" {
				t.Fatalf("interfaces %+v, want eth0 and eth1", c.Interfaces)
			}
			if got := c.Interfaces[0].Addresses[0].String(); got != "10.77.0.200/24" {
				t.Errorf("address %s, want the one asked for, 10.77.0.200/24", got)
			}
			for _, peer := range []string{"10.77.0.254", "172.30.7.1"} {
				r.run(t, "exec", "e2e-two", "/bin/ping", "-c", "1", "-W", "3", peer)
			}
			r.run(t, "delete", "--force", "e2e-two")
			r.gone(t)
		})
	}
}

// TestRuntimeJoined is RT-08: a bundle names a namespace that somebody else made, and which stays.
func TestRuntimeJoined(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			run(t, "ip", "netns", "add", "e2e-joined")
			inside := run(t, "ip", "-n", "e2e-joined", "-o", "link")
			s := newSpec("e2e-joined", rootfs(t, r.dir), map[string]string{"io.lanhook.network": "lan"})
			s.Linux.Namespaces[1].Path = "/run/netns/e2e-joined"
			c := r.start(t, "e2e-joined", r.bundle(t, s))
			run(t, "ip", "netns", "exec", "neighbour", "ping", "-c", "1", "-W", "3",
				c.Interfaces[0].Addresses[0].Addr().String())
			r.run(t, "delete", "--force", "e2e-joined")
			r.gone(t)
			if diff := cmp.Diff(inside, run(t, "ip", "-n", "e2e-joined", "-o", "link")); diff != "" {
				t.Errorf("links in the joined namespace (-before +after):\n%s", diff)
			}
			run(t, "ip", "netns", "del", "e2e-joined")
		})
	}
}

// TestRuntimeHostNetwork is a container without a network namespace: the hook must not touch the host's.
func TestRuntimeHostNetwork(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			s := newSpec("e2e-host", rootfs(t, r.dir), map[string]string{"io.lanhook.network": "lan"})
			s.Linux.Namespaces = append(s.Linux.Namespaces[:1], s.Linux.Namespaces[2:]...)
			_, stderr, err := try(program, r.args("create", "--bundle", r.bundle(t, s), "e2e-host")...)
			if err == nil {
				t.Errorf("%s create succeeded in the host's namespace", program)
			}
			if program == "runc" && !strings.Contains(stderr, "host") {
				t.Errorf("stderr does not name the host's namespace: %s", stderr)
			}
			r.forceDelete("e2e-host")
			r.gone(t)
		})
	}
}

func TestRuntimeRefused(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			bundle := r.bundle(t, newSpec("e2e-refused", rootfs(t, r.dir),
				map[string]string{"io.lanhook.network": "nosuch"}))
			_, stderr, err := try(program, r.args("create", "--bundle", bundle, "e2e-refused")...)
			if err == nil {
				t.Errorf("%s create succeeded with a network that does not exist", program)
			}
			// crun keeps a hook's stderr to itself.
			if program == "runc" && !strings.Contains(stderr, "nosuch") {
				t.Errorf("stderr does not name the network: %s", stderr)
			}
			r.forceDelete("e2e-refused")
			r.gone(t)
		})
	}
}

// TestRuntimeNothingAsked has the hooks in the bundle but no annotation: the hook is silent and changes nothing.
func TestRuntimeNothingAsked(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			bundle := r.bundle(t, newSpec("e2e-nothing", rootfs(t, r.dir), nil))
			r.run(t, "create", "--bundle", bundle, "e2e-nothing")
			r.run(t, "start", "e2e-nothing")
			r.gone(t)
			r.run(t, "delete", "--force", "e2e-nothing")
		})
	}
}

// TestRuntimeCreateFails lets the create fail after the hook has succeeded. runc then calls poststop, crun does not:
// there gc finds the namespace gone.
func TestRuntimeCreateFails(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			s := newSpec("e2e-fails", rootfs(t, r.dir), map[string]string{"io.lanhook.network": "apps"})
			s.Process.Args = []string{"/nosuch"}
			bundle := r.bundle(t, s)
			if _, _, err := try(program, r.args("run", "--bundle", bundle, "e2e-fails")...); err == nil {
				t.Errorf("%s run succeeded with a program that does not exist", program)
			}
			r.forceDelete("e2e-fails")
			if !eventually(func() bool {
				r.lanhook(t, "gc")
				return len(r.ls(t)) == 0
			}) {
				t.Errorf("gc leaves records: %+v", r.ls(t))
			}
		})
	}
}

// TestRuntimeKilled ends containers in ways that no runtime tells of.
func TestRuntimeKilled(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program+" process", func(t *testing.T) {
			r := newOCI(t, program)
			bundle := r.bundle(t, newSpec("e2e-killed", rootfs(t, r.dir), map[string]string{"io.lanhook.network": "apps"}))
			c := r.start(t, "e2e-killed", bundle)
			r.kill(t, "e2e-killed")
			if !eventually(func() bool {
				r.lanhook(t, "gc")
				return len(r.ls(t)) == 0
			}) {
				t.Errorf("gc leaves the records of a container whose namespace is gone: %+v", r.ls(t))
			}
			// Now poststop comes, for a container that is not known any more.
			r.delete(t, "e2e-killed")
			again := r.start(t, "e2e-killed", bundle)
			if diff := cmp.Diff(c.Interfaces, again.Interfaces, cmpPrefix()); diff != "" {
				t.Errorf("interfaces after the kill (-before +after):\n%s", diff)
			}
			r.run(t, "delete", "--force", "e2e-killed")
			r.gone(t)
		})
		t.Run(program+" hook", func(t *testing.T) {
			r := newOCI(t, program)
			create := r.startWaiting(t, "e2e-hook")
			kill9(t, "lanhook")
			if err := create.Wait(); err == nil {
				t.Errorf("%s create succeeded though its hook was killed", program)
			}
			r.forceDelete("e2e-hook")
			r.lanhook(t, "gc")
			r.gone(t)
		})
		t.Run(program+" create", func(t *testing.T) {
			r := newOCI(t, program)
			create := r.startWaiting(t, "e2e-create")
			if err := create.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := create.Wait(); err == nil {
				t.Errorf("%s create succeeded though it was killed", program)
			}
			// The hook lives on alone. It has to see that nobody will ever call poststop, and end.
			if !eventually(func() bool { return len(pidsOf(t, "lanhook")) == 0 }) {
				t.Error("the hook is still there")
			}
			r.forceDelete("e2e-create")
			r.lanhook(t, "gc")
			r.gone(t)
		})
	}
}

// startWaiting starts a create whose hook waits for a parent that never comes. The caller waits for its end.
func (r *oci) startWaiting(t *testing.T, id string) *exec.Cmd {
	t.Helper()
	bundle := r.bundle(t, newSpec(id, rootfs(t, r.dir), map[string]string{"io.lanhook.network": "waiting"}))
	create := exec.Command(r.program, r.args("create", "--bundle", bundle, id)...)
	if err := create.Start(); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return len(pidsOf(t, "lanhook")) > 0 }) {
		t.Fatal("the runtime does not start the hook")
	}
	return create
}

// TestRuntimeMany starts containers at once, which must get different addresses.
func TestRuntimeMany(t *testing.T) {
	const many = 12
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newOCI(t, program)
			root := rootfs(t, r.dir)
			var wait sync.WaitGroup
			for i := range many {
				id := fmt.Sprintf("e2e-many-%d", i)
				bundle := r.bundle(t, newSpec(id, root, map[string]string{"io.lanhook.network": "lan"}))
				wait.Go(func() {
					if out, errors, err := try(program, r.args("run", "--detach", "--bundle", bundle, id)...); err != nil {
						t.Errorf("%s run %s: %v\n%s%s", program, id, err, out, errors)
					}
				})
			}
			wait.Wait()
			holders := map[string]string{}
			for _, c := range r.ls(t) {
				for _, prefix := range c.Interfaces[0].Addresses {
					if other, taken := holders[prefix.String()]; taken {
						t.Errorf("%s and %s both have %s", other, c.Container, prefix)
					}
					holders[prefix.String()] = c.Container
				}
			}
			if len(holders) != 2*many {
				t.Errorf("%d addresses for %d containers on a network with two subnets", len(holders), many)
			}
			for i := range many {
				wait.Go(func() { r.forceDelete(fmt.Sprintf("e2e-many-%d", i)) })
			}
			wait.Wait()
			r.gone(t)
		})
	}
}
