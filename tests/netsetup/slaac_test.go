//go:build linux

package netsetup_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

const slaacLAN = `
[network.routers]
driver = "macvlan"
parent = "p0"
ipv6   = "slaac"
slaac-wait = "10s"

  [[network.routers.subnet]]
  subnet = "10.77.0.0/24"

[network.bare]
driver = "macvlan"
parent = "p0"
ipv6   = "slaac"

[network.impatient]
driver = "macvlan"
parent = "p0"
ipv6   = "slaac"
slaac-wait = "50ms"

[network.dual]
driver = "macvlan"
parent = "p0"
route  = ["fd99::/64 via fd77::1"]

  [[network.dual.subnet]]
  subnet = "10.77.0.0/24"
  range  = "10.77.0.64/26"

  [[network.dual.subnet]]
  subnet  = "fd77::/64"
  gateway = "fd77::1"

[network.four]
driver = "macvlan"
parent = "p0"

  [[network.four.subnet]]
  subnet = "10.77.0.0/24"
  range  = "10.77.0.128/26"

[network.unaddressed]
driver = "macvlan"
parent = "p0"

[network.none]
driver = "macvlan"
parent = "p0"
ipv6   = "off"
`

// newRoutedWorld has a router for neighbour, whose word the host itself does not take.
func newRoutedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, slaacLAN)
	w.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/"+nettest.Parent+"/accept_ra", "0") })
	w.Host.Remember(t)
	return w
}

// advertised is what the router gives out.
func advertised() netip.Prefix { return netip.MustParsePrefix("2001:db8:77::/64") }

// learned are the container's addresses of the router's prefix.
func (b *box) learned(t *testing.T) []netip.Prefix {
	t.Helper()
	return slices.DeleteFunc(b.eth0(t).Addresses, func(p netip.Prefix) bool { return !advertised().Contains(p.Addr()) })
}

// TestSLAAC: an address from a real router advertisement is there when the attach ends, usable, made of the MAC address, recorded
// and shown; and with it the router's default route.
func TestSLAAC(t *testing.T) {
	w := newRoutedWorld(t)
	w.Neighbour.Advertise(t, nettest.PeerName, advertised())
	for _, network := range []string{"routers", "bare", "dual,ipv6=slaac"} {
		t.Run(network, func(t *testing.T) {
			c := w.box(t, "c")
			r := c.attach(t, "network="+network)
			i := r.Interfaces[0]
			if r.Warnings != nil || len(i.Learned) != 1 || i.IPv6 != policy.IPv6SLAAC {
				t.Fatalf("warnings %v, interface %+v", r.Warnings, i)
			}
			mac := i.MAC
			want := advertised().Addr().As16()
			copy(want[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
			if i.Learned[0] != netip.PrefixFrom(netip.AddrFrom16(want), 64) {
				t.Errorf("the address is %s, and the MAC address %s", i.Learned[0], mac)
			}
			if got := c.learned(t); !slices.Equal(got, i.Learned) {
				t.Errorf("the container has %v, and %v is recorded", got, i.Learned)
			}
			if rec := w.recordsOf(t, "c")[0]; !slices.Equal(rec.Interfaces[0].Learned, i.Learned) {
				t.Errorf("the record has %v", rec.Interfaces[0].Learned)
			}
			if slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
				t.Errorf("it has %v by the policy", i.Addresses)
			}
			c.hasDefaults(t, "eth0 fe80::70:ff:fe00:2 metric 1024")
			c.detach(t)
			w.empty(t)
		})
	}
}

// TestSLAACNoRouter: without a router the attach goes on after a bounded time, and says so; once there is one, the container
// hears it, and it hears one all the time if it forwards itself.
func TestSLAACNoRouter(t *testing.T) {
	w := newRoutedWorld(t)
	c := w.box(t, "c")
	r := c.attach(t, "network=impatient")
	if _, ok := errors.AsType[*netsetup.NoRouterError](r.Warnings); !ok || len(r.Interfaces[0].Learned) > 0 {
		t.Errorf("warnings %v, interface %+v", r.Warnings, r.Interfaces[0])
	}
	c.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/all/forwarding", "1") })
	w.Neighbour.Advertise(t, nettest.PeerName, advertised())
	nettest.Eventually(t, "the container has heard the router", func() bool { return len(c.learned(t)) == 1 })
	c.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/all/forwarding", "0") })
	c.detach(t)
	w.empty(t)
}

// TestSLAACLate: who has little time left waits no longer than that, and is attached.
func TestSLAACLate(t *testing.T) {
	w := newRoutedWorld(t)
	c := w.box(t, "c")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	r, err := w.setup.Attach(ctx, c.container(t, "network=routers"))
	if _, ok := errors.AsType[*netsetup.NoRouterError](r.Warnings); !ok || err != nil {
		t.Errorf("error %v, warnings %v", err, r.Warnings)
	}
	c.detach(t)
	w.empty(t)
}

// TestSLAACDuplicate: the kernel looks whether somebody has the address, and until it knows the address is none. One that somebody
// has is never waited for longer than the bound, nor given out.
func TestSLAACDuplicate(t *testing.T) {
	w := newRoutedWorld(t)
	const mac, taken = "02:42:00:00:00:09", "2001:db8:77::42:ff:fe00:9/64"
	w.Neighbour.Do(t, func() { nettest.AddAddress(t, nettest.PeerName, netip.MustParsePrefix(taken)) })
	w.Neighbour.Advertise(t, nettest.PeerName, advertised())
	for name, c := range map[string]struct {
		network string
		usable  int
	}{
		"free":  {"routers", 1},
		"taken": {"bare,mac=" + mac, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.plainBox(t, name)
			b.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/default/accept_dad", "1") })
			b.Remember(t)
			began := time.Now()
			r := b.attach(t, "network="+c.network)
			// Twice a second for looking, and half a one for the router, with room for a machine that is busy.
			if took := time.Since(began); took < time.Second || took > 6*time.Second {
				t.Errorf("it took %s", took)
			}
			if got := r.Interfaces[0].Learned; len(got) != c.usable || (r.Warnings == nil) != (c.usable == 1) {
				t.Errorf("it learned %v, warnings %v", got, r.Warnings)
			}
			if doubted, is := errors.AsType[*netsetup.DoubtedError](r.Warnings); is == (c.usable == 1) ||
				is && (!doubted.Duplicate || doubted.Addr != netip.MustParsePrefix(taken).Addr() || doubted.MAC.String() != "02:70:00:00:00:02") {
				t.Errorf("the warnings are %v", r.Warnings)
			}
			b.detach(t)
			w.empty(t)
		})
	}
}

