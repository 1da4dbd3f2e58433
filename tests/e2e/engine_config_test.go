//go:build linux

package e2e

import "fmt"

// podNetwork is what CNI gives a pod before lanhook does: eth0, without a default route, and nothing that stays.
const podNetwork = `{
  "cniVersion": "0.4.0", "name": "e2e",
  "plugins": [{
    "type": "macvlan", "master": "p0",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "dataDir": "/var/lib/cni"}
  }]
}
`

// containerdConfig is config.toml in the version that containerd is of: a runtime handler for each way to lanhook, which
// let our annotations through. The machine may not lower a process's oom_score_adj.
func containerdConfig(e engine) string {
	if e.version[0] == '1' {
		return fmt.Sprintf(configVersion2, imageName, handlers("io.containerd.grpc.v1.cri"))
	}
	return fmt.Sprintf(configVersion3, imageName, handlers("io.containerd.cri.v1.runtime"))
}

const configVersion2 = `version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
%s`

const configVersion3 = `version = 3

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "/etc/cni/net.d"
%s`

// handlers are the runtimes of CRI.
func handlers(plugin string) string {
	const lists = `      pod_annotations = ["io.lanhook.*"]
      container_annotations = ["io.lanhook.*"]
`
	table := fmt.Sprintf("    [plugins.%q.containerd.runtimes.", plugin)
	return fmt.Sprintf("  [plugins.%q.containerd]\n    default_runtime_name = \"shim\"\n", plugin) +
		table + "shim]\n      runtime_type = \"" + shimName + "\"\n" + lists +
		table + "BinaryName]\n      runtime_type = \"" + runcName + "\"\n" + lists +
		table + "BinaryName.options]\n        BinaryName = \"" + runtimeName + "\"\n"
}
