//go:build linux

package netsetup_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// box is a container: a namespace with a process in it.
type box struct {
	*nettest.Space
	w  *world
	id string
}

// box starts a container, which must in the end be like now.
func (w *world) box(t *testing.T, id string) *box {
	t.Helper()
	b := w.plainBox(t, id)
	b.Remember(t)
	return b
}

// plainBox starts a container that ends before anybody could look at it, or is looked at by other means.
func (w *world) plainBox(t *testing.T, id string) *box {
	t.Helper()
	return &box{Space: w.Namespace(t, id), w: w, id: id}
}

// container is what the hook makes of the runtime's state: annotations are given without their common prefix.
func (b *box) container(t *testing.T, annotations ...string) netsetup.Container {
	t.Helper()
	req, err := request.Parse(annotated(annotations))
	if err != nil {
		t.Fatal(err)
	}
	process, err := process.Find(b.PID)
	if err != nil {
		t.Fatal(err)
	}
	name := req.Name
	if name == "" {
		name = b.id
	}
	return netsetup.Container{
		ID: b.id, Workload: name, NetNS: b.Path(), Process: process, Request: req,
		Subject: policy.Subject{ID: b.id, Annotations: annotated(annotations), Name: name},
	}
}

func annotated(list []string) map[string]string {
	m := map[string]string{}
	for _, a := range list {
		key, value, _ := strings.Cut(a, "=")
		m[request.Prefix+key] = value
	}
	return m
}

// attach attaches the container or fails the test.
func (b *box) attach(t *testing.T, annotations ...string) netsetup.Result {
	t.Helper()
	r, err := b.w.setup.Attach(t.Context(), b.container(t, annotations...))
	if err != nil {
		t.Fatalf("attach %s: %v", b.id, err)
	}
	return r
}

// refused fails the test unless the attach fails with these words, and leaves nothing.
func (b *box) refused(t *testing.T, words string, annotations ...string) {
	t.Helper()
	others := len(b.w.records(t))
	r, err := b.w.setup.Attach(t.Context(), b.container(t, annotations...))
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("attach gave %+v and error %v, want %q", r, err, words)
	}
	if left := len(b.w.records(t)); left != others {
		t.Errorf("there are %d records, and were %d", left, others)
	}
	b.Same(t)
	if others == 0 {
		b.w.empty(t)
	}
}

// detach takes everything back, and fails the test unless the container is then as it was before.
func (b *box) detach(t *testing.T) {
	t.Helper()
	b.detachAny(t)
	b.Same(t)
}

// detachAny takes everything back, twice: the second time there is nothing.
func (b *box) detachAny(t *testing.T) {
	t.Helper()
	held := b.w.recordsOf(t, b.id)
	if len(held) == 0 {
		t.Errorf("%s has no record", b.id)
	}
	for range 2 {
		for _, rec := range held {
			if err := b.w.setup.Release(t.Context(), rec.Ref()); err != nil {
				t.Errorf("detach %s: %v", b.id, err)
			}
		}
	}
	if d, err := b.w.setup.Detach(t.Context(), b.id); err != nil || d.Found || len(d.Alive) > 0 {
		t.Errorf("detach %s again: %+v (%v)", b.id, d, err)
	}
}

// release takes back all that a container id has, whether it runs or not, as lanhook detach does.
func (w *world) release(ctx context.Context, id string) error {
	var held []store.Record
	err := w.setup.Store.View(ctx, func(tx *store.Tx) (err error) {
		held, err = tx.ByContainer(id)
		return err
	})
	for _, rec := range held {
		err = errors.Join(err, w.setup.Release(ctx, rec.Ref()))
	}
	return err
}

// done detaches containers, and fails the test unless nothing at all is left.
func (w *world) done(t *testing.T, boxes ...*box) {
	t.Helper()
	for _, b := range boxes {
		b.detach(t)
	}
	w.empty(t)
}

// open opens the container's namespace until the test ends.
func (b *box) open(t *testing.T) (*kernel.Namespace, func()) {
	t.Helper()
	ns, err := b.w.setup.Host.Namespace(b.Path())
	if err != nil {
		t.Fatal(err)
	}
	return ns, func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	}
}

// eth0 reads the container's link of that name, which must be there.
func (b *box) eth0(t *testing.T) kernel.State {
	t.Helper()
	ns, closeNS := b.open(t)
	defer closeNS()
	return mustLink(t, ns, "eth0")
}

// has fails the test unless this is what the container has beside lo: a line for each link, and behind it, indented,
// its addresses and the routes on it that the kernel did not make itself, without those in tables of lanhook's.
func (b *box) has(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.view(t)); diff != "" {
		t.Errorf("%s has (-want +got):\n%s", b.id, diff)
	}
}

func (b *box) view(t *testing.T) []string {
	t.Helper()
	ns, closeNS := b.open(t)
	defer closeNS()
	var lines []string
	for _, l := range linkList(t, b.Space) {
		if l.Attrs().Name != "lo" {
			lines = append(lines, stateLines(mustLink(t, ns, l.Attrs().Name))...)
		}
	}
	return lines
}

func stateLines(s kernel.State) []string {
	line := s.Name + " " + s.Kind
	if s.Mode != 0 {
		line += " " + s.Mode.String()
	}
	if s.Flag != 0 {
		line += " " + s.Flag.String()
	}
	if !s.Up {
		line += " down"
	}
	lines := []string{line}
	for _, a := range global(s.Addresses) {
		lines = append(lines, "  "+a.String())
	}
	for _, r := range s.Routes {
		if plan.OwnTable(r.Table) {
			continue // the tests of several interfaces look at those
		}
		if r.Table == unix.RT_TABLE_MAIN {
			r.Table = 0
		}
		lines = append(lines, "  "+r.String())
	}
	return lines
}

// global leaves link-local addresses out, which come and go by themselves.
func global(list []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
}

// onlyAddress is the one address of a family that an interface got.
func onlyAddress(t *testing.T, i plan.Interface, family func(netip.Addr) bool) netip.Addr {
	t.Helper()
	var found []netip.Addr
	for _, p := range i.Addresses {
		if family(p.Addr()) {
			found = append(found, p.Addr())
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has the addresses %v, want one of the family", i.Name, i.Addresses)
	}
	return found[0]
}

// ended ends a container and waits until the kernel has taken its links away, and its namespace's number back, which it
// does some milliseconds later.
func (b *box) ended(t *testing.T) {
	t.Helper()
	records := b.w.records(t)
	b.End()
	for _, rec := range records {
		if rec.Container != b.id {
			continue
		}
		nettest.Eventually(t, "the end of the namespace", func() bool {
			alive, err := b.w.setup.Host.Alive(rec.NetNS.NSID)
			return err == nil && !alive
		})
	}
}
