package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// errorsIn are the single errors of a file that was refused, nil for another error.
func errorsIn(err error) Errors {
	all, _ := errors.AsType[Errors](err)
	return all
}

const whole = `version = 1
runtime = "/usr/sbin/runc"
shim = "/usr/bin/containerd-shim-runc-v2"
lanhook = "/opt/lanhook"
policy = "/etc/lanhook/p.toml"
state-dir = "/run/l"
timeout = "1m"

[annotations]
"io.lanhook.network" = "lan"

[profile.crun]
runtime = "/usr/bin/crun"

[profile.web]
annotations = { "io.lanhook.network" = "web,ip=192.0.2.7", "io.lanhook.name" = "web" }

[profile."none at all".annotations]
`

func TestDecode(t *testing.T) {
	got, err := Decode("runtime.toml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Runtime: "/usr/sbin/runc", Shim: "/usr/bin/containerd-shim-runc-v2", Lanhook: "/opt/lanhook",
		Policy: "/etc/lanhook/p.toml", StateDir: "/run/l", Timeout: time.Minute,
		Annotations: map[string]string{"io.lanhook.network": "lan"},
		Profiles: map[string]Profile{
			"crun":        {Runtime: "/usr/bin/crun"},
			"web":         {Annotations: map[string]string{"io.lanhook.network": "web,ip=192.0.2.7", "io.lanhook.name": "web"}},
			"none at all": {Annotations: map[string]string{}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got, err := Decode("runtime.toml", []byte("# nothing else\nversion = 1")); err != nil || !cmp.Equal(got, defaults()) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestChoose(t *testing.T) {
	c, err := Decode("runtime.toml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ profile, runtime, network string }{
		{"", "/usr/sbin/runc", "lan"},
		{"crun", "/usr/bin/crun", "lan"},
		{"web", "/usr/sbin/runc", "web,ip=192.0.2.7"},
		{"none at all", "/usr/sbin/runc", ""},
	} {
		got, err := c.Choose(tt.profile)
		if err != nil || got.Runtime != tt.runtime || got.Annotations["io.lanhook.network"] != tt.network {
			t.Errorf("profile %q: got %+v, %v", tt.profile, got, err)
		}
	}
	_, err = c.Choose("wep")
	var e *profileError
	want := `profile "wep": /etc/lanhook/runtime.toml has none of that name`
	if !errors.As(err, &e) || err.Error() != want || e.Hint() != "did you mean web?" {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err = (Config{}).Choose("web"); !errors.As(err, &e) || e.Hint() != "it has no profile at all: write [profile.NAME]" {
		t.Errorf("got %v", err)
	}
}

// TestDecodeRefuses: every mistake is told with its place, and what is right by itself comes all the same.
func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"empty", "", []string{"1:1: version is missing | begin it with: version = 1"}},
		{"other version", "version = 2", []string{"1:11: version is 2, and this program reads 1 only | write version = 1"}},
		{"version as a text", `version = "1"`, []string{"1:11: version is 1, and this program reads 1 only | write version = 1"}},
		{"not TOML", "version = 1\nruntime = /usr/sbin/runc", []string{"2:11: not TOML: unexpected character U+002F '/' at start of value"}},
		{"not UTF-8", "version = 1\n# \xff", []string{"2:3: the file is not UTF-8"}},
		{"unknown key", "version = 1\nruntimes = '/x'", []string{`2:1: unknown key "runtimes" | did you mean runtime?`}},
		{"unknown table", "version = 1\n[profiles.lan]", []string{`2:11: unknown key "profiles.lan" | did you mean profile?`}},
		{"unknown key of a profile", "version = 1\n[profile.lan]\nshim = '/x'", []string{`3:1: unknown key "profile.lan.shim" | known are runtime, annotations`}},
		{"twice", "version = 1\nruntime = '/a'\nruntime = '/b'", []string{"3:1: runtime is already there in line 2"}},
		{"table twice", "version = 1\n[annotations]\n[annotations]", []string{"3:2: annotations is already there in line 2"}},
		{"profile twice", "version = 1\n[profile.a]\n[profile.a]\nruntime = '/x'", []string{"3:10: profile.a is already there in line 2"}},
		{"table behind a value", "version = 1\nprofile = { a = {} }\n[profile.b]", []string{"3:2: profile is already there in line 2"}},
		{"dots into a table", "version = 1\n[profile.a]\n[profile]\na.runtime = '/x'", []string{"4:1: profile.a is already there in line 2"}},
		{"list of tables", "version = 1\n[[profile]]\nname = 'x'", []string{"2:3: profile: there are no lists of tables here | write it with single brackets"}},
		{"a table for a text", "version = 1\n[runtime]", []string{"2:2: runtime is no table"}},
		{"keys below a text", "version = 1\nruntime.path = '/x'", []string{"2:9: runtime is no table"}},
		{"a text for a table", "version = 1\nprofile = 'x'\nannotations = []", []string{
			"2:1: profile must be a table | write [profile.NAME], and its keys below",
			"3:1: annotations must be a table | write [annotations], and the annotations below",
		}},
		{"a text for a profile", "version = 1\n[profile]\nx = 1", []string{"3:1: profile.x must be a table | write [profile.NAME], and its keys below"}},
		{"relative", "version = 1\nruntime = 'runc'", []string{`2:11: runtime: "runc" is no absolute path | write the whole path, from / on`}},
		{"not the shortest", "version = 1\nshim = '/usr//bin/../x'", []string{`2:8: shim: "/usr//bin/../x" is not the shortest form of a path | write /usr/x`}},
		{"a number for a path", "version = 1\npolicy = 7", []string{"2:10: policy must be a string"}},
		{"other name of the hook", "version = 1\nlanhook = '/bin/sh'", []string{`2:11: lanhook: the program "/bin/sh" is not named lanhook`}},
		{"timeout as a number", "version = 1\ntimeout = 30", []string{`2:11: timeout must be a string | write it as "30s" or "2m"`}},
		{"timeout without unit", "version = 1\ntimeout = '30'", []string{`2:11: timeout: "30" is no duration | write it as "30s" or "2m"`}},
		{"timeout too short", "version = 1\ntimeout = '2s'", []string{"2:11: timeout is 2s, but must be from 3s to 4m"}},
		{"timeout too fine", "version = 1\ntimeout = '3500ms'", []string{"2:11: timeout is 3.5s, but runtimes take whole seconds only"}},
		{"annotation without quotes", "version = 1\n[annotations]\nio.lanhook.network = 'lan'", []string{
			`3:12: "io.lanhook.network" is not one key, but tables | write it in quotes: "io.lanhook.network"`,
		}},
		{"others' annotation", "version = 1\n[annotations]\n'a.b' = 'c'", []string{`3:1: annotation "a.b" is none of lanhook's: they begin with io.lanhook.`}},
		{"annotation is a number", "version = 1\n[annotations]\n'io.lanhook.network' = 1", []string{`3:24: annotation "io.lanhook.network" must be a string | write it in quotes`}},
		{"unknown annotation", "version = 1\n[profile.a.annotations]\n'io.lanhook.netwrk' = 'lan'", []string{
			`3:23: annotation io.lanhook.netwrk: there is no such annotation | did you mean io.lanhook.network?`,
		}},
		{"many", "runtime = 'x'\ntimeout = 'y'\nz = 1", []string{
			"1:1: version is missing | begin it with: version = 1",
			`1:11: runtime: "x" is no absolute path | write the whole path, from / on`,
			`2:11: timeout: "y" is no duration | write it as "30s" or "2m"`,
			`3:1: unknown key "z" | known are version, runtime, shim, lanhook, policy, state-dir, timeout, annotations, profile`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode("f", []byte(tt.in))
			var got []string
			for _, e := range errorsIn(err) {
				line := strings.TrimPrefix(e.Error(), "f:")
				if e.Hint != "" {
					line += " | " + e.Hint
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestDecodeKeeps: a mistake takes nothing else away, and what was to be asked for is still known.
func TestDecodeKeeps(t *testing.T) {
	got, err := Decode("f", []byte(`
version = 1
runtime = "/usr/bin/crun"
timeout = "soon"
[annotations]
"io.lanhook.network" = 5
[profile.lan]
runtime = "/usr/bin/runc"
x = 1
`))
	want := Config{
		Runtime: "/usr/bin/crun", Timeout: defaultTimeout, Annotations: map[string]string{"io.lanhook.network": "5"},
		Profiles: map[string]Profile{"lan": {Runtime: "/usr/bin/runc"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err == nil {
		t.Errorf("%v, -want +got\n%s", err, diff)
	}
	if e := errorsIn(err); len(e) != 3 || !strings.HasSuffix(err.Error(), " (and 2 more errors)") || e.Hint() != e[0].Hint {
		t.Errorf("got %v", err)
	}
}

func TestLoad(t *testing.T) {
	make := func(t *testing.T, text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "runtime.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("missing", func(t *testing.T) {
		if got, err := Load(filepath.Join(t.TempDir(), "no", "runtime.toml")); err != nil || !cmp.Equal(got, defaults()) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("good, by a link", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(make(t, whole), link); err != nil {
			t.Fatal(err)
		}
		if got, err := Load(link); err != nil || got.StateDir != "/run/l" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	for _, tt := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"others may write", func(path string) error { return os.Chmod(path, 0o666) }, "others may write it: its mode is 0666"},
		{"a folder", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "it is not a regular file"},
		{"a FIFO", func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) }, "it is not a regular file"},
		{"too long", func(path string) error { return os.Truncate(path, maxFile+1) }, "the file has more than 1048576 bytes"},
		{"wrong", func(path string) error { return os.Truncate(path, 5) }, ":1:5: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := make(t, whole)
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			got, err := Load(path)
			if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s: %s", err, path, tt.want)
			}
			if !cmp.Equal(got, defaults()) {
				t.Errorf("got %+v, want the defaults", got)
			}
		})
	}
	t.Run("somebody else's", func(t *testing.T) {
		path := make(t, whole)
		if err := os.Chown(path, 12, 34); errors.Is(err, os.ErrPermission) {
			t.Skip("only root gives files away")
		} else if err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		want := path + ": it belongs to user 12, not to root"
		if err == nil || err.Error() != want || errorsIn(err).Hint() != "chown root "+path {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, plain, me, hook := file("good", 0o755), file("plain", 0o644), file("me", 0o755), file("lanhook", 0o755)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(me, link); err != nil {
		t.Fatal(err)
	}
	self, err := os.Stat(me)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, want string }{
		{"RT-04 good", good, ""},
		{"RT-04 missing", filepath.Join(dir, "no"), "it is not there"},
		{"RT-04 below a file", filepath.Join(plain, "no"), "not a directory"},
		{"RT-04 a folder", dir, "it is a folder"},
		{"RT-04 cannot be executed", plain, "it cannot be executed"},
		{"RT-04 itself", me, "that is this very program, which would call itself for ever"},
		{"RT-04 a link to itself", link, "that is this very program, which would call itself for ever"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FindRuntime(tt.path, self)
			if tt.want == "" {
				if err != nil || got != tt.path {
					t.Errorf("got %s, %v", got, err)
				}
				return
			}
			var e *programError
			want := fmt.Sprintf("the real runtime %s: %s", tt.path, tt.want)
			if !errors.As(err, &e) || err.Error() != want || e.Hint() != "name another as runtime in /etc/lanhook/runtime.toml" {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	if got := first(in([]string{"/no", dir}, "me"), self); got != "" {
		t.Errorf("found itself: %s", got)
	}
	if got := first(in([]string{"/no", dir}, "good"), self); got != good {
		t.Errorf("found %q, want %s", got, good)
	}
	if got, err := FindShim(good, "/x/containerd", self); err != nil || got != good {
		t.Errorf("got %s, %v", got, err)
	}
	beside := file("containerd-shim-runc-v2", 0o755)
	if got, err := FindShim("", filepath.Join(dir, "containerd"), self); err != nil || got != beside {
		t.Errorf("got %s, %v; want %s", got, err, beside)
	}
	if got, err := FindLanhook("", me); err != nil || got != hook {
		t.Errorf("got %s, %v; want %s", got, err, hook)
	}
	if _, err := FindLanhook("", "/no/program"); err == nil || err.Error() != "the hook /no/lanhook: it is not there" {
		t.Errorf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("version = 1\nprofile.a.b.c = { d = [1, {}] }\n[profile]\n[[profile]]\n[profile.a]"))
	f.Add([]byte("version=1\n[annotations]\nio.lanhook.network='lan'\n'io.lanhook.name'=1979-05-27\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode("f", data)
		all := errorsIn(err)
		if (err == nil) != (len(all) == 0) {
			t.Fatalf("error %v holds %d", err, len(all))
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, e := range all {
			if strings.ContainsAny(e.Error()+e.Hint, "\n\r\x1b") {
				t.Errorf("more than one line: %q", e)
			}
			if e.Line < 1 || e.Line > lines || e.Col < 1 {
				t.Errorf("line %d of %d, column %d", e.Line, lines, e.Col)
			}
		}
		for _, path := range []string{c.Runtime, c.Shim, c.Lanhook, c.Policy, c.StateDir} {
			if path != "" && !filepath.IsAbs(path) {
				t.Errorf("a relative path: %q", path)
			}
		}
	})
}
