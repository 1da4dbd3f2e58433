//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// guestPolicy has a network whose containers find each other by name.
const guestPolicy = `version = 1

[network.apps]
driver = "bridge"
names  = true

  [[network.apps.subnet]]
  subnet = "172.30.0.0/16"

[network.waiting]
driver = "macvlan"
parent = "nothere"
parent-wait = "15s"

[[rule]]
name     = "all"
match    = { id = "*" }
networks = ["apps", "waiting"]
ip       = true
netns    = ["none", "host", "container:web"]
`

// newShimmed is a runtime behind lanhook-runtime, and a host whose own resolver is on loopback.
func newShimmed(t *testing.T, program string) *oci {
	t.Helper()
	r := newOCI(t, program)
	wrapper := filepath.Join(filepath.Dir(r.bin), "lanhook-runtime")
	if _, err := os.Stat(wrapper); err != nil {
		t.Fatalf("needs the built program (make build): %v", err)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(r.dir, "etc")
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	if err := makeDirs(upper, work); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(upper, 0o755); err != nil {
		t.Fatal(err)
	}
	(&site{host: r.host}).mount(t, "overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work)
	if err := os.MkdirAll("/etc/lanhook", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, "/etc/lanhook/runtime.toml", fmt.Sprintf("version = 1\nruntime = %q\nlanhook = %q\npolicy = %q\nstate-dir = %q\n",
		path, r.bin, r.policy, r.state))
	if err := os.Remove("/etc/resolv.conf"); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	write(t, "/etc/resolv.conf", "nameserver 127.0.0.53\nnameserver 10.77.0.254\nsearch lan.example\n")
	write(t, r.policy, guestPolicy)
	r.program = wrapper
	return r
}

// shimmed creates and starts a container whose bundle has no hooks: the wrapper puts them there.
func (r *oci) shimmed(t *testing.T, s spec) {
	t.Helper()
	bundle := r.plain(t, s)
	r.run(t, "create", "--bundle", bundle, s.Hostname)
	r.run(t, "start", s.Hostname)
}

// plain writes a bundle as an engine does.
func (r *oci) plain(t *testing.T, s spec) string {
	t.Helper()
	bundle := filepath.Join(r.dir, "bundle-"+s.Hostname)
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(bundle, "config.json"), string(data))
	return bundle
}

// reads gives a file as the container sees it.
func (r *oci) reads(t *testing.T, id, file string) string {
	t.Helper()
	return r.run(t, "exec", id, "/bin/busybox", "cat", file)
}

func (r *oci) noFiles(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.state, "guest"))
	if err != nil && !os.IsNotExist(err) || len(entries) > 0 {
		t.Errorf("guest files are left: %v (%v)", entries, err)
	}
}

func annotated(words ...string) map[string]string {
	m := map[string]string{}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		m["io.lanhook."+key] = value
	}
	return m
}

// lines are those of a text that hold none of some words.
func lines(text string, but ...string) []string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if !slices.ContainsFunc(but, func(w string) bool { return strings.Contains(line, w) }) {
			out = append(out, strings.ReplaceAll(line, "\t", " "))
		}
	}
	return out
}

func want(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// TestGuestFiles: what Docker's users are used to, with a bare runtime.
func TestGuestFiles(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newShimmed(t, program)
			root := rootfs(t, r.dir)
			r.shimmed(t, newSpec("web", root, annotated("network=apps,ip=172.30.0.2", "hostname=web.lan.example",
				"add-host=up:host-gateway")))
			r.shimmed(t, newSpec("db", root, annotated("network=apps,ip=172.30.0.3", "dns=192.0.2.9", "dns-option=ndots:2")))
			want(t, "S4-6 H9 hosts of web", lines(r.reads(t, "web", "/etc/hosts"), "localhost", "ip6-"),
				[]string{"172.30.0.1 up", "172.30.0.2 web.lan.example web", "172.30.0.3 db"})
			want(t, "H9 hosts of db", lines(r.reads(t, "db", "/etc/hosts"), "localhost", "ip6-"),
				[]string{"172.30.0.3 db", "172.30.0.2 web"})
			want(t, "S4-5 resolv.conf of web", lines(r.reads(t, "web", "/etc/resolv.conf")),
				[]string{"nameserver 10.77.0.254", "search lan.example"})
			want(t, "S4-6 resolv.conf of db", lines(r.reads(t, "db", "/etc/resolv.conf")),
				[]string{"nameserver 192.0.2.9", "search lan.example", "options ndots:2"})
			want(t, "S4-6 host name", lines(r.reads(t, "web", "/proc/sys/kernel/hostname")), []string{"web.lan.example"})
			want(t, "S4-6 hostname file", lines(r.reads(t, "web", "/etc/hostname")), []string{"web.lan.example"})
			r.exec(t, "web")("/bin/ping", "-c", "1", "-W", "3", "db")
			r.exec(t, "db")("/bin/ping", "-c", "1", "-W", "3", "web")
			if _, _, err := try(r.program, r.args("exec", "web", "/bin/sh", "-c", "echo x >/etc/hosts")...); err == nil {
				t.Error("the container can write its hosts file")
			}
			r.kill(t, "db")
			r.delete(t, "db")
			want(t, "H9 hosts of web without db", lines(r.reads(t, "web", "/etc/hosts"), "localhost", "ip6-"),
				[]string{"172.30.0.1 up", "172.30.0.2 web.lan.example web"})
			r.kill(t, "web")
			// Again from the same bundle, which has been edited.
			r.delete(t, "web")
			bundle := filepath.Join(r.dir, "bundle-web")
			r.run(t, "create", "--bundle", bundle, "web")
			r.run(t, "start", "web")
			want(t, "hosts of web, once more", lines(r.reads(t, "web", "/etc/hosts"), "localhost", "ip6-"),
				[]string{"172.30.0.1 up", "172.30.0.2 web.lan.example web"})
			r.kill(t, "web")
			r.delete(t, "web")
			r.noFiles(t)
			r.gone(t)
		})
	}
}

