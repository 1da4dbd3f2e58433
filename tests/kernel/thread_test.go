//go:build linux

package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// No thread stays in a container's namespace, whatever happens inside.
func TestThreads(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	t.Run("RT-15 a hundred one after the other", func(t *testing.T) {
		for range 100 {
			ns, err := h.Namespace(c.Path())
			if err != nil {
				t.Fatal(err)
			}
			if err := ns.Do(func() error { return errTest }); !errors.Is(err, errTest) {
				t.Errorf("error %v, want the function's", err)
			}
			if err := ns.Close(); err != nil {
				t.Fatal(err)
			}
			for _, s := range nettest.Strays() {
				if strings.Contains(s, inode(c)) {
					t.Fatalf("left behind: %s", s)
				}
			}
		}
	})
	t.Run("RT-15 a hundred at once", func(t *testing.T) {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				ns, err := h.Namespace(c.Path())
				if err != nil {
					t.Error(err)
					return
				}
				var inside string
				err = ns.Do(func() error {
					inside, err = os.Readlink("/proc/thread-self/ns/net")
					return err
				})
				if err != nil || !strings.Contains(inside, inode(c)) {
					t.Errorf("inside is %s (%v), want %s", inside, err, inode(c))
				}
				if err := ns.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := nettest.Strays(); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, inode(c)) }) {
			t.Errorf("left behind: %v", got)
		}
	})
	t.Run("RT-15 a panic and the end of a goroutine", func(t *testing.T) {
		ns, _ := openNamespace(t, h, c)
		for name, fn := range map[string]func() error{
			"panic": func() error { panic(errTest) },
			"end":   func() error { runtime.Goexit(); return nil },
		} {
			var all sync.WaitGroup
			all.Go(func() {
				// A thread that a goroutine holds locked ends with it; this one must not hold it any more.
				defer func() { _ = recover() }()
				_ = ns.Do(fn) //nolint:errcheck // it does not return
			})
			all.Wait()
			for _, s := range nettest.Strays() {
				if strings.Contains(s, inode(c)) {
					t.Errorf("%s left behind: %s", name, s)
				}
			}
		}
	})
	t.Run("use after close", func(t *testing.T) {
		ns, err := h.Namespace(c.Path())
		if err != nil {
			t.Fatal(err)
		}
		if err := ns.Close(); err != nil {
			t.Fatal(err)
		}
		if err := ns.Do(func() error { return nil }); err == nil {
			t.Error("a function ran in a closed namespace")
		}
		if err := ns.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		if _, _, err := ns.Link("lo"); err == nil {
			t.Error("a closed namespace has links")
		}
	})
}

// A thread that cannot leave again ends with its goroutine, and nothing more is done with the host. The function that
// is run inside takes the right to leave away from its thread.
func TestThreadIsLost(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	again, _ := openNamespace(t, h, c)
	// On a thread that ends and is not the main one.
	n.Host.Do(t, func() {
		err := ns.Do(dropRights)
		if want := "leave network namespace " + c.Path() + ": "; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	})
	never := func() error { t.Error("it ran"); return nil }
	_, _, linkErr := again.Link("lo")
	_, aliveErr := h.Alive(5)
	_, openErr := h.Namespace(c.Path())
	for name, err := range map[string]error{
		"inside": ns.Do(never), "inside the other": again.Do(never), "link": linkErr, "alive": aliveErr, "open": openErr,
		"step": h.Kernel(again).Apply(t.Context(), plan.AddRoute{Route: request.Route{Dst: prefix("10.0.0.0/8")}}),
	} {
		if err == nil || !strings.Contains(err.Error(), "a thread could not leave") {
			t.Errorf("%s: error %v, want one that says why nothing is done", name, err)
		}
	}
	nettest.Eventually(t, "the end of the thread", func() bool {
		return !slices.ContainsFunc(nettest.Strays(), func(s string) bool { return strings.Contains(s, inode(c)) })
	})
}

// Who may not come back does not go in.
func TestNoWayBack(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	n.Host.Do(t, func() {
		if err := dropRights(); err != nil {
			t.Fatal(err)
		}
		_, err := h.Namespace(fmt.Sprintf("/proc/%d/ns/net", os.Getpid()))
		if want := "enter network namespace "; !errors.Is(err, unix.EPERM) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q and EPERM", err, want)
		}
	})
	// The host is as good as before.
	openNamespace(t, h, c)
}

// dropRights takes all effective capabilities from the calling thread.
func dropRights() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	sets[0].Effective, sets[1].Effective = 0, 0
	return unix.Capset(&header, &sets[0])
}

var errTest = errors.New("the function's own error")

func inode(s *nettest.Space) string {
	ns, _ := os.Readlink(s.Path())
	return strings.TrimPrefix(ns, "net:")
}
