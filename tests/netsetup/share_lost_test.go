//go:build linux

package netsetup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup/store"
)

// Containers whose poststop does not come.
func TestSharedLost(t *testing.T) {
	const wish = "network=lan,ip=10.77.0.9,ip=fd77::9"
	t.Run("of all, in a namespace that lives: gc frees what was left", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		p.start(t, "a", wish)
		p.start(t, "b", wish)
		p.start(t, "c", wish)
		p.stop(t, "a")
		p.kill("b")
		w.collects(t, 1)
		p.shows(t, "a eth0 left", "c joined a")
		p.reachesNeighbour(t)
		p.kill("c")
		w.collects(t, 2)
		p.over(t)
	})
	t.Run("of the first: the last frees it", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		p.start(t, "a", wish)
		p.start(t, "b", wish)
		p.start(t, "c", wish)
		p.kill("a")
		w.collects(t, 0)
		p.stop(t, "b")
		p.reachesNeighbour(t)
		p.stop(t, "c")
		p.over(t)
	})
	t.Run("of the only one: the next makes it anew", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		p.start(t, "a", wish)
		p.kill("a")
		p.start(t, "b", wish)
		p.shows(t, "b eth0")
		p.reachesNeighbour(t)
		p.stop(t, "a")
		p.stop(t, "b")
		p.over(t)
	})
	t.Run("of all, with the namespace", func(t *testing.T) {
		w := newWorld(t, lan)
		infra := w.plainBox(t, "infra")
		p := &pod{box: infra, ends: map[string]func(){}}
		p.start(t, "a", wish)
		p.start(t, "b", wish)
		p.stop(t, "a")
		p.start(t, "c", wish)
		p.kill("b")
		p.kill("c")
		p.ended(t)
		w.collects(t, 3)
		w.empty(t)
	})
	t.Run("its address is asked for elsewhere", func(t *testing.T) {
		w := newWorld(t, lan)
		p, other := w.pod(t), w.box(t, "other")
		p.start(t, "a", wish)
		p.start(t, "b", wish)
		p.stop(t, "a")
		other.refused(t, "10.77.0.9", wish)
		p.kill("b")
		other.attach(t, wish)
		p.Same(t)
		other.detach(t)
		w.collects(t, 1)
		p.over(t)
	})
	t.Run("a detach that was cut off", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		p.start(t, "a", wish)
		p.start(t, "b", wish)
		rec := w.recordsOf(t, "a")[0]
		rec.State, rec.Writer = store.Leaving, store.Process{PID: 1 << 22, Start: 1}
		if err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.Put(rec) }); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]string{
			"a": "the detach is under way or was cut off; lanhook gc finishes what was cut off",
			"b": "container a, whose interfaces it shares, has them no more",
		} {
			drift, err := w.check(t, w.recordsOf(t, id)[0])
			if err != nil || len(drift) != 1 || drift[0].What != want {
				t.Errorf("check of %s gave %+v (%v), want %q", id, drift, err, want)
			}
		}
		p.start(t, "c", wish) // needs what was to go
		p.shows(t, "b joined a", "c eth0")
		p.reachesNeighbour(t)
		for _, id := range []string{"a", "b", "c"} {
			p.stop(t, id)
		}
		p.over(t)
	})
	t.Run("an administrator takes it away", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		p := w.pod(t)
		p.start(t, "a", wish)
		p.start(t, "b", wish)
		p.start(t, "c", wish, "network.eth1=apps")
		if err := w.release(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		p.shows(t, "c eth1")
		p.stop(t, "a")
		p.stop(t, "b")
		p.stop(t, "c")
		p.over(t)
	})
	t.Run("a member's attach fails, and it was the last that what was left was kept for", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		p := w.pod(t)
		p.start(t, "a", wish)
		p.start(t, "b", wish)
		p.stop(t, "a")
		c := p.run(t, "c")
		// A route that cannot be: it fails in the kernel, when b has gone.
		want := c.container(t, wish, "network.eth1=apps,route=10.62.0.0/16 via 10.99.0.1")
		_, err := w.setup.Attach(t.Context(), want)
		if err == nil || strings.Contains(err.Error(), "not all was taken back") {
			t.Errorf("error %v, want one of a route", err)
		}
		p.shows(t, "a eth0 left", "b joined a")
		p.stop(t, "b")
		p.over(t)
	})
}

// TestSharedAtOnce starts and stops the containers of a pod at once, which gives one interface, and then none.
func TestSharedAtOnce(t *testing.T) {
	const n, wish = 6, "network=lan,ip=10.77.0.9,ip=fd77::9"
	t.Run("all start, all stop", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		for range 5 {
			p.atOnce(t, n, wish)
			p.reachesNeighbour(t)
			makers := 0
			for _, rec := range w.records(t) {
				makers += len(rec.Interfaces)
			}
			if makers != 1 || len(w.records(t)) != n {
				t.Errorf("%d made an interface: %+v", makers, w.records(t))
			}
			for i := range n {
				p.kill(fmt.Sprint("c", i))
			}
			together(t, n, func(i int) error {
				_, err := w.setup.Detach(t.Context(), fmt.Sprint("c", i))
				return err
			})
			p.over(t)
		}
	})
	t.Run("some stop while others start", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		p.start(t, "old0", wish)
		for round := range 15 {
			if round%2 == 1 {
				p.start(t, "old1", wish)
				p.stop(t, "old0")
				p.ends["old0"] = p.ends["old1"]
			}
			b := p.run(t, "new")
			want := b.container(t, wish)
			p.kill("old0")
			together(t, 4, func(i int) error {
				if i == 3 {
					_, err := w.setup.Attach(t.Context(), want)
					return err
				}
				time.Sleep(time.Duration(i*round) * time.Millisecond / 5)
				_, err := w.setup.Detach(t.Context(), fmt.Sprint("old", i%2))
				return err
			})
			if i := p.eth0(t); !i.Up || len(global(i.Addresses)) != 2 {
				t.Fatalf("round %d: the new one has %+v", round, i)
			}
			p.reachesNeighbour(t)
			p.stop(t, "new")
			p.over(t)
			p.start(t, "old0", wish)
		}
		p.stop(t, "old0")
		p.over(t)
	})
	t.Run("the maker fails, another makes it", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		a, b := p.run(t, "a"), p.run(t, "b")
		// A record that is pending, by a process that lives: this one.
		rec := w.pending(t, a, wish)
		made := make(chan error, 1)
		want := b.container(t, wish)
		go func() {
			_, err := w.setup.Attach(t.Context(), want)
			made <- err
		}()
		select {
		case err := <-made:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		if err := w.setup.Release(t.Context(), rec.Ref()); err != nil {
			t.Fatal(err)
		}
		if err := <-made; err != nil {
			t.Error(err)
		}
		p.shows(t, "b eth0")
		p.stop(t, "b")
		p.over(t)
	})
	t.Run("waiting has an end", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		a, b := p.run(t, "a"), p.run(t, "b")
		rec := w.pending(t, a, wish)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := w.setup.Attach(ctx, b.container(t, wish))
		if want := "container a of the same network namespace is being attached by process"; !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if err := w.setup.Release(t.Context(), rec.Ref()); err != nil {
			t.Fatal(err)
		}
		p.over(t)
	})
}
