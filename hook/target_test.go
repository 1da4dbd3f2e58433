package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/policy"
)

func TestCgroupIn(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unified", "0::/system.slice/docker-1.scope\n", "/system.slice/docker-1.scope"},
		{"version 1", "12:pids:/a\n3:cpu,cpuacct:/b\n1:name=systemd:/user.slice/web\n", "/user.slice/web"},
		{"hybrid, all in version 1", "1:name=systemd:/web\n0::/\n", "/web"},
		{"hybrid, the unified one counts", "1:name=systemd:/old\n0::/web\n", "/web"},
		{"hybrid, unified first", "0::/web\n1:name=systemd:/old\n", "/web"},
		{"a path with colons", "0::/kubepods:cri:1\n", "/kubepods:cri:1"},
		{"a folder that is gone", "0::/web (deleted)\n", "/web (deleted)"},
		{"the root", "0::/\n", ""},
		{"no last line break", "0::/web", "/web"},
		{"neither", "3:cpu:/b\n", ""},
		{"nonsense", "web\n::\n", ""},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := cgroupIn(c.text); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestCgroupOfNobody(t *testing.T) {
	if got := cgroupOf(1<<22 + 1); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestPIDIn(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"runc's state.json", `{"id":"web","init_process_pid":4711,"init_process_start":99}`, 4711},
		{"crun's status", `{"pid":4711,"process-start-time":99,"cgroup-path":"/web"}`, 4711},
		{"containerd's init.pid", "4711", 4711},
		{"a pidfile with a line break", "4711\n", 4711},
		{"a container that has stopped", `{"init_process_pid":0}`, 0},
		{"a number that is none", "-1", -1},
		{"text", "web", 0},
		{"another type", `{"pid":"4711"}`, 0},
		{"cut off", `{"pid":47`, 0},
		{"empty", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := pidIn(path); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		if got := pidIn(filepath.Join(t.TempDir(), "none")); got != 0 {
			t.Errorf("got %d", got)
		}
	})
	t.Run("too large", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state")
		text := `{"pid":4711}` + strings.Repeat(" ", maxStateFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := pidIn(path); got != 0 {
			t.Errorf("got %d", got)
		}
	})
}

