package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/tests/standin"
)

// configEnv names the shim's runtime.toml. The test program is also the shim, and a copy of it is containerd's own.
const configEnv = "LANHOOK_TEST_CONFIG"

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "containerd-shim-lanhook-v2":
		os.Exit(run(os.Args[1:], os.Environ(), os.Stderr, os.Getenv(configEnv)))
	case "containerd-shim-runc-v2":
		os.Exit(standin.Main("unix:///run/containerd/s/1"))
	}
	os.Exit(m.Run())
}

// world is an installed lanhook beside an installed containerd.
//
//	bin/containerd-shim-lanhook-v2, lanhook, lanhook-runtime
//	lib/lanhook/bin/runc → ../../../bin/lanhook-runtime
//	containerd/containerd-shim-runc-v2
//	bundle/config.json
type world struct {
	dir, config, bundle, real string
	env                       []string
}

const asking = `{"annotations":{"io.lanhook.network":"lan"}}`

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		dir: dir, config: filepath.Join(dir, "runtime.toml"), bundle: filepath.Join(dir, "bundle"),
		real: filepath.Join(dir, "containerd", "containerd-shim-runc-v2"),
	}
	w.env = append(standin.Env(filepath.Join(dir, "report")), configEnv+"="+w.config)
	me, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"bin/containerd-shim-lanhook-v2": string(me), "containerd/containerd-shim-runc-v2": string(me),
		"bin/lanhook-runtime": "", "bundle/config.json": asking,
		"bin/lanhook": "#!/bin/sh\n{ echo \"$0 $*\"; pwd; env; cat; } >" + dir + "/hook\necho out\necho to the log >&2\nexit $(cat " + dir + "/code)\n",
		"code":        "0",
	} {
		w.write(t, filepath.Join(dir, path), text)
	}
	folder := filepath.Join(dir, "lib", "lanhook", "bin")
	if err := errors.Join(
		os.MkdirAll(folder, 0o700), os.Symlink("../../../bin/lanhook-runtime", filepath.Join(folder, "runc")),
	); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o700)); err != nil {
		t.Fatal(err)
	}
}

// outcome is how a call ended.
type outcome struct {
	standin.Outcome
	code int
	// hook is what the hook was given.
	hook string
}

func (w *world) call(t *testing.T, args ...string) outcome {
	t.Helper()
	command := exec.Command(filepath.Join(w.dir, "bin", "containerd-shim-lanhook-v2"), args...)
	command.Env, command.Dir, command.Stdin = w.env, w.bundle, strings.NewReader("options")
	o := outcome{Outcome: standin.Run(t, command, filepath.Join(w.dir, "report"))}
	o.code = o.State.ExitCode()
	hook := filepath.Join(w.dir, "hook")
	if data, err := os.ReadFile(hook); err == nil {
		o.hook = string(data)
	}
	if err := os.RemoveAll(hook); err != nil {
		t.Fatal(err)
	}
	return o
}

// from are the flags with which containerd calls.
func (w *world) from(more ...string) []string {
	return append([]string{
		"-namespace", "default", "-address", "/run/containerd/containerd.sock",
		"-publish-binary", filepath.Join(w.dir, "containerd", "containerd"), "-id", "web",
	}, more...)
}
