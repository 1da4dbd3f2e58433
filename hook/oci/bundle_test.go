package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bundleOf makes a bundle with that config.json.
func bundleOf(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	if err := WriteFile(filepath.Join(dir, "config.json"), []byte(config)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadBundle(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Bundle
	}{
		{
			"all of it",
			`{"ociVersion":"1.0.2","process":{"args":["sh"]},"hostname":"web","annotations":{"io.lanhook.network":"lan"},
			"linux":{"cgroupsPath":"/default/web","namespaces":[{"type":"pid"},{"type":"network"}],"x":1e999}}`,
			Bundle{
				Annotations: map[string]string{"io.lanhook.network": "lan"}, Hostname: "web",
				CGroupsPath: "/default/web", NetNS: NetNS{Kind: NetNSNew},
			},
		},
		{
			"network namespace with a path", `{"linux":{"namespaces":[{"type":"network","path":"/run/netns/x"},{"type":"ipc"}]}}`,
			Bundle{NetNS: NetNS{NetNSPath, "/run/netns/x"}},
		},
		{"an empty path is none", `{"linux":{"namespaces":[{"type":"network","path":""}]}}`, Bundle{NetNS: NetNS{Kind: NetNSNew}}},
		{
			"mounts", `{"root":{"path":"rootfs"},"mounts":[{"destination":"/etc/hosts/","source":"/h"},{"destination":"proc"},{"destination":1},null]}`,
			Bundle{Root: "rootfs", Mounts: []string{"/etc/hosts", "/proc", "/", "/"}, Sources: []string{"/h", "", "", ""}},
		},
		{"no network namespace", `{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}`, Bundle{}},
		{"no namespaces", `{"linux":{"namespaces":null}}`, Bundle{}},
		{"no linux", `{"linux":null,"hostname":null}`, Bundle{}},
		{"nothing", `{}`, Bundle{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadBundle(bundleOf(t, tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestReadBundleRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "it is empty"},
		{"cut off", `{"linux":`, "it is cut off after 9 bytes"},
		{"a list", `[]`, "it is JSON, but not an object"},
		{"annotations of another type", `{"annotations":{"a":1}}`, `is not a text`},
		{"namespaces of another type", `{"linux":{"namespaces":{}}}`, `the value of "linux.namespaces" is not a list`},
		{"two network namespaces", `{"linux":{"namespaces":[{"type":"network"},{"type":"network","path":"/x"}]}}`, "it has two network namespaces"},
		{"annotations twice", `{"annotations":{},"annotations":{"io.lanhook.network":"lan"}}`, `it has "annotations" beside or instead of`},
		{"annotations taken away", `{"annotations":{"io.lanhook.network":"lan"},"annotations":null}`, `it has "annotations" beside or instead of`},
		{"annotations in upper case", `{"Annotations":{"io.lanhook.network":"lan"}}`, `it has "Annotations" beside or instead of "annotations"`},
		{"linux twice", `{"linux":{"namespaces":[{"type":"network"}]},"linux":{}}`, `it has "linux" beside or instead of`},
		{"too long", strings.Repeat(" ", 16<<20+1), "it is longer than 16777216 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := bundleOf(t, tt.in)
			_, err := ReadBundle(dir)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			prefix := "read the bundle's " + filepath.Join(dir, "config.json") + ": "
			if !strings.HasPrefix(e.Error(), prefix) || !strings.Contains(e.Error(), tt.want) || strings.Contains(e.Error(), "\n") {
				t.Errorf("error %q, want it to begin %q and hold %q", e, prefix, tt.want)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		dir := t.TempDir()
		_, err := ReadBundle(dir)
		want := "read the bundle's " + filepath.Join(dir, "config.json") + ": no such file or directory"
		var e *Error
		if !errors.Is(err, fs.ErrNotExist) || err.Error() != want || !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("got %v, want %s with a hint", err, want)
		}
	})
	t.Run("no folder", func(t *testing.T) {
		if _, err := ReadBundle(""); err == nil || err.Error() != "read the bundle: the runtime told no folder" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not a file", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "config.json"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadBundle(dir); err == nil || !strings.HasSuffix(err.Error(), "it is not a regular file") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOrigin(t *testing.T) {
	for _, tt := range []struct{ name, bundle, engine, namespace string }{
		{"ctr", "/run/containerd/io.containerd.runtime.v2.task/default/web", Containerd, "default"},
		{"CRI", "/run/containerd/io.containerd.runtime.v2.task/k8s.io/0123abc", Containerd, "k8s.io"},
		{"slash at the end", "/run/containerd/io.containerd.runtime.v2.task/default/web/", Containerd, "default"},
		{"runtime v1", "/run/containerd/io.containerd.runtime.v1.linux/default/web", Containerd, "default"},
		{"k3s", "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/0123abc", Containerd, "k8s.io"},
		{"docker with the system's containerd", "/run/containerd/io.containerd.runtime.v2.task/moby/0123abc", Docker, "moby"},
		{"docker with its own", "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/0123abc", Docker, "moby"},
		{"docker by /var/run", "/var/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/0123abc", Docker, "moby"},
		{"podman", "/var/lib/containers/storage/overlay-containers/0123abc/userdata", Podman, ""},
		{"podman with vfs", "/var/lib/containers/storage/vfs-containers/0123abc/userdata", Podman, ""},
		{"CRI-O", "/run/containers/storage/overlay-containers/0123abc/userdata", CRIO, ""},
		{"CRI-O by /var/run", "/var/run/containers/storage/overlay-containers/0123abc/userdata", CRIO, ""},

		{"empty", "", "", ""},
		{"crun's wrong one", "/", "", ""},
		{"relative", "run/containerd/io.containerd.runtime.v2.task/default/web", "", ""},
		{"by hand", "/srv/web", "", ""},
		{"posing in a home", "/home/eve/run/containerd/io.containerd.runtime.v2.task/moby/web", "", ""},
		{"posing by dots", "/run/containerd/io.containerd.runtime.v2.task/moby/../../../../home/eve", "", ""},
		{"dots that lead there", "/home/../run/containerd/io.containerd.runtime.v2.task/moby/web", "", ""},
		{"prefix of a component", "/run/containerd2/io.containerd.runtime.v2.task/moby/web", "", ""},
		{"other folder", "/run/containerd/io.containerd.runtime.v2.task2/moby/web", "", ""},
		{"deeper", "/run/containerd/io.containerd.runtime.v2.task/moby/web/rootfs", "", ""},
		{"without id", "/run/containerd/io.containerd.runtime.v2.task/moby", "", ""},
		{"docker with another exec-root", "/srv/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/0123abc", "", ""},
		{"other state folder", "/srv/containerd/io.containerd.runtime.v2.task/default/web", "", ""},
		{"a user's podman", "/home/eve/.local/share/containers/storage/overlay-containers/0123abc/userdata", "", ""},
		{"storage without driver", "/var/lib/containers/storage/-containers/0123abc/userdata", "", ""},
		{"storage, other folder", "/var/lib/containers/storage/overlay/0123abc/userdata", "", ""},
		{"storage, deeper", "/var/lib/containers/storage/overlay-containers/0123abc/userdata/x", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if engine, namespace := Origin(tt.bundle); engine != tt.engine || namespace != tt.namespace {
				t.Errorf("%q is of %q %q, want %q %q", tt.bundle, engine, namespace, tt.engine, tt.namespace)
			}
		})
	}
}

func TestSandbox(t *testing.T) {
	for _, tt := range []struct {
		name, engine, key, value string
		want                     bool
	}{
		{"containerd", Containerd, "io.kubernetes.cri.container-type", "sandbox", true},
		{"container in a pod", Containerd, "io.kubernetes.cri.container-type", "container", false},
		{"CRI-O", CRIO, "io.kubernetes.cri-o.ContainerType", "sandbox", true},
		{"container of CRI-O's", CRIO, "io.kubernetes.cri-o.ContainerType", "container", false},
		{"engine with another state folder", "", "io.kubernetes.cri.container-type", "sandbox", true},
		{"posing under podman", Podman, "io.kubernetes.cri.container-type", "sandbox", false},
		{"posing under Docker", Docker, "io.kubernetes.cri-o.ContainerType", "sandbox", false},
		{"another annotation", Containerd, "io.kubernetes.cri.sandbox-id", "sandbox", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Sandbox(map[string]string{tt.key: tt.value}, tt.engine); got != tt.want {
				t.Errorf("%t, want %t", got, tt.want)
			}
		})
	}
}

func TestName(t *testing.T) {
	for _, tt := range []struct {
		name        string
		annotations map[string]string
		want        string
	}{
		{"none", nil, "0123abc"},
		{"podman's have no name", map[string]string{"io.container.manager": "libpod", "io.kubernetes.cri-o.SandboxID": "x"}, "0123abc"},
		{"nerdctl", map[string]string{"nerdctl/name": "web", "nerdctl/namespace": "default"}, "web"},
		{"nerdctl without namespace", map[string]string{"nerdctl/name": "web"}, "web"},
		{"nerdctl in another namespace", map[string]string{"nerdctl/name": "web", "nerdctl/namespace": "lab"}, "lab/web"},
		{
			"containerd sandbox", map[string]string{
				"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0",
			}, "shop/web-0",
		},
		{
			"containerd container", map[string]string{
				"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0",
				"io.kubernetes.cri.container-name": "nginx",
			}, "shop/web-0/nginx",
		},
		{"a pod without namespace is none", map[string]string{"io.kubernetes.cri.sandbox-name": "web-0"}, "0123abc"},
		{
			"CRI-O sandbox", map[string]string{
				"io.kubernetes.cri-o.Namespace": "shop", "io.kubernetes.cri-o.KubeName": "web-0",
				"io.kubernetes.container.name": "POD",
			}, "shop/web-0",
		},
		{
			"CRI-O container", map[string]string{
				"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-0",
				"io.kubernetes.container.name": "nginx",
			}, "shop/web-0/nginx",
		},
		{
			"nerdctl comes first", map[string]string{
				"nerdctl/name":                        "web",
				"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0",
			}, "web",
		},
		{"too long", map[string]string{"nerdctl/name": strings.Repeat("x", 513)}, "0123abc"},
		{"longest", map[string]string{"nerdctl/name": strings.Repeat("x", 512)}, strings.Repeat("x", 512)},
		{"line break", map[string]string{"nerdctl/name": "a\nb"}, "0123abc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Name(tt.annotations, "0123abc"); got != tt.want {
				t.Errorf("name %q, want %q", got, tt.want)
			}
		})
	}
}
