//go:build linux

package netsetup_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/process"
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

// RT-09: of several containers in one namespace the first is attached, and the last detached.
func TestShared(t *testing.T) {
	const wish = "network=lan,ip=10.77.0.9,ip=fd77::9"
	t.Run("RT-09 started, restarted and stopped in any order", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		first := p.start(t, "a", wish)
		p.reachesNeighbour(t)
		same := p.unchanged(t)
		second := p.start(t, "b", wish)
		if fmt.Sprint(first.Interfaces) != fmt.Sprint(second.Interfaces) || second.Already {
			t.Errorf("the first has %v, the second %+v", first.Interfaces, second)
		}
		p.start(t, "c", "network=lan")
		p.shows(t, "a eth0", "b joined a", "c joined a")
		if d := p.stop(t, "b"); !d.Found || len(d.Interfaces) > 0 {
			t.Errorf("the end of a member took back %+v", d)
		}
		p.start(t, "b", wish)
		if d := p.stop(t, "a"); len(d.Left) != 1 || len(d.Interfaces) > 0 {
			t.Errorf("the end of the first took back %+v", d)
		}
		p.shows(t, "a eth0 left", "b joined a", "c joined a")
		p.start(t, "d", wish)
		w.collects(t, 0)
		if again := p.start(t, "a", wish); !again.Already || again.Ref != first.Ref {
			t.Errorf("the first came back as %+v", again)
		}
		p.shows(t, "a eth0", "b joined a", "c joined a", "d joined a")
		p.stop(t, "a")
		for _, id := range []string{"b", "c"} {
			p.stop(t, id)
		}
		p.shows(t, "a eth0 left", "d joined a")
		same()
		p.reachesNeighbour(t)
		if d := p.stop(t, "d"); len(d.Interfaces) != 1 {
			t.Errorf("the end of the last took back %+v", d)
		}
		p.over(t)
	})
	t.Run("what one asks for beyond that is its own", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		p := w.pod(t)
		p.start(t, "a", wish)
		same := p.unchanged(t)
		r := p.start(t, "b", wish, "network.eth1=apps")
		if len(r.Interfaces) != 2 || len(r.Joined) != 1 {
			t.Errorf("attached as %+v", r)
		}
		p.stop(t, "b")
		same()
		p.start(t, "b", "network.eth1=apps", wish)
		p.start(t, "c", "network.eth1=apps", wish)
		p.shows(t, "a eth0", "b eth1 joined a", "c joined a joined b")
		p.stop(t, "a")
		p.stop(t, "b")
		p.shows(t, "a eth0 left", "b eth1 left", "c joined a joined b")
		p.Ping(t, addr("172.30.0.1"))
		// Both come back, each to its own, and share the other's.
		p.start(t, "b", "network.eth1=apps", wish)
		p.start(t, "a", wish)
		p.shows(t, "a eth0", "b eth1 joined a", "c joined a joined b")
		p.stop(t, "c")
		p.stop(t, "a")
		p.stop(t, "b")
		p.over(t)
	})
	t.Run("a member asks for more while it runs", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		p := w.pod(t)
		p.start(t, "a", wish)
		same := p.unchanged(t)
		b := p.run(t, "b")
		b.attach(t, wish)
		if r := b.attach(t, wish); !r.Already {
			t.Errorf("attached again as %+v", r)
		}
		b.attach(t, "network.eth1=apps")
		p.shows(t, "a eth0", "b eth1", "b joined a")
		p.stop(t, "b")
		same()
		p.stop(t, "a")
		p.over(t)
	})
	t.Run("hook and poststop that came twice", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		p.start(t, "a", wish)
		p.start(t, "b", wish)
		p.stop(t, "a")
		p.stop(t, "a")
		p.shows(t, "a eth0 left", "b joined a")
		p.kill("b") // without poststop
		p.start(t, "b", wish)
		p.shows(t, "a eth0 left", "b joined a")
		p.stop(t, "b")
		p.stop(t, "b")
		p.stop(t, "a")
		p.over(t)
	})
	t.Run("RT-08 joined by the path of a mount", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		p.start(t, "a", wish)
		path := p.container(t, wish)
		path.ID, path.Process = path.NetNS, process.Process{}
		if _, err := w.setup.Attach(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		p.stop(t, "a")
		w.collects(t, 0) // whether it is still needed is not known
		if err := w.release(t.Context(), path.ID); err != nil {
			t.Error(err)
		}
		p.over(t)
	})
}

