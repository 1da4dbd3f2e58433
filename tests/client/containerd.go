package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/cio"
	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/oci"
)

// containerdFlags are what the commands for containerd know.
type containerdFlags struct {
	*flag.FlagSet
	address, namespace      string
	runtime, binary, cgroup string
	annotations             pairs
}

func runContainerd(ctx context.Context, command string, args []string, stdout io.Writer) (err error) {
	f := containerdFlags{FlagSet: flag.NewFlagSet(command, flag.ContinueOnError), annotations: pairs{}}
	f.StringVar(&f.address, "address", "/run/containerd/containerd.sock", "containerd's socket")
	f.StringVar(&f.namespace, "namespace", "client", "containerd's namespace")
	f.StringVar(&f.runtime, "runtime", "io.containerd.runc.v2", "name of the shim")
	f.StringVar(&f.binary, "binary", "", "the option BinaryName of the runc shim")
	f.StringVar(&f.cgroup, "cgroup", "", "cgroup of the container")
	f.Var(f.annotations, "annotation", "KEY=VALUE, repeatable")
	commands := map[string]struct {
		run  func(context.Context, *containerd.Client, containerdFlags, io.Writer) error
		args []string
	}{
		"import":  {importImage, []string{"FILE"}},
		"start":   {startContainer, []string{"ID", "IMAGE", "PROGRAM"}},
		"list":    {listContainers, nil},
		"exec":    {execContainer, []string{"ID", "PROGRAM"}},
		"restart": {restartContainer, []string{"ID"}},
		"stop":    {stopContainer, []string{"ID"}},
		"remove":  {removeContainer, []string{"ID"}},
	}
	c, ok := commands[command]
	if !ok {
		return errUsage
	}
	if err = parse(f.FlagSet, args, c.args...); err != nil {
		return err
	}
	client, err := containerd.New(f.address, containerd.WithTimeout(10*time.Second))
	if err != nil {
		return fmt.Errorf("connect to containerd at %s: %w", f.address, err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return c.run(namespaces.WithNamespace(ctx, f.namespace), client, f, stdout)
}

// importImage brings the images of a tar file into containerd.
func importImage(ctx context.Context, client *containerd.Client, f containerdFlags, stdout io.Writer) (err error) {
	file, err := os.Open(f.Arg(0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	images, err := client.Import(ctx, file)
	if err != nil {
		return fmt.Errorf("import %s: %w", f.Arg(0), err)
	}
	for _, i := range images {
		if err := containerd.NewImage(client, i).Unpack(ctx, ""); err != nil {
			return fmt.Errorf("unpack %s: %w", i.Name, err)
		}
		if err := (answer{Name: i.Name}).print(stdout); err != nil {
			return err
		}
	}
	return nil
}

// startContainer makes a container and starts its program. When that fails, nothing is left in containerd.
func startContainer(ctx context.Context, client *containerd.Client, f containerdFlags, stdout io.Writer) error {
	image, err := client.GetImage(ctx, f.Arg(1))
	if err != nil {
		return fmt.Errorf("find image %s: %w", f.Arg(1), err)
	}
	var shim any
	if f.binary != "" {
		shim = &options.Options{BinaryName: f.binary}
	}
	container, err := client.NewContainer(ctx, f.Arg(0),
		containerd.WithRuntime(f.runtime, shim),
		containerd.WithNewSnapshot(f.Arg(0), image),
		containerd.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs(f.Args()[2:]...), oci.WithCgroup(f.cgroup),
			withAnnotations(f.annotations)))
	if err != nil {
		return fmt.Errorf("make container %s: %w", f.Arg(0), err)
	}
	if err := begin(ctx, container, stdout); err != nil {
		return errors.Join(err, stop(ctx, container), container.Delete(ctx, containerd.WithSnapshotCleanup))
	}
	return nil
}

// begin makes the container's task and starts it.
func begin(ctx context.Context, container containerd.Container, stdout io.Writer) error {
	task, err := container.NewTask(ctx, cio.NullIO)
	if err != nil {
		return fmt.Errorf("make the task of container %s: %w", container.ID(), err)
	}
	if err := task.Start(ctx); err != nil {
		return fmt.Errorf("start container %s: %w", container.ID(), err)
	}
	return answer{ID: container.ID(), PID: task.Pid()}.print(stdout)
}

func withAnnotations(annotations pairs) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, spec *oci.Spec) error {
		spec.Annotations = annotations
		return nil
	}
}

func listContainers(ctx context.Context, client *containerd.Client, _ containerdFlags, stdout io.Writer) error {
	list, err := client.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, container := range list {
		a := answer{ID: container.ID(), Status: "created"}
		task, err := container.Task(ctx, nil)
		if err == nil {
			status, statusErr := task.Status(ctx)
			if statusErr != nil {
				return fmt.Errorf("ask after container %s: %w", a.ID, statusErr)
			}
			a.PID, a.Status = task.Pid(), string(status.Status)
		} else if !errdefs.IsNotFound(err) {
			return fmt.Errorf("find the task of container %s: %w", a.ID, err)
		}
		if err := a.print(stdout); err != nil {
			return err
		}
	}
	return nil
}

// execContainer runs a program in a container and fails when the program does.
func execContainer(ctx context.Context, client *containerd.Client, f containerdFlags, stdout io.Writer) error {
	container, err := client.LoadContainer(ctx, f.Arg(0))
	if err != nil {
		return fmt.Errorf("find container %s: %w", f.Arg(0), err)
	}
	task, err := container.Task(ctx, nil)
	if err != nil {
		return fmt.Errorf("find the task of container %s: %w", f.Arg(0), err)
	}
	spec, err := container.Spec(ctx)
	if err != nil {
		return fmt.Errorf("read the spec of container %s: %w", f.Arg(0), err)
	}
	program := *spec.Process
	program.Terminal, program.Args = false, f.Args()[1:]
	var output bytes.Buffer
	process, err := task.Exec(ctx, fmt.Sprintf("exec-%d", os.Getpid()), &program,
		cio.NewCreator(cio.WithStreams(nil, &output, &output)))
	if err != nil {
		return fmt.Errorf("exec in container %s: %w", f.Arg(0), err)
	}
	exited, err := process.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", f.Arg(1), err)
	}
	if err := process.Start(ctx); err != nil {
		return fmt.Errorf("exec %s in container %s: %w", f.Arg(1), f.Arg(0), err)
	}
	code := (<-exited).ExitCode()
	if _, err := process.Delete(ctx); err != nil {
		return fmt.Errorf("clear away %s: %w", f.Arg(1), err)
	}
	if code != 0 {
		return fmt.Errorf("%s exits with %d: %s", strings.Join(program.Args, " "), code, &output)
	}
	return answer{ID: f.Arg(0), Output: output.String()}.print(stdout)
}

