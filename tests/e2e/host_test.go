//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience is how long a test waits for what the kernel and engines do when they find the time, such as ending a
// namespace.
const patience = 10 * time.Second

// host is the private host as one test uses it: a state directory and a policy of its own. When the test ends, the
// host must be as it was.
type host struct {
	bin, dir, state, policy string
}

// reservedAddr is kept for the workload reservedName, which no rule lets a container call itself: its engine must.
const (
	reservedName = "default/e2e-life"
	reservedAddr = "10.77.0.99"
)

// policyText is what all tests may ask for. The parent of "waiting" never comes.
const policyText = `version = 1

[network.lan]
driver = "macvlan"
parent = "p0"
reserve = { "` + reservedName + `" = "` + reservedAddr + `" }

  [[network.lan.subnet]]
  subnet  = "10.77.0.0/24"
  range   = "10.77.0.16/28"
  gateway = "10.77.0.254"
  [[network.lan.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::fe"

[network.reached]
driver = "macvlan"
parent = "p0"
host-access = ["10.77.0.40", "fd77::28"]

  [[network.reached.subnet]]
  subnet  = "10.77.0.0/24"
  range   = "10.77.0.48/28"
  gateway = "10.77.0.254"
  [[network.reached.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::fe"

[network.apps]
driver = "bridge"

  [[network.apps.subnet]]
  subnet  = "172.30.7.0/24"
  gateway = "172.30.7.1"
  [[network.apps.subnet]]
  subnet  = "fd30::/64"
  gateway = "fd30::1"

[network.waiting]
driver      = "macvlan"
parent      = "p9"
parent-wait = "15s"

  [[network.waiting.subnet]]
  subnet  = "10.78.0.0/24"
  gateway = "10.78.0.254"

[[rule]]
name     = "all"
match    = { id = ["*"] }
networks = ["lan", "reached", "apps", "waiting"]
ip       = true
publish  = true
`

// newHost skips the test where it cannot run, which fails it in a lane that has said what it has.
func newHost(t *testing.T, programs ...string) *host {
	t.Helper()
	if os.Getenv(stage) != "host" || !private() {
		missing(t, "needs root, to make a private host")
	}
	for _, program := range append(programs, "busybox", "ip", "nft", "ping") {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "needs %s: %v", program, err)
		}
	}
	bin := os.Getenv("LANHOOK_BIN")
	if bin == "" {
		bin = "../../bin/lanhook"
	}
	bin, err := filepath.Abs(bin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = os.Stat(bin); err != nil {
		t.Fatalf("needs the built program (make build): %v", err)
	}
	// podman wants short paths, so t.TempDir, which holds the test's name, will not do.
	dir, err := os.MkdirTemp("/run/e2e", "") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if rmErr := os.RemoveAll(dir); rmErr != nil {
			t.Error(rmErr)
		}
	})
	h := &host{bin: bin, dir: dir, state: filepath.Join(dir, "state"), policy: filepath.Join(dir, "policy.toml")}
	write(t, h.policy, policyText)

	before := h.snapshot(t)
	t.Cleanup(func() {
		h.same(t, before)
	})
	return h
}

// missing skips the test, and fails it in a lane that has said what it has.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("LANHOOK_TEST_HAVE") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// lanhook runs the program's command line and gives its stdout.
func (h *host) lanhook(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, h.bin, append(args, "--state-dir", h.state)...)
}

// container is what lanhook ls says of one interface of a container.
type container struct {
	Container  string
	Workload   string
	State      string
	PID        int
	Left       bool
	Joined     []struct{ Container string }
	Interfaces []struct {
		Name      string
		Network   string
		MAC       string
		Addresses []netip.Prefix
	}
}

// ls are the containers that lanhook has a record of.
func (h *host) ls(t *testing.T) []container {
	t.Helper()
	var list []container
	if err := json.Unmarshal([]byte(h.lanhook(t, "ls", "--json")), &list); err != nil {
		t.Fatalf("lanhook ls --json: %v", err)
	}
	return list
}

// attached is the one attached container.
func (h *host) attached(t *testing.T, id string) container {
	t.Helper()
	list := h.ls(t)
	i := slices.IndexFunc(list, func(c container) bool { return c.Container == id })
	if i < 0 {
		t.Fatalf("lanhook ls has no container %s: %+v", id, list)
	}
	if len(list[i].Interfaces) == 0 {
		t.Fatalf("container %s has no interface: %+v", id, list[i])
	}
	return list[i]
}

// gone fails unless lanhook holds nothing for anybody.
func (h *host) gone(t *testing.T) {
	t.Helper()
	if list := h.ls(t); len(list) > 0 {
		t.Errorf("lanhook still has records: %+v", list)
	}
}

// network is one of the policy's networks, as the tests use it.
type network struct {
	name string
	// peers are addresses that a container reaches.
	peers []string
	// from is the namespace, by ip netns exec, from which the container is reached; "" is the host.
	from string
}

func networks() []network {
	return []network{
		{name: "lan", peers: []string{"10.77.0.254", "fd77::fe"}, from: "neighbour"},
		{name: "reached", peers: []string{"10.77.0.254", "fd77::fe", "10.77.0.40", "fd77::28"}},
		// From the neighbour only what is published is reached.
		{name: "apps", peers: []string{"172.30.7.1", "fd30::1", "10.77.0.254", "fd77::fe"}},
	}
}

