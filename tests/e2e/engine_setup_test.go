//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEngineSetupContainerd asks containerd itself what it makes of its configuration before lanhook setup, after it and
// after its undo: all that was there stays, the handler comes, and then it is as before.
func TestEngineSetupContainerd(t *testing.T) {
	for _, version := range []string{"1.6", "1.7", "2.1", "2.4"} {
		t.Run(version, func(t *testing.T) {
			s := newSite(t)
			e := newEngine(t, "containerd", version)
			for name, text := range map[string]string{
				"none":    "",
				"default": run(t, e.program("containerd"), "config", "default"),
				"ours":    containerdConfig(e),
				"empty":   "version = 2\n",
				"systemd": "version = 2\n" + `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
options = { SystemdCgroup = true }`,
			} {
				t.Run(name, func(t *testing.T) { s.setupContainerd(t, e, text) })
			}
			if version[0] == '1' { // containerd 2.0 to 2.3 read nothing of CRI in version 1
				t.Run("version 1", func(t *testing.T) {
					s.setupContainerd(t, e, "oom_score = -999\n[plugins.cri]\nsandbox_image = \"example/pause\"\n")
				})
			}
		})
	}
}

func (s *site) setupContainerd(t *testing.T, e engine, text string) {
	const file = "/etc/containerd/config.toml"
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	if text != "" {
		if err := makeDirs(filepath.Dir(file)); err != nil {
			t.Fatal(err)
		}
		write(t, file, text)
	}
	before := understood(t, e, text)
	s.lanhook(t, "setup", "containerd", "--runtime", runtimeName)
	added := understood(t, e, "a file")
	for _, line := range before {
		i := slices.Index(added, line)
		if i < 0 {
			t.Errorf("setup has taken away %s", line)
			continue
		}
		added = slices.Delete(added, i, i+1)
	}
	for _, want := range []string{
		`runtimes.lanhook.options] BinaryName = "` + runtimeName + `"`,
		`runtimes.lanhook] pod_annotations = ["io.lanhook.*"]`,
		`runtimes.lanhook] container_annotations = ["io.lanhook.*"]`,
	} {
		if !slices.ContainsFunc(added, func(line string) bool { return strings.HasSuffix(line, want) }) {
			t.Errorf("nothing ends in %s in what setup added:\n%s", want, strings.Join(added, "\n"))
		}
	}
	if i := slices.IndexFunc(added, func(line string) bool { return !strings.Contains(line, "runtimes.lanhook") }); i >= 0 {
		t.Errorf("setup has added %s", added[i])
	}
	s.lanhook(t, "setup", "containerd", "--undo")
	if now := understood(t, e, text); !slices.Equal(now, before) {
		t.Errorf("after undo it is\n%s\nnot\n%s", strings.Join(now, "\n"), strings.Join(before, "\n"))
	}
	s.undone(t, file, text)
}

// undone compares a file with what it was, "" for none.
func (s *site) undone(t *testing.T, file, text string) {
	t.Helper()
	now, err := os.ReadFile(file)
	if string(now) != text || (err == nil) != (text != "") {
		t.Errorf("after undo %s is %q (%v), not %q", file, now, err, text)
	}
}

// understood is each key that containerd knows, with its table and value, sorted, but for the imports, which setup changes.
// Without a text there is no file, and the defaults count. A runc that nobody names is told by its defaults, and one that
// is named by empty values which stand for the same, so these are left out.
func understood(t *testing.T, e engine, text string) []string {
	t.Helper()
	command := "dump"
	if text == "" {
		command = "default"
	}
	none := regexp.MustCompile(`runtimes\.runc(\.options)?\] (sandbox_mode = .*|.* = (""|0|false|\[\]))$`)
	var list []string
	table := ""
	for line := range strings.SplitSeq(run(t, e.program("containerd"), "config", command), "\n") {
		line = strings.ReplaceAll(strings.TrimSpace(line), "'", `"`)
		switch {
		case line == "" || strings.HasPrefix(line, "imports = "):
		case strings.HasPrefix(line, "["):
			table = line
		case !none.MatchString(table + " " + line):
			list = append(list, table+" "+line)
		}
	}
	slices.Sort(list)
	return list
}

// TestEngineSetupDocker asks dockerd whether it takes what lanhook setup writes.
func TestEngineSetupDocker(t *testing.T) {
	const file = "/etc/docker/daemon.json"
	// 20.10 cannot be asked.
	for _, version := range []string{"26.1", "2.0"} {
		t.Run(version, func(t *testing.T) {
			s := newSite(t)
			e := newEngine(t, "docker", version)
			for name, text := range map[string]string{
				"none": "", "empty": "{}", "runtimes": "{\n  \"mtu\": 1450,\n  \"runtimes\": {\n    \"crun\": {\"path\": \"/usr/bin/crun\"}\n  }\n}\n",
			} {
				t.Run(name, func(t *testing.T) {
					if err := os.RemoveAll("/etc/docker"); err != nil {
						t.Fatal(err)
					}
					if err := makeDirs("/etc/docker"); err != nil {
						t.Fatal(err)
					}
					if text != "" {
						write(t, file, text)
					}
					s.lanhook(t, "setup", "docker", "--runtime", runtimeName)
					s.lanhook(t, "setup", "docker", "--runtime", runtimeName, "--profile", "lan")
					run(t, e.program("dockerd"), "--validate", "--userland-proxy=false", "--config-file", file)
					s.lanhook(t, "setup", "docker", "--undo", "--profile", "lan")
					s.lanhook(t, "setup", "docker", "--undo")
					s.undone(t, file, text)
				})
			}
		})
	}
}
