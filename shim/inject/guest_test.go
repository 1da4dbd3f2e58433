package inject

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/guest"
	"github.com/lanhook/lanhook/policy"
)

// given is what a config.json says of what only a spec edit can give.
type given struct {
	Hostname string
	Mounts   []struct {
		Destination, Source string
		Options             []string
	}
	Linux struct {
		Namespaces []struct{ Type, Path string }
	}
	Hooks struct {
		CreateRuntime []struct{ Args []string }
	}
}

// describe is a line for each thing, with the folder of the guest files as STATE.
func (g given) describe(state string) []string {
	out := []string{"hostname " + g.Hostname}
	for _, m := range g.Mounts {
		source := strings.Replace(m.Source, state, "STATE", 1)
		out = append(out, fmt.Sprintf("mount %s on %s %v", source, m.Destination, m.Options))
	}
	for _, ns := range g.Linux.Namespaces {
		out = append(out, strings.TrimSpace("namespace "+ns.Type+" "+ns.Path))
	}
	return out
}

func TestGuest(t *testing.T) {
	const spaces = `"linux":{"namespaces":[{"type":"network"},{"type":"uts"}]}`
	const options4 = " [bind ro nosuid nodev noexec]"
	for _, tt := range []struct {
		name, annotations, rest string
		want                    []string
	}{
		{
			"S4-5 an interface alone", `"network":"lan"`, `"hostname":"c1",` + spaces,
			[]string{
				"hostname c1", "mount STATE/guest/KEY/hosts on /etc/hosts" + options4,
				"mount STATE/guest/KEY/resolv.conf on /etc/resolv.conf" + options4, "namespace network", "namespace uts",
			},
		},
		{
			"S4-6 asked for", `"hostname":"web","dns":"192.0.2.9"`, spaces,
			[]string{
				"hostname web", "mount STATE/guest/KEY/hostname on /etc/hostname" + options4,
				"mount STATE/guest/KEY/hosts on /etc/hosts" + options4, "mount STATE/guest/KEY/resolv.conf on /etc/resolv.conf" + options4,
				"namespace network", "namespace uts",
			},
		},
		{
			"S4-6 the engine's stay", `"network":"lan","dns":"192.0.2.9"`,
			`"mounts":[{"destination":"/etc/hosts","source":"/x"},{"destination":"etc/resolv.conf","source":"/y"}],` + spaces,
			[]string{
				"hostname ", "mount /x on /etc/hosts []", "mount /y on etc/resolv.conf []", "namespace network", "namespace uts",
			},
		},
		{"RT-07 host", `"netns":"host"`, spaces, []string{"hostname ", "namespace uts"}},
		{
			"RT-07 none", `"netns":"none"`, `"linux":{"namespaces":[{"type":"network","path":"/run/netns/x"}]}`,
			[]string{"hostname ", "namespace network"},
		},
		{
			"mounts of an earlier edit", `"netns":"none"`,
			`"mounts":[{"destination":"/etc/hosts","source":"STATE/guest/0123456789abcdef/hosts"}],` + spaces,
			[]string{"hostname ", "namespace network", "namespace uts"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t)
			asked := strings.ReplaceAll("{"+tt.annotations, `,"`, `,"io.lanhook.`)
			asked = strings.Replace(asked, `{"`, `{"io.lanhook.`, 1)
			config := strings.ReplaceAll(`{"annotations":`+asked+`},`+tt.rest+`}`, "STATE", o.StateDir)
			dir := bundle(t, config)
			text, err := inject(t, dir, o)
			if err != nil {
				t.Fatal(err)
			}
			var got given
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			key := guest.Key(dir, "web")
			var lines []string
			for _, line := range got.describe(o.StateDir) {
				lines = append(lines, strings.Replace(line, key, "KEY", 1))
			}
			if !hasServer(t) {
				tt.want = withoutResolv(tt.want, tt.annotations)
			}
			if diff := cmp.Diff(tt.want, lines); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			args := strings.Join(got.Hooks.CreateRuntime[0].Args, " ")
			made := strings.Contains(strings.Join(lines, "\n"), "STATE/guest/KEY")
			if strings.HasSuffix(args, " --guest "+key) != made {
				t.Errorf("the hook's arguments are %s", args)
			}
			for _, m := range got.Mounts {
				if _, err := os.Stat(m.Source); made && err != nil && strings.HasPrefix(m.Source, o.StateDir) {
					t.Error(err)
				}
			}
		})
	}
}

// TestKept: what was asked for in vain is told to the hook, which has a log.
func TestKept(t *testing.T) {
	for annotations, want := range map[string]string{
		`"io.lanhook.network":"lan"`:                              "",
		`"io.lanhook.network":"lan","io.lanhook.dns":"192.0.2.9"`: " --kept /etc/resolv.conf",
		`"io.lanhook.hostname":"web","io.lanhook.dns-search":"."`: " --kept /etc/hosts,/etc/resolv.conf",
	} {
		const rest = `"mounts":[{"destination":"/etc/hosts","source":"/x"},{"destination":"/etc/resolv.conf","source":"/y"}],` +
			`"linux":{"namespaces":[{"type":"network"},{"type":"uts"}]}`
		text, err := inject(t, bundle(t, `{"annotations":{`+annotations+`},`+rest+`}`), options(t))
		if err != nil {
			t.Fatal(err)
		}
		var got given
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		args, _, _ := strings.Cut(strings.Join(got.Hooks.CreateRuntime[0].Args, " "), " --guest")
		if _, kept, found := strings.Cut(args, " --kept"); found != (want != "") || found && " --kept"+kept != want {
			t.Errorf("%s gives %s, want%s", annotations, args, want)
		}
	}
}

