//go:build linux

package netsetup_test

import (
	"strings"
	"testing"

	"github.com/lanhook/lanhook/netsetup"
)

// inNamespace is the container of an annotation netns=…, in the namespace that a runtime opened for it.
func (b *box) inNamespace(t *testing.T, path string, annotations ...string) netsetup.Container {
	t.Helper()
	c := b.container(t, annotations...)
	c.NetNS = path
	return c
}

func (w *world) wrong(t *testing.T, c netsetup.Container, words string) {
	t.Helper()
	others := len(w.records(t))
	if r, err := w.setup.Attach(t.Context(), c); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("attach gave %+v and error %v, want %q", r, err, words)
	}
	if left := len(w.records(t)); left != others {
		t.Errorf("there are %d records, and were %d", left, others)
	}
}

// What a shim promised about the namespace, the hook finds, or refuses the container.
func TestNamespacePromised(t *testing.T) {
	t.Run("RT-07 the host's", func(t *testing.T) {
		w := newWorld(t, named)
		c := w.plainBox(t, "c")
		r, err := w.setup.Attach(t.Context(), c.inNamespace(t, w.Host.Path(), "netns=host"))
		if err != nil || len(r.Interfaces) > 0 {
			t.Fatalf("attach gave %+v (%v)", r, err)
		}
		w.must(t, "", "check")
		w.listed(t, 1)
		w.wrong(t, c.container(t, "netns=host"), "netns=host: the container was put into another network namespace")
		c.has(t)
		c.stop(t)
		w.empty(t)
	})
	t.Run("RT-07 the host's without the wish for it", func(t *testing.T) {
		w := newWorld(t, named)
		c := w.box(t, "c")
		w.wrong(t, c.inNamespace(t, w.Host.Path(), "netns=none"), "it is the host's own")
		w.wrong(t, c.inNamespace(t, w.Host.Path(), "hostname=web"), "it is the host's own")
		c.Same(t)
		w.empty(t)
	})
	t.Run("RT-07 none", func(t *testing.T) {
		w := newWorld(t, named)
		c := w.plainBox(t, "c")
		for range 2 {
			if r, err := w.setup.Attach(t.Context(), c.container(t, "netns=none")); err != nil || len(r.Interfaces) > 0 {
				t.Fatalf("attach gave %+v (%v)", r, err)
			}
			w.listed(t, 1)
		}
		c.has(t)
		c.stop(t)
		w.empty(t)
	})
	t.Run("S4-12 RT-09 that of another container", func(t *testing.T) {
		w := newWorld(t, named)
		owner, other := w.plainBox(t, "web-1"), w.plainBox(t, "other")
		owner.attachNamed(t, "network=apps,ip=172.30.0.2,ip=fd30::2", "name=shop/web")
		other.attach(t, "network=apps")
		joined, end := join(t, owner.Space)
		member := &box{Space: joined, w: w, id: "member"}
		for _, word := range []string{"web-1", "web"} {
			peer, err := w.setup.Peer(t.Context(), word)
			if err != nil || peer.Container != "web-1" || peer.Path != owner.Path() || peer.Guest == "" {
				t.Errorf("%s is %+v (%v)", word, peer, err)
			}
		}
		w.wrong(t, other.container(t, "netns=container:web-1"),
			"the container was put into another network namespace than that of web-1")
		before := owner.Snapshot(t)
		r, err := w.setup.Attach(t.Context(), member.container(t, "netns=container:web-1"))
		if err != nil || len(r.Interfaces) != 1 || r.Interfaces[0].Name != "eth0" || len(r.Joined) != 1 {
			t.Fatalf("attach gave %+v (%v)", r, err)
		}
		same(t, before, owner.Space)
		// The owner stops first: what it has stays with the member, and goes with that one.
		owner.End()
		if d, err := w.setup.Detach(t.Context(), owner.id); err != nil || len(d.Left) != 1 {
			t.Errorf("detach of the owner: %+v (%v)", d, err)
		}
		w.noFilesBut(t, owner)
		mustLink(t, openOf(t, w, joined.Path()), "eth0")
		w.wrong(t, other.container(t, "netns=container:web-1"), "container web-1 does not run")
		end()
		if d, err := w.setup.Detach(t.Context(), member.id); err != nil || !d.Found {
			t.Errorf("detach of the member: %+v (%v)", d, err)
		}
		other.stop(t)
		w.noFiles(t)
		w.empty(t)
	})
	t.Run("RT-09 whom nobody knows", func(t *testing.T) {
		w := newWorld(t, named)
		c := w.box(t, "c")
		id := strings.Repeat("0123456789ab", 5) + "0123"
		known := &box{Space: w.plainBox(t, "known").Space, w: w, id: id}
		known.attach(t, "network=apps", "name=db")
		twin := w.plainBox(t, "twin")
		twin.attach(t, "network=apps", "name=db")
		host := w.plainBox(t, "host")
		if _, err := w.setup.Attach(t.Context(), host.inNamespace(t, w.Host.Path(), "netns=host")); err != nil {
			t.Fatal(err)
		}
		if peer, err := w.setup.Peer(t.Context(), id[:12]); err != nil || peer.Container != id {
			t.Errorf("the beginning of an id is %+v (%v)", peer, err)
		}
		for word, why := range map[string]string{
			"nobody": "lanhook knows no such container", id[:11]: "lanhook knows no such container",
			"db": "this stands for more than one container", "host": "container host is in the host's network namespace",
		} {
			w.wrong(t, c.container(t, "netns=container:"+word), "io.lanhook.netns=container:"+word+": "+why)
		}
		for _, b := range []*box{known, twin, host} {
			b.stop(t)
		}
		c.Same(t)
		w.empty(t)
	})
}

// openOf opens a namespace until the test ends.
func openOf(t *testing.T, w *world, path string) linker {
	t.Helper()
	ns, err := w.setup.Host.Namespace(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}
