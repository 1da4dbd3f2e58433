//go:build linux

package netsetup_test

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// lan is a macvlan network of the wire, in both families; the neighbour is the gateway.
const lan = `
[network.lan]
driver = "macvlan"
parent = "p0"
  [[network.lan.subnet]]
  subnet  = "10.77.0.0/24"
  gateway = "10.77.0.1"
  [[network.lan.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::1"
`

// lan4 is lan with IPv4 only.
const lan4 = `
[network.lan]
driver = "macvlan"
parent = "p0"
  [[network.lan.subnet]]
  subnet  = "10.77.0.0/24"
  gateway = "10.77.0.1"
`

// bare is a macvlan network that gives no addresses.
const bare = `
[network.bare]
driver = "macvlan"
parent = "p0"
`

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// reachesNeighbour sends a packet across in both families and back.
func (b *box) reachesNeighbour(t *testing.T) {
	t.Helper()
	b.Ping(t, nettest.PeerPrefix4().Addr())
	b.Ping(t, nettest.PeerPrefix6().Addr())
}

func TestMacvlanLink(t *testing.T) {
	t.Parallel()
	t.Run("MV-01 made in the container alone", func(t *testing.T) {
		w := newWorld(t, lan)
		c, before := w.box(t, "c"), w.links(t)
		c.attach(t, "network.foobar0=lan,ip=10.77.0.9,ip=fd77::9")
		c.has(t, "foobar0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64",
			"  0.0.0.0/0 via 10.77.0.1", "  ::/0 via fd77::1 metric 1024")
		c.reachesNeighbour(t)
		if got := w.links(t); !slices.Equal(got, before) {
			t.Errorf("the host has the links %v, and had %v", got, before)
		}
		w.done(t, c)
	})
	t.Run("MV-02 configured and taken back", func(t *testing.T) {
		w := newWorld(t, lan4)
		c := w.box(t, "c")
		r := c.attach(t, "network=lan")
		got := c.eth0(t)
		if diff := cmp.Diff(r.Interfaces[0].Addresses, got.Addresses, byText()); diff != "" {
			t.Errorf("addresses (-reported +kernel):\n%s", diff)
		}
		onlyAddress(t, r.Interfaces[0], netip.Addr.Is4)
		if r.Interfaces[0].MAC.String() != got.MAC.String() {
			t.Errorf("MAC address %s is reported, the kernel has %s", r.Interfaces[0].MAC, got.MAC)
		}
		if n := len(w.leases(t, "lan")); n != 2 {
			t.Errorf("%d leases, want one of an IP and one of a MAC address", n)
		}
		c.Ping(t, nettest.PeerPrefix4().Addr())
		w.done(t, c)
	})
	t.Run("MV-03 without addresses", func(t *testing.T) {
		w := newWorld(t, bare)
		c := w.box(t, "c")
		c.attach(t, "network=bare")
		c.has(t, "eth0 macvlan bridge")
		w.done(t, c)
	})
	t.Run("MV-06 detached without ever being attached", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.box(t, "c")
		d, err := w.setup.Detach(t.Context(), "c")
		if err != nil || d.Found {
			t.Errorf("detach found %t (%v)", d.Found, err)
		}
		c.Same(t)
		w.empty(t)
	})
	t.Run("MV-08 with a MAC address of its choice", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.box(t, "c")
		r := c.attach(t, "network=lan,mac=d0:ee:6a:1d:3c:62")
		for _, got := range []plan.MAC{r.Interfaces[0].MAC, c.eth0(t).MAC} {
			if got.String() != "d0:ee:6a:1d:3c:62" {
				t.Errorf("MAC address %s", got)
			}
		}
		c.reachesNeighbour(t)
		w.done(t, c)
	})
	t.Run("MV-14 named as its parent is", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.box(t, "c")
		before := w.hostLink(t, nettest.Parent)
		c.attach(t, "network.p0=lan,ip=10.77.0.9,ip=fd77::9,default-route=false")
		c.has(t, "p0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64")
		if after := w.hostLink(t, nettest.Parent); after.Index != before.Index {
			t.Errorf("the parent has index %d, and had %d", after.Index, before.Index)
		}
		c.reachesNeighbour(t)
		w.done(t, c)
	})
	t.Run("MV-19 with a name of its choice only", func(t *testing.T) {
		w := newWorld(t, bare)
		c := w.box(t, "c")
		c.attach(t, "network.foobar=bare")
		c.has(t, "foobar macvlan bridge")
		w.done(t, c)
	})
}

