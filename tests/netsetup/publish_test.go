//go:build linux

package netsetup_test

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/tests/nettest"
)

// web is a network with all that the firewall has.
const web = `
[network.web]
driver      = "bridge"
spoof-check = true
rate        = "100mbit"
  [[network.web.subnet]]
  subnet = "172.31.0.0/24"
  [[network.web.subnet]]
  subnet = "fd31::/64"
`

// ports are the ports of the host that an attach gave, in the order of the request.
func ports(r netsetup.Result) []uint16 {
	var all []uint16
	for _, i := range r.Interfaces {
		for _, p := range i.Publish {
			if !slices.Contains(all, p.Host) {
				all = append(all, p.Host)
			}
		}
	}
	return all
}

// listen has this process listen on a port of the host until the function that it gives is called.
func (w *world) listen(t *testing.T, network, address string) func() {
	t.Helper()
	var c interface{ Close() error }
	w.Host.Do(t, func() {
		var err error
		if network == "udp" {
			c, err = net.ListenPacket(network, address) //nolint:noctx // it does not wait for anything
		} else {
			c, err = net.Listen(network, address) //nolint:noctx // as above
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return func() {
		// A process that another test is just starting has this one's descriptors, too: none is while the lock is held.
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// publisher makes a host with two addresses, and a first container on it with ports.
func publisher(t *testing.T) (*world, *box) {
	t.Helper()
	w := newWorld(t, web+apps)
	w.Host.Do(t, func() {
		for _, p := range []string{"10.77.0.9/24", "10.77.0.10/24"} {
			nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix(p))
		}
	})
	w.forwards(t)
	first := w.box(t, "first")
	first.attach(t, "network=web", "publish=8080:80,10.77.0.9:8081:81,[::]:8082:82,7000-7009:7000-7009/udp,40000:40")
	return w, first
}

// TestPublishTaken has one container with ports of the host, and others that ask for the same or for others.
func TestPublishTaken(t *testing.T) {
	w, first := publisher(t)
	const taken = " is in use by interface eth0 of container first"
	before := w.ruleset(t)
	for _, c := range []struct {
		name, publish, network string
		// words are those of the refusal, "" for none.
		words string
	}{
		{name: "PP-09 the same", publish: "8080:80", words: "port 8080/tcp of 0.0.0.0" + taken},
		{name: "PP-09 one address of all", publish: "10.77.0.9:8080:80", words: "port 8080/tcp of 10.77.0.9" + taken},
		{name: "PP-09 all addresses of one", publish: "0.0.0.0:8081:80", words: "port 8081/tcp of 0.0.0.0" + taken},
		{name: "PP-09 the same address", publish: "10.77.0.9:8081:80", words: "port 8081/tcp of 10.77.0.9" + taken},
		{name: "PP-09 another network", network: "apps", publish: "8080:80", words: "port 8080/tcp of 0.0.0.0" + taken},
		{name: "PP-09 IPv6 alone", publish: "[::]:8080:80", words: "port 8080/tcp of ::" + taken},
		{name: "PP-09 the last of a range", publish: "7009-7010:1-2/udp", words: "port 7009/udp of 0.0.0.0" + taken},
		{name: "PP-10 another address", publish: "10.77.0.10:8081:80"},
		{name: "PP-08 another protocol", publish: "8080:80/udp,7000:80/tcp"},
		{name: "PP-07 the other family", publish: "0.0.0.0:8082:80"},
		{name: "PP-04 beside a range", publish: "7010:1/udp,6999:1/udp"},
		{name: "PP-09 free ones beside one that is taken", publish: "80,81,8080:80", words: "port 8080/tcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := w.box(t, "b")
			network := "network=" + cmp.Or(c.network, "web")
			if c.words != "" {
				b.refused(t, c.words, network, "publish="+c.publish)
			} else {
				b.attach(t, network, "publish="+c.publish)
				b.detach(t)
			}
			if diff := gocmp.Diff(before, w.ruleset(t)); diff != "" {
				t.Errorf("rules (-before +after):\n%s", diff)
			}
			if got := w.reserved(t); got != "40000" {
				t.Errorf("reserved are %q", got)
			}
		})
	}
	w.done(t, first)
}

// TestPublishListened asks for ports that a process of the host has.
func TestPublishListened(t *testing.T) {
	w := newWorld(t, web)
	w.forwards(t)
	for _, c := range []struct{ name, network, address, publish, words string }{
		{"PP-11 all of the host's", "tcp", "0.0.0.0:8080", "8080:80", " is taken by "},
		{"PP-11 one of the host's", "tcp", "127.0.0.1:8080", "8080:80", " is taken by "},
		{"PP-11 UDP", "udp", "0.0.0.0:8080", "8079-8081:79-81/udp", "port 8080/udp of 0.0.0.0 is taken by "},
		{"PP-11 another protocol", "udp", "0.0.0.0:8080", "8080:80", ""},
		{"PP-11 another address", "tcp", "127.0.0.2:8080", "127.0.0.1:8080:80", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			free := w.listen(t, c.network, c.address)
			b := w.box(t, "b")
			if c.words != "" {
				b.refused(t, c.words, "network=web", "publish="+c.publish)
			} else {
				b.attach(t, "network=web", "publish="+c.publish)
				w.done(t, b)
			}
			free()
			b.attach(t, "network=web", "publish="+c.publish)
			w.done(t, b)
		})
	}
}

// rule gives the container b fewer ports than the others have.
func rule(publish string) string {
	return "\n[[rule]]\nname = \"ports\"\nmatch = { id = \"b*\" }\nnetworks = [\"*\"]\nip = true\npublish = [" + publish + "]\n"
}

// TestPublishFree chooses ports.
func TestPublishFree(t *testing.T) {
	t.Run("PP-12 of the host's own range, one for both families, kept from its connections", func(t *testing.T) {
		w := newWorld(t, web)
		one, two := w.box(t, "one"), w.box(t, "two")
		first := ports(one.attach(t, "network=web", "publish=80"))
		second := ports(two.attach(t, "network=web", "publish=80"))
		if len(first) != 1 || len(second) != 1 || first[0] == second[0] || first[0] < 32768 || first[0] > 60999 {
			t.Errorf("they got %v and %v", first, second)
		}
		if got := w.reserved(t); !strings.Contains(got, fmt.Sprint(first[0])) || !strings.Contains(got, fmt.Sprint(second[0])) {
			t.Errorf("reserved are %q, not %v and %v", got, first, second)
		}
		two.detach(t)
		if got := w.reserved(t); got != fmt.Sprint(first[0]) {
			t.Errorf("reserved are %q, not %v alone", got, first)
		}
		w.done(t, one)
	})
	t.Run("PP-24 each of several its own, and no number that is asked for", func(t *testing.T) {
		w := newWorld(t, web+rule(`"7000-7004/tcp"`))
		w.forwards(t)
		b := w.box(t, "b")
		got := ports(b.attach(t, "network=web", "publish=80,127.0.0.1::81,82,7001:83,7003:84"))
		slices.Sort(got)
		if diff := gocmp.Diff([]uint16{7000, 7001, 7002, 7003, 7004}, got); diff != "" {
			t.Errorf("ports (-want +got):\n%s", diff)
		}
		if got := w.reserved(t); got != "" {
			t.Errorf("reserved are %q, of which the host would choose none", got)
		}
		w.done(t, b)
	})
	t.Run("a workload gets the same again", func(t *testing.T) {
		w := newWorld(t, web)
		want := uint16(0)
		for _, id := range []string{"a1", "a2", "a3"} {
			b := w.plainBox(t, id)
			got := ports(b.attach(t, "network=web", "publish=80", "name=shop"))
			if want = cmp.Or(want, got[0]); got[0] != want {
				t.Errorf("%s got %v, not %d", id, got, want)
			}
			if id == "a2" {
				b.ended(t) // nobody detaches it: the next one clears it away
				continue
			}
			b.detachAny(t)
		}
		w.empty(t)
	})
	t.Run("none that a process has, in a row where several are asked for", func(t *testing.T) {
		w := newWorld(t, web+rule(`"7000-7005/tcp"`))
		w.forwards(t)
		defer w.listen(t, "tcp", "127.0.0.1:7002")()
		b := w.box(t, "b")
		r := b.attach(t, "network=web", "publish=80-82")
		if got := r.Interfaces[0].Publish[0]; got.Host != 7003 || got.Count != 3 {
			t.Errorf("got %+v", got)
		}
		late := w.box(t, "b2")
		late.refused(t, "no port of the host is free in 7000-7005/tcp", "network=web", "publish=80-81,82,83")
		w.done(t, b)
	})
	t.Run("the dead are cleared away when all are in use", func(t *testing.T) {
		w := newWorld(t, web+rule(`"7000-7001/tcp"`))
		b, dead := w.box(t, "b"), w.plainBox(t, "b-dead")
		b.attach(t, "network=web", "publish=80")
		dead.attach(t, "network=web", "publish=80")
		late := w.box(t, "b-late")
		late.refused(t, "no port of the host is free", "network=web", "publish=80")
		dead.ended(t)
		late.attach(t, "network=web", "publish=80")
		w.done(t, b, late)
	})
	t.Run("what the administrator keeps back is left so", func(t *testing.T) {
		w := newWorld(t, web)
		w.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv4/ip_local_reserved_ports", "40000-60999") })
		w.Host.Remember(t)
		b := w.box(t, "b")
		if got := ports(b.attach(t, "network=web", "publish=80,40000:81")); got[0] >= 40000 {
			t.Errorf("got %v", got)
		}
		w.done(t, b)
	})
}

// TestPublishDead: who holds a port and is dead makes room, and takes nothing from who has it then.
func TestPublishDead(t *testing.T) {
	w := newWorld(t, web)
	const wish = "publish=8080:80,40000:81"
	dead := w.plainBox(t, "dead")
	dead.attach(t, "network=web,ip=172.31.0.9,ip=fd31::9", wish)
	rec := w.records(t)[0]
	dead.ended(t)
	b := w.box(t, "b")
	b.attach(t, "network=web,ip=172.31.0.9,ip=fd31::9", wish)
	before := w.ruleset(t)
	if len(w.recordsOf(t, "dead")) > 0 {
		t.Error("the dead one's record is left")
	}
	t.Run("BR-32 a detach that comes late", func(t *testing.T) {
		if d, err := w.setup.Detach(t.Context(), "dead"); err != nil || d.Found {
			t.Errorf("detach gave %+v (%v)", d, err)
		}
		if err := w.setup.Release(t.Context(), rec.Ref()); err != nil {
			t.Error(err)
		}
		if diff := gocmp.Diff(before, w.ruleset(t)); diff != "" {
			t.Errorf("rules (-before +after):\n%s", diff)
		}
		if got := w.reserved(t); got != "40000" {
			t.Errorf("reserved are %q", got)
		}
	})
	b.attach(t, "network=web,ip=172.31.0.9,ip=fd31::9", wish)
	w.done(t, b)
}

// TestPublishAgain attaches what is attached.
func TestPublishAgain(t *testing.T) {
	w := newWorld(t, web)
	b := w.box(t, "b")
	b.attach(t, "network=web", "publish=8080-8082:80-82,90")
	before := w.ruleset(t)
	if r := b.attach(t, "network=web", "publish=8080-8082:80-82,90"); !r.Already {
		t.Errorf("attached again as %+v", r)
	}
	for _, publish := range []string{"8080-8081:80-81,90", "8080-8082:80-82,91", "8080-8083:80-83", "8081-8083:80-82,90", "8080-8082:80-82/udp,90"} {
		_, err := w.setup.Attach(t.Context(), b.container(t, "network=web", "publish="+publish))
		if want := "is attached already, but not as it asks now"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", publish, err, want)
		}
	}
	if diff := gocmp.Diff(before, w.ruleset(t)); diff != "" {
		t.Errorf("PP-20 rules (-before +after):\n%s", diff)
	}
	w.done(t, b)
}

// TestPublishShared: what the first container of a namespace publishes those that join it may ask for as well, and
// nothing else.
func TestPublishShared(t *testing.T) {
	w := newWorld(t, web)
	p := w.pod(t)
	const wish = "publish=8080-8081:80-81,90/udp"
	first := p.start(t, "a", "network=web", wish)
	before := w.ruleset(t)
	second := p.start(t, "b", "network=web", wish)
	if fmt.Sprint(first.Interfaces) != fmt.Sprint(second.Interfaces) {
		t.Errorf("the first has %v, the second %v", first.Interfaces, second.Interfaces)
	}
	p.start(t, "c", "network=web", "publish=8081:81")
	p.start(t, "d", "network=web")
	p.shows(t, "a eth0", "b joined a", "c joined a", "d joined a")
	for publish, want := range map[string]string{
		"8082:82":         "eth0: container a of the same network namespace has made it, but its port 82/tcp is not published as port 8082/tcp of 0.0.0.0",
		"8080:81":         "its port 81/tcp is not published as port 8080/tcp of 0.0.0.0",
		"8080-8082:80-82": "its port 82/tcp is not published as port 8082/tcp of 0.0.0.0",
		"90/tcp":          "its port 90/tcp is not published on 0.0.0.0",
	} {
		_, err := w.setup.Attach(t.Context(), p.run(t, "e").container(t, "network=web", "publish="+publish))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", publish, err, want)
		}
		p.kill("e")
	}
	for _, id := range []string{"a", "b", "c"} {
		p.stop(t, id)
		if diff := gocmp.Diff(before, w.ruleset(t)); diff != "" {
			t.Errorf("rules (-before +after %s):\n%s", id, diff)
		}
	}
	p.stop(t, "d")
	p.over(t)
}
