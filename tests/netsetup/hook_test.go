//go:build linux

package netsetup_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

// What runtimes and people call, on namespaces of living processes.
func TestProgram(t *testing.T) {
	t.Run("hook, from start to stop", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		c := w.plainBox(t, "c")
		annotations := []string{"network=lan,ip=10.77.0.9,ip=fd77::9", "network.eth1=apps,ip=172.30.0.9,ip=fd30::9"}
		w.must(t, c.state(t, "creating", annotations...), "hook", "createRuntime")
		w.listed(t, 1)
		c.reachesNeighbour(t)
		c.Ping(t, addr("172.30.0.1"))
		w.must(t, "", "check")
		c.End()
		w.must(t, c.state(t, "stopped", annotations...), "hook", "poststop")
		w.listed(t, 0)
		w.must(t, c.state(t, "stopped", annotations...), "hook", "poststop")
		w.empty(t)
	})
	t.Run("RT-09 a container without a network of its own in another's namespace", func(t *testing.T) {
		w := newWorld(t, lan)
		sandbox := w.box(t, "sandbox")
		w.must(t, sandbox.state(t, "creating", "network=lan"), "hook", "createRuntime")
		before := sandbox.Snapshot(t)
		app := &box{Space: sandbox.Space, w: w, id: "app"}
		w.must(t, app.state(t, "creating"), "hook", "createRuntime")
		w.must(t, app.state(t, "stopped"), "hook", "poststop")
		if sandbox.Snapshot(t) != before {
			t.Error("the sandbox's namespace has changed")
		}
		w.listed(t, 1)
		w.done(t, sandbox)
	})
	t.Run("RT-09 the containers of a pod carry the pod's annotations", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		sandbox := p.run(t, "sandbox")
		ofPod := func(b *box, kind string) string {
			return strings.Replace(b.state(t, "creating", "network=lan"), `"annotations":{`,
				`"annotations":{"io.kubernetes.cri.container-type":"`+kind+`",`, 1)
		}
		w.must(t, ofPod(sandbox, "sandbox"), "hook", "createRuntime")
		same := p.unchanged(t)
		for range 2 {
			app := p.run(t, "app")
			w.must(t, ofPod(app, "container"), "hook", "createRuntime")
			w.must(t, "", "check")
			w.listed(t, 2)
			p.kill("app")
			w.must(t, p.stopped("app"), "hook", "poststop")
			same()
			w.listed(t, 1)
		}
		w.must(t, ofPod(p.run(t, "app"), "container"), "hook", "createRuntime")
		p.kill("sandbox")
		w.must(t, p.stopped("sandbox"), "hook", "poststop")
		w.listed(t, 0)
		p.over(t)
		p.kill("app")
		w.must(t, p.stopped("app"), "hook", "poststop")
		p.over(t)
	})
	t.Run("RT-09 detach of one that shares, and of the one that it shares with", func(t *testing.T) {
		w := newWorld(t, lan)
		p := w.pod(t)
		for _, id := range []string{"a", "b", "c"} {
			w.must(t, p.run(t, id).state(t, "creating", "network=lan"), "hook", "createRuntime")
		}
		w.must(t, "", "detach", "b")
		w.listed(t, 2)
		p.Ping(t, nettest.PeerPrefix4().Addr())
		w.must(t, "", "detach", "a")
		w.listed(t, 0)
		p.over(t)
	})
	t.Run("RT-14 attach takes the lowest free name, detach one of two", func(t *testing.T) {
		w := newWorld(t, lan+apps)
		c := w.plainBox(t, "c")
		addBridge(t, c.Space, "eth0")
		addBridge(t, c.Space, "eth2")
		c.Remember(t)
		pid := fmt.Sprint(c.PID)
		w.must(t, "", "attach", pid, "--network", "lan,ip=10.77.0.9,ip=fd77::9")
		w.must(t, "", "attach", pid, "--network", "apps,ip=172.30.0.9,ip=fd30::9,default-route=false")
		lines := []string{
			"eth0 bridge", "eth2 bridge", "eth1 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64",
			"  0.0.0.0/0 via 10.77.0.1", "  ::/0 via fd77::1 metric 1024",
		}
		c.has(t, append(slices.Clone(lines), "eth3 veth", "  172.30.0.9/24", "  fd30::9/64")...)
		w.must(t, "", "detach", pid, "--interface", "eth3")
		c.has(t, lines...)
		w.listed(t, 1)
		w.must(t, "", "detach", pid, "--interface", "eth1")
		c.Same(t)
		w.listed(t, 0)
		w.empty(t)
	})
	t.Run("MV-22 exit code, message and hint", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, `"p0"`, "\"p9\"\nparent-wait = \"0s\"", 1))
		c := w.box(t, "c")
		o := w.run(t, c.state(t, "creating", "network=lan"), "hook", "createRuntime")
		want := "lanhook: container c: eth0: parent p9 does not exist\nhint: see which links there are with: ip link\n"
		if o.code != 1 || o.stdout != "" || o.stderr != want {
			t.Errorf("got %+v, want exit code 1 and %s", o, want)
		}
		c.Same(t)
		w.listed(t, 0)
		w.empty(t)
	})
	t.Run("the runtime is killed while the hook waits", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, `"p0"`, "\"p9\"\nparent-wait = \"15s\"", 1))
		c := w.plainBox(t, "c")
		killed := make(chan struct{})
		state := c.state(t, "creating", "network=lan")
		go func() {
			defer close(killed)
			c.End()
		}()
		o := w.run(t, state, "hook", "createRuntime")
		<-killed
		if o.code != 1 || !strings.Contains(o.stderr, "has died") && !strings.Contains(o.stderr, "there is no process") &&
			!strings.Contains(o.stderr, syscall.ESRCH.Error()) {
			t.Errorf("got %+v", o)
		}
		w.listed(t, 0)
		w.empty(t)
	})
}