func TestAnnotated(t *testing.T) {
	for _, c := range []struct {
		name string
		in   asked
		want map[string]string
		err  string
	}{
		{name: "nothing", want: map[string]string{"kept": "yes"}},
		{
			name: "one network",
			in:   asked{networks: []string{"lan"}},
			want: map[string]string{"kept": "yes", "io.lanhook.network": "lan"},
		},
		{
			name: "named interfaces",
			in:   asked{networks: []string{"lan,ip=192.0.2.7", "eth1:apps", "eth2:lan,ip=2001:db8::7"}},
			want: map[string]string{
				"kept": "yes", "io.lanhook.network": "lan,ip=192.0.2.7", "io.lanhook.network.eth1": "apps",
				"io.lanhook.network.eth2": "lan,ip=2001:db8::7",
			},
		},
		{
			name: "a colon that names no interface",
			in:   asked{networks: []string{"lan,ip=2001:db8::7"}},
			want: map[string]string{"kept": "yes", "io.lanhook.network": "lan,ip=2001:db8::7"},
		},
		{
			name: "spelled out, with a MAC address",
			in:   asked{networks: []string{"driver=macvlan,parent=ens1,mac=02:42:00:00:00:07"}},
			want: map[string]string{
				"kept": "yes", "io.lanhook.network": "driver=macvlan,parent=ens1,mac=02:42:00:00:00:07",
			},
		},
		{
			name: "JSON",
			in:   asked{networks: []string{`{"name":"lan"}`, `eth1:{"name":"lan"}`}},
			want: map[string]string{
				"kept": "yes", "io.lanhook.network": `{"name":"lan"}`, "io.lanhook.network.eth1": `{"name":"lan"}`,
			},
		},
		{
			name: "annotations and a name",
			in:   asked{annotations: []string{"a=b=c", "empty="}, name: "web"},
			want: map[string]string{"kept": "yes", "a": "b=c", "empty": "", "io.lanhook.name": "web"},
		},
		{name: "no value", in: asked{annotations: []string{"a"}}, err: `--annotation "a" is not KEY=VALUE`},
		{
			name: "twice", in: asked{networks: []string{"eth0:lan", "eth0:apps"}},
			err: "two networks for io.lanhook.network.eth0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]string{"kept": "yes"}
			err := c.in.annotated(got)
			if c.err != "" {
				if err == nil || err.Error() != c.err || exitCode(err) != exitUsage {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	given := asked{networks: []string{"lan", "eth1:apps", "lan,ip=2001:db8::7"}}
	got := given.named("eth5").networks
	if diff := cmp.Diff([]string{"eth5:lan", "eth1:apps", "eth5:lan,ip=2001:db8::7"}, got); diff != "" {
		t.Error(diff)
	}
	if given.networks[0] != "lan" {
		t.Error("the flags were changed")
	}
}

func TestProcessIn(t *testing.T) {
	for path, want := range map[string]int{
		"/proc/4711/ns/net": 4711, "/proc/self/ns/net": 0, "/proc/4711/ns/mnt": 0, "/run/netns/4711": 0, "/proc/4711": 0,
		"/proc/1/task/4711/ns/net": 0, "4711": 0,
	} {
		if got, ok := processIn(path); ok != (want != 0) || ok && got != want {
			t.Errorf("%s: got %d, %t, want %d", path, got, ok, want)
		}
	}
}

func TestHintOf(t *testing.T) {
	plain := errors.New("plain")
	hint := func(text string) error { return &usageError{msg: "wrong", hint: text} }
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"none", plain, ""},
		{"its own", hint("a"), "a"},
		{"wrapped", fmt.Errorf("x: %w", hint("a")), "a"},
		{"the first that there is", fmt.Errorf("x: %w, %w, %w, %w", plain, hint(""), hint("b"), hint("c")), "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := hintOf(c.err); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestEngineOf(t *testing.T) {
	for path, want := range map[string]string{
		"/run/docker/runtime-runc/moby/0123abc/state.json":                                  "docker",
		"/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/0123abc/init.pid": "docker",
		"/run/containerd/runc/moby/0123abc/state.json":                                      "docker",
		"/run/containerd/io.containerd.runtime.v2.task/moby/0123abc/init.pid":               "docker",
		"/var/run/docker/netns/0123abc":                                                     "docker",
		"/run/containerd/runc/k8s.io/0123abc/state.json":                                    "",
		"/run/runc/moby/state.json":                                                         "",
		"/run/netns/web":                                                                    "",
		"/srv/run/docker/netns/web":                                                         "",
	} {
		if got := engineOf(path); got != want {
			t.Errorf("%s: engine %q, want %q", path, got, want)
		}
	}
}

func TestHostNetworkHint(t *testing.T) {
	for _, c := range []struct{ engine, namespace, want string }{
		{"containerd", "k8s.io", "take hostNetwork: true out of the pod"},
		{"cri-o", "", "take hostNetwork: true out of the pod"},
		{"docker", "moby", "without --network host"},
		{"podman", "", "without --network host"},
		{"containerd", "default", "without --net-host (ctr) or --network host (nerdctl)"},
		{"", "", "in config.json"},
	} {
		other := errors.New("other")
		asked := netsetup.Container{Subject: policy.Subject{Engine: c.engine, Namespace: c.namespace}}
		if err := ofEngine(other, asked); !errors.Is(err, other) || ofEngine(nil, asked) != nil {
			t.Errorf("another error became %v", err)
		}
		err, ok := errors.AsType[*hostNetworkError](ofEngine(&kernel.HostNamespaceError{Path: "/proc/1/ns/net"}, asked))
		if !ok || !strings.Contains(err.Hint(), c.want) || !strings.HasSuffix(err.Hint(), "take its io.lanhook annotations away") {
			t.Errorf("%s: %v, hint %q, want %q", c.engine, err, err.Hint(), c.want)
		}
	}
}
