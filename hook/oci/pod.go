package oci

// The annotations by which engines tell a pod's sandbox from the containers in it, and the word for it.
const (
	// criType is written by containerd's CRI service, crioType by CRI-O.
	criType  = "io.kubernetes.cri.container-type"
	crioType = "io.kubernetes.cri-o.ContainerType"

	sandboxType = "sandbox"
)

// Sandbox says whether a container is the sandbox of a pod: the container that has the pod's network namespace, and with
// whose end the pod has ended. engine is as [Origin] gives it. podman and Docker have no sandboxes, so that with them the
// annotation is the requester's own and says nothing; an engine that is not known is believed.
func Sandbox(annotations map[string]string, engine string) bool {
	if engine == Podman || engine == Docker {
		return false
	}
	return annotations[criType] == sandboxType || annotations[crioType] == sandboxType
}
