//go:build linux

package e2e

import (
	"os"
	"path/filepath"
)

// spec is as much of a bundle's config.json as a busybox container needs.
type spec struct {
	OCIVersion  string            `json:"ociVersion"`
	Root        specRoot          `json:"root"`
	Hostname    string            `json:"hostname"`
	Process     specProcess       `json:"process"`
	Mounts      []specMount       `json:"mounts"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Linux       specLinux         `json:"linux"`
}

type specRoot struct {
	Path     string `json:"path"`
	Readonly bool   `json:"readonly"`
}

type specProcess struct {
	Args         []string            `json:"args"`
	Env          []string            `json:"env"`
	Cwd          string              `json:"cwd"`
	Capabilities map[string][]string `json:"capabilities"`
}

type specMount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options,omitempty"`
}

type specLinux struct {
	CgroupsPath string          `json:"cgroupsPath"`
	Namespaces  []specNamespace `json:"namespaces"`
}

type specNamespace struct {
	Type string `json:"type"`
	Path string `json:"path,omitempty"`
}

// newSpec is a container that sleeps until it is killed.
func newSpec(id, root string, annotations map[string]string) spec {
	capabilities := map[string][]string{}
	for _, set := range []string{"bounding", "effective", "permitted"} {
		capabilities[set] = []string{"CAP_NET_RAW"}
	}
	return spec{
		OCIVersion: "1.0.2",
		Root:       specRoot{Path: root, Readonly: true},
		Hostname:   id,
		Process: specProcess{
			Args: []string{"/bin/sleep", "1000"}, Env: []string{"PATH=/bin"}, Cwd: "/", Capabilities: capabilities,
		},
		Mounts: []specMount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
		},
		Annotations: annotations,
		Linux: specLinux{
			CgroupsPath: filepath.Join(os.Getenv(group), id),
			Namespaces:  []specNamespace{{Type: "pid"}, {Type: "network"}, {Type: "mount"}, {Type: "uts"}, {Type: "ipc"}},
		},
	}
}