// TestGuestNamespace: the network namespaces that an annotation may ask for.
func TestGuestNamespace(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newShimmed(t, program)
			root := rootfs(t, r.dir)
			links := func(id string) []string {
				var names []string
				for _, line := range lines(r.run(t, "exec", id, "/bin/ip", "-o", "link")) {
					name, _, _ := strings.Cut(strings.Fields(line)[1], "@")
					names = append(names, strings.TrimSuffix(name, ":"))
				}
				return names
			}
			r.shimmed(t, newSpec("none", root, annotated("netns=none")))
			want(t, "RT-07 none", links("none"), []string{"lo"})
			r.shimmed(t, newSpec("host", root, annotated("netns=host", "hostname=box", "dns-search=other.example")))
			if got := links("host"); !slices.Contains(got, "p0") {
				t.Errorf("RT-07 host: it has %q", got)
			}
			want(t, "RT-07 resolv.conf in the host's namespace", lines(r.reads(t, "host", "/etc/resolv.conf")),
				[]string{"nameserver 127.0.0.53", "nameserver 10.77.0.254", "search other.example"})
			r.shimmed(t, newSpec("web", root, annotated("network=apps,ip=172.30.0.2")))
			r.shimmed(t, newSpec("side", root, annotated("netns=container:web")))
			want(t, "RT-09 S4-12 joined", links("side"), []string{"lo", "eth0"})
			want(t, "RT-09 hosts of the joined", lines(r.reads(t, "side", "/etc/hosts"), "localhost", "ip6-"), []string{"172.30.0.2 web"})
			r.kill(t, "web")
			r.delete(t, "web")
			r.exec(t, "side")("/bin/ping", "-c", "1", "-W", "3", "172.30.0.1")
			for _, id := range []string{"side", "host", "none"} {
				r.kill(t, id)
				r.delete(t, id)
			}
			r.noFiles(t)
			r.gone(t)
			for words, why := range map[string]string{
				"netns=container:db":  "does not allow the network namespace container:db",
				"netns=container:web": "lanhook knows no such container",
			} {
				bundle := r.plain(t, newSpec("no", root, annotated(words)))
				// Engines show what is in the runtime's log, and some nothing else.
				log := filepath.Join(r.dir, "log.json")
				write(t, log, "")
				_, stderr, err := try(r.program, slices.Concat([]string{"--log", log, "--log-format", "json"},
					r.args("create", "--bundle", bundle, "no"))...)
				if err == nil || !strings.Contains(stderr, why) {
					t.Errorf("%s: %q (%v), want %q", words, stderr, err, why)
				}
				var entry struct{ Level, Msg string }
				if err := json.Unmarshal([]byte(tail(log)), &entry); err != nil || entry.Level != "error" || !strings.Contains(entry.Msg, why) {
					t.Errorf("%s: the log has %q (%v), want %q", words, tail(log), err, why)
				}
			}
			r.noFiles(t)
		})
	}
}

// TestGuestKilled: the runtime is killed while its hook waits; its files are nobody's then.
func TestGuestKilled(t *testing.T) {
	for _, program := range runtimes() {
		t.Run(program, func(t *testing.T) {
			r := newShimmed(t, program)
			bundle := r.plain(t, newSpec("c", rootfs(t, r.dir), annotated("network=waiting")))
			create := exec.Command(r.program, r.args("create", "--bundle", bundle, "c")...)
			if err := create.Start(); err != nil {
				t.Fatal(err)
			}
			if !eventually(func() bool { return len(pidsOf(t, "lanhook")) > 0 }) {
				t.Fatal("the runtime does not start the hook")
			}
			if entries, err := os.ReadDir(filepath.Join(r.state, "guest")); err != nil || len(entries) != 1 {
				t.Errorf("guest files: %v (%v)", entries, err)
			}
			if err := create.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := create.Wait(); err == nil {
				t.Errorf("%s create succeeded though it was killed", program)
			}
			if !eventually(func() bool { return len(pidsOf(t, "lanhook")) == 0 }) {
				t.Error("the hook is still there")
			}
			r.forceDelete("c")
			r.lanhook(t, "gc")
			r.noFiles(t)
			r.gone(t)
		})
	}
}
