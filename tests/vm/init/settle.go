//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

// settle makes of the new root what programs expect of a machine that has started.
func settle(told spec.Run) error {
	steps := []struct {
		what string
		do   func() error
	}{
		{"mount what belongs to /dev and /sys", mountRest},
		{"hand on cgroup controllers", enableControllers},
		// Only now: a mount below a shared one cannot be moved. ip netns needs it.
		{"share mounts", func() error { return unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "") }},
		{"mount shares", func() error { return mountShares(told.Shares) }},
		{"show the modules", func() error { return showModules(told) }},
		{"make device nodes", func() error { return makeNodes(told.Modules) }},
		{"name network cards", func() error { return nameLinks(told.MACs) }},
		{"turn lo on", func() error { return turnOn("lo") }},
		{"set the host's name", func() error { return unix.Sethostname([]byte(told.Hostname)) }},
		{"allow many files", allowFiles},
		{"set the environment", func() error { return setEnvironment(told.Env) }},
		{"load modules", func() error { return modprobe(told.Modprobe) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

func mountRest() error {
	for _, m := range []struct{ kind, path, options string }{
		{"devpts", "/dev/pts", "mode=620,ptmxmode=666,gid=5"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"mqueue", "/dev/mqueue", ""},
		{"cgroup2", "/sys/fs/cgroup", "nsdelegate"},
		{"bpf", "/sys/fs/bpf", ""},
		{"tracefs", "/sys/kernel/tracing", ""},
		{"securityfs", "/sys/kernel/security", ""},
	} {
		if strings.HasPrefix(m.path, "/dev") {
			if err := os.MkdirAll(m.path, 0o755); err != nil {
				return err
			}
		}
		if err := mount(m.kind, m.path, m.kind, 0, m.options); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return os.MkdirAll("/run/lock", 0o755)
}

// enableControllers hands the controllers on to groups below the root's, as systemd does.
func enableControllers() error {
	const root = "/sys/fs/cgroup/"
	list, err := os.ReadFile(root + "cgroup.controllers")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(list)) {
		if err := os.WriteFile(root+"cgroup.subtree_control", []byte("+"+name), 0o600); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func mountShares(shares []string) error {
	for i, dir := range shares {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// Programs map files that they write, such as coverage profiles, into memory.
		if err := mount(fmt.Sprintf("rw%d", i), dir, "9p", 0,
			"trans=virtio,version=9p2000.L,msize=512000,cache=mmap"); err != nil {
			return err
		}
	}
	return nil
}

// showModules puts the modules where modprobe finds them, for programs and for the kernel, which loads many by itself.
func showModules(told spec.Run) error {
	dir := "/lib/modules/" + told.Release
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return mount(told.Modules, dir, "", unix.MS_BIND, "")
}

// makeNodes makes the device nodes whose modules are loaded when somebody opens them, such as net/tun. Elsewhere that is
// for udev or systemd-tmpfiles to do.
func makeNodes(modules string) error {
	list, err := os.ReadFile(filepath.Join(modules, "modules.devname"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		var module, name, number string
		// Like "tun net/tun c10:200"; a comment has another form.
		if n, err := fmt.Sscan(line, &module, &name, &number); err != nil || n != 3 || module == "#" {
			continue
		}
		var kind byte
		var major, minor uint32
		if _, err := fmt.Sscanf(number, "%c%d:%d", &kind, &major, &minor); err != nil {
			continue
		}
		mode := uint32(unix.S_IFCHR | 0o666)
		if kind == 'b' {
			mode = unix.S_IFBLK | 0o660
		}
		path := filepath.Join("/dev", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		err := unix.Mknod(path, mode, int(unix.Mkdev(major, minor)))
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// allowFiles sets the limit by package syscall: that one then leaves it alone when it starts programs.
func allowFiles() error {
	const many = 1 << 20
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: many, Max: many})
}

func setEnvironment(env []string) error {
	os.Clearenv()
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

func modprobe(modules []string) error {
	if len(modules) == 0 {
		return nil
	}
	out, err := exec.Command("modprobe", append([]string{"-a"}, modules...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
