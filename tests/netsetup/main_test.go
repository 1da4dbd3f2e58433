//go:build linux

// Package netsetup_test attaches and detaches containers on the real kernel, in a host of the test's own: policy text
// and annotations go in, what the kernel has is read back and used, and in the end everything is as before. The second
// half does it with the built program, which is killed, or sees the kernel or the file system fail, at every single
// step.
//
// Subtests bear the ids of docs/cases.md.
package netsetup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

// programVar is the environment variable that names the built program, as in tests/e2e. Without it, TestMain builds
// one.
const programVar = "LANHOOK_BIN"

// tracerVar is the environment variable that makes this program a tracer, with what it is to do.
const tracerVar = "LANHOOK_TEST_TRACER"

// private is set in the process that has a mount namespace of its own, so that what tests mount nobody else sees.
const private = "LANHOOK_TEST_PRIVATE_MOUNTS"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(tracerVar) != "":
		os.Exit(tracer())
	case os.Geteuid() != 0:
		// Each test says so itself.
		os.Exit(m.Run())
	case os.Getenv(private) != "":
		os.Exit(nettest.Main(m))
	default:
		os.Exit(outside())
	}
}

// outside builds the program and starts this one again in a mount namespace of its own.
func outside() int {
	dir, err := os.MkdirTemp("", "lanhook-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a folder for the program:", err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder of the test's, below the system's temporary one
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), private+"=1")
	if os.Getenv(programVar) == "" {
		path := filepath.Join(dir, "lanhook")
		if err := buildProgram(path); err != nil {
			fmt.Fprintln(os.Stderr, "build the program:", err)
			return 1
		}
		cmd.Env = append(cmd.Env, programVar+"="+path)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The runtime makes all mounts of the new namespace private.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	err = cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		fmt.Fprintln(os.Stderr, "start the tests:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// buildProgram builds the program as it is released.
func buildProgram(path string) error {
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-buildvcs=false", "-o", path, "../../hook")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
