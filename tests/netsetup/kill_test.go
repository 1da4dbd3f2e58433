//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/store"
)

// maxDeeds bounds a matrix: no run has so many.
const maxDeeds = 150

// withLink starts a container that has a link of its own, to which the route of one of the wishes goes.
func (w *world) withLink(t *testing.T) *box {
	t.Helper()
	c := w.plainBox(t, "c")
	addBridge(t, c.Space, "other0", "10.89.0.5/24")
	return c
}

// forget removes the state: as on a host where nothing was ever attached.
func (w *world) forget(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(w.stateDir); err != nil {
		t.Fatal(err)
	}
}

// kills calls attempt for each deed at which the program is to be killed, until it ends before it gets there. The
// program speaks to the kernel.
func kills(t *testing.T, attempt func(t *testing.T, at int) (o output, deeds []string)) {
	t.Helper()
	deeds := killsQuiet(t, attempt)
	if !t.Failed() && !slices.ContainsFunc(deeds, func(d string) bool { return strings.HasPrefix(d, "netlink ") }) {
		t.Errorf("no message to the kernel among %q", deeds)
	}
}

// killsQuiet is kills of a program that may change nothing but the state. It gives the deeds of the run that was not
// killed.
func killsQuiet(t *testing.T, attempt func(t *testing.T, at int) (o output, deeds []string)) []string {
	t.Helper()
	for at := 1; ; at++ {
		if at > maxDeeds {
			t.Fatalf("not at its end after %d deeds", maxDeeds)
		}
		var o output
		var deeds []string
		t.Run(fmt.Sprintf("%02d", at), func(t *testing.T) {
			o, deeds = attempt(t, at)
			if o.code == programKilled && len(deeds) != at {
				t.Errorf("killed at deed %d, not %d", len(deeds), at)
			}
			if t.Failed() {
				t.Logf("exit code %d, last deed: %s", o.code, deeds[len(deeds)-1])
			}
		})
		if t.Failed() || o.code != programKilled {
			if o.code != programKilled && o.code != 0 {
				t.Errorf("the last run gave %+v", o)
			}
			return deeds
		}
	}
}

// TestHookKilled kills createRuntime at each deed. gc takes back what was begun, while the container runs and after it
// has stopped. What is done with the state is the same whatever a container asks for. So it is killed at every deed for one that
// asks for all there is ("ports" is a part of it), and for the first that a host sees, which makes the state; for a bridge with a
// route, at each message and setting.
func TestHookKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wish  string
		fresh bool
		kinds []string
	}{
		{wish: "both"},
		{wish: "macvlan", fresh: true},
		{wish: "bridge", kinds: []string{"netlink", "set"}},
	} {
		for _, stopped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, container stopped %t", c.wish, stopped), func(t *testing.T) {
				t.Parallel()
				newWorld(t, matrix()).killHook(t, wishes()[c.wish], stopped, c.fresh, c.kinds...)
			})
		}
	}
}

// killHook does that for one wish, at the deeds of some kinds, or of all; fresh begins without a state each time.
func (w *world) killHook(t *testing.T, wish []string, stopped, fresh bool, kinds ...string) {
	t.Helper()
	kills(t, func(t *testing.T, at int) (output, []string) {
		if fresh {
			w.forget(t)
		}
		c := w.withLink(t)
		before := c.Snapshot(t)
		o, deeds := w.traced(t, orders{Kill: at, Kinds: kinds}, c.state(t, "creating", wish...), "hook", "createRuntime")
		if stopped {
			c.ended(t)
		}
		w.must(t, "", "gc")
		if !stopped && len(w.records(t)) > 0 {
			w.attachedWhole(t)
			c.ended(t)
			w.must(t, "", "gc")
		} else if !stopped {
			same(t, before, c.Space)
		}
		w.listed(t, 0)
		w.empty(t)
		c.End()
		return o, deeds
	})
}

// attachedWhole fails the test unless the one record is final and the kernel has all that it says.
func (w *world) attachedWhole(t *testing.T) {
	t.Helper()
	if all := w.records(t); len(all) != 1 || all[0].State != store.Attached {
		t.Errorf("records: %+v", all)
	}
	w.must(t, "", "check")
}

