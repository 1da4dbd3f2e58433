//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
)

// docker starts containers by Docker's command line, in one way to lanhook.
type docker struct {
	*site
	cli string
	// flags say which runtime. Without any, a container gets the runtime that has its annotation in a profile of
	// runtime.toml: Docker knows annotations only since 24.
	flags []string
}

// dockerVersions are Docker's versions and the containerd of their age.
func dockerVersions() []struct{ docker, containerd string } {
	return []struct{ docker, containerd string }{{"20.10", "1.6"}, {"26.1", "1.7"}, {"2.0.0-beta", "2.4"}}
}

// profiles are those of runtime.toml, with the annotations that each gives. Docker has a runtime for each.
func profiles() map[string][]string {
	list := map[string][]string{"plain": asked(dockerKey, "lan")}
	for _, annotation := range []string{"lan", "apps", "waiting", "nosuch", published} {
		list[profileName(annotation)] = dockerAsked(annotation)
	}
	return list
}

// profileName is a word of what is asked for.
func profileName(annotation string) string {
	return strings.NewReplacer(" ", "-", ":", "-").Replace(annotation)
}

// dockerAsked are the annotations of a container of Docker's.
func dockerAsked(annotation string) []string {
	network, ports, _ := strings.Cut(annotation, " ")
	return asked(dockerKey, network+dockerRoute+" "+ports)
}

func profileText() string {
	var text strings.Builder
	for name, annotations := range profiles() {
		fmt.Fprintf(&text, "[profile.%s.annotations]\n", name)
		for _, a := range annotations {
			key, value, _ := strings.Cut(a, "=")
			fmt.Fprintf(&text, "%q = %q\n", key, value)
		}
	}
	return text.String()
}

// Docker makes an eth0 and a default route of its own. There our interface is lan0, and a default route is asked for.
const (
	dockerKey   = "io.lanhook.network"
	dockerRoute = ",default-route=true"
	// dockerBridge is the address of Docker's bridge, where it has one.
	dockerBridge = "10.66.0.1/24"
	// containerdSocket is the machine's containerd. Without it in its settings, dockerd starts one of its own.
	containerdSocket = "/run/containerd/containerd.sock"
)

// startDocker starts dockerd without anything that would change the host: no firewall, no forwarding. Whether it has a
// bridge, and whose containerd, is for settings to say.
func (s *site) startDocker(t *testing.T, e engine, settings map[string]any) *daemon {
	t.Helper()
	runtimes := map[string]any{"lanhook": map[string]any{"path": runtimeName}}
	for name := range profiles() {
		runtimes["lanhook-"+name] = map[string]any{
			"path": runtimeName, "runtimeArgs": []string{"--lanhook-profile=" + name},
		}
	}
	config := map[string]any{
		"iptables": false, "ip6tables": false, "ip-forward": false, "userland-proxy": false,
		"cgroup-parent": os.Getenv(group), "exec-opts": []string{"native.cgroupdriver=cgroupfs"}, "runtimes": runtimes,
	}
	maps.Copy(config, settings)
	if err := makeDirs("/etc/docker"); err != nil {
		t.Fatal(err)
	}
	write(t, "/etc/docker/daemon.json", string(encode(t, config)))
	cli := newEngine(t, "docker-cli", "").program("docker")
	d := s.start(t, e, "dockerd", func() error {
		_, stderr, err := try(cli, "version")
		if err != nil {
			return fmt.Errorf("docker version: %w: %s", err, stderr)
		}
		return nil
	})
	run(t, cli, "load", "--input", s.image)
	return d
}

func (s *site) dockerWays(t *testing.T, e engine) []way {
	t.Helper()
	cli := newEngine(t, "docker-cli", "").program("docker")
	if e.old() {
		return []way{{"profile", &docker{s, cli, nil}}}
	}
	return []way{
		{"runtime", &docker{s, cli, []string{"--runtime", "lanhook"}}},
		{"shim", &docker{s, cli, []string{"--runtime", shimName}}},
		{"profile", &docker{s, cli, nil}},
	}
}

func (d *docker) docker(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, d.cli, args...))
}

