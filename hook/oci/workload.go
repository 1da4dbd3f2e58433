package oci

import "strings"

// Workload is the name of a container's workload: asked, the value of io.lanhook.name, or else what [Name] gives.
//
// named says that its engine gave the name itself: containerd and CRI-O for pods, over what the pod's author may have written, and
// nerdctl, whose users choose it and are root. What another engine passes on under the same keys is its user's, and so is a
// pod's annotation under nerdctl's. engine is as [Origin] gives it.
func Workload(asked string, annotations map[string]string, id, engine string) (name string, named bool) {
	if asked != "" {
		return asked, false
	}
	own := map[string]string{}
	for key, value := range annotations {
		if writtenBy(engine, key) {
			own[key] = value
		}
	}
	// In a pod nerdctl has no part, whatever its annotations say.
	if own[criPod] != "" {
		delete(own, nerdctlName)
	}
	name = Name(annotations, id)
	return name, name != id && name == Name(own, id)
}

// writtenBy says whether an engine itself writes an annotation from which a name is made.
func writtenBy(engine, key string) bool {
	switch engine {
	case Containerd:
		return strings.HasPrefix(key, "io.kubernetes.cri.") || key == nerdctlName || key == nerdctlNamespace
	case CRIO:
		return strings.HasPrefix(key, "io.kubernetes.cri-o.")
	}
	return false
}
