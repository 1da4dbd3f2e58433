//go:build linux

// Command lane runs tests in guests of the test machine, on each kernel, two guests at a time, and writes what came of
// them as go test -json does. It is started in the top folder of the checkout.
//
//	lane [-run REGEXP] [-kernel KERNEL] [-jobs N]
//
// What is run where is in table.go. Test programs are built on the host, and without the race detector: in a guest a
// compiler takes ten times as long, and a program with the detector does too. The machine's own lane has it.
//
// Nothing that goes wrong is to look like a success. A program that fails, hangs, panics the kernel or runs no test fails
// the lane, and so does a test for which the guests are there and that is skipped.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/lanhook/lanhook/tests/vm"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// lane is one run.
type lane struct {
	kernels []string
	// only is nil, or what the names of the tests to be run match, and below what those of their subtests do, with a slash
	// before.
	only  *regexp.Regexp
	below string
	// programs is the folder of the test programs.
	programs string
	out      *events
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("lane", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("run", "", "only tests whose names match the `regexp`, also those that are else run on the host alone")
	kernel := flags.String("kernel", "", "only this `kernel`; else "+strings.Join(vm.Kernels(), " and "))
	jobs := flags.Int("jobs", 2, "how many guests run at a time")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	l := &lane{kernels: vm.Kernels(), programs: "bin/vm/tests", out: &events{out: stdout}}
	if *kernel != "" {
		l.kernels = []string{*kernel}
	}
	if *only != "" {
		name, below, slash := strings.Cut(*only, "/")
		if slash {
			l.below = "/" + below
		}
		pattern, err := regexp.Compile(name)
		if err != nil {
			fmt.Fprintln(stderr, "lane:", err)
			return 2
		}
		l.only = pattern
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := l.run(ctx, *jobs); err != nil {
		fmt.Fprintln(stderr, "lane:", err)
		return 1
	}
	return 0
}

func (l *lane) run(ctx context.Context, jobs int) error {
	suites, err := l.suites()
	if err != nil {
		return err
	}
	hosts, err := l.hostSuites()
	if err != nil {
		return err
	}
	if len(suites)+len(hosts) == 0 {
		return errors.New("no test has such a name")
	}
	if err := l.compile(ctx, suites); err != nil {
		return err
	}
	errs := make([]error, 0, len(suites)+1)
	errs = append(errs, l.onHost(ctx, hosts))
	results := make(chan error, len(suites))
	next := make(chan suite)
	var wait sync.WaitGroup
	for range jobs {
		wait.Go(func() {
			for s := range next {
				results <- l.inGuest(ctx, s)
			}
		})
	}
	for _, s := range suites {
		next <- s
	}
	close(next)
	wait.Wait()
	close(results)
	for err := range results {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// compile builds the test programs.
func (l *lane) compile(ctx context.Context, suites []suite) error {
	if len(suites) == 0 {
		return nil
	}
	if err := os.MkdirAll(l.programs, 0o755); err != nil {
		return err
	}
	args := []string{"test", "-c", "-o", l.programs + "/"}
	for _, s := range suites {
		if folder := "./tests/" + s.folder; !slices.Contains(args, folder) {
			args = append(args, folder)
		}
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the test programs: %w\n%s", err, out)
	}
	return nil
}

// onHost runs tests that boot guests by themselves.
func (l *lane) onHost(ctx context.Context, folders []string) error {
	if len(folders) == 0 {
		return nil
	}
	args := []string{"test", "-json", "-count=1", "-p=1", "-parallel=2", "-timeout=20m"}
	if l.only != nil {
		args = append(args, "-run="+l.only.String()+l.below)
	}
	for _, folder := range folders {
		args = append(args, "./tests/"+folder)
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Env = append(os.Environ(), "LANHOOK_TEST_HAVE="+strings.Join(have(), ","))
	if len(l.kernels) == 1 {
		command.Env = append(command.Env, "LANHOOK_VM_KERNELS="+l.kernels[0]+" "+l.kernels[0])
	}
	command.Stdout, command.Stderr = l.out, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("tests on the host: %w", err)
	}
	return nil
}

// inGuest runs a suite, and fails when not all went well.
func (l *lane) inGuest(ctx context.Context, s suite) error {
	program, err := filepath.Abs(filepath.Join(l.programs, s.folder+".test"))
	if err != nil {
		return err
	}
	built, err := filepath.Abs("bin/lanhook")
	if err != nil {
		return err
	}
	options := vm.Options{
		Kernel: s.kernel, Dir: "tests/" + s.folder, Timeout: guestLimit, Modprobe: modules(),
		Env: []string{"LANHOOK_TEST_HAVE=" + strings.Join(have(), ","), "LANHOOK_BIN=" + built},
	}
	name := s.String()
	c, err := convert(ctx, name, l.out)
	if err != nil {
		return err
	}
	var log bytes.Buffer
	report, err := vm.Boot(ctx, options, vm.Streams{Stdout: c, Stderr: c, Log: &log}, program,
		"-test.v=test2json", "-test.timeout="+testLimit.String(), "-test.run=^("+strings.Join(s.tests, "|")+")$"+l.below)
	seen, convertErr := c.end()
	err = errors.Join(err, convertErr)
	l.out.text(name, log.String())
	if err == nil {
		err = s.judge(report, seen)
	}
	took := fmt.Sprintf("%s\t%.1fs", name, report.Whole.Seconds())
	if err != nil {
		l.out.text(name, "lane: "+err.Error()+"\n")
		l.out.text(name, "FAIL\t"+took+"\n")
		l.out.put(event{Action: "fail", Package: name})
		return fmt.Errorf("%s: %w", name, err)
	}
	l.out.text(name, fmt.Sprintf("ok  \t%s\tbooted in %.1fs\n", took, report.Start.Seconds()))
	l.out.put(event{Action: "pass", Package: name})
	return nil
}

// judge says what is wrong with what came of a suite, if anything is.
func (s suite) judge(report vm.Report, seen map[string]string) error {
	passed := 0
	for _, result := range seen {
		if result == "pass" {
			passed++
		}
	}
	switch {
	case report.Exit != 0:
		return fmt.Errorf("exit %d of %s", report.Exit, s.folder)
	case passed == 0:
		return errors.New("no test ran")
	}
	for _, name := range s.tests {
		result := seen[name]
		if result == "" {
			return fmt.Errorf("%s did not run", name)
		}
		if result == "skip" && slices.Contains(s.meant, name) {
			return fmt.Errorf("%s was skipped, and nothing else runs it", name)
		}
	}
	return nil
}