// A member gets what is there or nothing: what it asks for itself must be there.
func TestSharedRefused(t *testing.T) {
	w := newWorld(t, lan+apps)
	p := w.pod(t)
	const wish = "network=lan,ip=10.77.0.9,ip=fd77::9,route=10.1.0.0/16 via 10.77.0.1"
	p.start(t, "a", wish+",sysctl=net.ipv4.conf.IFNAME.forwarding=0")
	same := p.unchanged(t)
	b := p.run(t, "b")
	for _, c := range []struct{ name, wish, want string }{
		{"network", "network=apps", "eth0: container a of the same network namespace has made it, but it is on network lan, not apps"},
		{"RT-09 address", "network=lan,ip=10.77.0.8", "it does not have the address 10.77.0.8/24"},
		{"MAC address", "network=lan,mac=02:42:00:00:00:09", "its MAC address is "},
		{"MTU", "network=lan,mtu=1400", "its MTU is 1500, not 1400"},
		{"route", "network=lan,route=10.2.0.0/16 via 10.77.0.1", "it does not have the route 10.2.0.0/16 via 10.77.0.1"},
		{"setting", "network=lan,sysctl=net.ipv4.conf.IFNAME.forwarding=1", "it does not have the setting net.ipv4.conf.IFNAME.forwarding=1"},
		{"gateway", "network=lan,gateway=10.77.0.2", "its gateway is 10.77.0.1, not 10.77.0.2"},
		{"metric", "network=lan,default-route=50", "its default route does not have the metric 50"},
		{"network that is not there", "network=nosuch", "nosuch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.setup.Attach(t.Context(), b.container(t, c.wish))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			same()
			p.shows(t, "a eth0")
		})
	}
	t.Run("ports", func(t *testing.T) {
		allowed := w.setup.Policy
		w.usePolicy(t, lan+"\n[[rule]]\nname = \"ports\"\nmatch = { id = \"b\" }\nnetworks = [\"*\"]\nip = true\n"+
			"publish = [\"8080/tcp\"]\n")
		_, err := w.setup.Attach(t.Context(), b.container(t, wish, "publish=8080:80"))
		w.setup.Policy = allowed
		if want := "only the container that makes it can publish ports"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		p.shows(t, "a eth0")
	})
	t.Run("policy", func(t *testing.T) {
		allowed := w.setup.Policy
		w.usePolicy(t, lan+"\n[[rule]]\nname = \"not b\"\nmatch = { id = \"b\" }\nnetworks = []\n")
		_, err := w.setup.Attach(t.Context(), b.container(t, wish))
		if want := "not b"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		w.setup.Policy = allowed
		p.shows(t, "a eth0")
	})
	t.Run("interface gone", func(t *testing.T) {
		change(t, p.Space, "eth0", netlink.LinkDel)
		_, err := w.setup.Attach(t.Context(), b.container(t, wish))
		if want := "container a has a record of eth0, but the interface is gone"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	})
	p.stop(t, "a")
	// The same as it was asked for, and less.
	all := wish + ",sysctl=net.ipv4.conf.IFNAME.forwarding=0,mtu=1400,default-route=50,gateway=10.77.0.2,mac=02:42:00:00:00:09"
	p.start(t, "a", all)
	b.attach(t, all)
	b.attach(t, "network=lan,default-route=false")
	p.shows(t, "a eth0", "b joined a")
	p.stop(t, "a")
	p.stop(t, "b")
	p.over(t)
}

// The end of a pod's sandbox is the end of the pod; that of another container, or of its restarts, is none.
func TestSandbox(t *testing.T) {
	w := newWorld(t, lan+apps)
	p := w.pod(t)
	sandbox := p.run(t, "sandbox")
	want := sandbox.container(t, "network=lan")
	want.Sandbox = true
	if _, err := w.setup.Attach(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	same := p.unchanged(t)
	for range 3 {
		p.start(t, "app", "network=lan")
		p.shows(t, "app joined sandbox", "sandbox eth0")
		same()
		p.stop(t, "app")
		p.shows(t, "sandbox eth0")
		same()
	}
	p.start(t, "app", "network=lan", "network.eth1=apps")
	p.start(t, "side", "network=lan", "network.eth1=apps")
	p.stop(t, "app")
	p.shows(t, "app eth1 left", "sandbox eth0", "side joined sandbox joined app")
	p.start(t, "app", "network=lan", "network.eth1=apps")
	if d := p.stop(t, "sandbox"); len(d.Interfaces) != 2 || len(d.Left) > 0 {
		t.Errorf("the end of the sandbox took back %+v", d)
	}
	p.over(t)
	p.stop(t, "app")
	p.stop(t, "side")
	p.over(t)
}

// TestLateSandbox: the annotation that makes a sandbox is anybody's where the engine is not known. Who joins another
// container's namespace takes nothing from it by that.
func TestLateSandbox(t *testing.T) {
	for name, wish := range map[string]string{
		"that shares":              "network=lan",
		"with its own":             "network.eth1=apps",
		"that asks for no network": "netns=container:a",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lan+apps)
			p := w.pod(t)
			p.start(t, "a", "network=lan,ip=10.77.0.9,ip=fd77::9")
			late := p.run(t, "b").container(t, wish)
			late.Sandbox = true
			if _, err := w.setup.Attach(t.Context(), late); err != nil {
				t.Fatal(err)
			}
			p.stop(t, "b")
			p.shows(t, "a eth0")
			p.reachesNeighbour(t)
			p.stop(t, "a")
			p.over(t)
		})
	}
}

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
			drift, err := w.setup.Check(t.Context(), w.recordsOf(t, id)[0])
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