// TestPoststopKilled kills poststop at each deed: with the namespace gone gc finishes it, and where another process
// keeps the namespace the next poststop does, but for a bridge without a user.
func TestPoststopKilled(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("namespace kept %t", kept), func(t *testing.T) {
			t.Parallel()
			newWorld(t, matrix()).killPoststop(t, wishes()["both"], kept)
		})
	}
}

func (w *world) killPoststop(t *testing.T, wish []string, kept bool, kinds ...string) {
	t.Helper()
	kills(t, func(t *testing.T, at int) (output, []string) {
		c := w.plainBox(t, "c")
		before := c.Snapshot(t)
		w.must(t, c.state(t, "creating", wish...), "hook", "createRuntime")
		if !kept {
			c.ended(t)
			o, deeds := w.traced(t, orders{Kill: at, Kinds: kinds}, c.state(t, "stopped"), "hook", "poststop")
			w.must(t, "", "gc")
			w.listed(t, 0)
			w.empty(t)
			return o, deeds
		}
		other, end := join(t, c.Space)
		defer end()
		c.End()
		o, deeds := w.traced(t, orders{Kill: at, Kinds: kinds}, c.state(t, "stopped"), "hook", "poststop")
		w.must(t, c.state(t, "stopped"), "hook", "poststop")
		w.must(t, "", "gc") // the bridge, when the kill came between its record and it
		same(t, before, other)
		w.listed(t, 0)
		w.empty(t)
		return o, deeds
	})
}

// TestCollectKilled kills gc at each deed, which had to take back an attach that was killed with everything made and
// nothing committed; another gc finishes it.
func TestCollectKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matrix())
	wish := wishes()["both"]
	c := w.plainBox(t, "c")
	_, deeds := w.traced(t, orders{}, c.state(t, "creating", wish...), "hook", "createRuntime")
	c.End()
	w.must(t, c.state(t, "stopped"), "hook", "poststop")
	// The netlink messages alone are counted: there are as many in each run.
	last := 0
	for _, d := range deeds {
		if strings.HasPrefix(d, "netlink") {
			last++
		}
	}
	kills(t, func(t *testing.T, at int) (output, []string) {
		c := w.plainBox(t, "c")
		before := c.Snapshot(t)
		o, _ := w.traced(t, orders{Kill: last, Kinds: []string{"netlink"}}, c.state(t, "creating", wish...),
			"hook", "createRuntime")
		if all := w.records(t); o.code != programKilled || len(all) != 1 || all[0].State != store.Pending {
			t.Fatalf("the hook gave %+v and left %+v", o, all)
		}
		o, deeds := w.traced(t, orders{Kill: at}, "", "gc")
		w.must(t, "", "gc")
		same(t, before, c.Space)
		w.listed(t, 0)
		w.empty(t)
		c.End()
		return o, deeds
	})
}

// failure is what goes wrong on a host.
type failure struct {
	orders
	// left says that the record may stay, and gc finishes what the hook could not: the taking back fails as well, or the
	// record was written by the call that failed.
	left bool
}

// failures are by the deeds that they befall.
func failures() map[string]failure {
	return map[string]failure{
		"ENOBUFS of netlink":     {orders: orders{Kinds: []string{"netlink", "read"}, Errno: int(unix.ENOBUFS)}},
		"EIO of settings":        {orders: orders{Kinds: []string{"set"}, Errno: int(unix.EIO)}},
		"ENOSPC of the state":    {orders: orders{Kinds: []string{"pwrite", "truncate", "create", "make"}, Errno: int(unix.ENOSPC)}},
		"ENOLCK of the state":    {orders: orders{Kinds: []string{"lock"}, Errno: int(unix.ENOLCK)}, left: true},
		"EIO of the state":       {orders: orders{Kinds: []string{"sync", "rename", "remove"}, Errno: int(unix.EIO)}, left: true},
		"ENOBUFS of netlink, on": {orders: orders{Kinds: []string{"netlink", "read"}, Errno: int(unix.ENOBUFS), On: true}, left: true},
		"ENOSPC of the state, on": {
			orders: orders{Kinds: []string{"pwrite", "truncate"}, Errno: int(unix.ENOSPC), On: true}, left: true,
		},
		"EIO of everything, on": {orders: orders{Errno: int(unix.EIO), On: true}, left: true},
	}
}

