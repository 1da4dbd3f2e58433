package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
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

	"github.com/google/go-cmp/cmp"
)

// The test program is also the shim, and a copy of it is containerd's own. They are told what to do by these.
const (
	configEnv = "LANHOOK_TEST_CONFIG" // the shim's runtime.toml
	reportEnv = "LANHOOK_TEST_REPORT" // where containerd's shim writes what it was given
	exitEnv   = "LANHOOK_TEST_EXIT"   // its exit code, or the signal that ends it, as -9
)

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "containerd-shim-lanhook-v2":
		os.Exit(run(os.Args[1:], os.Environ(), os.Stderr, os.Getenv(configEnv)))
	case "containerd-shim-runc-v2":
		os.Exit(fake())
	}
	os.Exit(m.Run())
}

// report is what containerd's shim was given.
type report struct {
	PID   int
	Args  []string
	Env   []string
	Dir   string
	Stdin string
}

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
	fmt.Print("unix:///run/containerd/s/1")
	code, err := strconv.Atoi(os.Getenv(exitEnv))
	if err != nil {
		return 0
	}
	if code < 0 {
		if syscall.Kill(os.Getpid(), syscall.Signal(-code)) != nil {
			return 93
		}
	}
	return code
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
	w.env = []string{
		configEnv + "=" + w.config, reportEnv + "=" + filepath.Join(dir, "report"),
		// With the race detector, each of these would wait a second before it ends.
		"GORACE=atexit_sleep_ms=0",
	}
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
	stdout, stderr string
	code, pid      int
	// got is what containerd's shim was given, nil when it was not called, and hook what the hook was.
	got  *report
	hook string
}

