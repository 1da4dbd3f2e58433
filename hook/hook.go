package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// hookTimeout is how long a hook works before it gives up and takes back what it did. It is below the timeout that
// setup writes into the hooks (30 s), so that the runtime never has to kill it.
const hookTimeout = 20 * time.Second

// hook is «lanhook hook STAGE»: the runtime's state JSON comes in on stdin. On stdout there is never anything, on stderr
// only an error.
func (a *app) hook(args []string) int {
	flags := pflag.NewFlagSet("hook", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&a.policy, "policy", "", "")
	flags.StringVar(&a.stateDir, "state-dir", defaultStateDir, "")
	var o stageOptions
	o.register(flags)
	stage, words := args[0], args[1:]
	err := flags.Parse(words)
	if errors.Is(err, pflag.ErrHelp) {
		return a.cli([]string{"hook", stage, "--help"})
	}
	if err != nil || flags.NArg() > 0 {
		return a.report("hook", &usageError{
			msg: fmt.Sprintf("cannot understand %q", strings.Join(words, " ")),
			hint: "lanhook hook createRuntime|prestart|poststop [--policy FILE-OR-DIR] [--state-dir DIR] [--timeout 20s] " +
				"[--by NAME] [--guest KEY] [--kept FILES]",
		})
	}
	return a.stage(stage, o)
}

// stageOptions are the flags of one stage.
type stageOptions struct {
	timeout time.Duration
	// by is who put the hook into the container's configuration.
	by string
	// guest names the files that the shim made for the container, "" for none.
	guest string
	// kept are files that the container asked for and its engine mounts itself, comma separated, for the log.
	kept string
}

func (o *stageOptions) register(flags *pflag.FlagSet) {
	flags.DurationVar(&o.timeout, "timeout", hookTimeout, "give up, and take everything back, after `TIME`")
	flags.StringVar(&o.by, "by", oci.BySetup, "`NAME` of who put the hook into the container's configuration")
	flags.StringVar(&o.guest, "guest", "", "`KEY` of the files that a shim made for the container")
	flags.StringVar(&o.kept, "kept", "", "`FILES` that the container asked for, and that its engine mounts itself")
}

func (a *app) stage(name string, o stageOptions) int {
	ctx := newStageContext(o.timeout)
	switch name {
	case "createRuntime", "prestart":
		state, err := a.readState(ctx)
		if err == nil {
			err = a.createRuntime(ctx, state, o)
		}
		if err != nil {
			return a.failed(state, errors.Join(err, a.discard(state, o)))
		}
		return exitDone
	case "poststop":
		return a.poststop(ctx)
	}
	return a.report("hook", &usageError{
		msg:  fmt.Sprintf("unknown stage %q", name),
		hint: "lanhook works at createRuntime (prestart for old runtimes) and poststop",
	})
}

// lateError is the reason why a context ended: it is a context.DeadlineExceeded that says which.
type lateError time.Duration

func (e lateError) Error() string { return fmt.Sprintf("it took longer than %s", time.Duration(e)) }

func (e lateError) Unwrap() error { return context.DeadlineExceeded }

// readState reads what the runtime says, but no longer than there is time: a pipe that nobody closes has no end.
func (a *app) readState(ctx context.Context) (oci.State, error) {
	in := a.stdin
	if file, ok := in.(*os.File); ok {
		in = timedReader{ctx, file}
	}
	return oci.ReadState(in)
}

// timedReader waits for each read as long as its context lasts, without a goroutine, which would cost a thread.
type timedReader struct {
	ctx  context.Context //nolint:containedctx // a reader has no other place for it
	file *os.File
}

func (r timedReader) Read(p []byte) (int, error) {
	for {
		wait := -1
		if deadline, ok := r.ctx.Deadline(); ok {
			wait = max(0, int(time.Until(deadline).Milliseconds()))
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.file.Fd()), Events: unix.POLLIN}}, wait) //nolint:gosec // G115: small
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("wait for the container state: %w", err)
		case n == 0:
			<-r.ctx.Done()
			return 0, context.Cause(r.ctx)
		}
		return r.file.Read(p)
	}
}

// lateRelease bounds what is taken back when all was done in vain. It ends before the runtime's own patience.
const lateRelease = 5 * time.Second

