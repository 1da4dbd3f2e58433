//go:build linux

// Bench measures how long lanhook takes to attach and to detach a container, beside a C program that only sends the
// same messages (floor.c), netavark and the CNI plugins: whole processes, from fork to exit. docs/performance.md says
// how to run it and how to read what it prints.
//
// It needs root and does all its work in namespaces of its own, which end with it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// timeout ends a run that hangs. A whole one takes some minutes.
const timeout = 10 * time.Minute

// The words by which the program calls itself again, inside new namespaces.
const (
	roleWorld = "world"
	roleHost  = "host"
)

// config is what the flags say.
type config struct {
	lanhook string
	tools   string
	// rounds is how often each contender is measured in each scenario.
	rounds int
	// crowd is how many containers are attached where there are many.
	crowd int
	quick bool
	json  bool
	// guest measures the drivers that need a kernel of a distribution, beside ip(8).
	guest bool
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	role := ""
	if len(args) > 0 && (args[0] == roleWorld || args[0] == roleHost) {
		role, args = args[0], args[1:]
	}
	if role == roleHost {
		return report(stderr, holdHost(os.Stdin, stdout))
	}
	if len(args) == 1 && args[0] == roleEcho {
		return report(stderr, echo(os.Stdin, stdout))
	}
	if len(args) == 3 && args[0] == roleFlow {
		count, err := strconv.Atoi(args[2])
		return report(stderr, errors.Join(err, ask(args[1], count)))
	}
	c, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	if role == roleWorld {
		ctx, cancel := context.WithTimeoutCause(context.Background(), timeout,
			fmt.Errorf("it took longer than %s", timeout))
		defer cancel()
		return report(stderr, bench(ctx, c, stdout, stderr))
	}
	return report(stderr, enterWorld(args))
}

func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.lanhook, "lanhook", "bin/lanhook", "the lanhook to measure")
	flags.StringVar(&c.tools, "tools", "bin/bench", "folder with floor, stopwatch and empty")
	flags.IntVar(&c.rounds, "rounds", 30, "how often each contender is measured")
	flags.BoolVar(&c.quick, "quick", false, "a smoke test: 5 rounds, and 100 containers where there are 1,000")
	flags.BoolVar(&c.guest, "guest", false, "measure ipvlan and VLANs beside ip -batch, for a kernel that has them")
	flags.BoolVar(&c.json, "json", false, "print JSON")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	c.crowd = 1000
	if c.quick {
		c.rounds, c.crowd = 5, 100
	}
	for _, path := range []*string{&c.lanhook, &c.tools} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return config{}, err
		}
		*path = abs
	}
	if flags.NArg() > 0 || c.rounds < 1 {
		err := fmt.Errorf("bench: cannot understand %q", args)
		fmt.Fprintln(stderr, err)
		return config{}, err
	}
	return c, nil
}

// exitError is the exit code of the program in the inner namespaces, which has told why.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	fmt.Fprintf(stderr, "bench: %v\n", err)
	return 1
}

// enterWorld runs this program again in namespaces of its own. It is the first process of a process namespace there:
// whatever it started ends with it, and it ends with us.
func enterWorld(args []string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for network namespaces")
	}
	// The kernel sends Pdeathsig when the thread ends that started the child.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", append([]string{roleWorld}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{max(exit.ExitCode(), 1)}
	}
	return err
}

// environment is that of every program here: netavark looks for iptables in each folder of PATH, and a long one would
// make it look slow.
func environment() []string { return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} }

// hostPrograms are what [runAll] needs.
func hostPrograms(c config) []string {
	return []string{
		c.lanhook, filepath.Join(c.tools, "floor"), filepath.Join(c.tools, "stopwatch"), filepath.Join(c.tools, "empty"),
		filepath.Join(c.tools, "lanhook-runtime"), netavarkProgram,
		filepath.Join(cniFolder, "macvlan"), filepath.Join(cniFolder, "bridge"),
	}
}

// bench is the whole run, inside.
func bench(ctx context.Context, c config, stdout, stderr io.Writer) error {
	programs, runAll := hostPrograms(c), runAll
	if c.guest {
		programs, runAll = guestPrograms(c), runGuest
	}
	for _, program := range programs {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("look for what is to be measured: %w", err)
		}
	}
	l, err := newLab(ctx, c)
	if err != nil {
		return err
	}
	began := time.Now()
	m := measurements{}
	err = runAll(l, m, func(what string) {
		fmt.Fprintf(stderr, "%6.1f s  %s\n", time.Since(began).Seconds(), what)
	})
	if err != nil {
		return err
	}
	info, err := os.Stat(c.lanhook)
	if err != nil {
		return err
	}
	s := m.summary(c, info.Size())
	if !c.json {
		return s.print(stdout)
	}
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	return e.Encode(s)
}
