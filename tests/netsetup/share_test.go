//go:build linux

package netsetup_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/process"
)

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