// restartContainer stops a container's program and starts it again.
func restartContainer(ctx context.Context, client *containerd.Client, f containerdFlags, stdout io.Writer) error {
	container, err := client.LoadContainer(ctx, f.Arg(0))
	if err != nil {
		return fmt.Errorf("find container %s: %w", f.Arg(0), err)
	}
	if err := stop(ctx, container); err != nil {
		return err
	}
	return begin(ctx, container, stdout)
}

// stopContainer kills a container's program. The container stays.
func stopContainer(ctx context.Context, client *containerd.Client, f containerdFlags, _ io.Writer) error {
	container, err := client.LoadContainer(ctx, f.Arg(0))
	if err != nil {
		return fmt.Errorf("find container %s: %w", f.Arg(0), err)
	}
	return stop(ctx, container)
}

// removeContainer stops and removes a container. One that is not there is removed.
func removeContainer(ctx context.Context, client *containerd.Client, f containerdFlags, _ io.Writer) error {
	container, err := client.LoadContainer(ctx, f.Arg(0))
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find container %s: %w", f.Arg(0), err)
	}
	if err := stop(ctx, container); err != nil {
		return err
	}
	if err := container.Delete(ctx, containerd.WithSnapshotCleanup); err != nil {
		return fmt.Errorf("remove container %s: %w", container.ID(), err)
	}
	return nil
}

// stop kills and removes the container's task, if there is one.
func stop(ctx context.Context, container containerd.Container) error {
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the task of container %s: %w", container.ID(), err)
	}
	exited, err := task.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait for container %s: %w", container.ID(), err)
	}
	if err := task.Kill(ctx, syscall.SIGKILL, containerd.WithKillAll); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("kill container %s: %w", container.ID(), err)
	}
	<-exited
	if _, err := task.Delete(ctx); err != nil {
		return fmt.Errorf("remove the task of container %s: %w", container.ID(), err)
	}
	return nil
}
