package oci

import (
	"path"
	"slices"
	"strings"
)

// The engines that Origin tells apart.
const (
	Containerd = "containerd"
	Docker     = "docker"
	Podman     = "podman"
	CRIO       = "cri-o"
)

// Origin tells from where a bundle lies which engine made it, and in which of containerd's namespaces; both "" when
// that tells nothing.
//
//	/run/containerd/io.containerd.runtime.v2.task/NS/ID       containerd, NS; docker for NS "moby"
//	/run/docker/containerd/daemon/io.containerd.…/NS/ID       the same, for the containerd that dockerd starts itself
//	/run/k3s/containerd/io.containerd.…/NS/ID                 the same, for that of k3s and RKE2
//	/var/lib/containers/storage/DRIVER-containers/ID/userdata podman
//	/run/containers/storage/DRIVER-containers/ID/userdata     cri-o
//
// io.containerd.runtime.v1.linux, containerd's older folder, counts as well, and /var/run as /run.
//
// Only root writes below these folders, so whoever starts a container cannot pose as another engine by naming a bundle
// of their own. Therefore the whole path must match, without "." and "..", and nothing else is guessed: an engine that
// was given another state folder (dockerd with another --exec-root), a user's podman, buildah and runc by hand have no
// origin. podman and CRI-O have the same storage and are told apart by which of its two folders each takes for the
// bundle: podman the lasting one, CRI-O the one in /run. With a graphroot or runroot of their own in storage.conf they
// have no origin either.
func Origin(bundle string) (engine, namespace string) {
	p := strings.TrimSuffix(bundle, "/")
	if !path.IsAbs(p) || path.Clean(p) != p {
		return "", ""
	}
	if rest, ok := strings.CutPrefix(p, "/var/run/"); ok {
		p = "/run/" + rest
	}
	for _, root := range []string{"/run/containerd/", "/run/docker/containerd/daemon/", "/run/k3s/containerd/"} {
		if rest, ok := strings.CutPrefix(p, root); ok {
			return containerd(strings.Split(rest, "/"))
		}
	}
	if rest, ok := strings.CutPrefix(p, "/var/lib/containers/storage/"); ok && storage(strings.Split(rest, "/")) {
		return Podman, ""
	}
	if rest, ok := strings.CutPrefix(p, "/run/containers/storage/"); ok && storage(strings.Split(rest, "/")) {
		return CRIO, ""
	}
	return "", ""
}

func containerd(parts []string) (engine, namespace string) {
	folders := []string{"io.containerd.runtime.v2.task", "io.containerd.runtime.v1.linux"}
	if len(parts) != 3 || !slices.Contains(folders, parts[0]) {
		return "", ""
	}
	if parts[1] == "moby" {
		return Docker, parts[1]
	}
	return Containerd, parts[1]
}

// storage knows the folders of github.com/containers/storage: overlay-containers/ID/userdata, or another driver's.
func storage(parts []string) bool {
	if len(parts) != 3 || parts[2] != "userdata" {
		return false
	}
	driver, ok := strings.CutSuffix(parts[0], "-containers")
	return ok && driver != ""
}
