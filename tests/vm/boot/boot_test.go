//go:build linux

// Package boot tests the test machine itself: what a guest does, and above all that nothing that goes wrong in it looks
// like a success. It boots guests, and runs on the host.
package boot

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanhook/lanhook/tests/vm"
)

// outcome is what came of one command in a guest of its own.
type outcome struct {
	report              vm.Report
	stdout, stderr, log []byte
}

func boot(t *testing.T, o vm.Options, args ...string) outcome {
	t.Helper()
	var stdout, stderr, log bytes.Buffer
	report, err := vm.Boot(t.Context(), o, vm.Streams{Stdout: &stdout, Stderr: &stderr, Log: &log}, args...)
	if err != nil {
		t.Fatal(err)
	}
	return outcome{report, stdout.Bytes(), stderr.Bytes(), log.Bytes()}
}

func kernels(t *testing.T, fn func(t *testing.T, kernel string)) {
	t.Helper()
	for _, kernel := range vm.Kernels() {
		t.Run(kernel, func(t *testing.T) { fn(t, kernel) })
	}
}

func TestBootExit(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		args    []string
		timeout time.Duration
		exit    int
		// Parts of what comes back.
		stdout, stderr, log string
	}{
		{name: "success", args: []string{"true"}},
		{name: "status", args: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}, exit: 3, stdout: "out\n", stderr: "err\n"},
		{name: "signal", args: []string{"sh", "-c", "kill -9 $$"}, exit: 137},
		{name: "no such program", args: []string{"no-such-program"}, exit: 127, stderr: "no-such-program"},
		{name: "no program", args: []string{"/etc/passwd"}, exit: 126, stderr: "permission denied"},
		{name: "words", args: []string{"printf", "%s|", "a b", "c\nd", `"'$x`, "é", ""}, stdout: "a b|c\nd|\"'$x|é||"},
		{name: "streams by name", args: []string{"sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr"}, stdout: "out\n", stderr: "err\n"},
		{name: "left in the background", args: []string{"sh", "-c", "sleep 1000 & echo out"}, stdout: "out\n"},
		{
			// A Go program says where it is before it ends.
			name: "too long", args: []string{program, "-test.run=^TestHang$"}, timeout: time.Second, exit: vm.ExitTimeout,
			stderr: "goroutine ", log: "took more than 1s",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := vm.Options{Timeout: test.timeout}
			if test.name == "too long" {
				o.Env = []string{hang + "=1"}
			}
			got := boot(t, o, test.args...)
			if got.report.Exit != test.exit {
				t.Errorf("exit %d, want %d", got.report.Exit, test.exit)
			}
			if test.stdout != "" && string(got.stdout) != test.stdout {
				t.Errorf("stdout %q, want %q", got.stdout, test.stdout)
			}
			if !strings.Contains(string(got.stderr), test.stderr) {
				t.Errorf("stderr has no %q:\n%s", test.stderr, got.stderr)
			}
			// Of a boot that is tried again, which is none of the command's, the log may tell more.
			if !strings.Contains(string(got.log), test.log) || test.log == "" && len(got.log) > 0 && got.report.Boots == 1 {
				t.Errorf("log, want %q:\n%s", test.log, got.log)
			}
		})
	}
}

// TestBootDies shows that a guest whose command has started is not booted again.
func TestBootDies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ key, log string }{
		"panic":        {"c", "sysrq triggered crash"},
		"switched off": {"o", "ended while the command ran"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			got := boot(t, vm.Options{Shares: []string{dir}}, "sh", "-c",
				`echo begun >>"$0/begun"; sync; echo "$1" >/proc/sysrq-trigger; sleep 100`, dir, c.key)
			if got.report.Exit != vm.ExitGuest || !strings.Contains(string(got.log), c.log) {
				t.Errorf("exit %d, log, want %q:\n%s", got.report.Exit, c.log, got.log)
			}
			if text, err := os.ReadFile(filepath.Join(dir, "begun")); err != nil || string(text) != "begun\n" {
				t.Errorf("the command has written %q, %v", text, err)
			}
		})
	}
}

// hang makes [TestHang] hang: in a guest, not here.
const hang = "LANHOOK_VM_HANG"

func TestHang(t *testing.T) {
	if os.Getenv(hang) != "" {
		time.Sleep(time.Hour)
	}
}

func TestBootBinary(t *testing.T) {
	t.Parallel()
	content := make([]byte, 1<<20)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "content")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	kernels(t, func(t *testing.T, kernel string) {
		got := boot(t, vm.Options{Kernel: kernel, Keep: []string{dir}}, "sh", "-euc", `cat "$0"; cat "$0" >&2`, file)
		if got.report.Exit != 0 || !bytes.Equal(got.stdout, content) || !bytes.Equal(got.stderr, content) {
			t.Errorf("exit %d; %d and %d bytes of %d came back, or others", got.report.Exit, len(got.stdout), len(got.stderr), len(content))
		}
	})
}

// TestBootAgain has the guest fail before its command starts: for want of a folder that it is told to keep.
func TestBootAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "kept")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	got := boot(t, vm.Options{Modprobe: []string{"no-such-module"}}, "true")
	if got.report.Exit != vm.ExitGuest || got.report.Boots != 3 || !strings.Contains(string(got.log), "no-such-module not found") {
		t.Errorf("exit %d after %d boots, want %d after 3; log:\n%s", got.report.Exit, got.report.Boots, vm.ExitGuest, got.log)
	}
}

// TestBootFiles shows what a guest sees of the host's files, and that the host's stay as they are.
func TestBootFiles(t *testing.T) {
	t.Parallel()
	shared, kept, hidden := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{shared, kept, hidden} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("host\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kernels(t, func(t *testing.T, kernel string) {
		name := "made-by-" + kernel
		got := boot(t, vm.Options{Kernel: kernel, Shares: []string{shared}, Keep: []string{kept}}, "sh", "-euc", `
			cat "$0/file" "$1/file"
			test ! -e "$2"
			echo guest >"$0/$3"
			echo guest >"$1/file"
			rm /usr/bin/env
			uname -r`, shared, kept, hidden, name)
		if got.report.Exit != 0 || !strings.HasPrefix(string(got.stdout), "host\nhost\n"+kernel+".") {
			t.Errorf("exit %d, stdout %s, stderr %s", got.report.Exit, got.stdout, got.stderr)
		}
		if text, err := os.ReadFile(filepath.Join(shared, name)); err != nil || string(text) != "guest\n" {
			t.Errorf("in the share the guest wrote %q, %v", text, err)
		}
		if text, err := os.ReadFile(filepath.Join(kept, "file")); err != nil || string(text) != "host\n" {
			t.Errorf("the kept file is %q, %v", text, err)
		}
		if _, err := os.Stat("/usr/bin/env"); err != nil {
			t.Error(err)
		}
	})
}

// TestBootCanceled shows that nothing is left of a guest that is given up.
func TestBootCanceled(t *testing.T) {
	t.Parallel()
	mark := fmt.Sprintf("canceled-%d", os.Getpid())
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(dir, mark)); err == nil {
				cancel()
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	_, err := vm.Boot(ctx, vm.Options{Shares: []string{dir}}, vm.Streams{}, "sh", "-c", `touch "$0"; sleep 1000`, filepath.Join(dir, mark))
	if err == nil {
		t.Error("no error")
	}
	if out, err := exec.Command("pgrep", "-f", "qemu.*path="+dir).Output(); err == nil {
		t.Errorf("still runs: %s", out)
	}
}