// fails calls attempt for each deed that is to fail, until the program ends before it gets there.
func fails(t *testing.T, attempt func(t *testing.T, at int) (o output, deeds []string)) {
	t.Helper()
	for at := 1; at <= maxDeeds && !t.Failed(); at++ {
		done := false
		t.Run(fmt.Sprintf("%02d", at), func(t *testing.T) {
			o, deeds := attempt(t, at)
			if done = len(deeds) < at; !done && t.Failed() {
				t.Logf("failed deed: %s; the program gave %+v", deeds[at-1], o)
			}
		})
		if done {
			return
		}
	}
	if !t.Failed() {
		t.Fatalf("not at its end after %d deeds", maxDeeds)
	}
}

// TestHookFails lets each deed of createRuntime fail. The hook says why and takes back all that it did; where that fails
// as well, the record stays and gc finishes it.
func TestHookFails(t *testing.T) {
	t.Parallel()
	for name, f := range failures() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, matrix())
			failed := 0
			fails(t, func(t *testing.T, at int) (output, []string) {
				if strings.HasSuffix(name, "of the state") {
					w.forget(t)
				}
				c := w.plainBox(t, "c")
				before := c.Snapshot(t)
				order := f.orders
				order.Fail = at
				o, deeds := w.traced(t, order, c.state(t, "creating", wishes()["both"]...), "hook", "createRuntime")
				if o.code == 0 {
					// What failed did not matter, such as the line in the log.
					w.attachedWhole(t)
					w.must(t, "", "detach", "c")
				} else {
					failed++
					w.failed(t, c, o, f.left)
				}
				if _, err := os.Stat(c.Path()); err == nil {
					same(t, before, c.Space)
				}
				w.listed(t, 0)
				w.empty(t)
				c.End()
				return o, deeds
			})
			if failed < 4 {
				t.Errorf("the hook failed %d times only", failed)
			}
		})
	}
}

// failed looks at a hook that failed. A record that it had to leave is gc's: as long as the container runs when it is
// pending, after the container's end when it was final already.
func (w *world) failed(t *testing.T, c *box, o output, left bool) {
	t.Helper()
	if o.code != 1 || o.stdout != "" || !strings.HasPrefix(o.stderr, "lanhook: container c: ") {
		t.Errorf("the hook gave %+v", o)
	}
	records := w.records(t)
	if !left {
		if len(records) > 0 {
			t.Errorf("one failure was not taken back: %+v", records)
		}
		return
	}
	if len(records) > 0 && records[0].State == store.Attached {
		c.ended(t)
	}
	// It also removes a bridge that could not be removed, and that no record names.
	w.must(t, "", "gc")
}

// TestPoststopFails lets each deed of poststop fail. It ends well for the runtime, says why, and the next one finishes.
func TestPoststopFails(t *testing.T) {
	t.Parallel()
	for name, f := range failures() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, matrix())
			fails(t, func(t *testing.T, at int) (output, []string) {
				c := w.plainBox(t, "c")
				before := c.Snapshot(t)
				w.must(t, c.state(t, "creating", wishes()["both"]...), "hook", "createRuntime")
				kept, end := join(t, c.Space)
				defer end()
				c.End()
				order := f.orders
				order.Fail = at
				o, deeds := w.traced(t, order, c.state(t, "stopped"), "hook", "poststop")
				if left := w.records(t); o.code != 0 || o.stdout != "" || len(left) > 0 && o.stderr == "" {
					t.Errorf("poststop gave %+v and left %+v", o, left)
				}
				w.must(t, c.state(t, "stopped"), "hook", "poststop")
				same(t, before, kept)
				w.listed(t, 0)
				w.must(t, "", "gc")
				w.empty(t)
				return o, deeds
			})
		})
	}
}
