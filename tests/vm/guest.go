//go:build linux

package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

// Guest is one that stays: it runs commands, several at a time, until it is closed.
type Guest struct {
	options Options
	machine *machine
	agent   net.Conn
	// sending guards writing to the agent.
	sending sync.Mutex

	// mu guards what is below.
	mu      sync.Mutex
	last    int
	waiting map[int]chan spec.Reply
	// closing says that its end is asked for.
	closing bool
	// gone is closed when nothing more is heard of the guest.
	gone chan struct{}
}

// Start boots a guest, once more when it does not start. It lives until Close, or the end of the context or of
// [Options.Timeout].
func Start(ctx context.Context, o Options) (*Guest, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	told, err := o.run(spec.Agent, nil)
	if err != nil {
		return nil, err
	}
	for i := 1; ; i++ {
		g, err := startGuest(ctx, o, told)
		if !errors.Is(err, errNoStart) || i == boots {
			return g, err
		}
	}
}

func startGuest(ctx context.Context, o Options, told spec.Run) (*Guest, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make sockets: %w", err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "agent"), os.NewFile(uintptr(pair[1]), "agent")
	defer near.Close()
	defer far.Close()
	conn, err := net.FileConn(near)
	if err != nil {
		return nil, err
	}
	g := &Guest{options: o, agent: conn, waiting: map[int]chan spec.Reply{}, gone: make(chan struct{})}
	ready := g.expect(0)
	if g.machine, err = startMachine(o, told, wiring{agent: far}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go g.listen()
	if err := g.machine.awaitStart(ctx.Done()); err != nil {
		err = fmt.Errorf("kernel %s: %w: %s", o.Kernel, err, g.machine.console())
		return nil, errors.Join(err, g.end())
	}
	select {
	case <-ready:
	case <-g.gone:
		return nil, errors.Join(g.died(), g.end())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), g.end())
	}
	go func() {
		limit := time.NewTimer(o.Timeout)
		defer limit.Stop()
		select {
		case <-limit.C:
			g.machine.note(fmt.Sprintf("vm: ended after %s, the time that it has", o.Timeout))
		case <-ctx.Done():
			g.mu.Lock()
			g.closing = true
			g.mu.Unlock()
		case <-g.gone:
		}
		g.machine.kill()
	}()
	return g, nil
}

// New is [Start] for a test, which fails when the guest does not start or has not lived to the test's end.
func New(t testing.TB, o Options) *Guest {
	t.Helper()
	g, err := Start(context.Background(), o)
	if err != nil {
		t.Fatalf("start a guest: %v", err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("guest %s: %v", g.options.Hostname, err)
		}
	})
	return g
}

// Close ends the guest. One that has ended by itself, by a panic of its kernel or for want of time, is an error.
func (g *Guest) Close() error {
	var err error
	g.mu.Lock()
	wanted := g.closing
	g.closing = true
	g.mu.Unlock()
	select {
	case <-g.machine.ended:
		if !wanted {
			err = g.died()
		}
	default:
	}
	return errors.Join(err, g.end())
}

func (g *Guest) end() error {
	g.machine.kill()
	err := g.machine.remove()
	if closeErr := g.agent.Close(); !errors.Is(closeErr, net.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	return err
}

func (g *Guest) died() error {
	return fmt.Errorf("the guest with kernel %s has ended; the last lines of its console:\n%s", g.options.Kernel,
		g.machine.console())
}

// expect gives a channel for the reply to a request.
func (g *Guest) expect(id int) <-chan spec.Reply {
	g.mu.Lock()
	defer g.mu.Unlock()
	reply := make(chan spec.Reply, 1)
	g.waiting[id] = reply
	return reply
}

// listen hands out replies until the guest has ended.
func (g *Guest) listen() {
	defer close(g.gone)
	replies := bufio.NewReader(g.agent)
	for {
		line, err := replies.ReadBytes('\n')
		if err != nil {
			return
		}
		var r spec.Reply
		if err := json.Unmarshal(line, &r); err != nil {
			g.machine.note("vm: the agent's reply is none: " + err.Error())
			return
		}
		g.mu.Lock()
		reply := g.waiting[r.ID]
		delete(g.waiting, r.ID)
		g.mu.Unlock()
		if reply != nil {
			reply <- r
		}
	}
}

// Cmd is a command for a guest.
type Cmd struct {
	// Args is the program, looked for in the guest's PATH, and its arguments.
	Args []string
	// Env is added to the guest's environment, as NAME=VALUE.
	Env []string
	// Dir is where it runs; empty is [Options.Dir].
	Dir string
	// Stdin is what it reads.
	Stdin []byte
}

// Result is what came of a command.
type Result struct {
	Stdout, Stderr string
	// Exit is its exit status, 128 + N when signal N ended it.
	Exit int
}

// Run runs a command and waits for its end. What it has left running goes on; what that writes is lost. A command that
// fails is no error; one that cannot be started is, and so is the end of the guest. The end of the context kills it.
func (g *Guest) Run(ctx context.Context, c Cmd) (Result, error) {
	g.mu.Lock()
	g.last++
	id := g.last
	g.mu.Unlock()
	reply := g.expect(id)
	if err := g.send(spec.Request{ID: id, Args: c.Args, Env: c.Env, Dir: c.Dir, Stdin: c.Stdin}); err != nil {
		return Result{}, err
	}
	select {
	case r := <-reply:
		return resultOf(c, r)
	case <-g.gone:
		<-g.machine.ended
		return Result{}, fmt.Errorf("run %q: %w", c.Args, g.died())
	case <-ctx.Done():
	}
	if err := g.send(spec.Request{ID: id, Signal: int(syscall.SIGKILL)}); err != nil {
		return Result{}, errors.Join(ctx.Err(), err)
	}
	select {
	case r := <-reply:
		result, err := resultOf(c, r)
		return result, errors.Join(fmt.Errorf("run %q: %w", c.Args, ctx.Err()), err)
	case <-g.gone:
		return Result{}, errors.Join(ctx.Err(), g.died())
	case <-time.After(endLimit):
		return Result{}, fmt.Errorf("run %q: %w, and it cannot be killed", c.Args, ctx.Err())
	}
}

func resultOf(c Cmd, r spec.Reply) (Result, error) {
	result := Result{Stdout: string(r.Stdout), Stderr: string(r.Stderr), Exit: r.Exit}
	if r.Error != "" {
		return result, fmt.Errorf("run %q: %s", c.Args, r.Error)
	}
	return result, nil
}

func (g *Guest) send(r spec.Request) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	g.sending.Lock()
	defer g.sending.Unlock()
	if _, err := g.agent.Write(append(line, '\n')); err != nil {
		return errors.Join(fmt.Errorf("ask the guest: %w", err), g.died())
	}
	return nil
}

// scriptLimit is how long a script may take.
const scriptLimit = 2 * time.Minute

// Script runs a shell script that ends with the first command that fails, and gives what it writes to standard output,
// without white space around it. When it fails, so does the test.
func (g *Guest) Script(t testing.TB, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scriptLimit)
	defer cancel()
	r, err := g.Run(ctx, Cmd{Args: []string{"sh", "-euc", script}})
	if err != nil {
		t.Fatalf("guest %s: %v\n%s%s", g.options.Hostname, err, r.Stdout, r.Stderr)
	}
	if r.Exit != 0 {
		t.Fatalf("guest %s: exit %d of a script:\n%s\nstdout: %s\nstderr: %s", g.options.Hostname, r.Exit,
			strings.TrimSpace(script), r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}
