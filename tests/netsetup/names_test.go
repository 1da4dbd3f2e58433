//go:build linux

package netsetup_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/guest"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/policy"
)

// named is the network apps with names, and one without beside it.
const named = `
[network.apps]
driver = "bridge"
names  = true

  [[network.apps.subnet]]
  subnet = "172.30.0.0/16"
  [[network.apps.subnet]]
  subnet = "fd30::/64"

[network.quiet]
driver = "bridge"

  [[network.quiet.subnet]]
  subnet = "172.31.0.0/16"
`

// made makes a container's files, as a shim does before the runtime creates it, and gives their key.
func (b *box) made(t *testing.T, lines ...policy.Host) string {
	t.Helper()
	key := guest.Key("/run/bundles/"+b.id, b.id)
	f := guest.Decide(policy.Guest{Attached: true, Hosts: lines}, guest.Spec{}, guest.Host{})
	if _, err := b.dir().Make(t.Context(), key, f, guest.Owner{Bundle: "/run/bundles/" + b.id, Process: b.w.setup.Self}); err != nil {
		t.Fatal(err)
	}
	return key
}

func (b *box) dir() guest.Dir { return guest.In(b.w.stateDir, b.w.setup.BootID) }

// attachNamed attaches a container that has files.
func (b *box) attachNamed(t *testing.T, annotations ...string) {
	t.Helper()
	c := b.container(t, annotations...)
	c.Guest = b.made(t)
	r, err := b.w.setup.Attach(t.Context(), c)
	if err != nil || r.Unnamed != nil {
		t.Fatalf("attach %s: %v, %v", b.id, err, r.Unnamed)
	}
}

// hostsFile is the file that the container reads.
func (b *box) hostsFile() string {
	return filepath.Join(b.w.stateDir, "guest", guest.Key("/run/bundles/"+b.id, b.id), "hosts")
}

// names are the lines of a container's hosts file behind those of localhost.
func (b *box) names(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(b.hostsFile())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if line != "\n" && !strings.Contains(line, "localhost") && !strings.Contains(line, "ip6-") {
			out = append(out, strings.ReplaceAll(strings.TrimSpace(line), "\t", " "))
		}
	}
	return out
}

func (b *box) reads(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.names(t)); diff != "" {
		t.Errorf("the hosts file of %s (-want +got):\n%s", b.id, diff)
	}
}

// readsAll is reads in any order.
func (b *box) readsAll(t *testing.T, want ...string) {
	t.Helper()
	got := b.names(t)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the hosts file of %s (-want +got):\n%s", b.id, diff)
	}
}

// noFiles fails the test unless all guest files are gone.
func (w *world) noFiles(t *testing.T) {
	t.Helper()
	w.noFilesBut(t)
}

// noFilesBut fails the test unless all guest files are gone but those of some containers.
func (w *world) noFilesBut(t *testing.T, keep ...*box) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.stateDir, "guest"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var got, want []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	for _, b := range keep {
		want = append(want, guest.Key("/run/bundles/"+b.id, b.id))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("guest files (-want +got):\n%s", diff)
	}
}

