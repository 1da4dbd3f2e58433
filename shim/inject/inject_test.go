package inject

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/netsetup/guest"
)

// bundle makes a bundle with that config.json.
func bundle(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// options are those of a host with a policy that allows everything that is asked for here.
func options(t testing.TB) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{
		ID: "web", Lanhook: "/opt/lanhook", Timeout: 30 * time.Second,
		Policy: filepath.Join(dir, "policy.toml"), StateDir: filepath.Join(dir, "state"),
	}
	const policy = "version = 1\n[network.lan]\ndriver = \"bridge\"\n[[rule]]\nmatch = {}\nnetworks = [\"*\"]\n" +
		"netns = [\"host\", \"none\", \"container:*\"]\n"
	if err := os.WriteFile(o.Policy, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// inject does all that the wrapper does, and gives the config.json that there is then.
func inject(t *testing.T, dir string, o Options) (text string, err error) {
	t.Helper()
	c, err := Read(dir, o.Defaults)
	if err != nil {
		return "", err
	}
	if c.Asks() {
		e, err := c.Edits(o)
		if err != nil {
			return "", err
		}
		if err = c.Write(e); err != nil {
			return "", err
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	return string(data), err
}

const (
	own   = `"linux":{"namespaces":[{"type":"network"}]}`
	asked = `{"annotations":{"io.lanhook.network":"lan"},` + own + `}`
)

func TestUntouched(t *testing.T) {
	lan := map[string]string{"io.lanhook.network": "lan"}
	for _, tt := range []struct {
		name, config string
		defaults     map[string]string
	}{
		{"no annotations", `{ }`, nil},
		{"others' annotations", `{"annotations":{"io.lanhooks":"x","x.io.lanhook.network":"lan"}}`, nil},
		{"hooks of ours that somebody put there", `{"hooks":{"poststop":[{"path":"/x/lanhook","args":["lanhook","hook","poststop"]}]}}`, nil},
		{"defaults, but the host's network", `{"linux":{"namespaces":[{"type":"pid"}]}}`, lan},
		{"defaults, but the host's network by a path", `{"linux":{"namespaces":[{"type":"network","path":"/proc/self/ns/net"}]}}`, lan},
		{"no linux", `{}`, lan},
		{"empty defaults", `{` + own + `}`, map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := bundle(t, tt.config)
			file := filepath.Join(dir, "config.json")
			before, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			o := options(t)
			o.Defaults = tt.defaults
			text, err := inject(t, dir, o)
			if err != nil || text != tt.config {
				t.Errorf("got %s, %v", text, err)
			}
			// Not even written anew.
			if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) || after.ModTime() != before.ModTime() {
				t.Errorf("the file was written: %v, %v", after, err)
			}
		})
	}
}

func TestInject(t *testing.T) {
	type hook struct {
		Path    string
		Args    []string
		Env     []string
		Timeout int
	}
	type config struct {
		Annotations map[string]string
		Hooks       map[string][]hook
		Mounts      []oci.Mount
	}
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=1"}
	// The policy and the state directory stand before the rest, the guest files behind; see below.
	hooks := func(timeout int, args ...string) map[string][]hook {
		all := map[string][]hook{}
		for _, stage := range []string{"createRuntime", "poststop"} {
			words := append([]string{"lanhook", "hook", stage, "--by", "lanhook-runtime"}, args...)
			all[stage] = []hook{{"/opt/lanhook", words, env, timeout}}
		}
		return all
	}
	lan := map[string]string{"io.lanhook.network": "lan"}
	for _, tt := range []struct {
		name, config string
		change       func(o *Options)
		want         config
	}{
		{"annotation", asked, func(*Options) {}, config{lan, hooks(30), nil}},
		{"timeout", asked, func(o *Options) { o.Timeout = 10 * time.Second }, config{lan, hooks(10, "--timeout", "6s"), nil}},
		{"longest timeout", asked, func(o *Options) { o.Timeout = 4 * time.Minute }, config{lan, hooks(240, "--timeout", "2m40s"), nil}},
		{"defaults", `{` + own + `}`, func(o *Options) { o.Defaults = lan }, config{lan, hooks(30), nil}},
		{
			"defaults and others' annotations", `{"annotations":{"a":"b"},` + own + `}`, func(o *Options) { o.Defaults = lan },
			config{map[string]string{"a": "b", "io.lanhook.network": "lan"}, hooks(30), nil},
		},
		{
			"defaults are no addition", `{"annotations":{"io.lanhook.name":"x"},` + own + `}`, func(o *Options) { o.Defaults = lan },
			config{map[string]string{"io.lanhook.name": "x"}, hooks(30), nil},
		},
		{
			"annotation and the host's network: the hook tells", `{"annotations":{"io.lanhook.network":"lan"}}`, func(*Options) {},
			config{lan, hooks(30), nil},
		},
		{
			"defaults in another's namespace", `{"linux":{"namespaces":[{"type":"network","path":"/no/such"}]}}`,
			func(o *Options) { o.Defaults = lan },
			config{lan, hooks(30), nil},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := bundle(t, tt.config)
			o := options(t)
			tt.change(&o)
			text, err := inject(t, dir, o)
			if err != nil {
				t.Fatal(err)
			}
			var got config
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			for stage, list := range tt.want.Hooks {
				args := slices.Insert(list[0].Args, 5, "--policy", o.Policy, "--state-dir", o.StateDir)
				if len(got.Mounts) > 0 {
					args = append(args, "--guest", guest.Key(dir, "web"))
				}
				tt.want.Hooks[stage][0].Args = args
			}
			if tt.name != "defaults are no addition" && len(got.Mounts) == 0 {
				t.Error("there are no files")
			}
			got.Mounts = nil
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if again, err := inject(t, dir, o); err != nil || again != text {
				t.Errorf("again: %s, %v", again, err)
			}
		})
	}
}

// TestReplaced: hooks of another version, or from another place, are found and replaced.
func TestReplaced(t *testing.T) {
	config := `{"annotations":{"io.lanhook.network":"lan"},"hooks":{"prestart":[{"path":"/old/lanhook","args":["lanhook","hook","prestart"]}],` +
		`"poststop":[{"path":"/bin/other"},{"path":"/old/lanhook","args":["lanhook","hook","poststop","--by","nri"]}]}}`
	text, err := inject(t, bundle(t, config), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "/old/") || strings.Count(text, "/opt/lanhook") != 2 || !strings.Contains(text, "/bin/other") {
		t.Errorf("got %s", text)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, config, want string }{
		{"unknown annotation", `{"annotations":{"io.lanhook.netwrk":"lan"}}`, "annotation io.lanhook.netwrk: there is no such annotation"},
		{"bad annotation", `{"annotations":{"io.lanhook.network":"lan,ip=x"}}`, "annotation io.lanhook.network: ip \"x\":"},
		{"not JSON", `{"annotations"`, "it is cut off after 14 bytes"},
		{"a list", `[]`, "it is JSON, but not an object"},
		{"hooks of another kind", `{"annotations":{"io.lanhook.network":"lan"},"hooks":[]}`, "its hooks are no object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := bundle(t, tt.config)
			_, err := inject(t, dir, options(t))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if data, err := os.ReadFile(filepath.Join(dir, "config.json")); err != nil || string(data) != tt.config {
				t.Errorf("the file has changed: %s, %v", data, err)
			}
		})
	}
}