// Each mode lets through what ip-link(8) says of it: to the neighbour, and to another container on the parent.
func TestMacvlanModes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, options string
		mode          policy.Mode
		sibling       bool
	}{
		{"MV-04 bridge", `mode = "bridge"`, policy.ModeBridge, true},
		{"MV-04 no mode is bridge", ``, policy.ModeBridge, true},
		{"MV-04 private", `mode = "private"`, policy.ModePrivate, false},
		{"MV-04 vepa, with a neighbour that does not send back", `mode = "vepa"`, policy.ModeVEPA, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, strings.Replace(lan, "parent", c.options+"\nparent", 1))
			one, two := w.box(t, "one"), w.box(t, "two")
			one.attach(t, "network=lan,ip=10.77.0.8,ip=fd77::8")
			two.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
			got := one.eth0(t)
			if want := w.hostLink(t, nettest.Parent).MTU; got.Mode != c.mode || got.MTU != want || !got.Up {
				t.Errorf("mode %s, MTU %d, up %t; want %s, %d, up", got.Mode, got.MTU, got.Up, c.mode, want)
			}
			one.reachesNeighbour(t)
			w.Neighbour.Ping(t, addr("10.77.0.8"))
			for _, sibling := range []string{"10.77.0.9", "fd77::9"} {
				if c.sibling {
					one.Ping(t, addr(sibling))
				} else {
					one.NoPing(t, addr(sibling))
				}
			}
			w.done(t, one, two)
		})
	}
	t.Run("MV-04 passthru has the parent for itself", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, "parent", "mode = \"passthru\"\nparent", 1))
		one, two := w.box(t, "one"), w.box(t, "two")
		parent := w.hostLink(t, nettest.Parent)
		r := one.attach(t, "network=lan,ip=10.77.0.8,ip=fd77::8")
		got := one.eth0(t)
		if got.Mode != policy.ModePassthru || got.MTU != parent.MTU || !got.Up || got.MAC.String() != parent.MAC.String() ||
			r.Interfaces[0].MAC.String() != parent.MAC.String() {
			t.Errorf("link is %+v, reported %+v", got, r.Interfaces[0])
		}
		one.reachesNeighbour(t)
		two.refused(t, "passthru", "network=lan,ip=10.77.0.9")
		one.reachesNeighbour(t)
		w.done(t, one)
	})
	t.Run("MV-04 source hears only those listed", func(t *testing.T) {
		source := strings.Replace(lan, "parent", "mode = \"source\"\nsource = [\"02:70:00:00:00:02\"]\nparent", 1)
		w := newWorld(t, source)
		c := w.box(t, "c")
		c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
		if got := c.eth0(t); got.Mode != policy.ModeSource || !got.Up {
			t.Errorf("link is %+v", got)
		}
		c.reachesNeighbour(t)
		w.done(t, c)
		w.usePolicy(t, strings.Replace(source, "02:70:00:00:00:02", "02:70:00:00:00:99", 1))
		c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
		c.NoPing(t, nettest.PeerPrefix4().Addr())
		w.done(t, c)
	})
}