// orphan gives the files of a container, if it has any, to a process that is dead.
func (w *world) orphan(t *testing.T, b *box) {
	t.Helper()
	err := b.dir().Adopt(t.Context(), guest.Key("/run/bundles/"+b.id, b.id), process.Process{PID: b.PID, Start: 1})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// stop ends a container and calls poststop.
func (b *box) stop(t *testing.T) {
	t.Helper()
	b.ended(t)
	if d, err := b.w.setup.Detach(t.Context(), b.id); err != nil || !d.Found {
		t.Errorf("detach %s: %+v (%v)", b.id, d, err)
	}
}

func TestNames(t *testing.T) {
	t.Run("S4-6 a container knows its own name", func(t *testing.T) {
		w := newWorld(t, named)
		c := w.plainBox(t, "c")
		before := c.made(t)
		info, err := os.Stat(c.hostsFile())
		if err != nil {
			t.Fatal(err)
		}
		at := c.container(t, "network=quiet,ip=172.31.0.9", "name=shop/web")
		at.Guest = before
		if _, err = w.setup.Attach(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		c.reads(t, "172.31.0.9 web c")
		if after, err := os.Stat(c.hostsFile()); err != nil || !os.SameFile(info, after) {
			t.Errorf("it is another file (%v)", err)
		}
		c.stop(t)
		w.noFiles(t)
		w.empty(t)
	})
	t.Run("H9 containers of one network find each other", func(t *testing.T) {
		w := newWorld(t, named)
		a, b, c := w.plainBox(t, "a"), w.plainBox(t, "b"), w.plainBox(t, "c")
		a.attachNamed(t, "network=apps,ip=172.30.0.2,ip=fd30::2", "name=web")
		// Without files of its own it is found, and finds nobody.
		b.attach(t, "network=apps,ip=172.30.0.3,ip=fd30::3")
		c.attachNamed(t, "network=quiet,ip=172.31.0.4,default-route=false", "network.eth1=apps,ip=172.30.0.4,ip=fd30::4")
		a.readsAll(t, "172.30.0.2 web a", "fd30::2 web a", "172.30.0.3 b", "fd30::3 b", "172.30.0.4 c", "fd30::4 c")
		c.readsAll(t, "172.31.0.4 c", "172.30.0.4 c", "fd30::4 c", "172.30.0.2 web a", "fd30::2 web a", "172.30.0.3 b", "fd30::3 b")
		b.stop(t)
		a.reads(t, "172.30.0.2 web a", "fd30::2 web a", "172.30.0.4 c", "fd30::4 c")
		a.stop(t)
		c.reads(t, "172.31.0.4 c", "172.30.0.4 c", "fd30::4 c")
		c.stop(t)
		w.noFiles(t)
		w.empty(t)
	})
	t.Run("no names on a network without", func(t *testing.T) {
		w := newWorld(t, named)
		a, b := w.plainBox(t, "a"), w.plainBox(t, "b")
		a.attachNamed(t, "network=quiet,ip=172.31.0.2")
		b.attachNamed(t, "network=quiet,ip=172.31.0.3")
		a.reads(t, "172.31.0.2 a")
		b.reads(t, "172.31.0.3 b")
		a.stop(t)
		b.stop(t)
		w.noFiles(t)
	})
	t.Run("of two of one name the older one has it, then the other", func(t *testing.T) {
		w := newWorld(t, named)
		c := w.plainBox(t, "c")
		c.attachNamed(t, "network=apps,ip=172.30.0.9,ip=fd30::9")
		first, second := w.plainBox(t, "r1"), w.plainBox(t, "r2")
		first.attach(t, "network=apps,ip=172.30.0.3,ip=fd30::3", "name=web")
		second.attach(t, "network=apps,ip=172.30.0.4,ip=fd30::4", "name=web")
		c.reads(t, "172.30.0.9 c", "fd30::9 c", "172.30.0.3 web r1", "fd30::3 web r1", "172.30.0.4 r2", "fd30::4 r2")
		first.stop(t)
		c.reads(t, "172.30.0.9 c", "fd30::9 c", "172.30.0.4 web r2", "fd30::4 web r2")
		second.stop(t)
		c.stop(t)
	})
	t.Run("a name that another container asked to be elsewhere stays there", func(t *testing.T) {
		w := newWorld(t, named)
		a, b := w.plainBox(t, "a"), w.plainBox(t, "db")
		at := a.container(t, "network=apps,ip=172.30.0.2,ip=fd30::2")
		at.Guest = a.made(t, policy.Host{Name: "db", Addr: addr("192.0.2.1")})
		if _, err := w.setup.Attach(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		b.attach(t, "network=apps,ip=172.30.0.3,ip=fd30::3")
		a.reads(t, "192.0.2.1 db", "172.30.0.2 a", "fd30::2 a")
		a.stop(t)
		b.stop(t)
	})
	t.Run("RT-09 a container that shares the interfaces of another has names of its own", func(t *testing.T) {
		w := newWorld(t, named)
		pod, a := w.plainBox(t, "pod"), w.plainBox(t, "a")
		pod.attach(t, "network=apps,ip=172.30.0.2,ip=fd30::2")
		joined, end := join(t, pod.Space)
		app := &box{Space: joined, w: w, id: "app"}
		app.attachNamed(t, "network=apps")
		a.attachNamed(t, "network=apps,ip=172.30.0.3,ip=fd30::3")
		// The order is by time and id, and the attaches may be of one second or not.
		app.readsAll(t, "172.30.0.2 app", "fd30::2 app", "172.30.0.2 pod", "fd30::2 pod", "172.30.0.3 a", "fd30::3 a")
		a.readsAll(t, "172.30.0.3 a", "fd30::3 a", "172.30.0.2 app", "fd30::2 app", "172.30.0.2 pod", "fd30::2 pod")
		end()
		if d, err := w.setup.Detach(t.Context(), "app"); err != nil || !d.Found {
			t.Errorf("detach: %+v (%v)", d, err)
		}
		a.reads(t, "172.30.0.3 a", "fd30::3 a", "172.30.0.2 pod", "fd30::2 pod")
		pod.stop(t)
		a.stop(t)
		w.noFiles(t)
		w.empty(t)
	})
	t.Run("attached later, and taken back alone", func(t *testing.T) {
		w := newWorld(t, named)
		a := w.plainBox(t, "a")
		a.attachNamed(t, "network=quiet,ip=172.31.0.2")
		later := a.attach(t, "network.eth1=apps,ip=172.30.0.2,ip=fd30::2,default-route=false")
		a.reads(t, "172.31.0.2 a", "172.30.0.2 a", "fd30::2 a")
		if err := w.setup.Release(t.Context(), later.Ref); err != nil {
			t.Fatal(err)
		}
		a.reads(t, "172.31.0.2 a")
		a.stop(t)
		w.noFiles(t)
	})
}

// What is wrong with the files of another container is no reason to refuse one, nor to forget what goes with it.
func TestNamesOfOthersBroken(t *testing.T) {
	w := newWorld(t, named)
	a, b := w.plainBox(t, "a"), w.plainBox(t, "b")
	a.attachNamed(t, "network=apps,ip=172.30.0.2,ip=fd30::2")
	b.attachNamed(t, "network=apps,ip=172.30.0.3,ip=fd30::3")
	if err := errors.Join(os.Remove(b.hostsFile()), os.Mkdir(b.hostsFile(), 0o700)); err != nil {
		t.Fatal(err)
	}
	// Its poststop never comes, and it is started once more.
	a.ended(t)
	again := w.plainBox(t, "a")
	c := again.container(t, "network=quiet")
	c.Guest = again.made(t)
	r, err := w.setup.Attach(t.Context(), c)
	if err != nil || r.Unnamed == nil {
		t.Errorf("attach gave %v, and of others %v", err, r.Unnamed)
	}
	// One that they cannot be told of says so for as long as it is attached.
	unnamed := w.plainBox(t, "c")
	c = unnamed.container(t, "network=apps")
	c.Guest = unnamed.made(t)
	for range 2 {
		r, err = w.setup.Attach(t.Context(), c)
		if err != nil || r.Unnamed == nil {
			t.Errorf("attach gave %v, and of others %v", err, r.Unnamed)
		}
	}
	said := w.recordsOf(t, "c")[0].Warnings
	if len(said) != 1 || !strings.HasPrefix(said[0], "other containers do not know its name: ") {
		t.Errorf("the record says %q", said)
	}
	unnamed.ended(t)
	if err = w.release(t.Context(), "c"); err == nil {
		t.Error("nothing was said of the file that cannot be written")
	}
	again.stop(t)
	b.stop(t)
	w.noFiles(t)
	w.empty(t)
}

// Attaches and detaches at the same time leave every file as the records are in the end.
func TestNamesAtOnce(t *testing.T) {
	const n = 12
	w := newWorld(t, named)
	var boxes []*box
	var containers []netsetup.Container
	for i := range n {
		b := w.plainBox(t, fmt.Sprintf("c%d", i))
		c := b.container(t, "network=apps")
		c.Guest = b.made(t)
		boxes, containers = append(boxes, b), append(containers, c)
	}
	together(t, n, func(i int) error {
		r, err := w.setup.Attach(t.Context(), containers[i])
		if err == nil {
			err = r.Unnamed
		}
		return err
	})
	for _, b := range boxes {
		if got := len(b.names(t)); got != 2*n {
			t.Errorf("%s knows %d lines of %d: %q", b.id, got, 2*n, b.names(t))
		}
	}
	for _, b := range boxes[n/2:] {
		b.ended(t)
	}
	together(t, n/2, func(i int) error {
		_, err := w.setup.Detach(t.Context(), boxes[n/2+i].id)
		return err
	})
	for _, b := range boxes[:n/2] {
		if got := len(b.names(t)); got != n {
			t.Errorf("%s knows %d lines of %d: %q", b.id, got, n, b.names(t))
		}
	}
	for _, b := range boxes[:n/2] {
		b.stop(t)
	}
	w.noFiles(t)
	w.empty(t)
}

// Files of nobody are gc's.
func TestNamesCollected(t *testing.T) {
	w := newWorld(t, named)
	a, b, c := w.plainBox(t, "a"), w.plainBox(t, "b"), w.plainBox(t, "c")
	a.attachNamed(t, "network=apps,ip=172.30.0.2,ip=fd30::2")
	b.attachNamed(t, "network=apps,ip=172.30.0.3,ip=fd30::3")
	key := c.made(t)
	b.ended(t)
	// c's were made for a runtime that is gone by now.
	w.orphan(t, c)
	for _, dry := range []bool{true, false} {
		got, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{DryRun: dry})
		if err != nil || len(got.Records) != 1 || got.Records[0].Container != "b" || !slices.Contains(got.Guests, key) {
			t.Errorf("dry %t: gc gave %+v (%v)", dry, got, err)
		}
	}
	a.reads(t, "172.30.0.2 a", "fd30::2 a")
	a.stop(t)
	w.noFiles(t)
	w.empty(t)
}

// A refused container leaves its files to the hook that was called for it.
func TestNamesRefused(t *testing.T) {
	w := newWorld(t, named)
	c := w.plainBox(t, "c")
	key := c.made(t)
	o := w.run(t, c.state(t, "creating", "network=none-such"), "hook", "createRuntime", "--by", "lanhook-runtime", "--guest", key)
	if o.code != 3 || !strings.Contains(o.stderr, "none-such") {
		t.Errorf("got %+v", o)
	}
	w.noFiles(t)
	o = w.run(t, c.state(t, "creating", "network=apps"), "hook", "createRuntime", "--by", "lanhook-runtime", "--guest", key)
	if o.code != 1 || !strings.Contains(o.stderr, "take over the guest files") {
		t.Errorf("without files: %+v", o)
	}
	o = w.run(t, c.state(t, "creating", "network=apps"), "hook", "createRuntime", "--by", "lanhook-runtime", "--guest", "../x")
	if o.code != 1 || !strings.Contains(o.stderr, "is no key of guest files") {
		t.Errorf("no key: %+v", o)
	}
	c.End()
	w.empty(t)
}
