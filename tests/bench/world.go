//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// folder is on a tmpfs of our own, and holds all that contenders keep:
//
//	/run/bench/
//	  io/           standard input, output and error of what is measured
//	  policy.toml   lanhook's policy
//	  HOST/         what contenders remember of one host: lanhook/, cni/, netavark/
const folder = "/run/bench"

// settleTimeout bounds the wait for the kernel to remove namespaces; a thousand take it some seconds.
const settleTimeout = time.Minute

// lab is the surroundings: a process, mount and network namespace of our own.
type lab struct {
	ctx context.Context //nolint:containedctx // the lab is the run, and the context its deadline
	config
	// held is a pipe that nobody writes to. What reads from it waits until we end.
	held *os.File
	// made counts containers.
	made int
}

// newLab prepares the namespaces that this process was started in.
func newLab(ctx context.Context, c config) (*lab, error) {
	for _, m := range []struct {
		target, kind string
		flags        uintptr
	}{
		{"/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"/proc", "proc", 0},
		{"/sys", "sysfs", 0},
		{"/run", "tmpfs", 0},
	} {
		if err := syscall.Mount("none", m.target, m.kind, m.flags, ""); err != nil {
			return nil, fmt.Errorf("mount on %s: %w", m.target, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(folder, "io"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(policyFile, []byte(policyText), 0o600); err != nil {
		return nil, err
	}
	held, keep, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = keep.Close() })
	return &lab{ctx: ctx, config: c, held: held}, nil
}

// host is a network namespace that plays a machine: a link lan0 to a LAN, and what contenders remember of it.
type host struct {
	name    string
	process *os.Process
	dir     string
}

func (l *lab) newHost(name string) (*host, error) {
	dir := filepath.Join(folder, name)
	for _, sub := range []string{"cni", "netavark"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	process, err := os.StartProcess("/proc/self/exe", []string{"bench", roleHost}, &os.ProcAttr{
		Files: []*os.File{l.held, tell, os.Stderr},
		Sys:   &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS},
	})
	if err = errors.Join(err, tell.Close()); err != nil {
		return nil, fmt.Errorf("start host %s: %w", name, err)
	}
	if _, err = ready.Read(make([]byte, 1)); err != nil {
		return nil, fmt.Errorf("wait for host %s: %w", name, err)
	}
	h := &host{name: name, process: process, dir: dir}
	// The LAN's end lies in the same namespace: nothing there answers or forwards.
	return h, l.ip(h, "link set lo up", "link add lan0 type veth peer name wire0", "addr add 10.66.0.1/16 dev lan0",
		"link set wire0 up", "link set lan0 up")
}

// holdHost is the process of a host. Its mount namespace has the sysfs that belongs to its network namespace.
func holdHost(stdin io.Reader, stdout io.Writer) error {
	for _, m := range []struct{ target, kind string }{{"/", ""}, {"/sys", "sysfs"}} {
		var flags uintptr
		if m.kind == "" {
			flags = syscall.MS_REC | syscall.MS_PRIVATE
		}
		if err := syscall.Mount("none", m.target, m.kind, flags, ""); err != nil {
			return fmt.Errorf("mount on %s: %w", m.target, err)
		}
	}
	if _, err := stdout.Write([]byte{'.'}); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, stdin)
	return err
}

// ip runs ip(8) on a host, one command a line.
func (l *lab) ip(h *host, lines ...string) error {
	_, err := l.measure(h, command{
		argv: []string{"/usr/sbin/ip", "-batch", "-"}, stdin: []byte(strings.Join(lines, "\n") + "\n"),
	})
	return err
}

// container is a network namespace with a process in it that does nothing.
type container struct {
	number  int
	id      string
	process *os.Process
	// told is what the attach printed.
	told []byte
}

func (l *lab) newContainer() (*container, error) {
	process, err := os.StartProcess(filepath.Join(l.tools, "stopwatch"), []string{"stopwatch", "pause"}, &os.ProcAttr{
		Files: []*os.File{l.held, os.Stderr, os.Stderr},
		Sys:   &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET},
	})
	if err != nil {
		return nil, fmt.Errorf("start a container: %w", err)
	}
	l.made++
	return &container{number: l.made, id: fmt.Sprintf("%064x", l.made), process: process}, nil
}

func (l *lab) newContainers(n int) ([]*container, error) {
	list := make([]*container, 0, n)
	for range n {
		c, err := l.newContainer()
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func (c *container) netns() string { return fmt.Sprintf("/proc/%d/ns/net", c.process.Pid) }

// end ends containers and waits until the kernel has removed their namespaces.
func (l *lab) end(list ...*container) error {
	settle := exec.CommandContext(l.ctx, filepath.Join(l.tools, "stopwatch"), "settle")
	if out, err := settle.CombinedOutput(); err != nil {
		return fmt.Errorf("let containers settle: %w: %s", err, out)
	}
	for _, c := range list {
		if err := c.process.Kill(); err != nil {
			return fmt.Errorf("end container %d: %w", c.number, err)
		}
	}
	for _, c := range list {
		if _, err := c.process.Wait(); err != nil {
			return fmt.Errorf("wait for the end of container %d: %w", c.number, err)
		}
	}
	return l.settle()
}

// settle waits until the kernel has removed every namespace that was given up before: it does so in the background and
// in order (cleanup_net in net/core/net_namespace.c), holding locks that what is measured needs. So another one is given
// up, and when a veth has gone with it, the work is done.
func (l *lab) settle() error {
	const mark = "settle0"
	c, err := l.newContainer()
	if err != nil {
		return err
	}
	add := exec.CommandContext(l.ctx, "/usr/sbin/ip", "link", "add", mark, "type", "veth", "peer", "name", mark,
		"netns", strconv.Itoa(c.process.Pid))
	if out, err := add.CombinedOutput(); err != nil {
		return fmt.Errorf("add a veth to wait for: %w: %s", err, out)
	}
	if err := c.process.Kill(); err != nil {
		return fmt.Errorf("end a container: %w", err)
	}
	if _, err := c.process.Wait(); err != nil {
		return fmt.Errorf("wait for the end of a container: %w", err)
	}
	for deadline := time.Now().Add(settleTimeout); time.Now().Before(deadline); {
		if _, err := net.InterfaceByName(mark); err != nil {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
	return fmt.Errorf("the kernel has not removed the namespaces of dead containers after %s", settleTimeout)
}

// command is a program to be measured.
type command struct {
	argv  []string
	env   []string
	stdin []byte
	// silent programs print to standard error only when they fail.
	silent bool
}

// sample is one measurement.
type sample struct {
	wall, cpu time.Duration
	// memory is the biggest resident set, in KiB.
	memory int64
	// out is the standard output of each program.
	out [][]byte
}

// measure runs commands on a host, all at once. They differ in their standard input only.
func (l *lab) measure(h *host, list ...command) (sample, error) {
	dir := filepath.Join(folder, "io")
	for i, c := range list {
		if err := os.WriteFile(stream(dir, "in", i), c.stdin, 0o600); err != nil {
			return sample{}, err
		}
	}
	first := list[0]
	cmd := exec.CommandContext(l.ctx, filepath.Join(l.tools, "stopwatch"), append([]string{
		strconv.Itoa(h.process.Pid), strconv.Itoa(len(list)), dir,
	}, first.argv...)...)
	cmd.Env = append(environment(), first.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return sample{}, errors.Join(fmt.Errorf("measure %s: %w: %s", first.argv, err, &stderr), context.Cause(l.ctx))
	}
	var s sample
	failed := 0
	if _, err := fmt.Sscan(stdout.String(), (*int64)(&s.wall), (*int64)(&s.cpu), &s.memory, &failed); err != nil {
		return sample{}, fmt.Errorf("read what stopwatch says of %s: %w", first.argv, err)
	}
	for i := range list {
		out, err := os.ReadFile(stream(dir, "out", i))
		if err != nil {
			return sample{}, err
		}
		told, err := os.ReadFile(stream(dir, "err", i))
		if err != nil {
			return sample{}, err
		}
		if failed > 0 && len(told)+len(out) > 0 || first.silent && len(told) > 0 {
			return sample{}, fmt.Errorf("%s on host %s: %d of %d failed, number %d says: %s %s", first.argv, h.name, failed,
				len(list), i, bytes.TrimSpace(told), bytes.TrimSpace(out))
		}
		s.out = append(s.out, out)
	}
	if failed > 0 {
		return sample{}, fmt.Errorf("%s on host %s: %d of %d failed", first.argv, h.name, failed, len(list))
	}
	return s, nil
}

func stream(dir, name string, i int) string { return filepath.Join(dir, name+"."+strconv.Itoa(i)) }