// TestSLAACLinkLocal: without a link-local address that can be used nobody asks a router, and so it is not said that none has spoken.
func TestSLAACLinkLocal(t *testing.T) {
	for name, duplicate := range map[string]bool{"bare,mac=02:42:00:00:00:09": true, "impatient": false} {
		t.Run(name, func(t *testing.T) {
			w := newRoutedWorld(t)
			w.Neighbour.Do(t, func() { nettest.AddAddress(t, nettest.PeerName, netip.MustParsePrefix("fe80::42:ff:fe00:9/64")) })
			b := w.plainBox(t, "b")
			b.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/default/accept_dad", "1") })
			b.Remember(t)
			r := b.attach(t, "network="+name)
			doubted, is := errors.AsType[*netsetup.DoubtedError](r.Warnings)
			if !is || doubted.Duplicate != duplicate || !doubted.Addr.IsLinkLocalUnicast() {
				t.Errorf("the warnings are %v", r.Warnings)
			}
			b.detach(t)
			w.empty(t)
		})
	}
}

// TestSLAACNoDefaultRoute: a container that wants no default route there takes none from routers.
func TestSLAACNoDefaultRoute(t *testing.T) {
	w := newRoutedWorld(t)
	w.Neighbour.Advertise(t, nettest.PeerName, advertised())
	c := w.box(t, "c")
	c.attach(t, "network=routers,default-route=false")
	if len(c.learned(t)) != 1 {
		t.Errorf("it has %+v", c.eth0(t))
	}
	c.hasDefaults(t)
	c.detach(t)
	w.empty(t)
}

// TestRogueRouter: a router that nobody has asked changes nothing of those who do not take its word. One who does proves that it
// was heard on the same wire, before and after a look at the others.
func TestRogueRouter(t *testing.T) {
	w := newRoutedWorld(t)
	var boxes []*box
	before, routes := map[string]kernel.State{}, map[string][]string{}
	for id, ask := range map[string]string{
		"static": "dual", "v4": "four", "unaddressed": "unaddressed", "none": "none", "off": "dual,ipv6=off",
	} {
		b := w.box(t, id)
		b.attach(t, "network="+ask)
		// Once the link-local address is there the kernel would take a router's word.
		nettest.Eventually(t, id+" has settled", func() bool {
			got := linkLocal(b.eth0(t))
			return got == (id == "static" || id == "unaddressed")
		})
		boxes = append(boxes, b)
		before[id], routes[id] = b.eth0(t), b.defaults(t)
	}
	w.Neighbour.Advertise(t, nettest.PeerName, advertised())
	witness := w.box(t, "witness")
	witness.attach(t, "network=routers")
	if len(witness.learned(t)) != 1 {
		t.Fatal("the router was not heard at all")
	}
	for _, b := range boxes {
		now, was := b.eth0(t), before[b.id]
		if !slices.Equal(now.Addresses, was.Addresses) || !slices.Equal(b.defaults(t), routes[b.id]) || now.MTU != was.MTU {
			t.Errorf("%s has %v and %v, and had %v and %v", b.id, now.Addresses, b.defaults(t), was.Addresses, routes[b.id])
		}
		if six := slices.ContainsFunc(now.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }); six && strings.Contains("v4 none off", b.id) {
			t.Errorf("%s has %v, and should have no IPv6", b.id, now.Addresses)
		}
	}
	w.done(t, append(boxes, witness)...)
}

func linkLocal(link kernel.State) bool {
	return slices.ContainsFunc(link.Addresses, func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
}