func (d *docker) args(name, annotation string) []string {
	args := []string{
		"run", "--detach", "--name", name, "--network", "none", "--stop-timeout", "1",
		"--security-opt", "seccomp=unconfined", // the newer runc is built without it
	}
	if len(d.flags) == 0 {
		args = append(args, "--runtime", "lanhook-"+profileName(annotation))
	} else {
		args = append(append(args, d.flags...), annotate(dockerAsked(annotation))...)
	}
	return append(args, "busybox:e2e")
}

func (d *docker) start(t *testing.T, name, annotation string) string {
	t.Helper()
	return d.docker(t, d.args(name, annotation)...)
}

func (d *docker) begin(name, annotation string) func() (string, error) {
	return begin(d.cli, d.args(name, annotation)...)
}

func (d *docker) exec(t *testing.T, id string) func(args ...string) {
	t.Helper()
	return func(args ...string) {
		t.Helper()
		d.docker(t, append([]string{"exec", id}, args...)...)
	}
}

func (d *docker) restart(t *testing.T, id string) {
	t.Helper()
	d.docker(t, "restart", "--time", "0", id)
}

func (d *docker) stop(t *testing.T, id string) {
	t.Helper()
	d.docker(t, "stop", "--time", "0", id)
}

func (d *docker) remove(t *testing.T, id string) {
	t.Helper()
	d.docker(t, "rm", "--force", id)
}

func (d *docker) clears() bool { return true }

func (d *docker) workload(_, id string) string { return id }

// survives is what Docker's setting live-restore would change.
func (d *docker) survives() bool { return false }

func TestEngineDocker(t *testing.T) {
	for _, version := range dockerVersions() {
		t.Run(version.docker, func(t *testing.T) {
			s := newSite(t)
			s.startContainerd(t, version.containerd)
			e := newEngine(t, "docker", version.docker)
			d := s.startDocker(t, e, map[string]any{"bridge": "none", "containerd": containerdSocket})
			ways := s.dockerWays(t, e)
			s.lives(t, e, ways)
			s.deaths(t, e, ways)
			s.engineDeaths(t, d, ways)
		})
	}
}

// TestEngineDockerNetwork has Docker's own network in the container. Docker 20.10 makes it before our hook is called, 29
// after it: there our interface is in the way when it is called eth0. lanhook has to know Docker by where containerd
// keeps its bundles, be it a containerd of its own or the machine's.
func TestEngineDockerNetwork(t *testing.T) {
	for _, version := range dockerVersions() {
		for _, owner := range []string{"own", "machine"} {
			t.Run(version.docker+" containerd "+owner, func(t *testing.T) {
				s := newSite(t)
				e := newEngine(t, "docker", version.docker)
				s.runtime(t, s.runtimePath(t, e, "runc"))
				// Docker leaves its bridge. What is left of ours beside it is seen when the site goes.
				t.Cleanup(func() { run(t, "ip", "link", "del", "docker0") })
				if owner == "own" {
					t.Setenv("PATH", newEngine(t, "containerd", version.containerd).dir+":"+os.Getenv("PATH"))
					s.startDocker(t, e, map[string]any{"bip": dockerBridge})
				} else {
					s.startContainerd(t, version.containerd)
					s.startDocker(t, e, map[string]any{"bip": dockerBridge, "containerd": containerdSocket})
				}
				s.dockerNetwork(t, s.dockerWays(t, e)[0].contender.(*docker))
			})
		}
	}
}

func (s *site) dockerNetwork(t *testing.T, d *docker) {
	t.Helper()
	id := d.docker(t, "run", "--detach", "--security-opt", "seccomp=unconfined", "--runtime", "lanhook-plain",
		"busybox:e2e")
	c := s.attached(t, id)
	if name := c.Interfaces[0].Name; name != "lan0" {
		t.Errorf("the interface in Docker is %s, want lan0", name)
	}
	gateway, _, _ := strings.Cut(dockerBridge, "/")
	networkOf("lan").pings(t, c, d.exec(t, id))
	d.exec(t, id)("/bin/ping", "-c", "1", "-W", "3", gateway)
	if route := d.docker(t, "exec", id, "/bin/ip", "route"); !strings.Contains(route, "default via "+gateway) {
		t.Errorf("Docker's default route is not there:\n%s", route)
	}
	d.restart(t, id)
	networkOf("lan").pings(t, s.attached(t, id), d.exec(t, id))
	d.remove(t, id)
	s.gone(t)
}
