//go:build linux

package netsetup_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/tests/nettest"
)

// card is a network of a device of the host, and the others have the same one: by its MAC address, and as a parent.
const card = `
[network.card]
driver = "host-device"
device = "card0"
  [[network.card.subnet]]
  subnet = "10.78.0.0/24"
  [[network.card.subnet]]
  subnet = "fd78::/64"

[network.bymac]
driver = "host-device"
ipam   = "none"
device = { mac = "02:78:00:00:00:01" }
`

// withCard makes the host's device. It is a veth, which all kernels have; one that the container's end takes with it is made
// again by the next call.
func (w *world) withCard(t *testing.T) {
	t.Helper()
	w.Host.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name, a.HardwareAddr, a.Alias = "card0", net.HardwareAddr{0x02, 0x78, 0, 0, 0, 1}, "left of the door"
		veth := &netlink.Veth{LinkAttrs: a, PeerName: "card1", PeerHardwareAddr: net.HardwareAddr{0x02, 0x78, 0, 0, 0, 2}}
		if err := netlink.LinkAdd(veth); err != nil {
			t.Fatal(err)
		}
	})
	change(t, w.Host, "card1", netlink.LinkSetUp)
	change(t, w.Host, "card0", netlink.LinkSetUp)
	nettest.Eventually(t, "card0 has its own address", func() bool { return len(w.hostLink(t, "card0").Addresses) > 0 })
	w.Host.Do(t, func() { nettest.AddAddress(t, "card0", netip.MustParsePrefix("10.78.0.2/24")) })
	w.Host.Remember(t)
}

// TestDevice has a device go to a container and come back, for which another container waits in vain meanwhile.
func TestDevice(t *testing.T) {
	w := newWorld(t, card)
	w.withCard(t)
	c, other := w.box(t, "c"), w.box(t, "other")
	c.attach(t, "network=card,ip=10.78.0.9,ip=fd78::9,mac=02:78:00:00:00:99,mtu=1400")
	c.has(t, "eth0 veth", "  10.78.0.9/24", "  fd78::9/64")
	if s := c.eth0(t); s.MTU != 1400 || s.MAC.String() != "02:78:00:00:00:99" {
		t.Errorf("in the container it is %+v", s)
	}
	if r := c.attach(t, "network=card,ip=10.78.0.9,ip=fd78::9,mac=02:78:00:00:00:99,mtu=1400"); !r.Already {
		t.Error("attached twice")
	}
	if slices.Contains(w.links(t), "card0") {
		t.Error("the host still has it")
	}
	for _, network := range []string{"card", "bymac"} {
		other.refused(t, "is in use by interface eth0 of container c", "network="+network)
		if up, err := w.setup.Uplink(t.Context(), w.setup.Policy.Networks[network]); up.Name != "card0" || !up.Present || err != nil {
			t.Errorf("%s: uplink %s, present %t (%v)", network, up.Name, up.Present, err)
		}
	}
	if checked, err := w.setup.Check(t.Context(), w.records(t)); err != nil || len(checked.Of[0]) > 0 {
		t.Errorf("check: %+v (%v)", checked, err)
	}
	// A later policy has other uses for it.
	w.usePolicy(t, `
[network.lan]
driver = "macvlan"
parent = "card0"
parent-wait = "0s"

[network.flat]
driver = "bridge"
uplink = { mac = "02:78:00:00:00:01" }
`)
	other.refused(t, "parent card0 is in use by interface eth0 of container c", "network=lan")
	other.refused(t, "is in use by interface eth0 of container c", "network=flat")
	w.usePolicy(t, card)
	w.done(t, c)
	other.attach(t, "network=bymac")
	other.has(t, "eth0 veth")
	w.done(t, other)
}

// TestDeviceOfTheDead clears away a container that is dead and held the device, which has died with it.
func TestDeviceOfTheDead(t *testing.T) {
	w := newWorld(t, card)
	w.withCard(t)
	first := w.plainBox(t, "first")
	first.attach(t, "network=card")
	first.ended(t)
	second := w.plainBox(t, "second")
	_, err := w.setup.Attach(t.Context(), second.container(t, "network=card"))
	if err == nil || !strings.Contains(err.Error(), "device card0 does not exist") || len(w.records(t)) > 0 {
		t.Errorf("error %v and records %+v", err, w.records(t))
	}
	nettest.Eventually(t, "the other end is gone too", func() bool { return !slices.Contains(w.links(t), "card1") })
	w.withCard(t)
	second.attach(t, "network=card")
	w.must(t, "", "detach", "second")
	w.empty(t)
}

// TestDeviceNameTaken has another link take the device's name: it comes back under another one, and no record stays.
func TestDeviceNameTaken(t *testing.T) {
	w := newWorld(t, card)
	w.withCard(t)
	c := w.plainBox(t, "c")
	c.attach(t, "network=card")
	addBridge(t, w.Host, "card0")
	o := w.run(t, "", "detach", "c")
	if o.code != 1 || !strings.Contains(o.stderr, "device card0 is back, but called dev0") {
		t.Errorf("detach gave %+v", o)
	}
	w.must(t, "", "detach", "c") // There is nothing left to do.
	change(t, w.Host, "card0", netlink.LinkDel)
	change(t, w.Host, "dev0", netlink.LinkSetDown)
	change(t, w.Host, "dev0", func(l netlink.Link) error { return netlink.LinkSetName(l, "card0") })
	change(t, w.Host, "card0", netlink.LinkSetUp)
	w.empty(t)
}

// TestDeviceRefused names why a device stays.
func TestDeviceRefused(t *testing.T) {
	w := newWorld(t, card+`
[network.lan]
driver = "macvlan"
parent = "card1"
ipam   = "none"

[network.under]
driver = "host-device"
device = { mac = "02:78:00:00:00:02" }
ipam   = "none"
`)
	w.withCard(t)
	c, other := w.box(t, "c"), w.box(t, "other")
	c.refused(t, "device card0 is asked for twice", "network=card", "network.eth1=bymac")
	other.attach(t, "network=lan")
	c.refused(t, "device card1 stays with the host: container other has a macvlan child on it", "network=under")
	w.done(t, other)
}

// TestDeviceLeaving refuses to hang a link on a device that another attach is about to move, which would delete it.
func TestDeviceLeaving(t *testing.T) {
	w := newWorld(t, `
[network.bymac]
driver = "host-device"
ipam   = "none"
device = { mac = "02:78:00:00:00:01" }

[network.lan]
driver = "macvlan"
parent = "card0"
ipam   = "none"
`)
	w.withCard(t)
	c, other := w.box(t, "c"), w.box(t, "other")
	c.attach(t, "network=bymac")
	rec := w.records(t)[0]
	c.detach(t)
	// As it is between the record and the move.
	rec.State, rec.Writer = store.Pending, store.Process(w.setup.Self)
	if err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.Put(rec) }); err != nil {
		t.Fatal(err)
	}
	other.refused(t, "device card0 is in use by interface eth0 of container c", "network=lan")
	if err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.Delete(rec.Ref()) }); err != nil {
		t.Fatal(err)
	}
	other.attach(t, "network=lan")
	w.done(t, other)
}
