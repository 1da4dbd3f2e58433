//go:build linux

package kernel_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

func TestRefusedNamespaces(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"RT-16 plain file": {file, "it is no namespace but an ordinary file"},
		"RT-16 FIFO":       {fifo, "it is no namespace but an ordinary file"},
		"RT-16 folder":     {dir, "it is no namespace but an ordinary file"},
		"other kind":       {"/proc/self/ns/uts", "it is a namespace of another kind"},
		"no such file":     {filepath.Join(dir, "none"), "there is none, or its process has ended"},
		"no such process":  {"/proc/4194304/ns/net", "there is none, or its process has ended"},
		"the host's own":   {n.Host.Path(), "it is the host's own"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.Namespace(c.path)
			var hint interface{ Hint() string }
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) ||
				!errors.As(err, &hint) || hint.Hint() == "" {
				t.Errorf("error %v, want %q, the path and a hint", err, c.want)
			}
		})
	}
	t.Run("the host's own has a type", func(t *testing.T) {
		_, err := h.Namespace(n.Host.Path())
		var own *kernel.HostNamespaceError
		if !errors.As(err, &own) || own.Path != n.Host.Path() {
			t.Errorf("error %v, want a HostNamespaceError", err)
		}
	})
}

func TestNSID(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	alive := func(t *testing.T, id int) bool {
		t.Helper()
		ok, err := h.Alive(id)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	t.Run("chosen, kept, and proof of death", func(t *testing.T) {
		c := n.Namespace(t, "container")
		ns, end := openNamespace(t, h, c)
		id, err := ns.NSID()
		if err != nil || !kernel.OwnNSID(id) {
			t.Fatalf("number %d (%v), want one from 2^30 on", id, err)
		}
		again, endAgain := openNamespace(t, h, c)
		if other, err := again.NSID(); err != nil || other != id {
			t.Errorf("number %d (%v) the second time, was %d", other, err, id)
		}
		endAgain()
		end()
		if !alive(t, id) {
			t.Error("not alive while its process runs")
		}
		// An open file, which no scan of processes would find, keeps it alive too.
		file, err := os.Open(c.Path())
		if err != nil {
			t.Fatal(err)
		}
		c.End()
		if !alive(t, id) {
			t.Error("not alive while a file holds it")
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		// A closed socket holds its namespace until readers of the kernel's lists are done (RCU), some milliseconds.
		nettest.Eventually(t, "the end of the namespace", func() bool { return !alive(t, id) })
		// Steps for what was inside have nothing to do any more.
		run(t, h.KernelByID(id, nil), delMacvlan(mac(1)), plan.DelRoute{Route: request.Route{Dst: prefix("10.0.0.0/8")}})
		next, _ := openNamespace(t, h, n.Namespace(t, "next"))
		if other, err := next.NSID(); err != nil || other == id {
			t.Errorf("the next namespace has number %d (%v) again", other, err)
		}
	})
	t.Run("given by somebody else before", func(t *testing.T) {
		c := n.Namespace(t, "container")
		n.Host.Do(t, func() {
			if err := netlink.SetNetNsIdByPid(c.PID, 5); err != nil {
				t.Fatal(err)
			}
		})
		ns, _ := openNamespace(t, h, c)
		if id, err := ns.NSID(); err != nil || id != 5 || kernel.OwnNSID(id) {
			t.Errorf("number %d (%v), want 5, not our own", id, err)
		}
	})
	t.Run("none", func(t *testing.T) {
		if alive(t, -1) || alive(t, 4711) {
			t.Error("a number that nobody has is alive")
		}
		run(t, h.KernelByID(-1, nil), delMacvlan(mac(1)))
	})
}

func TestDelRouteByID(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	c.Remember(t)
	h := openHost(t, n)
	ns, end := openNamespace(t, h, c)
	r := request.Route{Type: request.Blackhole, Dst: prefix("10.9.0.0/16")}
	run(t, h.Kernel(ns), plan.AddRoute{Route: r})
	id, err := ns.NSID()
	if err != nil {
		t.Fatal(err)
	}
	end()
	opened := 0
	k := h.KernelByID(id, func() (*kernel.Namespace, error) {
		opened++
		return h.Namespace(c.Path())
	})
	run(t, k, plan.DelRoute{Route: r})
	c.Same(t)
	if opened != 1 || slices.ContainsFunc(nettest.Strays(), func(s string) bool { return strings.Contains(s, inode(c)) }) {
		t.Errorf("opened %d times, want once and closed again", opened)
	}
	if err := k.Apply(t.Context(), plan.AddRoute{Route: r}); err == nil {
		t.Error("a step that adds worked without the namespace")
	}
}

func TestScan(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	c, mounted := n.Namespace(t, "container"), n.Namespace(t, "mounted")
	ns, _ := openNamespace(t, h, c)
	id := ns.Identity()

	// One that only a mount holds, as ip-netns(8) makes it, at a path that mountinfo escapes.
	point := filepath.Join(t.TempDir(), "a b")
	if err := os.WriteFile(point, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(mounted.Path(), point, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	other, end := openNamespace(t, h, mounted)
	mountedID := other.Identity()
	end()
	mounted.End()

	living, err := h.Scan()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id   kernel.Identity
		want bool
	}{
		"of a process":                {id, true},
		"of a mount":                  {mountedID, true},
		"the host's":                  {h.Identity(), true},
		"none of this inode":          {kernel.Identity{Inode: 1, Cookie: id.Cookie}, false},
		"another that has its inode":  {kernel.Identity{Inode: id.Inode, Cookie: id.Cookie + 1<<40}, false},
		"another with the host's one": {kernel.Identity{Inode: h.Identity().Inode, Cookie: 1 << 40}, false},
	} {
		t.Run(name, func(t *testing.T) {
			path, ok := living.Path(c.id)
			if ok != c.want {
				t.Fatalf("path %q %v, want %v", path, ok, c.want)
			}
			if !ok {
				return
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil || st.Ino != c.id.Inode {
				t.Errorf("%s has inode %d (%v), want %d", path, st.Ino, err, c.id.Inode)
			}
		})
	}
}

func TestProcessEnds(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	p, err := process.Find(c.PID)
	if err != nil || p.PID != c.PID || !p.Alive() {
		t.Fatalf("process %+v (%v), want it alive", p, err)
	}
	later := p
	later.Start++
	if later.Alive() {
		t.Error("a process with another start is taken for it")
	}
	c.End()
	if p.Alive() {
		t.Error("alive after its end")
	}
	if _, err := process.Find(c.PID); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("error %v, want one that says there is none", err)
	}
}

func TestIdleBridges(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	second := bridge()
	second.Name, second.MAC, second.Addresses = "aa.bb", mac(0x11), nil
	run(t, k, bridge(), second)
	got, err := h.IdleBridges()
	slices.Sort(got)
	if diff := cmp.Diff([]string{"aa.bb", "lh-apps"}, got); diff != "" || err != nil {
		t.Errorf("bridges (-want +got) %v:\n%s", err, diff)
	}
	run(t, k, plan.ReleaseBridge{Name: "lh-apps"}, plan.ReleaseBridge{Name: "aa.bb"})
}

// Two attaches may make the same bridge at once, and one may have been killed in between.
func TestEnsureBridgeTogether(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	n.Host.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name, a.Group = "lh-apps", plan.Group
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			t.Fatal(err)
		}
	})
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if err := h.KernelByID(-1, nil).Apply(t.Context(), bridge()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got := link(t, h, "lh-apps")
	if diff := cmp.Diff(bridge().Addresses, global(got.Addresses), byText()); diff != "" || !got.Up {
		t.Errorf("up %v, addresses (-want +got):\n%s", got.Up, diff)
	}
	run(t, h.KernelByID(-1, nil), plan.ReleaseBridge{Name: "lh-apps"})
}

// Opening a container's namespace is to cost less than 150 µs: it is in the way of each start.
func BenchmarkNamespace(b *testing.B) {
	n := nettest.New(b)
	c := n.Namespace(b, "container")
	var h *kernel.Host
	n.Host.Do(b, func() {
		var err error
		if h, err = kernel.Open(); err != nil {
			b.Fatal(err)
		}
	})
	defer h.Close()
	for b.Loop() {
		ns, err := h.Namespace(c.Path())
		if err != nil {
			b.Fatal(err)
		}
		if err := ns.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