// networkOf is the one of a name.
func networkOf(name string) network {
	all := networks()
	return all[slices.IndexFunc(all, func(n network) bool { return n.name == name })]
}

// pings sends a packet each way between a container and its neighbours. exec runs a command in the container.
func (n network) pings(t *testing.T, c container, exec func(args ...string)) {
	t.Helper()
	for _, peer := range n.peers {
		exec("/bin/ping", "-c", "1", "-W", "3", peer)
	}
	for _, prefix := range c.Interfaces[0].Addresses {
		ping := within(n.from, "ping", "-n", "-c", "1", "-W", "3", prefix.Addr().String())
		run(t, ping[0], ping[1:]...)
	}
}

// within is a command line in a namespace, by ip netns exec; "" is the host's.
func within(namespace string, command ...string) []string {
	if namespace == "" {
		return command
	}
	return append([]string{"ip", "netns", "exec", namespace}, command...)
}

// rootfs makes a root filesystem of busybox alone, with the page of a web server that answers who asks.
func rootfs(t *testing.T, dir string) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "rootfs")
	for _, folder := range []string{"bin", "dev", "etc", "proc", "run", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"sh", "sleep", "ping", "ip"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	pages := filepath.Join(root, "www/cgi-bin")
	if err := os.MkdirAll(pages, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pages, "who"), []byte("#!/bin/sh\necho; echo $REMOTE_ADDR\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// snapshot is what the host has, as sorted text by subject.
func (h *host) snapshot(t *testing.T) map[string][]string {
	t.Helper()
	// Counters, timers and the numbers of new links change by themselves.
	volatile := regexp.MustCompile(`(?:_timer|expires|packets|bytes)\s+\S+|^\d+: |\bqlen \d+|\bindex \d+`)
	shot := map[string][]string{}
	for subject, command := range subjects() {
		shot[subject] = nil
		for line := range strings.SplitSeq(run(t, "sh", "-c", command), "\n") {
			if line = strings.TrimSpace(volatile.ReplaceAllString(line, "")); line != "" {
				shot[subject] = append(shot[subject], line)
			}
		}
		slices.Sort(shot[subject])
	}
	return shot
}

// subjects are the commands that show what the host has.
func subjects() map[string]string {
	return map[string]string{
		"links":      "ip -d -o link",
		"addresses":  "ip -o addr",
		"routes":     "ip route show table all; ip -6 route show table all",
		"rules":      "ip rule; ip -6 rule",
		"neighbours": "ip neigh show nud permanent; ip neigh show proxy",
		"bridges":    "bridge link; bridge fdb | grep permanent; bridge vlan",
		"nft":        "nft list ruleset",
		"forwarding": "cd /proc/sys/net; grep -H . ipv[46]/conf/*/forwarding ipv4/ip_forward",
		"ports":      "cat /proc/sys/net/ipv4/ip_local_reserved_ports",
		"mounts":     "cut -d' ' -f3- /proc/self/mountinfo",
		"namespaces": "ls /run/netns",
		"processes":  "cat /proc/[0-9]*/comm 2>/dev/null | grep -E 'lanhook|runc|crun|conmon|podman|busybox|sleep|containerd|dockerd' || true",
	}
}

// same fails when the host does not become what it was before. It waits, since namespaces end on their own time.
func (h *host) same(t *testing.T, before map[string][]string) {
	t.Helper()
	var after map[string][]string
	if eventually(func() bool {
		after = h.snapshot(t)
		return cmp.Equal(before, after)
	}) {
		return
	}
	for subject := range before {
		for _, line := range without(before[subject], after[subject]) {
			t.Errorf("the host has lost of its %s: %s", subject, line)
		}
		for _, line := range without(after[subject], before[subject]) {
			t.Errorf("something is left of %s: %s", subject, line)
		}
	}
}

// without are the lines of a that b does not have.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
}

// eventually asks again until the answer is yes or patience has run out.
func eventually(done func() bool) bool {
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

// write makes a file that only its owner may write, as a policy must be.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a program that must succeed and gives its stdout.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	stdout, stderr, err := try(program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// try runs a program. Its output goes to files: a container keeps the pipes of the runtime that started it, and would
// be waited for. It does not use the test's context, which has ended when Cleanup runs.
func try(program string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	var files [2]*os.File
	for i := range files {
		if files[i], err = os.CreateTemp("", "output"); err != nil {
			return "", "", err
		}
		defer files[i].Close()
		if err = os.Remove(files[i].Name()); err != nil {
			return "", "", err
		}
	}
	command.Stdout, command.Stderr = files[0], files[1]
	err = command.Run()
	var texts [2]bytes.Buffer
	for i, file := range files {
		if _, seekErr := file.Seek(0, 0); seekErr != nil {
			return "", "", seekErr
		}
		if _, readErr := texts[i].ReadFrom(file); readErr != nil {
			return "", "", readErr
		}
	}
	return texts[0].String(), texts[1].String(), err
}