func FuzzEdits(f *testing.F) {
	f.Add([]byte(asked))
	f.Add([]byte(`{"annotations":{"io.lanhook.publish":"80"},"hooks":{"poststop":[{"path":"/bin/other"}]}}`))
	f.Add([]byte(`{ "linux":{"namespaces":[ {"type":"network","path":""} ]} , "annotations":null}`))
	defaults := map[string]string{"io.lanhook.network": "lan"}
	f.Fuzz(func(t *testing.T, config []byte) {
		dir := bundle(t, string(config))
		c, err := Read(dir, defaults)
		if err != nil || !c.Asks() {
			return
		}
		o := options(t)
		o.Defaults = defaults
		e, err := c.Edits(o)
		if err != nil {
			return
		}
		once, err := e.Apply(c.Config)
		if err != nil {
			return
		}
		after, err := oci.ParseBundle("config.json", once)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if diff := cmp.Diff(c.Annotations(), after.Annotations); diff != "" {
			t.Errorf("annotations: -want +got\n%s", diff)
		}
		// What the runtime tells the hook is what was read here, so the second time there are no defaults to add.
		e.Annotations = nil
		if twice, err := e.Apply(once); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("a second edit: %v\n%s\n%s", err, once, twice)
		}
	})
}

// TestQuoted: a container whose engine has left podman 4's quotes in the key asks for something, and is refused; it does
// not get what others get that ask for nothing.
func TestQuoted(t *testing.T) {
	dir := bundle(t, `{"annotations":{"\"io.lanhook.network":"lan,ip=192.0.2.9\""},"linux":{"namespaces":[{"type":"network"}]}}`)
	c, err := Read(dir, map[string]string{"io.lanhook.network": "lan"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Defaults != nil || !c.Asks() {
		t.Errorf("it asks: %v, with the defaults %v", c.Asks(), c.Defaults)
	}
	if _, err := c.Edits(options(t)); err == nil || !strings.Contains(err.Error(), "double quote") {
		t.Errorf("edits: %v", err)
	}
}
