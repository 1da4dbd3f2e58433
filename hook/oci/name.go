package oci

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// The annotations in which engines leave a container's name.
const (
	// nerdctl writes both. Its names are unique within a namespace, and "default" is that of most users.
	nerdctlName      = "nerdctl/name"
	nerdctlNamespace = "nerdctl/namespace"

	// containerd's CRI service writes these into the sandbox and, with container-name, into each of its containers.
	criNamespace = "io.kubernetes.cri.sandbox-namespace"
	criPod       = "io.kubernetes.cri.sandbox-name"
	criContainer = "io.kubernetes.cri.container-name"

	// CRI-O writes these into the sandbox ….
	crioNamespace = "io.kubernetes.cri-o.Namespace"
	crioPod       = "io.kubernetes.cri-o.KubeName"
	// … and into sandbox and containers the kubelet's labels. A sandbox is the container "POD" there.
	kubeletNamespace = "io.kubernetes.pod.namespace"
	kubeletPod       = "io.kubernetes.pod.name"
	kubeletContainer = "io.kubernetes.container.name"
	kubeletSandbox   = "POD"
)

// maxName is how long a name may be, in bytes: a Kubernetes namespace, pod and container are 63 + 253 + 63.
const maxName = 512

// Name is the workload's name as its engine left it among the annotations, or else the container's id:
//
//	nerdctl      NAME, or NAMESPACE/NAME in a namespace that is not "default"
//	containerd   NAMESPACE/POD of a pod's sandbox, NAMESPACE/POD/CONTAINER of a container in it
//	CRI-O        the same
//
// podman, Docker and ctr leave none. A name that is too long or has control characters counts for none.
//
// It is a name and no proof: whoever may set annotations may set these too, where the engine does not.
func Name(annotations map[string]string, id string) string {
	get := func(key string) string { return annotations[key] }
	names := [][]string{
		{get(nerdctlName)},
		{get(criNamespace), get(criPod), get(criContainer)},
		{cmp.Or(get(crioNamespace), get(kubeletNamespace)), cmp.Or(get(crioPod), get(kubeletPod)), get(kubeletContainer)},
	}
	if ns := get(nerdctlNamespace); ns != "" && ns != "default" {
		names[0] = []string{ns, get(nerdctlName)}
	}
	if names[2][2] == kubeletSandbox {
		names[2][2] = ""
	}
	// What stands last may be missing only in a pod, where its sandbox has no container's name.
	for i, n := range names {
		if i > 0 && n[2] == "" {
			n = n[:2]
		}
		if name, ok := join(n); ok {
			return name
		}
	}
	return id
}

// join puts the parts of a name together, when all are there and it is a usable one.
func join(parts []string) (string, bool) {
	if slices.Contains(parts, "") {
		return "", false
	}
	name := strings.Join(parts, "/")
	return name, len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}
