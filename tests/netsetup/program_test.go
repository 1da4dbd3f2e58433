//go:build linux

package netsetup_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// output is what a run of the program gave.
type output struct {
	code           int
	stdout, stderr string
}

// run runs the built program on the host. Its parent, which a hook takes for the runtime, is this process.
func (w *world) run(t *testing.T, stdin string, args ...string) output {
	t.Helper()
	return w.execute(t, stdin, w.commandLine(args))
}

func (w *world) commandLine(args []string) []string {
	line := append([]string{os.Getenv(programVar)}, args...)
	line = append(line, "--state-dir", w.stateDir)
	switch args[0] {
	case "hook", "attach", "plan", "network":
		line = append(line, "--policy", w.policyFile)
	}
	return line
}

// execute runs any command on the host.
func (w *world) execute(t *testing.T, stdin string, line []string, env ...string) output {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	w.Host.Do(t, func() {
		err := cmd.Run()
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			t.Fatal(err)
		}
	})
	return output{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs the program and fails the test unless it ends well and says nothing on stderr.
func (w *world) must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	o := w.run(t, stdin, args...)
	if o.code != 0 || o.stderr != "" {
		t.Fatalf("lanhook %s: exit code %d, %s", strings.Join(args, " "), o.code, o.stderr)
	}
	return o.stdout
}

// state is what the runtime tells a hook of the container.
func (b *box) state(t *testing.T, status string, annotations ...string) string {
	t.Helper()
	pid := b.PID
	if status == "stopped" {
		pid = 0
	}
	data, err := json.Marshal(map[string]any{
		"ociVersion": "1.2.0", "id": b.id, "status": status, "pid": pid,
		"bundle": filepath.Join("/run/bundles", b.id), "annotations": annotated(annotations),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// listed fails the test unless lanhook ls has this many containers.
func (w *world) listed(t *testing.T, want int) {
	t.Helper()
	var list []struct{ Container, State string }
	if err := json.Unmarshal([]byte(w.must(t, "", "ls", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != want {
		t.Errorf("lanhook ls has %+v, want %d", list, want)
	}
}

// stopped is what the runtime tells poststop of a container.
func (b *box) stopped(id string) string {
	return strings.ReplaceAll(`{"ociVersion": "1.2.0", "id": "ID", "status": "stopped", "bundle": "/run/bundles/ID"}`, "ID", id)
}
