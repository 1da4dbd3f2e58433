//go:build linux

package netsetup_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/tests/nettest"
)

// together runs fn for each of n at once, and fails the test with what they return.
func together(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = fn(i) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// crowd starts containers.
func (w *world) crowd(t *testing.T, n int) []*box {
	t.Helper()
	boxes := make([]*box, n)
	for i := range boxes {
		boxes[i] = w.plainBox(t, fmt.Sprintf("c%02d", i))
	}
	return boxes
}

// A bridge comes and goes under many that attach and detach at once; whoever is attached reaches it.
func TestBridgeComesAndGoes(t *testing.T) {
	w := newWorld(t, apps)
	boxes := w.crowd(t, 20)
	wants := make([]netsetup.Container, len(boxes))
	for i, b := range boxes {
		wants[i] = b.container(t, "network=apps")
	}
	together(t, len(boxes), func(i int) error {
		for range 3 {
			r, err := w.setup.Attach(t.Context(), wants[i])
			if err != nil {
				return err
			}
			if err := w.usable(wants[i].NetNS, r); err != nil {
				return err
			}
			if err := w.release(t.Context(), wants[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	w.empty(t)
}

// usable looks whether an attached container's link is up with its addresses, and a port of a bridge that has the
// gateway's.
func (w *world) usable(path string, r netsetup.Result) error {
	ns, err := w.setup.Host.Namespace(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	link, ok, err := ns.Link("eth0")
	if err != nil || !ok || !link.Up {
		return fmt.Errorf("eth0 is %+v (%w)", link, err)
	}
	for _, a := range r.Interfaces[0].Addresses {
		if !slices.Contains(link.Addresses, a) {
			return fmt.Errorf("eth0 has %v, not %s", link.Addresses, a)
		}
	}
	bridge, ok, err := w.setup.Host.Link("lh-apps")
	if err != nil || !ok || !bridge.Up || !slices.Contains(bridge.Addresses, netip.MustParsePrefix("172.30.0.1/24")) {
		return fmt.Errorf("the bridge is %+v (%w)", bridge, err)
	}
	return nil
}

// As many attaches at once as there are addresses: each gets one, none gets another's, and one more gets none.
func TestPoolAtOnce(t *testing.T) {
	const n = 30
	w := newWorld(t, strings.Replace(lan4, "gateway", "range = \"10.77.0.100-10.77.0.129\"\ngateway", 1))
	boxes := w.crowd(t, n)
	wants := make([]netsetup.Container, n)
	for i, b := range boxes {
		// All begin at the same place.
		wants[i] = b.container(t, "network=lan", "name=web")
	}
	results := make([]netsetup.Result, n)
	together(t, n, func(i int) (err error) {
		results[i], err = w.setup.Attach(t.Context(), wants[i])
		return err
	})
	if t.Failed() {
		t.FailNow()
	}
	holders, macs := map[netip.Addr]int{}, map[string]int{}
	for i, r := range results {
		a := onlyAddress(t, r.Interfaces[0], netip.Addr.Is4)
		if j, twice := holders[a]; twice {
			t.Errorf("%d and %d both have %s", i, j, a)
		}
		mac := r.Interfaces[0].MAC.String()
		if j, twice := macs[mac]; twice {
			t.Errorf("%d and %d both have %s", i, j, mac)
		}
		holders[a], macs[mac] = i, i
	}
	boxes[0].Ping(t, nettest.PeerPrefix4().Addr())
	boxes[n-1].Ping(t, onlyAddress(t, results[0].Interfaces[0], netip.Addr.Is4))
	w.box(t, "late").refused(t, "all 30 are in use", "network=lan")
	together(t, n, func(i int) error {
		return w.release(t.Context(), wants[i].ID)
	})
	w.empty(t)
}

// The hook of one container may be called twice at the same time: one attaches, the other finds that, or says so.
func TestSameContainerAtOnce(t *testing.T) {
	w := newWorld(t, lan+apps)
	c := w.box(t, "c")
	want := c.container(t, "network=lan", "network.eth1=apps")
	attached := make(chan string, 4)
	together(t, cap(attached), func(int) error {
		r, err := w.setup.Attach(t.Context(), want)
		if err == nil {
			attached <- r.Ref.ID
			return nil
		}
		if !strings.Contains(err.Error(), "is being attached by process") {
			return err
		}
		return nil
	})
	close(attached)
	first, ok := <-attached
	if !ok {
		t.Fatal("none of them attached it")
	}
	for r := range attached {
		if r != first {
			t.Errorf("records %s and %s", first, r)
		}
	}
	c.reachesNeighbour(t)
	w.done(t, c)
}

// RT-15: no thread of a process that attached is left in a container's namespace, whether it succeeded or not.
func TestThreads(t *testing.T) {
	t.Run("RT-15 a hundred attaches of one process", func(t *testing.T) {
		w := newWorld(t, lan4)
		boxes := w.crowd(t, 4)
		for n := range 100 {
			b := boxes[n%len(boxes)]
			annotation := "network=lan"
			if n%3 == 0 {
				annotation = "network=lan,ip=10.99.0.1"
			}
			_, err := w.setup.Attach(t.Context(), b.container(t, annotation))
			if (err != nil) != (n%3 == 0) {
				t.Fatalf("attach %d: %v", n, err)
			}
			if err := w.release(t.Context(), b.id); err != nil {
				t.Fatal(err)
			}
		}
		nettest.Eventually(t, "all threads are at home", func() bool { return len(nettest.Strays()) == 0 })
		w.empty(t)
	})
}
