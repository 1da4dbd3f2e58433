package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/tests/standin"
)

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
			want := &standin.Report{
				PID: o.State.Pid(), Args: append([]string{w.real}, tt.args...), Env: slices.Insert(got, tt.at, "PATH="+tt.path),
				Dir: w.bundle, Stdin: "options",
			}
			if diff := cmp.Diff(want, o.Got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if o.code != 0 || o.Stdout != "unix:///run/containerd/s/1" || o.Stderr != "" || o.hook != "" {
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
	if o := w.call(t, w.from("start")...); o.Got == nil || o.Got.Args[0] != named {
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
		w.env = append(slices.Clone(env), standin.Exit(code))
		o := w.call(t, w.from("-bundle", w.bundle, "delete")...)
		if o.Got == nil || o.Got.PID == o.State.Pid() || o.Got.Stdin != "options" || o.Got.Dir != w.bundle || o.Got.Args[0] != w.real {
			t.Errorf("containerd's shim got %+v", o.Got)
		}
		if o.code != code || o.Stdout != "unix:///run/containerd/s/1" || o.Stderr != "to the log\n" {
			t.Errorf("exit code %d, stdout %q, stderr %q", o.code, o.Stdout, o.Stderr)
		}
		// The shell sets PWD and such by itself.
		lines := slices.DeleteFunc(strings.Split(o.hook, "\n"), func(line string) bool {
			return strings.HasPrefix(line, "PWD=") || strings.HasPrefix(line, "_=") || strings.HasPrefix(line, "SHLVL=") || strings.HasPrefix(line, "OLDPWD=")
		})
		want := []string{
			filepath.Join(w.dir, "bin", "lanhook") + " hook poststop --by lanhook-runtime --state-dir /run/s", "/",
			"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=1",
			fmt.Sprintf(`{"bundle":%q,"id":"web","ociVersion":"1.0.2","status":"stopped"}`, w.bundle),
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("the hook: -want +got\n%s", diff)
		}
	}
	t.Run("by a signal", func(t *testing.T) {
		w.env = append(slices.Clone(env), standin.Exit(-9))
		if o := w.call(t, w.from("-bundle", w.bundle, "delete")...); o.code != 137 || o.hook == "" {
			t.Errorf("got %+v", o)
		}
	})
	w.env = env
	t.Run("the detach fails", func(t *testing.T) {
		w.write(t, filepath.Join(w.dir, "code"), "3")
		o := w.call(t, w.from("-bundle", w.bundle, "delete")...)
		want := "to the log\ncontainerd-shim-lanhook-v2: delete web: the last detach: " + filepath.Join(w.dir, "bin", "lanhook") + " ended with exit code 3\n"
		if o.code != 0 || o.Stderr != want {
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
		if o.code != 0 || o.Got == nil || o.hook != "" || !strings.Contains(o.Stderr, "the last detach: containerd told no -id") {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("nothing was asked for", func(t *testing.T) {
		w.write(t, filepath.Join(w.bundle, "config.json"), "{}")
		if o := w.call(t, w.from("-bundle", w.bundle, "delete")...); o.code != 0 || o.Got == nil || o.hook != "" || o.Stderr != "" {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("no hook", func(t *testing.T) {
		w.write(t, filepath.Join(w.bundle, "config.json"), asking)
		if err := os.Remove(filepath.Join(w.dir, "bin", "lanhook")); err != nil {
			t.Fatal(err)
		}
		o := w.call(t, w.from("-bundle", w.bundle, "delete")...)
		if o.code != 0 || o.Got == nil || !strings.Contains(o.Stderr, "the last detach: the hook "+w.dir+"/bin/lanhook: it is not there") {
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
			if o.code != 1 || o.Got != nil || o.Stdout != "" || !strings.HasPrefix(o.Stderr, "containerd-shim-lanhook-v2: start web: ") ||
				!strings.Contains(o.Stderr, tt.start) || strings.Count(o.Stderr, "\n") != 1 {
				t.Errorf("start: %+v, want %s", o, tt.start)
			}
			o = w.call(t, w.from("-bundle", w.bundle, "delete")...)
			if !strings.Contains(o.Stderr, tt.start) || (o.code == 0) != tt.deletes || (o.Got != nil) != tt.deletes {
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
