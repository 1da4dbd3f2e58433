package main

import (
	"errors"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
)

// hostNetworkError is a container in the host's own network namespace, with annotations that ask for an interface.
type hostNetworkError struct {
	engine, namespace string
	err               error
}

// ofEngine says of a container in the host's namespace what its engine calls that.
func ofEngine(err error, c netsetup.Container) error {
	if _, own := errors.AsType[*kernel.HostNamespaceError](err); !own {
		return err
	}
	return &hostNetworkError{c.Subject.Engine, c.Subject.Namespace, err}
}

func (e *hostNetworkError) Error() string {
	return "its network namespace is the host's own, where lanhook attaches nothing"
}

func (e *hostNetworkError) Unwrap() error { return e.err }

// kubernetes is containerd's namespace for what the kubelet starts.
const kubernetes = "k8s.io"

// Hint says what to change, in the words of the engine.
func (e *hostNetworkError) Hint() string {
	const or = ", or take its io.lanhook annotations away"
	switch {
	case e.engine == oci.CRIO, e.engine == oci.Containerd && e.namespace == kubernetes:
		return "take hostNetwork: true out of the pod" + or
	case e.engine == oci.Docker, e.engine == oci.Podman:
		return "start it without --network host, with --network none for instance" + or
	case e.engine == oci.Containerd:
		return "start it without --net-host (ctr) or --network host (nerdctl)" + or
	}
	return `give it a namespace of its own, {"type": "network"} in config.json` + or
}
