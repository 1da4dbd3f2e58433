package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/guest"
	"github.com/lanhook/lanhook/tests/standin"
)

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
	if o.Got == nil || o.State.ExitCode() != 0 || !slices.Contains(o.Got.Env, "PATH="+second) || !slices.Contains(o.Got.Env, "LAST=1") {
		t.Errorf("exit code %d, stderr %q, the runtime got %+v", o.State.ExitCode(), o.Stderr, o.Got)
	}
	// Alone, the folder leaves no PATH; another one that is first stays.
	w.toml(t, "")
	for path, want := range map[string]bool{first: false, second + ":" + first: true} {
		w.env = append(slices.Clone(env), "PATH="+path)
		if o := w.call(t, "create", "web"); o.Got == nil || slices.Contains(o.Got.Env, "PATH="+path) != want || slices.Contains(o.Got.Env, "PATH=") {
			t.Errorf("PATH=%s: the runtime got %+v", path, o.Got)
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
			want := &standin.Report{
				PID: o.State.Pid(), Args: append([]string{w.runtime}, args...), Env: w.env, Dir: w.bundle, Stdin: "stdin",
			}
			if diff := cmp.Diff(want, o.Got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if o.State.ExitCode() != 0 || o.Stdout != "from the runtime\n" || o.Stderr != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q", o.State.ExitCode(), o.Stdout, o.Stderr)
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
		w.env = append(slices.Clone(env), standin.Exit(code))
		if o := w.call(t, "create", "web"); o.State.ExitCode() != code || o.Got == nil {
			t.Errorf("exit code %d: got %v", code, o.State)
		}
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		w.env = append(slices.Clone(env), standin.Exit(-int(signal)))
		o := w.call(t, "create", "web")
		status, ok := o.State.Sys().(syscall.WaitStatus)
		if !ok || !status.Signaled() || status.Signal() != signal {
			t.Errorf("signal %s: got %v", signal, o.State)
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
			if o.Got == nil || o.Stderr != "" {
				t.Fatalf("got %+v", o)
			}
			text := w.text(t)
			for _, stage := range []string{"createRuntime", "poststop"} {
				want := fmt.Sprintf(`{"path":%q,"args":["lanhook","hook",%q,"--by","lanhook-runtime","--policy",%q,`+
					`"--state-dir",%q,"--guest",%q],"env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin","GOMAXPROCS=1"],"timeout":30}`, w.lanhook, stage,
					w.policy(), w.state(), guest.Key(w.bundle, "web"))
				if !strings.Contains(text, want) {
					t.Errorf("no hook %s in %s", want, text)
				}
			}
			info, err := os.Stat(filepath.Join(w.bundle, "config.json"))
			if err != nil || info.Mode() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if o = w.call(t, command, "web"); o.Got == nil || w.text(t) != text {
				t.Errorf("a second time: %+v\n%s", o, w.text(t))
			}
		})
	}
	for _, command := range []string{"start", "state", "delete", "kill"} {
		w := newWorld(t, asking)
		if o := w.call(t, command, "web"); o.Got == nil || w.text(t) != asking {
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
	if o.Got == nil || !slices.Equal(o.Got.Args, []string{other, "--debug", "create", "-b" + w.bundle, "web"}) {
		t.Fatalf("got %+v", o)
	}
	if text := w.text(t); !strings.Contains(text, `"annotations":{"io.lanhook.network":"lan"}`) || !strings.Contains(text, "--by") {
		t.Errorf("config.json is %s", text)
	}
	w.runtime = other
	w.toml(t, "")
	w.refused(t, w.call(t, "--lanhook-profile=lan", "create", "web"), `profile "lan": `)
	if o := w.call(t, "--lanhook-profile=lan", "delete", "web"); o.Got == nil {
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
			if o := w.call(t, command, "web"); o.Got == nil || o.Got.Args[0] != w.runtime {
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
		if o := w.call(t, "create", "web"); o.Got == nil || w.text(t) != plain {
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
		if !strings.Contains(o.Stderr, w.config+": others may write it: its mode is 0602 (chmod go-w "+w.config+")") {
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
	if o := w.call(t, "create", "-f", other, "web"); o.Got == nil || w.text(t) != asking {
		t.Errorf("got %+v\n%s", o, w.text(t))
	}
	w.write(t, other, asking, 0o600)
	w.refused(t, w.call(t, "create", "--config=../other.json", "web"), "--config "+other+": a container with annotations")
	for _, name := range []string{"config.json", w.bundle + "/config.json"} {
		if o := w.call(t, "create", "-f", name, "web"); o.Got == nil || !strings.Contains(w.text(t), "--by") {
			t.Errorf("%s: got %+v\n%s", name, o, w.text(t))
		}
	}
}
