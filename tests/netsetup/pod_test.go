//go:build linux

package netsetup_test

import (
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/tests/nettest"
)

// pod is a namespace that several containers share, and that somebody else keeps who asks for nothing.
type pod struct {
	*box
	ends map[string]func()
}

// pod makes the namespace, which must in the end be like now.
func (w *world) pod(t *testing.T) *pod {
	t.Helper()
	p := &pod{box: w.box(t, "infra"), ends: map[string]func(){}}
	t.Cleanup(func() {
		for id := range p.ends {
			p.kill(id)
		}
	})
	return p
}

// run starts the process of a container of the pod.
func (p *pod) run(t *testing.T, id string) *box {
	t.Helper()
	space, end := join(t, p.Space)
	p.ends[id] = sync.OnceFunc(end)
	return &box{Space: space, w: p.w, id: id}
}

// kill ends the process of a container; no poststop comes.
func (p *pod) kill(id string) { p.ends[id]() }

// start starts and attaches a container.
func (p *pod) start(t *testing.T, id string, annotations ...string) netsetup.Result {
	t.Helper()
	return p.run(t, id).attach(t, annotations...)
}

// stop ends a container, and its poststop comes.
func (p *pod) stop(t *testing.T, id string) netsetup.Detached {
	t.Helper()
	p.kill(id)
	d, err := p.w.setup.Detach(t.Context(), id)
	if err != nil || len(d.Alive) > 0 {
		t.Errorf("detach %s: %+v (%v)", id, d, err)
	}
	return d
}

// over fails the test unless nothing at all is left.
func (p *pod) over(t *testing.T) {
	t.Helper()
	p.w.empty(t)
	p.Same(t)
}

// shows fails the test unless the store says this of the pod: one line a record, sorted.
func (p *pod) shows(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, rec := range p.w.records(t) {
		line := rec.Container
		for _, i := range rec.Interfaces {
			line += " " + i.Name
		}
		for _, ref := range rec.Joined {
			line += " joined " + ref.Container
		}
		if rec.Left {
			line += " left"
		}
		if rec.State != store.Attached {
			line += " " + rec.State.String()
		}
		got = append(got, line)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// unchanged gives a function that fails the test unless the pod's namespace is as it is now, when the kernel has given
// eth0 its link-local address and made its routes.
func (p *pod) unchanged(t *testing.T) func() {
	t.Helper()
	local := regexp.MustCompile(`(?m)^route fe80:\S+/128 via <nil> on eth0 `)
	given := regexp.MustCompile(`(?m)^route fd77:\S+/128 via <nil> on eth0 `)
	var before string
	nettest.Eventually(t, "eth0 is ready", func() bool {
		before = p.Snapshot(t)
		return local.MatchString(before) && given.MatchString(before)
	})
	return func() {
		t.Helper()
		same(t, before, p.Space)
	}
}

// atOnce starts n containers, c0 on, and attaches them at once.
func (p *pod) atOnce(t *testing.T, n int, wish string) {
	t.Helper()
	wants := make([]netsetup.Container, n)
	for i := range wants {
		wants[i] = p.run(t, fmt.Sprint("c", i)).container(t, wish)
	}
	together(t, n, func(i int) error {
		_, err := p.w.setup.Attach(t.Context(), wants[i])
		return err
	})
}

// pending attaches a container, and has its record say that this is under way, by this process.
func (w *world) pending(t *testing.T, b *box, wish string) store.Record {
	t.Helper()
	b.attach(t, wish)
	rec := w.recordsOf(t, b.id)[0]
	rec.State, rec.Writer = store.Pending, store.Process(w.setup.Self)
	if err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.Put(rec) }); err != nil {
		t.Fatal(err)
	}
	return rec
}