func TestMacvlanMTU(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, options, field string
		want                 int
	}{
		{"MV-09 of the network", "mtu = 1400", "", 1400},
		{"MV-09 asked for", "", ",mtu=1300", 1300},
		{"MV-09 asked for below the network's", "mtu = 1400", ",mtu=1300", 1300},
		{"MV-09 the parent's", "", "", 1500},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, strings.Replace(lan, "parent", c.options+"\nparent", 1))
			b := w.box(t, "c")
			r := b.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9,default-route=false"+c.field)
			if got := b.eth0(t).MTU; got != c.want || r.Interfaces[0].MTU != c.want {
				t.Errorf("MTU %d, reported %d, want %d", got, r.Interfaces[0].MTU, c.want)
			}
			b.has(t, "eth0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64")
			w.done(t, b)
		})
	}
	t.Run("MV-09 above the parent's", func(t *testing.T) {
		w := newWorld(t, lan)
		w.box(t, "c").refused(t, "an MTU of 9000 is above the 1500 of parent p0", "network=lan,mtu=9000")
	})
}

func TestMacvlanRoutes(t *testing.T) {
	t.Parallel()
	t.Run("MV-10 on the link and on another of the container's", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.plainBox(t, "c")
		addBridge(t, c.Space, "other0", "10.89.0.5/24")
		c.Remember(t)
		c.attach(t, `network={"name":"lan","ip":["10.77.0.9","fd77::9"],"default-route":false,"route":[`+
			`"10.21.0.0/24 via 10.77.0.1","10.22.0.0/24 via 10.77.0.2 metric 5","10.23.0.0/24 via 10.89.0.1",`+
			`"fd23::/64 via fd77::1"]}`)
		c.has(t, "other0 bridge", "  10.89.0.5/24", "  10.23.0.0/24 via 10.89.0.1",
			"eth0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64",
			"  10.21.0.0/24 via 10.77.0.1", "  10.22.0.0/24 via 10.77.0.2 metric 5", "  fd23::/64 via fd77::1 metric 1024")
		w.done(t, c)
	})
	t.Run("MV-11 no default route", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.box(t, "c")
		c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9,default-route=false")
		c.has(t, "eth0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64")
		w.done(t, c)
		w.usePolicy(t, strings.Replace(lan, "parent", "default-route = false\nparent", 1))
		c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
		c.has(t, "eth0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64")
		w.done(t, c)
	})
	t.Run("MV-12 internal", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, "parent", "internal = true\nparent", 1))
		one, two := w.box(t, "one"), w.box(t, "two")
		one.attach(t, "network=lan,ip=10.77.0.8,ip=fd77::8")
		two.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9")
		one.has(t, "eth0 macvlan bridge", "  10.77.0.8/24", "  fd77::8/64")
		one.Ping(t, addr("10.77.0.9"))
		one.Ping(t, addr("fd77::9"))
		one.unreachable(t, "192.0.2.1", "2001:db8::1")
		w.done(t, one, two)
	})
	t.Run("MV-13 metric of the network and of the container", func(t *testing.T) {
		w := newWorld(t, strings.Replace(lan, "parent", "metric = 200\nparent", 1))
		c := w.box(t, "c")
		for annotation, metric := range map[string]string{"": "200", ",default-route=300": "300"} {
			c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9"+annotation)
			c.has(t, "eth0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64",
				"  0.0.0.0/0 via 10.77.0.1 metric "+metric, "  ::/0 via fd77::1 metric "+metric)
			w.done(t, c)
		}
	})
	t.Run("MV-13 a gateway that the container chose", func(t *testing.T) {
		w := newWorld(t, lan)
		c := w.box(t, "c")
		c.attach(t, "network=lan,ip=10.77.0.9,ip=fd77::9,gateway=10.77.0.2,gateway=fe80::1")
		c.has(t, "eth0 macvlan bridge", "  10.77.0.9/24", "  fd77::9/64",
			"  0.0.0.0/0 via 10.77.0.2", "  ::/0 via fe80::1 metric 1024")
		w.done(t, c)
	})
}

// unreachable fails the test unless the kernel says at once that it has no route.
func (b *box) unreachable(t *testing.T, to ...string) {
	t.Helper()
	for _, a := range to {
		err := b.Reach(t, addr(a), 20*time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), syscall.ENETUNREACH.Error()) {
			t.Errorf("%s to %s: error %v, want %v", b.id, a, err, syscall.ENETUNREACH)
		}
	}
}

