//go:build linux

package scenarios

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lanhook/lanhook/tests/vm"
)

const (
	// commandLimit is how long one command may take.
	commandLimit = 30 * time.Second
	// patience is how long a host may take to become what it was before, since namespaces end on their own time.
	patience = 10 * time.Second
	// work is where commands are typed.
	work = "/srv"
)

// host is a guest.
type host struct {
	number  int
	options vm.Options
	// guest is nil before it has started.
	guest *vm.Guest
	// before is what the host had before the scenario.
	before []string
}

// sh runs a command of a shell. Its output is all that it writes, as on a terminal.
func (h *host) sh(command string) (output string, exit int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	result, err := h.guest.Run(ctx, vm.Cmd{Args: []string{"sh", "-c", "exec 2>&1\n" + command}, Dir: work})
	return result.Stdout, result.Exit, err
}

// must runs a script that may not fail.
func (h *host) must(script string) (string, error) {
	output, exit, err := h.sh("set -eu\n" + script)
	if err == nil && exit != 0 {
		err = fmt.Errorf("exit status %d of a script:\n%s\n%s", exit, strings.TrimSpace(script), output)
	}
	return output, err
}

// put writes a file.
func (h *host) put(path, content string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	result, err := h.guest.Run(ctx, vm.Cmd{Args: []string{"sh", "-c", `cat >"$0"`, path}, Stdin: []byte(content)})
	if err == nil && result.Exit != 0 {
		err = fmt.Errorf("write %s: exit status %d", path, result.Exit)
	}
	return err
}

// start boots the host, brings up its network and installs lanhook. Its id, which addresses come from, is always the same.
func (h *host) start(ctx context.Context, checkout string) error {
	var err error
	if h.guest, err = vm.Start(context.WithoutCancel(ctx), h.options); err != nil {
		return err
	}
	_, err = h.must(fmt.Sprintf(`
		umask 022
		install -m 0755 %[1]s/bin/lanhook %[1]s/tests/scenarios/bundle /usr/local/bin
		mkdir -p /etc/lanhook /run/lanhook
		chmod 0700 /run/lanhook
		printf '%%032x\n' %[2]d >/etc/machine-id
		ip link set eth0 up
		ip link set eth1 up
		ip address add 192.168.1.%[2]d/24 dev eth0
		# Each address has been looked for on the wire.
		while ip -6 address show tentative | grep -q inet6; do sleep 0.1; done
	`, checkout, 11+h.number))
	return err
}

func (h *host) close() error {
	if h.guest == nil {
		return nil
	}
	return h.guest.Close()
}

// prepare gives the host its policy and the other files of a scenario, and remembers what it has.
func (h *host) prepare(s scenario) error {
	err := h.put("/etc/lanhook/policy.toml", s.policy(h.options.Hostname))
	for name, content := range s.files {
		if !strings.HasSuffix(name, ".toml") {
			err = errors.Join(err, h.put(work+"/"+name, content))
		}
	}
	if err != nil {
		return err
	}
	// What the host has learned of neighbours is another scenario's.
	if _, err = h.must("ip neighbour flush all"); err != nil {
		return err
	}
	h.before, err = h.snapshot()
	return err
}

// snapshot is what the host has, as sorted lines that begin with their subject. The files of locks, the database and the
// log stay once they are there.
func (h *host) snapshot() ([]string, error) {
	output, err := h.must(`
		printf '%s\n' 'link show' 'address show' 'route show table all' 'rule show' 'neighbour show nud permanent' >/tmp/show
		echo '## ip'; ip -d -o -batch /tmp/show
		echo '## ip -6'; ip -6 -o -batch /tmp/show
		echo '## bridge'; bridge fdb; bridge vlan
		echo '## nft'; nft list ruleset
		echo '## forwarding'; cd /proc/sys/net; grep -H . ipv[46]/conf/*/forwarding ipv4/ip_forward
		echo '## mount'; cut -d ' ' -f 5- /proc/self/mountinfo
		echo '## namespaces'; ls -A /run/netns 2>/dev/null || true
		echo '## container'; runc list -q
		echo '## state'; find /run/lanhook ! -name state.db ! -name '*lock' ! -name 'log*'
		echo '## lanhook ls'; lanhook ls --json
		echo '## lanhook network ls'; lanhook network ls --json
		echo '## lanhook gc'; lanhook gc --dry-run --json
	`)
	if err != nil {
		return nil, err
	}
	// Timers, and the numbers of new links, change by themselves.
	volatile := regexp.MustCompile(`_timer +\S+|expires \S+|^\d+: |\bqlen \d+`)
	var lines []string
	subject := ""
	for line := range strings.Lines(output) {
		if name, begins := strings.CutPrefix(line, "## "); begins {
			subject = strings.TrimSpace(name)
			continue
		}
		lines = append(lines, subject+": "+strings.TrimSpace(volatile.ReplaceAllString(line, "")))
	}
	slices.Sort(lines)
	return lines, nil
}

// same waits until the host is what it was before the scenario, and is an error when it does not become so.
func (h *host) same() error {
	for deadline := time.Now().Add(patience); ; {
		after, err := h.snapshot()
		if err != nil || slices.Equal(h.before, after) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it is not as before\n--- lost:\n%s\n--- left:\n%s", strings.Join(without(h.before, after), "\n"),
				strings.Join(without(after, h.before), "\n"))
		}
	}
}

// without are the lines of a that b does not have.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
}

// tidy removes bundles, and what a scenario has left that failed.
func (h *host) tidy() error {
	_, err := h.must(`
		for container in $(runc list -q); do runc delete --force "$container"; done
		lanhook gc
		for file in *; do [ "$file" = rootfs ] || rm -rf "$file"; done
	`)
	return err
}

// news is what helps to find out why a command did not do as it should.
func (h *host) news() string {
	output, _, err := h.sh(`echo "lanhook's log:"; tail -n 5 /run/lanhook/log; echo "kernel:"; dmesg | tail -n 5`)
	if err != nil {
		return err.Error()
	}
	return output
}
