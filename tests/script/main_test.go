//go:build linux

// Package script runs the real lanhook as root, by scripts that read like a session: testdata/*.txtar. Each has a host
// of its own (see package nettest), and all share a mount namespace in which /run and /etc are empty but for a machine
// id, so that neither the machine's journal nor its policy is touched, and addresses are the same everywhere.
package script

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

const (
	// stage is the environment variable that is set in the private mount namespace.
	stage = "LANHOOK_SCRIPT_STAGE"
	// envBinary is the one that names the lanhook to test; it is built when there is none.
	envBinary = "LANHOOK_BIN"
	// program is where scripts find it.
	program = "/run/bin/lanhook"
)

func TestMain(m *testing.M) {
	flag.Parse()
	switch listing := flag.Lookup("test.list").Value.String() != ""; {
	case os.Getenv(stage) != "":
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "make a private file system:", err)
			os.Exit(1)
		}
		os.Exit(nettest.Main(m))
	case listing, os.Getuid() != 0:
		// Without root each test says so itself.
		os.Exit(m.Run())
	default:
		os.Exit(outside())
	}
}

// outside builds lanhook and starts this program again in a mount namespace of its own.
func outside() int {
	dir, err := os.MkdirTemp("", "lanhook")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	built, err := build(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "build lanhook:", err)
		return 1
	}
	// The kernel kills the child when the thread that made it ends, so the thread has to last.
	runtime.LockOSThread()
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Args[0] = os.Args[0]
	again.Env = append(os.Environ(), stage+"=inside", envBinary+"="+built)
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = again.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the tests:", err)
		return 1
	}
	return 0
}

// build gives the path of lanhook.
func build(dir string) (string, error) {
	if path := os.Getenv(envBinary); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "lanhook")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "github.com/lanhook/lanhook/hook")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
}

// prepare fills the private mount namespace.
func prepare() error {
	// A policy that others may write is refused, and scripts write theirs with the umask of whoever runs the tests.
	syscall.Umask(0o022)
	data, err := os.ReadFile(os.Getenv(envBinary))
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") },
		func() error { return mountNew("/run", "mode=0755") },
		func() error { return mountNew("/etc", "mode=0755") },
		func() error { return os.Mkdir(filepath.Dir(program), 0o755) },
		func() error { return os.WriteFile(program, data, 0o755) },
		func() error {
			return os.WriteFile("/etc/machine-id", []byte("0123456789abcdef0123456789abcdef\n"), 0o644)
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func mountNew(path, options string) error {
	if err := syscall.Mount("tmpfs", path, "tmpfs", syscall.MS_NOSUID, options); err != nil {
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	return nil
}
