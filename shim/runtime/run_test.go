package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/guest"
)

// The test program is also the wrapper, and a copy of it is the real runtime. They are told what to do by these.
const (
	configEnv = "LANHOOK_TEST_CONFIG" // the wrapper's runtime.toml
	reportEnv = "LANHOOK_TEST_REPORT" // where the runtime writes what it was given
	exitEnv   = "LANHOOK_TEST_EXIT"   // the runtime's exit code, or the signal that ends it, as -9
)

func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); {
	case name == "lanhook-runtime", name == "runc":
		os.Exit(run(os.Args[1:], os.Environ(), os.Stderr, os.Getenv(configEnv)))
	case strings.HasPrefix(name, "fake-"):
		os.Exit(fake())
	}
	os.Exit(m.Run())
}

// report is what a runtime was given.
type report struct {
	PID   int
	Args  []string
	Env   []string
	Dir   string
	Stdin string
}

// fake is a runtime that writes down what it was given.
func fake() int {
	dir, err := os.Getwd()
	if err != nil {
		return 90
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 91
	}
	data, err := json.Marshal(report{os.Getpid(), os.Args, os.Environ(), dir, string(stdin)})
	if err != nil || os.WriteFile(os.Getenv(reportEnv), data, 0o600) != nil {
		return 92
	}
	fmt.Println("from the runtime")
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
	w.env = []string{
		configEnv + "=" + w.config, reportEnv + "=" + filepath.Join(dir, "report"),
		// With the race detector, each of these would wait a second before it ends.
		"GORACE=atexit_sleep_ms=0",
	}
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

// outcome is how a call ended.
type outcome struct {
	stdout, stderr string
	state          *os.ProcessState
	pid            int
	// got is what the runtime was given, nil when it was not called.
	got *report
}

// call runs the wrapper in the bundle's folder.
func (w *world) call(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.Command("/proc/self/exe", args...)
	command.Args[0] = "/somewhere/lanhook-runtime"
	command.Env, command.Dir = w.env, w.bundle
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader("stdin"), &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{stdout: stdout.String(), stderr: stderr.String(), state: command.ProcessState, pid: command.Process.Pid}
	report := filepath.Join(w.dir, "report")
	data, err := os.ReadFile(report)
	if err == nil {
		if err := errors.Join(json.Unmarshal(data, &o.got), os.Remove(report)); err != nil {
			t.Fatal(err)
		}
	}
	return o
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
func (w *world) refused(t *testing.T, o outcome, want string) {
	t.Helper()
	if o.got != nil || o.state.ExitCode() != 1 || o.stdout != "" {
		t.Errorf("exit code %d, stdout %q, the runtime got %+v", o.state.ExitCode(), o.stdout, o.got)
	}
	if !strings.HasPrefix(o.stderr, "lanhook-runtime: ") || !strings.Contains(o.stderr, want) || strings.Count(o.stderr, "\n") != 1 {
		t.Errorf("stderr %q, want one line with %q", o.stderr, want)
	}
}

// TestNotAgain: a runtime that looks for runc in PATH finds the one behind the wrapper, which stands for runc there when
// containerd-shim-lanhook-v2 has called.
func TestNotAgain(t *testing.T) {
	w := newWorld(t, `{}`)
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first, second := filepath.Join(w.dir, "first"), filepath.Join(w.dir, "second")
	for _, dir := range []string{first, second} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(me, filepath.Join(first, "runc")); err != nil {
		t.Fatal(err)
	}
	w.write(t, filepath.Join(second, "runc"), "#!/bin/sh\nexec '"+w.runtime+"' \"$@\"\n", 0o700)
	between := filepath.Join(w.dir, "between")
	// It counts its calls, since one that finds itself has no end.
	w.write(t, between, "#!/bin/sh\n[ -e '"+between+".was' ] && exit 7\n: >'"+between+".was'\nexec runc \"$@\"\n", 0o700)
	w.write(t, w.config, fmt.Sprintf("version = 1\nruntime = %q\n", between), 0o600)
	env := w.env
	w.env = append(slices.Clone(env), "PATH="+first+":"+second, "LAST=1")
	o := w.call(t, "create", "web")
	if o.got == nil || o.state.ExitCode() != 0 || !slices.Contains(o.got.Env, "PATH="+second) || !slices.Contains(o.got.Env, "LAST=1") {
		t.Errorf("exit code %d, stderr %q, the runtime got %+v", o.state.ExitCode(), o.stderr, o.got)
	}
	// Alone, the folder leaves no PATH; another one that is first stays.
	w.toml(t, "")
	for path, want := range map[string]bool{first: false, second + ":" + first: true} {
		w.env = append(slices.Clone(env), "PATH="+path)
		if o := w.call(t, "create", "web"); o.got == nil || slices.Contains(o.got.Env, "PATH="+path) != want || slices.Contains(o.got.Env, "PATH=") {
			t.Errorf("PATH=%s: the runtime got %+v", path, o.got)
		}
	}
}

// TestPassed: every call reaches the real runtime as it was made.
func TestPassed(t *testing.T) {
	w := newWorld(t, `{"annotations":{"a":"b"}}`)
	for _, args := range [][]string{
		{"--version"},
		{},
		{"features"},
		{"--root", "/r", "state", "web"},
		{"--log", "/no/such/log", "delete", "--force", "web"},
		{"kill", "web", "KILL"},
		{"exec", "-t", "web", "sh", "--lanhook-profile=x", "create"},
		{"nonsense"},
		{"create", "web"},
		{"--debug", "create", "--bundle", w.bundle, "--preserve-fds", "1", "web"},
		{"run", "-b=.", "we b"},
		{"restore", "web", "--bundle", "../bundle"},
	} {
		t.Run("RT-03 "+strings.Join(args, " "), func(t *testing.T) {
			o := w.call(t, args...)
			want := &report{
				PID: o.pid, Args: append([]string{w.runtime}, args...), Env: w.env, Dir: w.bundle, Stdin: "stdin",
			}
			if diff := cmp.Diff(want, o.got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if o.state.ExitCode() != 0 || o.stdout != "from the runtime\n" || o.stderr != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q", o.state.ExitCode(), o.stdout, o.stderr)
			}
		})
	}
	if got := w.text(t); got != `{"annotations":{"a":"b"}}` {
		t.Errorf("config.json is now %s", got)
	}
}

// TestEnds: how the runtime ends is how the wrapper ends, since they are the same process.
func TestEnds(t *testing.T) {
	w := newWorld(t, asking)
	env := w.env
	for _, code := range []int{0, 1, 3, 255} {
		w.env = append(slices.Clone(env), fmt.Sprintf("%s=%d", exitEnv, code))
		if o := w.call(t, "create", "web"); o.state.ExitCode() != code || o.got == nil {
			t.Errorf("exit code %d: got %v", code, o.state)
		}
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		w.env = append(slices.Clone(env), fmt.Sprintf("%s=%d", exitEnv, -int(signal)))
		o := w.call(t, "create", "web")
		status, ok := o.state.Sys().(syscall.WaitStatus)
		if !ok || !status.Signaled() || status.Signal() != signal {
			t.Errorf("signal %s: got %v", signal, o.state)
		}
	}
}

// TestInherited: open files, the working folder, limits and ignored signals are the caller's. Of the latter Go keeps HUP
// and INT only, and gives the others back as they are by default.
func TestInherited(t *testing.T) {
	w := newWorld(t, asking)
	// A shell opens and changes nothing by itself, as a Go program does.
	w.write(t, w.runtime, `#!/bin/sh
ulimit -Sn; umask
grep SigIgn /proc/$$/status
for fd in /proc/$$/fd/*; do echo "$(basename "$fd") $(readlink "$fd")"; done
`, 0o700)
	list := func(program string, args ...string) string {
		t.Helper()
		script := `ulimit -Sn 77; umask 077; trap '' HUP INT; exec 7</dev/null 9>/dev/zero; cd /; exec "$@"`
		command := exec.Command("sh", append([]string{"-c", script, "sh", program}, args...)...)
		command.Env = append(slices.Clone(w.env), "PATH=/usr/bin:/bin")
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	wrapper := w.link(t)
	bare, wrapped := list(w.runtime), list(wrapper, "create", "--bundle", w.bundle, "web")
	// The output's pipe is another one each time.
	bare, wrapped = withoutPipes(bare), withoutPipes(wrapped)
	if diff := cmp.Diff(bare, wrapped); diff != "" || !strings.Contains(bare, "7 /dev/null") || !strings.HasPrefix(bare, "77\n0077\n") {
		t.Errorf("-bare +wrapped\n%s\n%s", diff, bare)
	}
	if !strings.Contains(w.text(t), "lanhook-runtime") {
		t.Errorf("config.json is not edited: %s", w.text(t))
	}
}

func withoutPipes(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		before, _, _ := strings.Cut(line, "pipe:")
		lines = append(lines, before)
	}
	return strings.Join(lines, "")
}

// TestEdited: create, run and restore of a container that asks for something.
func TestEdited(t *testing.T) {
	for _, command := range []string{"create", "run", "restore"} {
		t.Run("RT-03 "+command, func(t *testing.T) {
			w := newWorld(t, asking)
			o := w.call(t, command, "web")
			if o.got == nil || o.stderr != "" {
				t.Fatalf("got %+v", o)
			}
			text := w.text(t)
			for _, stage := range []string{"createRuntime", "poststop"} {
				want := fmt.Sprintf(`{"path":%q,"args":["lanhook","hook",%q,"--by","lanhook-runtime","--policy",%q,`+
					`"--state-dir",%q,"--guest",%q],"env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],"timeout":30}`, w.lanhook, stage,
					w.policy(), w.state(), guest.Key(w.bundle, "web"))
				if !strings.Contains(text, want) {
					t.Errorf("no hook %s in %s", want, text)
				}
			}
			info, err := os.Stat(filepath.Join(w.bundle, "config.json"))
			if err != nil || info.Mode() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if o = w.call(t, command, "web"); o.got == nil || w.text(t) != text {
				t.Errorf("a second time: %+v\n%s", o, w.text(t))
			}
		})
	}
	for _, command := range []string{"start", "state", "delete", "kill"} {
		w := newWorld(t, asking)
		if o := w.call(t, command, "web"); o.got == nil || w.text(t) != asking {
			t.Errorf("%s: %+v\n%s", command, o, w.text(t))
		}
	}
}

func TestProfile(t *testing.T) {
	const plain = `{"linux":{"namespaces":[{"type":"network"}]}}`
	w := newWorld(t, plain)
	other := filepath.Join(w.dir, "fake-crun")
	if err := os.Rename(w.runtime, other); err != nil {
		t.Fatal(err)
	}
	w.toml(t, fmt.Sprintf("[profile.lan]\nruntime = %q\n[profile.lan.annotations]\n\"io.lanhook.network\" = \"lan\"\n", other))
	o := w.call(t, "--lanhook-profile=lan", "--debug", "create", "-b"+w.bundle, "web")
	if o.got == nil || !slices.Equal(o.got.Args, []string{other, "--debug", "create", "-b" + w.bundle, "web"}) {
		t.Fatalf("got %+v", o)
	}
	if text := w.text(t); !strings.Contains(text, `"annotations":{"io.lanhook.network":"lan"}`) || !strings.Contains(text, "--by") {
		t.Errorf("config.json is %s", text)
	}
	w.runtime = other
	w.toml(t, "")
	w.refused(t, w.call(t, "--lanhook-profile=lan", "create", "web"), `profile "lan": `)
	if o := w.call(t, "--lanhook-profile=lan", "delete", "web"); o.got == nil {
		t.Errorf("delete was not passed on: %+v", o)
	}
	w.refused(t, w.call(t, "--lanhook-profile", "", "create", "web"), "--lanhook-profile names no profile")
}

// TestBrokenConfig: containers that ask for something are refused, all else is passed on.
func TestBrokenConfig(t *testing.T) {
	const plain = `{"annotations":{"a":"b"},"linux":{"namespaces":[{"type":"network"}]}}`
	t.Run("asking", func(t *testing.T) {
		w := newWorld(t, asking)
		w.toml(t, "polici = \"/etc/p\"\n")
		want := w.config + `:6:1: unknown key "polici" (did you mean policy?)`
		w.refused(t, w.call(t, "create", "web"), "lanhook-runtime: create: "+want)
		for _, command := range []string{"state", "kill", "delete", "start"} {
			if o := w.call(t, command, "web"); o.got == nil || o.got.Args[0] != w.runtime {
				t.Errorf("%s was not passed on: %+v", command, o)
			}
		}
		if w.text(t) != asking {
			t.Errorf("config.json is %s", w.text(t))
		}
	})
	t.Run("not asking", func(t *testing.T) {
		w := newWorld(t, plain)
		w.toml(t, "polici = \"/etc/p\"\n[profile.lan]\n")
		if o := w.call(t, "create", "web"); o.got == nil || w.text(t) != plain {
			t.Errorf("create was not passed on: %+v\n%s", o, w.text(t))
		}
		w.refused(t, w.call(t, "--lanhook-profile=lan", "create", "web"), "unknown key")
		w.refused(t, w.call(t, "--lanhook-profile=other", "create", "web"), "unknown key")
	})
	t.Run("asking by default", func(t *testing.T) {
		w := newWorld(t, plain)
		w.toml(t, "polici = \"/etc/p\"\n[annotations]\n\"io.lanhook.network\" = \"lan\"\n")
		w.refused(t, w.call(t, "create", "web"), "unknown key")
	})
	t.Run("others may write it", func(t *testing.T) {
		w := newWorld(t, asking)
		if err := os.Chmod(w.config, 0o602); err != nil {
			t.Fatal(err)
		}
		// Then what it says counts for nothing, and the runtime is the machine's.
		o := w.call(t, "create", "web")
		if !strings.Contains(o.stderr, w.config+": others may write it: its mode is 0602 (chmod go-w "+w.config+")") {
			t.Errorf("got %+v", o)
		}
	})
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, w *world)
		want  string
	}{
		{"RT-04 runtime missing", func(t *testing.T, w *world) {
			t.Helper()
			w.runtime = filepath.Join(w.dir, "no")
			w.toml(t, "")
		}, "/no: it is not there (name another as runtime in /etc/lanhook/runtime.toml)"},
		{"RT-04 runtime is a folder", func(t *testing.T, w *world) {
			t.Helper()
			w.runtime = w.bundle
			w.toml(t, "")
		}, "bundle: it is a folder"},
		{"RT-04 runtime cannot be executed", func(t *testing.T, w *world) {
			t.Helper()
			if err := os.Chmod(w.runtime, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "fake-runc: it cannot be executed"},
		{"RT-04 runtime is no program", func(t *testing.T, w *world) {
			t.Helper()
			w.write(t, w.runtime, "nonsense", 0o700)
		}, "fake-runc: exec format error"},
		{"RT-04 runtime is the wrapper", func(t *testing.T, w *world) {
			t.Helper()
			me, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			w.runtime = filepath.Join(w.dir, "runc")
			if err := os.Symlink(me, w.runtime); err != nil {
				t.Fatal(err)
			}
			w.toml(t, "")
		}, "that is this very program"},
		{"hook missing", func(t *testing.T, w *world) {
			t.Helper()
			if err := os.Remove(w.lanhook); err != nil {
				t.Fatal(err)
			}
		}, "lanhook: it is not there (name another as lanhook in /etc/lanhook/runtime.toml)"},
		{"RT-03 no config.json", func(t *testing.T, w *world) {
			t.Helper()
			if err := os.Remove(filepath.Join(w.bundle, "config.json")); err != nil {
				t.Fatal(err)
			}
		}, "read the bundle's "},
		{"RT-03 config.json is huge", func(t *testing.T, w *world) {
			t.Helper()
			if err := os.Truncate(filepath.Join(w.bundle, "config.json"), 1<<30); err != nil {
				t.Fatal(err)
			}
		}, "config.json: it is longer than 16777216 bytes"},
		{"RT-03 config.json is not JSON", func(t *testing.T, w *world) {
			t.Helper()
			w.write(t, filepath.Join(w.bundle, "config.json"), "{", 0o600)
		}, "config.json: it is cut off after 1 bytes"},
		{"RT-03 config.json is a link", func(t *testing.T, w *world) {
			t.Helper()
			file := filepath.Join(w.bundle, "config.json")
			if err := errors.Join(os.Rename(file, file+".x"), os.Symlink("config.json.x", file)); err != nil {
				t.Fatal(err)
			}
		}, "config.json: it is not a regular file"},
		{"annotations", func(t *testing.T, w *world) {
			t.Helper()
			config := `{"annotations":{"io.lanhook.network":"lan,ip=x","io.lanhook.nam":"\u001b[31m\n"}}`
			w.write(t, filepath.Join(w.bundle, "config.json"), config, 0o600)
		}, "annotation io.lanhook.nam: there is no such annotation; annotation io.lanhook.network: ip \"x\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, asking)
			tt.spoil(t, w)
			w.refused(t, w.call(t, "create", "web"), tt.want)
			entries, err := os.ReadDir(w.bundle)
			hidden := func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }
			if err != nil || slices.ContainsFunc(entries, hidden) {
				t.Errorf("the bundle has %v, %v", entries, err)
			}
		})
	}
	t.Run("RT-02 missing value", func(t *testing.T) {
		w := newWorld(t, asking)
		w.refused(t, w.call(t, "create", "web", "--bundle"), `create: the option "--bundle" has no value`)
	})
	t.Run("RT-03 config.json cannot be written", func(t *testing.T) {
		// The engine mounts all files, so that this is the only one to be written.
		config := strings.Replace(asking, "{", `{"mounts":[{"destination":"/etc"}],`, 1)
		w := newWorld(t, config)
		wrapper := w.link(t)
		// No file may be longer than nothing, which holds for root too.
		command := exec.Command("sh", "-c", `ulimit -f 0; exec "$@"`, "sh", wrapper, "create", "--bundle", w.bundle, "web")
		command.Env = append(slices.Clone(w.env), "PATH=/usr/bin:/bin")
		out, err := command.CombinedOutput()
		want := "lanhook-runtime: create: write " + w.bundle + "/config.json: file too large\n"
		if err == nil || string(out) != want || w.text(t) != config {
			t.Errorf("got %s, %v; want %s; config.json is %s", out, err, want, w.text(t))
		}
		if entries, err := os.ReadDir(w.bundle); err != nil || len(entries) != 1 {
			t.Errorf("the bundle has %v, %v", entries, err)
		}
	})
}

