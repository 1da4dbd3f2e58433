//go:build linux

// Package e2e starts containers with the runtimes of this machine and looks at what the built lanhook gives them, and
// at what is left afterwards. Nothing of it touches the machine: the test program starts itself again inside a host of
// its own,
//
//	outside   what go test runs; waits
//	  init    PID 1 of new PID, network, mount, IPC and UTS namespaces: mounts, links, and reaps orphans
//	    host  the tests
//
// and when init ends, the kernel ends every process in there, and with them all mounts, links and namespaces.
package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const (
	// stage is the environment variable that tells the test program where it is.
	stage = "LANHOOK_E2E_STAGE"
	// group is the one that names the parent of all cgroups of this run.
	group = "LANHOOK_E2E_CGROUP"
)

func TestMain(m *testing.M) {
	flag.Parse()
	switch listing := flag.Lookup("test.list").Value.String() != ""; {
	case os.Getenv(stage) == "init":
		os.Exit(initHost())
	case os.Getenv(stage) == "host", listing, os.Getuid() != 0:
		// Without root each test says so itself.
		os.Exit(m.Run())
	default:
		os.Exit(outside())
	}
}

// outside starts this program again as the first process of a private host, and ends when that does.
func outside() int {
	// The kernel kills the child when the thread that made it ends, so the thread has to last.
	runtime.LockOSThread()
	parent := fmt.Sprintf("/e2e-%d", os.Getpid())
	defer removeCgroups(parent)
	command := again("init")
	command.Env = append(command.Env, group+"="+parent)
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC |
			syscall.CLONE_NEWUTS,
		Pdeathsig: syscall.SIGKILL,
	}
	err := command.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "start a private host:", err)
		return 1
	}
	return 0
}

// removeCgroups removes the cgroups of containers that a failed test left behind, and their parent. With init, every
// process in them has ended.
func removeCgroups(parent string) {
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		for _, below := range []string{"", "/*", "/*/*"} {
			paths, err := filepath.Glob(pattern + parent + below)
			if err == nil {
				dirs = append(dirs, paths...)
			}
		}
	}
	// The deepest first. A group is a folder of files that are not there to be removed.
	slices.SortFunc(dirs, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, dir := range dirs {
		err := syscall.Rmdir(dir)
		if err != nil && !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.ENOENT) {
			fmt.Fprintf(os.Stderr, "remove cgroup %s: %v\n", dir, err)
		}
	}
}

// again is this program with the same arguments, in the next stage.
func again(next string) *exec.Cmd {
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Args[0] = os.Args[0]
	command.Env = append(os.Environ(), stage+"="+next)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	return command
}

// initHost makes the host and runs the tests in it. As PID 1 it reaps what loses its parent: conmon, and hooks whose
// runtime was killed.
func initHost() int {
	if err := errors.Join(mountHost(), linkHost()); err != nil {
		fmt.Fprintln(os.Stderr, "make a private host:", err)
		return 1
	}
	tests := again("host")
	tests.Env = append(tests.Env,
		"HOME=/run/e2e/home", "TMPDIR=/run/e2e/tmp", "XDG_RUNTIME_DIR=",
		// Where Debian has its tools, whatever the caller's PATH.
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if err := tests.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "start the tests:", err)
		return 1
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "wait for the tests:", err)
			return 1
		case pid == tests.Process.Pid && status.Exited():
			return status.ExitStatus()
		case pid == tests.Process.Pid && status.Signaled():
			fmt.Fprintln(os.Stderr, "the tests were ended by signal", status.Signal())
			return 1
		}
	}
}

