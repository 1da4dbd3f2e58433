//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// cri starts pods with two containers by the container runtime interface, as the kubelet does. lanhook knows a pod by its
// sandbox. CNI has made eth0 before, so lanhook's interface has another name.
type cri struct {
	*containerd
	// handler is the runtime handler of containerd's configuration.
	handler string
	// containers are the ids of those in the pod that was started last.
	containers []string
}

const podInterface = "net1"

func (c *cri) run(t *testing.T, args ...string) []answer {
	t.Helper()
	return answers(t, run(t, c.client(), append([]string{"cri"}, args...)...))
}

// answer is one line of the client's output.
type answer struct{ ID, Name, Status string }

func answers(t *testing.T, text string) []answer {
	t.Helper()
	var list []answer
	for line := range strings.Lines(text) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("what the client prints: %v: %s", err, line)
		}
		list = append(list, a)
	}
	return list
}

func (c *cri) args(name, annotation string) []string {
	args := []string{"pod", "--handler", c.handler, "--cgroup", os.Getenv(group)}
	return append(append(args, annotate(asked("io.lanhook.network."+podInterface, annotation))...), name)
}

func (c *cri) start(t *testing.T, name, annotation string) string {
	t.Helper()
	pod := c.run(t, c.args(name, annotation)...)[0].ID
	c.containers = nil
	for _, container := range []string{"first", "second"} {
		started := c.run(t, "run", "--cgroup", os.Getenv(group), pod, container, imageName, "/bin/sleep", "1000")
		c.containers = append(c.containers, started[0].ID)
	}
	return pod
}

func (c *cri) begin(name, annotation string) func() (string, error) {
	return begin(c.client(), append([]string{"cri"}, c.args(name, annotation)...)...)
}

func (c *cri) exec(t *testing.T, _ string) func(args ...string) {
	t.Helper()
	return func(args ...string) {
		t.Helper()
		for _, container := range c.containers {
			c.run(t, append([]string{"exec", container}, args...)...)
		}
	}
}

// restart restarts one of the containers. The pod's network stays as it is.
func (c *cri) restart(t *testing.T, id string) {
	t.Helper()
	started := c.run(t, "restart", "--cgroup", os.Getenv(group), "--attempt", "1",
		c.containers[0], id, "first", imageName, "/bin/sleep", "1000")
	c.containers[0] = started[0].ID
}

func (c *cri) stop(t *testing.T, id string) {
	t.Helper()
	c.run(t, "stop", id)
}

func (c *cri) remove(t *testing.T, id string) {
	t.Helper()
	// As the kubelet, it tries again: containerd 2 is told late that a container has ended with its shim.
	var output string
	if !eventually(func() bool {
		left := false
		for _, a := range c.run(t, "list") {
			if a.ID == id || a.Name == id {
				left = true
				_, stopErrors, stopErr := try(c.client(), "cri", "stop", a.ID)
				_, deleteErrors, deleteErr := try(c.client(), "cri", "delete", a.ID)
				output = fmt.Sprint(stopErrors, deleteErrors, stopErr, deleteErr)
			}
		}
		return !left
	}) {
		t.Errorf("pod %s cannot be removed: %s", id, output)
	}
	if strings.HasPrefix(c.version, "2.1") {
		c.endShims(t)
	}
}

// clears says that CRI removes the task of a sandbox whose process has ended.
func (c *cri) clears() bool { return true }

// workload is what the client's flag --namespace says by default, and the pod's name.
func (c *cri) workload(name, _ string) string { return "default/" + name }

func (c *cri) survives() bool { return true }

func TestEngineCRI(t *testing.T) {
	for _, version := range containerdVersions() {
		t.Run(version, func(t *testing.T) {
			s := newSite(t)
			c := s.startContainerd(t, version)
			ways := []way{
				{"shim", &cri{containerd: c, handler: "shim"}},
				{"BinaryName", &cri{containerd: c, handler: "BinaryName"}},
			}
			s.lives(t, c.engine, ways)
			s.deaths(t, c.engine, ways)
			s.engineDeaths(t, c.daemon, ways)
		})
	}
}