// TestOtherConfig: crun can be given a configuration that is not the bundle's.
func TestOtherConfig(t *testing.T) {
	w := newWorld(t, asking)
	crun := filepath.Join(w.dir, "fake-crun")
	if err := os.Rename(w.runtime, crun); err != nil {
		t.Fatal(err)
	}
	w.runtime = crun
	w.toml(t, "")
	other := filepath.Join(w.dir, "other.json")
	w.write(t, other, `{}`, 0o600)
	if o := w.call(t, "create", "-f", other, "web"); o.got == nil || w.text(t) != asking {
		t.Errorf("got %+v\n%s", o, w.text(t))
	}
	w.write(t, other, asking, 0o600)
	w.refused(t, w.call(t, "create", "--config=../other.json", "web"), "--config "+other+": a container with annotations")
	for _, name := range []string{"config.json", w.bundle + "/config.json"} {
		if o := w.call(t, "create", "-f", name, "web"); o.got == nil || !strings.Contains(w.text(t), "--by") {
			t.Errorf("%s: got %+v\n%s", name, o, w.text(t))
		}
	}
}

// TestLog: an error is also where the engine looks for it.
func TestLog(t *testing.T) {
	const said = "lanhook-runtime: create: annotation io.lanhook.network: "
	for _, tt := range []struct {
		name string
		args func(log string) []string
		want string
	}{
		{"json", func(log string) []string { return []string{"--log", log, "--log-format", "json"} }, "json"},
		{"json of crun", func(log string) []string { return []string{"--log=file:" + log, "--log-format=json"} }, "json"},
		{"text", func(log string) []string { return []string{"--log", log} }, "text"},
		{"journal", func(string) []string { return []string{"--log=journald:x"} }, ""},
		{"none", func(string) []string { return nil }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, `{"annotations":{"io.lanhook.network":"lan,mtu=1"}}`)
			log := filepath.Join(w.dir, "log")
			w.write(t, log, "before\n", 0o600)
			w.refused(t, w.call(t, append(tt.args(log), "create", "web")...), said)
			data, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			line, ok := strings.CutPrefix(string(data), "before\n")
			var entry struct{ Level, Msg, Time string }
			switch {
			case !ok, tt.want == "" && line != "":
				t.Errorf("the log has %q", data)
			case tt.want == "json":
				if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level != "error" ||
					!strings.HasPrefix(entry.Msg, said) || entry.Time == "" {
					t.Errorf("the log has %q: %v", line, err)
				}
			case tt.want == "text":
				if !strings.Contains(line, ` level=error msg="`+said) || !strings.HasPrefix(line, `time="`) {
					t.Errorf("the log has %q", line)
				}
			}
		})
	}
	t.Run("cannot be written", func(t *testing.T) {
		w := newWorld(t, `{"annotations":{"io.lanhook.network":"lan,mtu=1"}}`)
		o := w.call(t, "--log", "/no/such/log", "create", "web")
		if !strings.Contains(o.stderr, said) || !strings.Contains(o.stderr, "write /no/such/log: ") || o.state.ExitCode() != 1 {
			t.Errorf("got %+v", o)
		}
	})
}