func TestMacvlanAddresses(t *testing.T) {
	t.Parallel()
	two := lan4 + `
  [[network.lan.subnet]]
  subnet  = "10.78.0.0/23"
`
	for _, c := range []struct {
		name, policy, ips string
		want              []string
	}{
		{
			"MV-15 three of one subnet", lan4, "ip=10.77.0.7,ip=10.77.0.8,ip=10.77.0.9",
			[]string{"  10.77.0.7/24", "  10.77.0.8/24", "  10.77.0.9/24"},
		},
		{
			"MV-15 three of two subnets", two, "ip=10.77.0.7,ip=10.77.0.8,ip=10.78.1.9",
			[]string{"  10.77.0.7/24", "  10.78.1.9/23", "  10.77.0.8/24"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.policy)
			b := w.box(t, "c")
			b.attach(t, "network=lan,default-route=false,"+c.ips)
			b.has(t, append([]string{"eth0 macvlan bridge"}, c.want...)...)
			b.Ping(t, nettest.PeerPrefix4().Addr())
			w.Neighbour.Ping(t, addr("10.77.0.8"))
			w.done(t, b)
		})
	}
	t.Run("MV-17 one of three outside the subnet", func(t *testing.T) {
		w := newWorld(t, lan4)
		w.box(t, "c").refused(t, "address 10.99.0.8 is outside the subnets of network lan",
			"network=lan,ip=10.77.0.7,ip=10.99.0.8,ip=10.77.0.9")
	})
	t.Run("MV-18 four subnets, two pairs", func(t *testing.T) {
		w := newWorld(t, `
[network.lan]
driver = "macvlan"
parent = "p0"
  [[network.lan.subnet]]
  subnet  = "10.81.0.0/24"
  gateway = "10.81.0.254"
  [[network.lan.subnet]]
  subnet  = "10.82.0.0/24"
  [[network.lan.subnet]]
  subnet  = "fd81::/64"
  [[network.lan.subnet]]
  subnet  = "fd82::/64"
  gateway = "fd82::ffff"
`)
		a, b, c, d := w.box(t, "a"), w.box(t, "b"), w.box(t, "c"), w.box(t, "d")
		a.attach(t, "network=lan,ip=10.81.0.8,ip=fd81::8")
		b.attach(t, "network=lan,ip=10.81.0.9,ip=fd81::9")
		c.attach(t, "network=lan,ip=10.82.0.8,ip=fd82::8")
		d.attach(t, "network=lan,ip=10.82.0.9,ip=fd82::9")
		a.has(t, "eth0 macvlan bridge", "  10.81.0.8/24", "  fd81::8/64", "  0.0.0.0/0 via 10.81.0.254")
		c.has(t, "eth0 macvlan bridge", "  10.82.0.8/24", "  fd82::8/64", "  ::/0 via fd82::ffff metric 1024")
		a.Ping(t, addr("10.81.0.9"))
		a.Ping(t, addr("fd81::9"))
		d.Ping(t, addr("10.82.0.8"))
		d.Ping(t, addr("fd82::8"))
		w.done(t, a, b, c, d)
	})
	t.Run("BR-37 a /31 of two containers", func(t *testing.T) {
		w := newWorld(t, "[network.lan]\ndriver = \"macvlan\"\nparent = \"p0\"\n[[network.lan.subnet]]\nsubnet = \"10.83.0.8/31\"\n")
		one, two, three := w.box(t, "one"), w.box(t, "two"), w.box(t, "three")
		one.attach(t, "network=lan")
		r := two.attach(t, "network=lan")
		one.Ping(t, onlyAddress(t, r.Interfaces[0], netip.Addr.Is4))
		three.refused(t, "10.83.0.8/31", "network=lan")
		w.done(t, one, two)
	})
}

// byText compares addresses as they are written.
func byText() cmp.Option {
	return cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
}