// hasServer says whether this machine has a name server that a container could ask.
func hasServer(t *testing.T) bool {
	t.Helper()
	host, err := guest.ReadHost(policy.NetNSDefault, guest.Places{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range guest.ParseResolv(append(host.Resolv, host.Resolved...)).Servers {
		if !s.IsLoopback() && !s.IsLinkLocalUnicast() {
			return true
		}
	}
	return false
}

func withoutResolv(want []string, annotations string) []string {
	var out []string
	for _, line := range want {
		if !strings.Contains(line, "STATE/guest/KEY/resolv.conf") || strings.Contains(annotations, "dns") {
			out = append(out, line)
		}
	}
	return out
}

// TestGuestAgain: a bundle that is used again, by the same container and then by another one.
func TestGuestAgain(t *testing.T) {
	o := options(t)
	dir := bundle(t, asked)
	var texts []string
	for _, id := range []string{"web", "web", "db"} {
		o.ID = id
		text, err := inject(t, dir, o)
		if err != nil {
			t.Fatal(err)
		}
		if source := filepath.Join(o.StateDir, "guest", guest.Key(dir, id), "hosts"); strings.Count(text, "/etc/hosts") != 1 ||
			!strings.Contains(text, source) {
			t.Errorf("container %s does not get %s: %s", id, source, text)
		}
		texts = append(texts, text)
	}
	if texts[0] != texts[1] || texts[1] == texts[2] {
		t.Errorf("got %q", texts)
	}
}

func TestGuestRefused(t *testing.T) {
	const uts = `"linux":{"namespaces":[{"type":"network"},{"type":"uts"}]}`
	for _, tt := range []struct{ name, config, policy, want string }{
		{
			"no rule matches", `{"annotations":{"io.lanhook.hostname":"web"},` + uts + `}`, "[[rule]]\nmatch = { engine = \"docker\" }\n",
			"io.lanhook.hostname: no rule matches this container",
		},
		{
			"RT-07 the rule does not allow it", `{"annotations":{"io.lanhook.netns":"host"},` + uts + `}`, "[[rule]]\nmatch = {}\n",
			`io.lanhook.netns=host: rule "#1" does not allow the network namespace host`,
		},
		{
			"a network that is refused", asked, "[[rule]]\nmatch = {}\n", "io.lanhook.network=lan: the policy has no network \"lan\"",
		},
		{"a policy that is broken", asked, "[[rule]]\n", "policy.toml:2:3: rule #1: match is missing"},
		{
			"no UTS namespace", `{"annotations":{"io.lanhook.hostname":"web"},` + own + `}`, "[[rule]]\nmatch = {}\n",
			"it has no UTS namespace",
		},
		{
			"RT-09 another container that the rule does not list", `{"annotations":{"io.lanhook.netns":"container:x"},` + uts + `}`,
			"[[rule]]\nmatch = {}\nnetns = [\"container:y*\"]\n", "does not allow the network namespace container:x",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t)
			if tt.policy != "" {
				if err := os.WriteFile(o.Policy, []byte("version = 1\n"+tt.policy), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			dir := bundle(t, tt.config)
			_, err := inject(t, dir, o)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if data, err := os.ReadFile(filepath.Join(dir, "config.json")); err != nil || string(data) != tt.config {
				t.Errorf("the file has changed: %s, %v", data, err)
			}
		})
	}
}

// TestGuestCGroup: who cannot be told yet, the hook tells.
func TestGuestCGroup(t *testing.T) {
	o := options(t)
	policy := "version = 1\n[network.lan]\ndriver = \"bridge\"\n[[rule]]\nmatch = { cgroup = \"/x\" }\nnetworks = [\"lan\"]\n"
	if err := os.WriteFile(o.Policy, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := inject(t, bundle(t, asked), o); err != nil || strings.Contains(text, "--guest") || !strings.Contains(text, "--by") {
		t.Errorf("got %s (%v)", text, err)
	}
	known := strings.Replace(asked, `"linux":{`, `"linux":{"cgroupsPath":"/x",`, 1)
	if text, err := inject(t, bundle(t, known), o); err != nil || !strings.Contains(text, "--guest") {
		t.Errorf("got %s (%v)", text, err)
	}
	for in, want := range map[string]string{
		"": "", "/a/b": "/a/b", "system.slice:docker:c1": "/system.slice/docker-c1.scope",
		"user-1000-x.slice:libpod:c": "/user.slice/user-1000.slice/user-1000-x.slice/libpod-c.scope", ":cri:c": "/system.slice/cri-c.scope",
		"a.slice::c": "/a.slice/c.scope",
	} {
		if got := cgroup(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}
