package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/tests/standin"
)

// configEnv names the wrapper's runtime.toml. The test program is also the wrapper, and a copy of it is the real runtime.
const configEnv = "LANHOOK_TEST_CONFIG"

func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); {
	case name == "lanhook-runtime", name == "runc":
		os.Exit(run(os.Args[1:], os.Environ(), os.Stderr, os.Getenv(configEnv)))
	case strings.HasPrefix(name, "fake-"):
		os.Exit(standin.Main("from the runtime\n"))
	}
	os.Exit(m.Run())
}

// world is a folder with a runtime, a hook, a runtime.toml and a bundle.
type world struct {
	dir, config, runtime, lanhook, bundle string
	env                                   []string
}

const asking = `{"annotations":{"io.lanhook.network":"lan"},"linux":{"namespaces":[{"type":"network"}]}}`

func newWorld(t *testing.T, config string) *world {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		dir: dir, config: filepath.Join(dir, "runtime.toml"), runtime: filepath.Join(dir, "fake-runc"),
		lanhook: filepath.Join(dir, "lanhook"), bundle: filepath.Join(dir, "bundle"),
	}
	w.env = append(standin.Env(w.report()), configEnv+"="+w.config)
	me, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(t, w.runtime, string(me), 0o700)
	w.write(t, w.lanhook, "", 0o700)
	w.write(t, filepath.Join(w.bundle, "config.json"), config, 0o640)
	w.toml(t, "")
	return w
}

func (w *world) write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// toml writes a runtime.toml that names the runtime, the hook, a policy and a state directory, and more.
func (w *world) toml(t *testing.T, more string) {
	t.Helper()
	w.write(t, w.policy(), "version = 1\n[network.lan]\ndriver = \"bridge\"\n[[rule]]\nmatch = {}\nnetworks = [\"lan\"]\n", 0o600)
	w.write(t, w.config, fmt.Sprintf("version = 1\nruntime = %q\nlanhook = %q\npolicy = %q\nstate-dir = %q\n%s",
		w.runtime, w.lanhook, w.policy(), w.state(), more), 0o600)
}

func (w *world) policy() string { return filepath.Join(w.dir, "policy.toml") }

func (w *world) state() string { return filepath.Join(w.dir, "state") }

func (w *world) report() string { return filepath.Join(w.dir, "report") }

// call runs the wrapper in the bundle's folder.
func (w *world) call(t *testing.T, args ...string) standin.Outcome {
	t.Helper()
	command := exec.Command("/proc/self/exe", args...)
	command.Args[0] = "/somewhere/lanhook-runtime"
	command.Env, command.Dir, command.Stdin = w.env, w.bundle, strings.NewReader("stdin")
	return standin.Run(t, command, w.report())
}

// link gives the wrapper a path of its own.
func (w *world) link(t *testing.T) string {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "lanhook-runtime")
	if err := os.Symlink(me, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// text is the bundle's config.json.
func (w *world) text(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// refused fails unless the wrapper has said why on one line, and called nothing.
func (w *world) refused(t *testing.T, o standin.Outcome, want string) {
	t.Helper()
	if o.Got != nil || o.State.ExitCode() != 1 || o.Stdout != "" {
		t.Errorf("exit code %d, stdout %q, the runtime got %+v", o.State.ExitCode(), o.Stdout, o.Got)
	}
	if !strings.HasPrefix(o.Stderr, "lanhook-runtime: ") || !strings.Contains(o.Stderr, want) || strings.Count(o.Stderr, "\n") != 1 {
		t.Errorf("stderr %q, want one line with %q", o.Stderr, want)
	}
}