func (w *world) call(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.Command(filepath.Join(w.dir, "bin", "containerd-shim-lanhook-v2"), args...)
	command.Env, command.Dir = w.env, w.bundle
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader("options"), &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{
		stdout: stdout.String(), stderr: stderr.String(), code: command.ProcessState.ExitCode(), pid: command.Process.Pid,
	}
	if data, err := os.ReadFile(filepath.Join(w.dir, "report")); err == nil {
		if err := json.Unmarshal(data, &o.got); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(w.dir, "hook")); err == nil {
		o.hook = string(data)
	}
	for _, file := range []string{"report", "hook"} {
		if err := os.RemoveAll(filepath.Join(w.dir, file)); err != nil {
			t.Fatal(err)
		}
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

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want call
	}{
		{"-namespace default -address /a -publish-binary /bin/containerd -id web -debug start", call{"start", "web", "", "/bin/containerd"}},
		{"-namespace=default -id=web -bundle=/b --publish-binary=/bin/c delete", call{"delete", "web", "/b", "/bin/c"}},
		{"-namespace delete -id start -address /a", call{"", "start", "", ""}},
		{"-v", call{}},
		{"-info", call{}},
		{"-id", call{}},
		{"-debug -- delete", call{action: "delete"}},
		{"--", call{}},
		{"", call{}},
	} {
		if got := parse(strings.Fields(tt.in)); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

// TestStart: containerd's own shim gets all as it was, but for PATH.
func TestStart(t *testing.T) {
	w := newWorld(t)
	folder := filepath.Join(w.dir, "lib", "lanhook", "bin")
	for _, tt := range []struct {
		name      string
		args, env []string
		// path is what PATH is now, and where it stands.
		path string
		at   int
	}{
		{
			"start", w.from("-debug", "start"),
			[]string{"A=b", "PATH=/usr/bin:/bin", "TTRPC_ADDRESS=/t"},
			folder + ":/usr/bin:/bin", 1,
		},
		{
			"the server", w.from(), []string{"PATH=" + folder + ":/usr/bin"}, folder + ":/usr/bin", 0,
		},
		{"empty PATH", w.from("start"), []string{"PATH=", "A=b"}, folder, 0},
		{
			"without PATH", w.from("start"),
			[]string{"A=b"},
			folder + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1 + len(w.env),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := w.env
			w.env = append(tt.env, env...)
			defer func() { w.env = env }()
			o := w.call(t, tt.args...)
			got := slices.DeleteFunc(slices.Clone(w.env), func(e string) bool { return strings.HasPrefix(e, "PATH=") })
			want := &report{
				PID: o.pid, Args: append([]string{w.real}, tt.args...), Env: slices.Insert(got, tt.at, "PATH="+tt.path),
				Dir: w.bundle, Stdin: "options",
			}
			if diff := cmp.Diff(want, o.got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if o.code != 0 || o.stdout != "unix:///run/containerd/s/1" || o.stderr != "" || o.hook != "" {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// TestShim: which of containerd's shims is taken.
func TestShim(t *testing.T) {
	w := newWorld(t)
	named := filepath.Join(w.dir, "named", "containerd-shim-runc-v2")
	w.write(t, named, "")
	me, err := os.ReadFile(w.real)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, named, string(me))
	w.write(t, w.config, fmt.Sprintf("version = 1\nshim = %q\nbroken = 1\n", named))
	if o := w.call(t, w.from("start")...); o.got == nil || o.got.Args[0] != named {
		t.Errorf("got %+v", o)
	}
	// Without -publish-binary it is the parent's.
	if err := errors.Join(os.Remove(w.config), os.Rename(w.real, filepath.Join(w.dir, "gone"))); err != nil {
		t.Fatal(err)
	}
	s := shim{}
	me2, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid()))
	if err != nil || s.caller() != me2 {
		t.Errorf("the caller is %s, %v; want %s", s.caller(), err, me2)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	w.write(t, w.config, "version = 1\nstate-dir = \"/run/s\"\n")
	env := w.env
	for _, code := range []int{0, 7} {
		w.env = append(slices.Clone(env), fmt.Sprintf("%s=%d", exitEnv, code))
		o := w.call(t, w.from("-bundle", w.bundle, "delete")...)
		if o.got == nil || o.got.PID == o.pid || o.got.Stdin != "options" || o.got.Dir != w.bundle || o.got.Args[0] != w.real {
			t.Errorf("containerd's shim got %+v", o.got)
		}
		if o.code != code || o.stdout != "unix:///run/containerd/s/1" || o.stderr != "to the log\n" {
			t.Errorf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
		}
		// The shell sets PWD and such by itself.
		lines := slices.DeleteFunc(strings.Split(o.hook, "\n"), func(line string) bool {
			return strings.HasPrefix(line, "PWD=") || strings.HasPrefix(line, "_=") || strings.HasPrefix(line, "SHLVL=") || strings.HasPrefix(line, "OLDPWD=")
		})
		want := []string{
			filepath.Join(w.dir, "bin", "lanhook") + " hook poststop --by lanhook-runtime --state-dir /run/s", "/",
			"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
			fmt.Sprintf(`{"bundle":%q,"id":"web","ociVersion":"1.0.2","status":"stopped"}`, w.bundle),
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("the hook: -want +got\n%s", diff)
		}
	}
	t.Run("by a signal", func(t *testing.T) {
		w.env = append(slices.Clone(env), exitEnv+"=-9")
		if o := w.call(t, w.from("-bundle", w.bundle, "delete")...); o.code != 137 || o.hook == "" {
			t.Errorf("got %+v", o)
		}
	})
	w.env = env
	t.Run("the detach fails", func(t *testing.T) {
		w.write(t, filepath.Join(w.dir, "code"), "3")
		o := w.call(t, w.from("-bundle", w.bundle, "delete")...)
		want := "to the log\ncontainerd-shim-lanhook-v2: delete web: the last detach: " + filepath.Join(w.dir, "bin", "lanhook") + " ended with exit code 3\n"
		if o.code != 0 || o.stderr != want {
			t.Errorf("got %+v\nwant %s", o, want)
		}
	})
	t.Run("the bundle is gone", func(t *testing.T) {
		if o := w.call(t, w.from("-bundle", "/no/such", "delete")...); o.hook == "" || !strings.Contains(o.hook, `"bundle":"/no/such"`) {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("without -bundle it is the working folder", func(t *testing.T) {
		if o := w.call(t, w.from("delete")...); !strings.Contains(o.hook, fmt.Sprintf(`"bundle":%q`, w.bundle)) {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("without -id", func(t *testing.T) {
		o := w.call(t, "-publish-binary", filepath.Join(w.dir, "containerd", "containerd"), "delete")
		if o.code != 0 || o.got == nil || o.hook != "" || !strings.Contains(o.stderr, "the last detach: containerd told no -id") {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("nothing was asked for", func(t *testing.T) {
		w.write(t, filepath.Join(w.bundle, "config.json"), "{}")
		if o := w.call(t, w.from("-bundle", w.bundle, "delete")...); o.code != 0 || o.got == nil || o.hook != "" || o.stderr != "" {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("no hook", func(t *testing.T) {
		w.write(t, filepath.Join(w.bundle, "config.json"), asking)
		if err := os.Remove(filepath.Join(w.dir, "bin", "lanhook")); err != nil {
			t.Fatal(err)
		}
		o := w.call(t, w.from("-bundle", w.bundle, "delete")...)
		if o.code != 0 || o.got == nil || !strings.Contains(o.stderr, "the last detach: the hook "+w.dir+"/bin/lanhook: it is not there") {
			t.Errorf("got %+v", o)
		}
	})
}

func TestRefused(t *testing.T) {
	runc := func(w *world) string { return filepath.Join(w.dir, "lib", "lanhook", "bin", "runc") }
	for _, tt := range []struct {
		name  string
		spoil func(w *world) error
		// start is what is said to "start", and deletes whether "delete" works all the same.
		start   string
		deletes bool
	}{
		{"no folder", func(w *world) error { return os.RemoveAll(filepath.Dir(runc(w))) }, "runc stands for runc, but it is not there (install lanhook again)", true},
		{"a link to nothing", func(w *world) error { return os.Remove(filepath.Join(w.dir, "bin", "lanhook-runtime")) }, "runc stands for runc, but it is not there", true},
		{"another runc", func(w *world) error { return errors.Join(os.Remove(runc(w)), os.Symlink("/bin/sh", runc(w))) }, "runc stands for runc, but it is /", true},
		{"no shim", func(w *world) error {
			text := fmt.Sprintf("version = 1\nshim = %q\n", filepath.Join(w.dir, "no"))
			return os.WriteFile(w.config, []byte(text), 0o600)
		}, "containerd's own shim ", false},
		{"itself", func(w *world) error {
			text := fmt.Sprintf("version = 1\nshim = %q\n", filepath.Join(w.dir, "bin", "containerd-shim-lanhook-v2"))
			return os.WriteFile(w.config, []byte(text), 0o600)
		}, "that is this very program", false},
		{"no program", func(w *world) error { return os.WriteFile(w.real, []byte("x"), 0o700) }, "exec format error", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if err := tt.spoil(w); err != nil {
				t.Fatal(err)
			}
			o := w.call(t, w.from("start")...)
			if o.code != 1 || o.got != nil || o.stdout != "" || !strings.HasPrefix(o.stderr, "containerd-shim-lanhook-v2: start web: ") ||
				!strings.Contains(o.stderr, tt.start) || strings.Count(o.stderr, "\n") != 1 {
				t.Errorf("start: %+v, want %s", o, tt.start)
			}
			o = w.call(t, w.from("-bundle", w.bundle, "delete")...)
			if !strings.Contains(o.stderr, tt.start) || (o.code == 0) != tt.deletes || (o.got != nil) != tt.deletes {
				t.Errorf("delete: %+v", o)
			}
		})
	}
}

// FuzzArguments compares with the flag package, on which containerd's shims are built.
func FuzzArguments(f *testing.F) {
	f.Add("-namespace\ndefault\n-id\nweb\n-bundle=/b\ndelete")
	f.Add("--id=x\n--\nstart\n-id\ny")
	f.Fuzz(func(t *testing.T, in string) {
		args := strings.Split(in, "\n")
		got := parse(args)
		var want call
		flags := flag.NewFlagSet("shim", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		flags.StringVar(&want.id, "id", "", "")
		flags.StringVar(&want.bundle, "bundle", "", "")
		flags.StringVar(&want.containerd, "publish-binary", "", "")
		for _, name := range []string{"namespace", "address", "socket"} {
			flags.String(name, "", "")
		}
		for _, name := range []string{"debug", "v", "info"} {
			flags.Bool(name, false, "")
		}
		if flags.Parse(args) != nil {
			return
		}
		want.action = flags.Arg(0)
		if got != want {
			t.Errorf("%q: got %+v, want %+v", args, got, want)
		}
	})
}
