//go:build linux

package netsetup_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

func TestIPVLANDrift(t *testing.T) {
	w := newIPVLAN(t, near)
	c := w.box(t, "c")
	c.attach(t, "network=near")
	drift := func() (all []string) {
		t.Helper()
		found, err := w.check(t, w.records(t)[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			all = append(all, d.IfName+": "+d.What)
		}
		return all
	}
	// Somebody makes a child of his own there, and so changes the mode for all.
	w.Host.Do(t, func() {
		p, err := netlink.LinkByName(nettest.Parent)
		if err == nil {
			a := netlink.NewLinkAttrs()
			a.Name, a.ParentIndex = "iv0", p.Attrs().Index
			err = netlink.LinkAdd(&netlink.IPVlan{LinkAttrs: a, Mode: netlink.IPVLAN_MODE_L3, Flag: netlink.IPVLAN_FLAG_PRIVATE})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if got, want := drift(), []string{"eth0: the ipvlan mode of its parent is l3 private, not l2 bridge"}; !slices.Equal(got, want) {
		t.Errorf("drift %q, want %q", got, want)
	}
	change(t, w.Host, "iv0", netlink.LinkDel)
	w.done(t, c)
	c.attach(t, "network=near")
	// The children follow their parent.
	turn := func(last byte) {
		change(t, w.Host, nettest.Parent, func(l netlink.Link) error {
			return netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0x70, 0, 0, 0, last})
		})
	}
	turn(0x55)
	if got := c.eth0(t).MAC.String(); got != "02:70:00:00:00:55" {
		t.Errorf("MAC address %s, not the parent's new one", got)
	}
	if got := drift(); len(got) > 0 {
		t.Errorf("drift %q, want none", got)
	}
	turn(0x01)
	w.done(t, c)
}

// heard sends a datagram from an address of a container, and says whether the neighbour heard it.
func (w *world) heard(t *testing.T, from *box, source, to string) bool {
	t.Helper()
	open := func(in *nettest.Space, at string) *net.UDPConn {
		var c *net.UDPConn
		in.Do(t, func() {
			a, err := net.ResolveUDPAddr("udp", at)
			if err == nil {
				c, err = net.ListenUDP("udp", a)
			}
			if err != nil {
				t.Fatalf("have %s: %v", at, err)
			}
		})
		return c
	}
	far := open(w.Neighbour, to)
	defer far.Close()
	c := open(from.Space, source)
	defer c.Close()
	dst, _ := far.LocalAddr().(*net.UDPAddr)
	if dst.IP.IsLinkLocalUnicast() {
		dst = &net.UDPAddr{IP: dst.IP, Port: dst.Port, Zone: "eth0"}
	}
	for range 3 {
		if _, err := c.WriteTo([]byte("word"), dst); err != nil {
			continue // what is dropped on its way out may be said to the sender
		}
		if err := far.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := far.ReadFrom(make([]byte, 99)); err == nil {
			return true
		}
	}
	return false
}

// TestIPVLANGuard: children share a MAC address, so their guard stands by their addresses. What it stops passes without it.
func TestIPVLANGuard(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	w := newIPVLAN(t, near)
	w.routes(t)
	for mode := policy.ModeL2; mode <= policy.ModeL3S; mode++ {
		for _, guarded := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, spoof-check %t", mode, guarded), func(t *testing.T) {
				network, name, subnet := near, "near", "77"
				if mode != policy.ModeL2 {
					network, name, subnet = strings.Replace(routed, `"l3"`, fmt.Sprintf("%q", mode), 1), "routed", "78"
				}
				w.usePolicy(t, ipvlanWith(network, fmt.Sprintf("spoof-check = %t", guarded)))
				c, d := w.box(t, "c"), w.box(t, "d")
				c.attach(t, fmt.Sprintf("network=%s,ip=10.%s.0.9,ip=fd%s::9", name, subnet, subnet))
				d.attach(t, fmt.Sprintf("network=%s,ip=10.%s.0.8,ip=fd%s::8", name, subnet, subnet))
				c.reachesNeighbour(t)
				c.Ping(t, addr("10."+subnet+".0.8"))
				c.Ping(t, addr("fd"+subnet+"::8"))
				for _, p := range []string{"10." + subnet + ".0.99/24", "fd" + subnet + "::99/64"} {
					c.Do(t, func() { nettest.AddAddress(t, "eth0", netip.MustParsePrefix(p)) })
				}
				for _, says := range []struct{ from, to string }{
					{"10." + subnet + ".0.%s:4444", "10.77.0.1:5353"}, {"[fd" + subnet + "::%s]:4444", "[fd77::1]:5353"},
				} {
					if !w.heard(t, c, fmt.Sprintf(says.from, "9"), says.to) {
						t.Errorf("from %s nothing is heard", fmt.Sprintf(says.from, "9"))
					}
					if got := w.heard(t, c, fmt.Sprintf(says.from, "99"), says.to); got == guarded {
						t.Errorf("from %s heard %t", fmt.Sprintf(says.from, "99"), got)
					}
				}
				if mode == policy.ModeL2 {
					w.linkLocal(t, c, guarded)
				}
				w.done(t, c, d)
			})
		}
	}
}

// linkLocal looks at link-local addresses: the container's own one works, and the host's is not the container's, though both
// have one MAC address.
func (w *world) linkLocal(t *testing.T, c *box, guarded bool) {
	t.Helper()
	of := func(in linker, name string) netip.Addr {
		for _, a := range mustLink(t, in, name).Addresses {
			if a.Addr().IsLinkLocalUnicast() {
				return a.Addr()
			}
		}
		t.Fatalf("%s has no link-local address", name)
		return netip.Addr{}
	}
	ns, closeNS := c.open(t)
	defer closeNS()
	own, host := of(ns, "eth0"), of(w.setup.Host, nettest.Parent)
	w.Neighbour.Ping(t, own.WithZone(nettest.PeerName))
	w.Neighbour.Ping(t, host.WithZone(nettest.PeerName))
	c.Do(t, func() { nettest.AddAddress(t, "eth0", netip.PrefixFrom(host, 64)) })
	for source, want := range map[netip.Addr]bool{own: true, host: !guarded} {
		if got := w.heard(t, c, "["+source.String()+"%eth0]:4444", "[fd77::1]:5353"); got != want {
			t.Errorf("from %s heard %t, want %t", source, got, want)
		}
	}
}

// TestIPVLANRate: what comes in and goes out is bounded, and what cannot be is refused.
func TestIPVLANRate(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	w := newIPVLAN(t, strings.Replace(ipvlanWith(routed, `rate = "1gbit"`), `"l3"`, `"l3s"`, 1))
	w.routes(t)
	w.box(t, "c").refused(t, "eth0: what comes in cannot be limited in ipvlan mode l3s", "network=routed")
	for _, network := range []string{near, routed, strings.Replace(routed, `"l3"`, `"l3s"`, 1)} {
		name, rate := "near", `rate = "100mbit"`
		if strings.Contains(network, "routed") {
			name = "routed"
		}
		if strings.Contains(network, "l3s") {
			rate = `rate = { out = "100mbit" }`
		}
		w.usePolicy(t, ipvlanWith(network, rate))
		c := w.box(t, name)
		c.attach(t, "network="+name)
		c.reachesNeighbour(t)
		w.done(t, c)
	}
}
