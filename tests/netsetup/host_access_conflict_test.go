//go:build linux

package netsetup_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/tests/nettest"
)

// fewHosts is a network on which the host has one of two addresses, of which the neighbour has the first one.
func fewHosts(name, access, keys string) string {
	text := strings.Replace(reach(name, keys), "10.77.0.1\"", "10.77.0.254\"\n  range = \"10.77.0.1-10.77.0.2\"", 1)
	text = strings.Replace(text, "host-access = true", "host-access = "+access, 1)
	return text[:strings.LastIndex(text, "  [[network")]
}

// TestHostAccessConflict has a neighbour answer for the address that the host would get.
func TestHostAccessConflict(t *testing.T) {
	const inUse = "eth0: host-access: address 10.77.0.1 is in use on the LAN, by 02:70:00:00:00:02"
	for _, name := range []string{"a", "b", "c", "d"} {
		t.Run("another one is picked for "+name, func(t *testing.T) {
			w := newWorld(t, fewHosts(name, "true", ""))
			c := w.box(t, "c")
			c.attach(t, "network="+name+",ip=10.77.0.9")
			if got := ownAddress(t, w.hostLinks(t)[0], netip.Addr.Is4); got != addr("10.77.0.2") {
				t.Errorf("the host has %s", got)
			}
			c.Ping(t, addr("10.77.0.2"))
			w.done(t, c)
		})
	}
	t.Run("one that the policy names is refused", func(t *testing.T) {
		w := newWorld(t, fewHosts("a", `"10.77.0.1"`, ""))
		w.box(t, "c").refused(t, inUse, "network=a")
		w.empty(t)
	})
	t.Run("warn", func(t *testing.T) {
		w := newWorld(t, fewHosts("a", `"10.77.0.1"`, `conflict = "warn"`))
		c := w.box(t, "c")
		if r := c.attach(t, "network=a"); !strings.Contains(fmt.Sprint(r.Warnings), inUse) {
			t.Errorf("warnings: %v", r.Warnings)
		}
		w.done(t, c)
	})
	t.Run("another link of the host answers for it", func(t *testing.T) {
		w := newWorld(t, fewHosts("a", `"10.77.0.2"`, ""))
		w.secondLink(t)
		c := w.box(t, "c")
		if r := c.attach(t, "network=a,ip=10.77.0.9"); r.Warnings != nil {
			t.Errorf("warnings: %v", r.Warnings)
		}
		w.Neighbour.Ping(t, addr("10.77.0.2")) // by whichever link answers
		w.done(t, c)
	})
}

// TestHostAccessOnAnotherCard: an address that the host has on another card of the LAN is not picked for its link, and refused where the
// policy names it.
func TestHostAccessOnAnotherCard(t *testing.T) {
	near := func(name, access string) string {
		text := strings.Replace(reach(name, ""), "10.77.0.1\"", "10.77.0.254\"\n  range = \"10.77.0.6-10.77.0.7\"", 1)
		text = strings.Replace(text, "host-access = true", "host-access = "+access, 1)
		return text[:strings.LastIndex(text, "  [[network")]
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		t.Run("another one is picked for "+name, func(t *testing.T) {
			w := newWorld(t, near(name, "true"))
			w.secondLink(t)
			c := w.box(t, "c")
			c.attach(t, "network="+name+",ip=10.77.0.9")
			if got := ownAddress(t, w.hostLinks(t)[0], netip.Addr.Is4); got != addr("10.77.0.7") {
				t.Errorf("the host has %s", got)
			}
			w.done(t, c)
		})
	}
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t, near("a", `"10.77.0.6"`))
		w.secondLink(t)
		w.box(t, "c").refused(t, "host-access: the host has address 10.77.0.6 already", "network=a,ip=10.77.0.9")
		w.empty(t)
	})
}

// TestHostAccessConflictAtOnce has several containers come first at once: whoever chose the host's address finds it taken, and the
// others have it from there.
func TestHostAccessConflictAtOnce(t *testing.T) {
	for _, name := range []string{"a", "b", "c", "d"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fewHosts(name, "true", ""))
			boxes := w.crowd(t, 6)
			wants := make([]netsetup.Container, len(boxes))
			for i, b := range boxes {
				wants[i] = b.container(t, fmt.Sprintf("network=%s,ip=10.77.0.%d", name, 10+i))
			}
			together(t, len(boxes), func(i int) error {
				_, err := w.setup.Attach(t.Context(), wants[i])
				return err
			})
			if got := ownAddress(t, w.hostLinks(t)[0], netip.Addr.Is4); got != addr("10.77.0.2") {
				t.Errorf("the host has %s", got)
			}
			for _, want := range wants {
				if err := w.release(t.Context(), want.ID); err != nil {
					t.Error(err)
				}
			}
			w.empty(t)
		})
	}
}

// secondLink connects the host to the LAN a second time, by a switch that the neighbour is.
func (w *world) secondLink(t *testing.T) {
	t.Helper()
	peer, err := os.Open(w.Neighbour.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	change(t, w.Neighbour, nettest.PeerName, func(l netlink.Link) error {
		a, err := netlink.ParseAddr(nettest.PeerPrefix4().String())
		if err != nil {
			return err
		}
		return netlink.AddrDel(l, a)
	})
	addBridge(t, w.Neighbour, "switch0", nettest.PeerPrefix4().String())
	w.Host.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name, a.Flags = "p2", net.FlagUp
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "p3", PeerNamespace: netlink.NsFd(peer.Fd())}); err != nil {
			t.Fatal(err)
		}
		nettest.AddAddress(t, "p2", netip.MustParsePrefix("10.77.0.6/24"))
	})
	for _, port := range []string{nettest.PeerName, "p3"} {
		change(t, w.Neighbour, port, func(l netlink.Link) error {
			bridge, err := netlink.LinkByName("switch0")
			if err == nil {
				err = netlink.LinkSetMaster(l, bridge)
			}
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		})
	}
	w.Host.Ping(t, nettest.PeerPrefix4().Addr())
	nettest.Eventually(t, "the second link has its own address", func() bool { return len(w.hostLink(t, "p2").Addresses) > 1 })
	w.Host.Remember(t)
}
