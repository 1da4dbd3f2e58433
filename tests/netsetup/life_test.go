//go:build linux

package netsetup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/tests/nettest"
)

// A lease lives as long as its namespace, whoever keeps that.
func TestLeaseLife(t *testing.T) {
	const fixed = "network=lan,ip=10.77.0.9,mac=02:42:00:00:00:09"
	t.Run("given back with the namespace, even without poststop", func(t *testing.T) {
		w := newWorld(t, lan4)
		one, two := w.plainBox(t, "one"), w.box(t, "two")
		one.attach(t, fixed)
		two.refused(t, "10.77.0.9", fixed)
		one.ended(t)
		two.attach(t, fixed)
		two.Ping(t, nettest.PeerPrefix4().Addr())
		w.done(t, two)
	})
	t.Run("a pool of the dead is given to the living", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan4, "gateway", "range = \"10.77.0.8-10.77.0.9\"\ngateway", 1))
		for _, id := range []string{"one", "two"} {
			c := w.plainBox(t, id)
			c.attach(t, "network=lan")
			c.ended(t)
		}
		three, four := w.box(t, "three"), w.box(t, "four")
		three.attach(t, "network=lan")
		four.attach(t, "network=lan")
		w.done(t, three, four)
	})
	t.Run("RT-08 kept by a mount", func(t *testing.T) {
		w := newWorld(t, lan4)
		one, two := w.plainBox(t, "one"), w.box(t, "two")
		path := filepath.Join(t.TempDir(), "netns")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(one.Path(), path, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		want := one.container(t, fixed)
		want.NetNS = path
		if _, err := w.setup.Attach(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		one.End()
		two.refused(t, "10.77.0.9", fixed)
		w.collects(t, 0)
		ns, err := w.setup.Host.Namespace(path)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		mustLink(t, ns, "eth0")
		one.detachAny(t)
		if s, ok, err := ns.Link("eth0"); ok || err != nil {
			t.Errorf("the link is there after the detach: %+v (%v)", s, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		two.attach(t, fixed)
		w.done(t, two)
	})
	t.Run("RT-09 kept by another process, which joined it", func(t *testing.T) {
		w := newWorld(t, lan4)
		one, two := w.plainBox(t, "one"), w.box(t, "two")
		one.attach(t, fixed)
		_, endJoined := join(t, one.Space)
		one.End()
		two.refused(t, "10.77.0.9", fixed)
		w.collects(t, 0)
		one.detachAny(t)
		two.attach(t, fixed)
		w.done(t, two)
		endJoined()
	})
	t.Run("kept by an open file that no search finds", func(t *testing.T) {
		w := newWorld(t, lan4)
		one := w.plainBox(t, "one")
		one.attach(t, fixed)
		file, err := os.Open(one.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		one.End()
		w.collects(t, 0)
		one.detachAny(t)
		w.empty(t)
	})
	t.Run("a late poststop leaves a living container alone", func(t *testing.T) {
		w := newWorld(t, lan4)
		c := w.box(t, "c")
		c.attach(t, fixed)
		d, err := w.setup.Detach(t.Context(), "c")
		if err != nil || d.Found || len(d.Alive) != 1 {
			t.Errorf("detach gave %+v (%v)", d, err)
		}
		c.Ping(t, nettest.PeerPrefix4().Addr())
		w.done(t, c)
	})
	t.Run("a poststop waits once for all containers of that id", func(t *testing.T) {
		w := newWorld(t, lan4)
		// As if each were another engine's, or of another of containerd's namespaces.
		living, dead := []*box{w.plainBox(t, "c"), w.plainBox(t, "c"), w.plainBox(t, "c")}, w.plainBox(t, "c")
		for _, b := range append(living, dead) {
			b.attach(t, "network=lan")
		}
		dead.End()
		start := time.Now()
		d, err := w.setup.Detach(t.Context(), "c")
		if err != nil || !d.Found || len(d.Alive) != len(living) || len(d.Interfaces) != 1 {
			t.Errorf("detach gave %+v (%v)", d, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		for _, b := range living {
			b.End()
		}
		w.collects(t, len(living))
		w.empty(t)
	})
	t.Run("a record of another boot is forgotten, and nothing else", func(t *testing.T) {
		w := newWorld(t, lan4)
		old, c := w.plainBox(t, "old"), w.box(t, "c")
		now := w.setup.BootID
		w.setup.BootID = "another"
		old.attach(t, "network=lan,ip=10.77.0.9")
		w.setup.BootID = now
		old.End()
		c.attach(t, "network=lan,ip=10.77.0.8")
		w.collects(t, 1)
		c.Ping(t, nettest.PeerPrefix4().Addr())
		w.done(t, c)
	})
}

// collects runs gc and fails the test unless it takes back so many records.
func (w *world) collects(t *testing.T, want int) {
	t.Helper()
	got, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{})
	if err != nil || len(got.Records) != want || len(got.Bridges) > 0 {
		t.Errorf("gc took back %+v (%v), want %d records", got, err, want)
	}
}

// join starts a process in a container's namespace, as runtimes do for the further containers of a pod, and gives that
// namespace by this process. The function ends it.
func join(t *testing.T, s *nettest.Space) (*nettest.Space, func()) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Do(t, func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	return &nettest.Space{Name: s.Name, PID: cmd.Process.Pid}, func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}
}

// A container that comes back with its MAC address while the kernel is still at the links of its old namespace.
func TestRestart(t *testing.T) {
	for _, poststop := range []bool{true, false} {
		t.Run(fmt.Sprintf("EADDRINUSE with poststop %t", poststop), func(t *testing.T) {
			w := newWorld(t, lan)
			var c *box
			for range 5 {
				c = w.plainBox(t, "c")
				// Some more links make the end of the namespace last.
				for i := range 10 {
					addBridge(t, c.Space, fmt.Sprintf("filler%d", i))
				}
				c.attach(t, "network=lan", "name=web")
				c.reachesNeighbour(t)
				c.End()
				if poststop {
					d, err := w.setup.Detach(t.Context(), "c")
					if err != nil || !d.Found {
						t.Errorf("detach gave %+v (%v)", d, err)
					}
				}
			}
			if !poststop {
				c.ended(t)
				w.collects(t, 1)
			}
			w.empty(t)
		})
	}
}

func TestChanges(t *testing.T) {
	t.Run("RT-10 detached after its network left the policy", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		c := w.box(t, "c")
		c.attach(t, "network=lan", "network.eth1=apps")
		w.usePolicy(t, bare)
		c.detach(t)
		w.empty(t)
	})
	t.Run("RT-10 detached after the policy broke", func(t *testing.T) {
		w := newWorld(t, apps)
		c := w.box(t, "c")
		c.attach(t, "network=apps")
		w.setup.Policy = nil
		c.detach(t)
		if all := w.records(t); len(all) > 0 {
			t.Errorf("records are left: %+v", all)
		}
	})
	t.Run("RT-10 no second bridge for a network that was renamed", func(t *testing.T) {
		w := newWorld(t, shop)
		old, late := w.box(t, "old"), w.box(t, "late")
		old.attach(t, "network=shop")
		w.usePolicy(t, strings.ReplaceAll(shop, "network.shop", "network.store"))
		late.refused(t, "bridge lh-store cannot have the gateway 172.31.0.1: the host has this address on lh-shop", "network=store")
		old.detach(t)
		late.attach(t, "network=store")
		late.detach(t)
		w.empty(t)
	})
	t.Run("RT-16 a file that is no namespace", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.box(t, "c")
		want := c.container(t, "network=lan")
		want.NetNS = filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(want.NetNS, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := w.setup.Attach(t.Context(), want)
		if err == nil || !strings.Contains(err.Error(), "it is no namespace but an ordinary file") {
			t.Errorf("error %v", err)
		}
		w.empty(t)
	})
	t.Run("RT-16 the host's own namespace", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.box(t, "c")
		want := c.container(t, "network=lan")
		want.NetNS = w.Host.Path()
		_, err := w.setup.Attach(t.Context(), want)
		if _, own := errors.AsType[*kernel.HostNamespaceError](err); !own {
			t.Errorf("error %v", err)
		}
		w.empty(t)
	})
	for _, network := range []string{"lan", "apps"} {
		t.Run("RT-17 link removed by hand, "+network, func(t *testing.T) {
			w := newWorld(t, lan+apps)
			c := w.box(t, "c")
			c.attach(t, "network="+network)
			change(t, c.Space, "eth0", netlink.LinkDel)
			w.done(t, c)
		})
		t.Run("RT-17 link renamed by hand, "+network, func(t *testing.T) {
			w := newWorld(t, lan+apps)
			c := w.plainBox(t, "c")
			c.attach(t, "network="+network)
			change(t, c.Space, "eth0", func(l netlink.Link) error {
				return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetName(l, "mine0"))
			})
			if err := w.release(t.Context(), "c"); err != nil {
				t.Error(err)
			}
			c.End() // A macvlan that got another name is the container's now, and goes with it.
			w.empty(t)
		})
	}
	t.Run("RT-17 another link under its name stays", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.plainBox(t, "c")
		c.attach(t, "network=lan")
		change(t, c.Space, "eth0", netlink.LinkDel)
		addBridge(t, c.Space, "eth0", "192.0.2.5/24")
		c.Remember(t)
		w.done(t, c)
		c.has(t, "eth0 bridge", "  192.0.2.5/24")
	})
	t.Run("attached twice is attached once", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		c := w.box(t, "c")
		first := c.attach(t, "network=lan", "network.eth1=apps")
		before := c.Snapshot(t)
		again := c.attach(t, "network=lan", "network.eth1=apps")
		if !again.Already || again.Ref != first.Ref || c.Snapshot(t) != before {
			t.Errorf("the second attach gave %+v after %+v", again, first)
		}
		w.done(t, c)
	})
}