// mountHost gives the host its own /run, /proc, /sys and /dev/shm. The cgroups stay the machine's; containers get
// theirs below one parent.
func mountHost() error {
	const cgroup, kept = "/sys/fs/cgroup", "/run/cgroup"
	steps := []func() error{
		func() error { return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") },
		func() error { return mountNew("tmpfs", "/run") },
		func() error { return makeDirs(kept, "/run/netns", "/run/e2e/home", "/run/e2e/tmp") },
		func() error { return mountNew("tmpfs", "/dev/shm") },
		func() error { return mountNew("proc", "/proc") },
		func() error { return syscall.Mount(cgroup, kept, "", syscall.MS_BIND|syscall.MS_REC, "") },
		func() error { return syscall.Unmount("/sys", syscall.MNT_DETACH) },
		func() error { return mountNew("sysfs", "/sys") },
		func() error { return mountCgroups(kept, cgroup) },
		func() error { return syscall.Unmount(kept, syscall.MNT_DETACH) },
		func() error { return os.Remove(kept) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("mount step %d: %w", i, err)
		}
	}
	return nil
}

func mountNew(kind, path string) error {
	if err := syscall.Mount(kind, path, kind, syscall.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, path, err)
	}
	return nil
}

// mountCgroups shows the cgroup hierarchies of kept at path. Of a machine that has both versions it leaves out version
// 2, which holds no controller there: crun would take its own group for one of version 2, and leave it behind.
func mountCgroups(kept, path string) error {
	// TMPFS_MAGIC and CGROUP_SUPER_MAGIC of statfs(2).
	const tmpfs, version1 = 0x01021994, 0x27e0eb
	var fs syscall.Statfs_t
	if err := syscall.Statfs(kept, &fs); err != nil {
		return fmt.Errorf("look at %s: %w", kept, err)
	}
	if fs.Type != tmpfs {
		return syscall.Mount(kept, path, "", syscall.MS_BIND|syscall.MS_REC, "")
	}
	if err := mountNew("tmpfs", path); err != nil {
		return err
	}
	entries, err := os.ReadDir(kept)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		from, to := filepath.Join(kept, entry.Name()), filepath.Join(path, entry.Name())
		if link, err := os.Readlink(from); err == nil {
			if err := os.Symlink(link, to); err != nil {
				return err
			}
			continue
		}
		if err := syscall.Statfs(from, &fs); err != nil || fs.Type != version1 {
			continue
		}
		if err := errors.Join(makeDirs(to), syscall.Mount(from, to, "", syscall.MS_BIND, "")); err != nil {
			return fmt.Errorf("cgroup %s: %w", entry.Name(), err)
		}
	}
	return nil
}

func makeDirs(paths ...string) error {
	for _, path := range paths {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// linkHost makes the host's network: its parent link p0, a cable to the only other machine on the LAN, and a table,
// a bridge and an address of somebody else, which lanhook must leave alone.
//
//	host                          neighbour
//	p0 10.77.0.1/24, fd77::1/64 ── p1 10.77.0.254/24, fd77::fe/64; 172.30.7.0/24 via 10.77.0.1
//	lh-foreign (bridge), nft table inet foreign
//
// It forwards: what the first attach turns on stays, and would be taken for something that a test has left.
func linkHost() error {
	script := `
		sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
		ip link set lo up
		ip netns add neighbour
		ip netns exec neighbour sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
		ip link add p0 address 02:00:00:00:77:01 type veth peer name p1 address 02:00:00:00:77:fe netns neighbour
		ip addr add 10.77.0.1/24 dev p0
		ip addr add fd77::1/64 dev p0 nodad
		ip link set p0 up
		ip -n neighbour link set lo up
		ip -n neighbour addr add 10.77.0.254/24 dev p1
		ip -n neighbour addr add fd77::fe/64 dev p1 nodad
		ip -n neighbour link set p1 up
		ip -n neighbour route add 172.30.7.0/24 via 10.77.0.1
		ip link add lh-foreign address 02:00:00:00:77:02 type bridge
		ip addr add 10.99.0.1/24 dev lh-foreign
		sysctl -qw net.ipv4.conf.p0.forwarding=1 net.ipv4.conf.lh-foreign.forwarding=1 net.ipv6.conf.all.forwarding=1
		nft add table inet foreign
		nft add chain inet foreign keep
		nft add rule inet foreign keep counter accept comment canary
	`
	output, err := exec.Command("sh", "-euc", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("links of the host: %w\n%s", err, strings.TrimSpace(string(output)))
	}
	return nil
}
