// Package standin is a program that stands for another one in tests: the test program itself, under another name. It
// writes down what it was given, and ends as it is told.
package standin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	reportEnv = "LANHOOK_TEST_REPORT" // where it writes its report
	exitEnv   = "LANHOOK_TEST_EXIT"   // its exit code, or the signal that ends it, as -9
)

// Report is what it was given.
type Report struct {
	PID   int
	Args  []string
	Env   []string
	Dir   string
	Stdin string
}

// Main is its main function: it prints a text, and gives the exit code.
func Main(says string) int {
	dir, err := os.Getwd()
	if err != nil {
		return 90
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 91
	}
	data, err := json.Marshal(Report{os.Getpid(), os.Args, os.Environ(), dir, string(stdin)})
	if err != nil || os.WriteFile(os.Getenv(reportEnv), data, 0o600) != nil {
		return 92
	}
	fmt.Print(says)
	code, err := strconv.Atoi(os.Getenv(exitEnv))
	if err != nil {
		return 0
	}
	if code < 0 {
		if syscall.Kill(os.Getpid(), syscall.Signal(-code)) != nil {
			return 93
		}
		time.Sleep(10 * time.Second) // the signal may be another thread's to take
	}
	return code
}

// Env is what a call of it needs in its environment: where its report is to be written.
func Env(report string) []string {
	// With the race detector, it would wait a second before it ends.
	return []string{reportEnv + "=" + report, "GORACE=atexit_sleep_ms=0"}
}

// Exit is what lets it end with this exit code, or for -9 by signal 9, in its environment.
func Exit(code int) string { return fmt.Sprintf("%s=%d", exitEnv, code) }

// Outcome is how a call ended.
type Outcome struct {
	Stdout, Stderr string
	State          *os.ProcessState
	// Got is the report, nil when it was not called.
	Got *Report
}

// Run runs a command, whose outputs are read, and takes the report away.
func Run(t *testing.T, command *exec.Cmd, report string) Outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := Outcome{Stdout: stdout.String(), Stderr: stderr.String(), State: command.ProcessState}
	data, err := os.ReadFile(report)
	if err == nil {
		err = errors.Join(json.Unmarshal(data, &o.Got), os.Remove(report))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return o
}
