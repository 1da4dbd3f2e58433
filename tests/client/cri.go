package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// criFlags are what the commands for the container runtime interface know. Names of containers are given anew at each
// command: the client remembers nothing.
type criFlags struct {
	*flag.FlagSet
	endpoint, handler, cgroup, namespace string
	attempt                              uint64
	annotations                          pairs
}

func runCRI(ctx context.Context, command string, args []string, stdout io.Writer) (err error) {
	f := criFlags{FlagSet: flag.NewFlagSet(command, flag.ContinueOnError), annotations: pairs{}}
	f.StringVar(&f.endpoint, "endpoint", "unix:///run/containerd/containerd.sock", "the engine's socket")
	f.StringVar(&f.handler, "handler", "", "runtime handler of the pod")
	f.StringVar(&f.cgroup, "cgroup", "", "parent of the pod's cgroups")
	f.StringVar(&f.namespace, "namespace", "default", "Kubernetes namespace of the pod")
	f.Uint64Var(&f.attempt, "attempt", 0, "how often the container was started before")
	f.Var(f.annotations, "annotation", "KEY=VALUE of the pod or of the container, repeatable")
	commands := map[string]struct {
		run  func(context.Context, cri.RuntimeServiceClient, criFlags, io.Writer) error
		args []string
	}{
		"pod":     {startPod, []string{"NAME"}},
		"run":     {runInPod, []string{"POD", "NAME", "IMAGE", "PROGRAM"}},
		"exec":    {execInPod, []string{"CONTAINER", "PROGRAM"}},
		"restart": {restartInPod, []string{"CONTAINER", "POD", "NAME", "IMAGE", "PROGRAM"}},
		"list":    {listPods, nil},
		"stop":    {stopPod, []string{"POD"}},
		"delete":  {deletePod, []string{"POD"}},
	}
	c, ok := commands[command]
	if !ok {
		return errUsage
	}
	if err = parse(f.FlagSet, args, c.args...); err != nil {
		return err
	}
	connection, err := grpc.NewClient(f.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", f.endpoint, err)
	}
	defer func() { err = errors.Join(err, connection.Close()) }()
	return c.run(ctx, cri.NewRuntimeServiceClient(connection), f, stdout)
}

// sandboxConfig is what a container's request says again of its pod. The annotations of a pod are the pod's alone.
func sandboxConfig(f criFlags, name string, annotations pairs) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:    &cri.PodSandboxMetadata{Name: name, Uid: "uid-" + name, Namespace: f.namespace},
		Hostname:    name,
		Annotations: annotations,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: f.cgroup,
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
			},
		},
	}
}

// startPod runs a sandbox.
func startPod(ctx context.Context, service cri.RuntimeServiceClient, f criFlags, stdout io.Writer) error {
	answered, err := service.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{
		Config: sandboxConfig(f, f.Arg(0), f.annotations), RuntimeHandler: f.handler,
	})
	if err != nil {
		return fmt.Errorf("run pod %s: %w", f.Arg(0), err)
	}
	return answer{ID: answered.PodSandboxId, Name: f.Arg(0)}.print(stdout)
}

// runInPod makes and starts a container in a pod.
func runInPod(ctx context.Context, service cri.RuntimeServiceClient, f criFlags, stdout io.Writer) error {
	return start(ctx, service, f, f.Args(), stdout)
}

func start(ctx context.Context, service cri.RuntimeServiceClient, f criFlags, args []string, stdout io.Writer) error {
	pod, name, image, command := args[0], args[1], args[2], args[3:]
	status, err := service.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: pod})
	if err != nil {
		return fmt.Errorf("find pod %s: %w", pod, err)
	}
	created, err := service.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId:  pod,
		SandboxConfig: sandboxConfig(f, status.Status.Metadata.Name, status.Status.Annotations),
		Config: &cri.ContainerConfig{
			Metadata:    &cri.ContainerMetadata{Name: name, Attempt: uint32(f.attempt & math.MaxUint32)},
			Image:       &cri.ImageSpec{Image: image},
			Command:     command,
			Annotations: f.annotations,
			Linux:       &cri.LinuxContainerConfig{},
		},
	})
	if err != nil {
		return fmt.Errorf("make container %s: %w", name, err)
	}
	if _, err := service.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		return fmt.Errorf("start container %s: %w", name, err)
	}
	return answer{ID: created.ContainerId, Name: name}.print(stdout)
}

// restartInPod does what the kubelet does with a container that has ended: it removes it and starts another one of
// the same name in the same pod.
func restartInPod(ctx context.Context, service cri.RuntimeServiceClient, f criFlags, stdout io.Writer) error {
	id := f.Arg(0)
	if _, err := service.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id}); err != nil {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	if _, err := service.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id}); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return start(ctx, service, f, f.Args()[1:], stdout)
}

// execInPod runs a program in a container and fails when the program does.
func execInPod(ctx context.Context, service cri.RuntimeServiceClient, f criFlags, stdout io.Writer) error {
	id, command := f.Arg(0), f.Args()[1:]
	done, err := service.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: 10})
	if err != nil {
		return fmt.Errorf("exec in container %s: %w", id, err)
	}
	if done.ExitCode != 0 {
		return fmt.Errorf("%s exits with %d: %s%s", strings.Join(command, " "), done.ExitCode, done.Stdout, done.Stderr)
	}
	return answer{ID: id, Output: string(done.Stdout)}.print(stdout)
}

// listPods prints the pods and then the containers that the engine knows.
func listPods(ctx context.Context, service cri.RuntimeServiceClient, _ criFlags, stdout io.Writer) error {
	pods, err := service.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	for _, pod := range pods.Items {
		if err = (answer{ID: pod.Id, Name: pod.Metadata.Name, Status: pod.State.String()}).print(stdout); err != nil {
			return err
		}
	}
	containers, err := service.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers.Containers {
		if err = (answer{ID: c.Id, Name: c.Metadata.Name, Status: c.State.String()}).print(stdout); err != nil {
			return err
		}
	}
	return nil
}

// stopPod stops a pod's containers, its sandbox and its network.
func stopPod(ctx context.Context, service cri.RuntimeServiceClient, f criFlags, _ io.Writer) error {
	if _, err := service.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: f.Arg(0)}); err != nil {
		return fmt.Errorf("stop pod %s: %w", f.Arg(0), err)
	}
	return nil
}

// deletePod removes a pod with all its containers.
func deletePod(ctx context.Context, service cri.RuntimeServiceClient, f criFlags, _ io.Writer) error {
	if _, err := service.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: f.Arg(0)}); err != nil {
		return fmt.Errorf("remove pod %s: %w", f.Arg(0), err)
	}
	return nil
}
