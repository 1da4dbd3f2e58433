//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// apiClient starts containers by containerd's Go API, as programs do that have containerd for an engine.
type apiClient struct {
	*containerd
	// flags say which runtime.
	flags []string
}

// client is the program tests/client.
func (c *containerd) client() string { return filepath.Join(filepath.Dir(c.dir), "../client") }

func (c *apiClient) run(t *testing.T, command string, args ...string) []answer {
	t.Helper()
	return answers(t, run(t, c.client(), slices.Concat([]string{"containerd", command}, args)...))
}

func (c *apiClient) args(name, annotation string) []string {
	args := append([]string{"--cgroup", filepath.Join(os.Getenv(group), name)}, c.flags...)
	args = append(args, annotate(asked("io.lanhook.network", annotation))...)
	return append(args, name, imageName, "/bin/sleep", "1000")
}

func (c *apiClient) start(t *testing.T, name, annotation string) string {
	t.Helper()
	c.run(t, "start", c.args(name, annotation)...)
	if list := c.run(t, "list"); len(list) != 1 || list[0].ID != name || list[0].Status != "running" {
		t.Errorf("containerd lists %+v, want %s running", list, name)
	}
	return name
}

func (c *apiClient) begin(name, annotation string) func() (string, error) {
	return begin(c.client(), slices.Concat([]string{"containerd", "start"}, c.args(name, annotation))...)
}

func (c *apiClient) exec(t *testing.T, id string) func(args ...string) {
	t.Helper()
	return func(args ...string) {
		t.Helper()
		c.run(t, "exec", append([]string{id}, args...)...)
	}
}

func (c *apiClient) restart(t *testing.T, id string) {
	t.Helper()
	c.run(t, "restart", id)
}

func (c *apiClient) stop(t *testing.T, id string) {
	t.Helper()
	c.run(t, "stop", id)
}

func (c *apiClient) remove(t *testing.T, id string) {
	t.Helper()
	c.run(t, "remove", id)
}

func (c *apiClient) clears() bool { return false }

func (c *apiClient) workload(_, id string) string { return id }

func (c *apiClient) survives() bool { return true }

func TestEngineClient(t *testing.T) {
	for _, version := range containerdVersions() {
		t.Run(version, func(t *testing.T) {
			s := newSite(t)
			c := s.startContainerd(t, version)
			ways := []way{
				{"shim", &apiClient{c, []string{"--runtime", shimName}}},
				{"BinaryName", &apiClient{c, []string{"--binary", runtimeName}}},
			}
			s.lives(t, c.engine, ways)
			s.runtime(t, s.runtimePath(t, c.engine, "runc"))
			for _, w := range ways {
				t.Run(w.name+" refused", func(t *testing.T) { s.refused(t, w) })
			}
		})
	}
}