// createRuntime attaches the container that the runtime is about to start. The runtime does not start it when this
// fails.
func (a *app) createRuntime(ctx *stageContext, state oci.State, o stageOptions) error {
	engine, _ := oci.Origin(state.Bundle)
	req, err := request.ParseFor(engine, state.Annotations)
	if err != nil || req.Empty() {
		return err
	}
	if err = unshimmed(req, o.by); err != nil {
		return err
	}
	w, err := watchOf(state)
	if err != nil {
		return err
	}
	ctx.follow(w)
	s, err := a.open(withPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	c, err := container(state, req)
	if err != nil {
		return err
	}
	c.Guest = o.guest
	result, err := s.Attach(ctx, c)
	err = ofEngine(err, c)
	if err == nil {
		// Whoever died between the last look and the commit will never call poststop.
		if err = w.check(); err != nil && !result.Already {
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateRelease)
			defer cancel()
			err = errors.Join(err, s.Leave(late, result.Ref))
		}
	}
	if err != nil {
		return err
	}
	event := "attached"
	if result.Already {
		event = "was attached already"
	}
	attrs := []any{"interfaces", describe(result.Interfaces)}
	if ports := describePorts(result.Interfaces); ports != "" {
		attrs = append(attrs, "published", ports)
	}
	if len(result.Joined) > 0 {
		attrs = append(attrs, "joined", join(result.Joined))
	}
	a.logged(slog.LevelInfo, event, state, attrs...)
	if o.kept != "" {
		a.logged(slog.LevelWarn, "its engine mounts these files itself: what its annotations ask of them changes nothing", state,
			"files", o.kept)
	}
	if result.Warnings != nil {
		a.logged(slog.LevelWarn, "attached all the same", state, "error", oneLine(result.Warnings))
	}
	if result.Unnamed != nil {
		a.logged(slog.LevelWarn, "other containers do not know its name", state, "error", oneLine(result.Unnamed))
	}
	return nil
}

// watchOf watches those for whom the container is attached: the runtime that waits, and the container's process.
func watchOf(state oci.State) (*watch, error) {
	if state.PID <= 0 {
		return nil, errors.New("the runtime's state names no process, so there is no namespace to attach")
	}
	w := &watch{}
	if err := w.add("the container", state.PID); err != nil {
		return nil, err
	}
	// A parent in another PID namespace has no number here, and cannot be watched.
	if parent := os.Getppid(); parent > 0 {
		return w, w.add("the runtime", parent)
	}
	return w, nil
}

// poststop takes back what the container had. It always succeeds: there is nothing that a runtime could do about a
// failure but leave out the hooks that come after, and what is left is gc's.
func (a *app) poststop(ctx context.Context) int {
	state, err := a.readState(ctx)
	if err == nil {
		err = a.detachStopped(ctx, state)
	}
	if err != nil {
		a.failed(state, err)
	}
	return exitDone
}

func (a *app) detachStopped(ctx context.Context, state oci.State) error {
	s, err := a.open(withoutPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	d, err := s.Detach(ctx, state.ID)
	if len(d.Interfaces) > 0 {
		a.logged(slog.LevelInfo, "detached", state, "interfaces", describe(d.Interfaces))
	}
	if len(d.Left) > 0 {
		a.logged(slog.LevelInfo, "left its interfaces to other containers of the namespace", state)
	}
	if len(d.Alive) > 0 {
		a.logged(slog.LevelWarn, "poststop came while the container runs: left alone", state)
	}
	return err
}

// failed tells the runtime's user and the log why.
func (a *app) failed(state oci.State, err error) int {
	var attrs []any
	if hint := hintOf(err); hint != "" {
		attrs = append(attrs, "hint", hint)
	}
	a.logged(slog.LevelError, oneLine(err), state, attrs...)
	doing := ""
	if state.ID != "" {
		doing = "container " + state.ID
	}
	return a.report(doing, err)
}

// logged writes one event. A log that cannot be written stops nothing: the container matters more.
func (a *app) logged(level slog.Level, event string, state oci.State, attrs ...any) {
	attrs = append([]any{"id", state.ID, "status", state.Status}, attrs...)
	// In UTC, and without the place in the code: to load the time zone and to look for the place would take longer than
	// to write the line.
	r := slog.NewRecord(time.Now().UTC(), level, event, 0)
	r.Add(attrs...)
	logTo(a.stateDir).Handle(context.Background(), r) //nolint:errcheck // see above
}

func describe(interfaces []plan.Interface) string {
	var words []string
	for _, i := range interfaces {
		words = append(words, fmt.Sprintf("%s:%s:%v:%s", i.Name, i.Network, slices.Concat(i.Addresses, i.Learned), i.MAC))
	}
	return strings.Join(words, " ")
}

// describePorts are the ports and whole addresses that go to interfaces, "" for none.
func describePorts(interfaces []plan.Interface) string {
	var words []string
	for _, i := range interfaces {
		if len(i.Publish)+len(i.DNAT) > 0 {
			words = append(words, i.Name+":"+published(i))
		}
	}
	return strings.Join(words, " ")
}

// container is who the runtime's state speaks of.
func container(state oci.State, req request.Request) (netsetup.Container, error) {
	p, err := process.Find(state.PID)
	if err != nil {
		return netsetup.Container{}, err
	}
	engine, namespace := oci.Origin(state.Bundle)
	name, named := oci.Workload(req.Name, state.Annotations, state.ID, engine)
	return netsetup.Container{
		ID:       state.ID,
		Workload: name,
		Runtime:  engine,
		NetNS:    fmt.Sprintf("/proc/%d/ns/net", state.PID),
		Process:  p,
		Sandbox:  oci.Sandbox(state.Annotations, engine),
		Request:  req,
		Subject: policy.Subject{
			ID:          state.ID,
			Annotations: state.Annotations,
			Engine:      engine,
			Namespace:   namespace,
			Bundle:      state.Bundle,
			CGroup:      cgroupOf(state.PID),
			Name:        name,
			Named:       named,
		},
	}, nil
}
