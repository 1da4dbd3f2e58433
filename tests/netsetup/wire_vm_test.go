//go:build linux

package netsetup_test

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// routers is a LAN whose gateway is a container's.
const routers = `
[network.lan]
driver = "macvlan"
parent = "p0"
  [[network.lan.subnet]]
  subnet  = "10.99.0.0/24"
  gateway = "10.99.0.1"
  [[network.lan.subnet]]
  subnet  = "fd99::/64"
  gateway = "fd99::1"

[network.same]
driver = "macvlan"
parent = "p0"
  [[network.same.subnet]]
  subnet  = "10.99.0.0/24"

[[rule]]
name     = "router"
match    = { id = "router*" }
networks = ["*"]
ip       = ["10.99.0.0/24", "10.99.0.1", "fd99::1/128"]
`

// TestRouterAddress gives the gateway's address of a LAN to the container that is the router there, and to no other.
func TestRouterAddress(t *testing.T) {
	w := newWorld(t, routers)
	router, second, client := w.box(t, "router"), w.box(t, "router2"), w.box(t, "c")
	client.refused(t, "is the gateway of subnet", "network=lan,ip=10.99.0.1")
	client.refused(t, "kept back by a network of the policy", "network=same,ip=10.99.0.1")
	second.refused(t, "kept back by a network of the policy", "network=same,ip=10.99.0.1")
	router.attach(t, "network=lan,ip=10.99.0.1,ip=fd99::1")
	router.has(t, "eth0 macvlan bridge", "  10.99.0.1/24", "  fd99::1/64")
	second.refused(t, "10.99.0.1", "network=lan,ip=10.99.0.1")
	client.attach(t, "network=lan,ip=10.99.0.9,ip=fd99::9")
	client.has(t, "eth0 macvlan bridge", "  10.99.0.9/24", "  fd99::9/64",
		"  0.0.0.0/0 via 10.99.0.1", "  ::/0 via fd99::1 metric 1024")
	client.Ping(t, addr("10.99.0.1"))
	client.Ping(t, addr("fd99::1"))
	w.done(t, router, client)
}

// wires are networks that name VLAN 50 of the wire in two ways, and one of another VLAN.
const wires = `
[network.vlan]
driver = "macvlan"
parent = "p0"
vlan   = 50
  [[network.vlan.subnet]]
  subnet  = "10.99.0.0/24"
  gateway = "10.99.0.1"

[network.dotted]
driver = "macvlan"
parent = "p0.50"
  [[network.dotted.subnet]]
  subnet = "10.99.0.0/24"

[network.other]
driver = "macvlan"
parent = "p0"
vlan   = 51
  [[network.other.subnet]]
  subnet = "10.99.0.0/24"
`

// TestOneWire keeps addresses apart by what a link sends on, and not by what it is called: of networks that name one VLAN in
// two ways, no container gets another one's address, nor the other's gateway.
func TestOneWire(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	w := newWorld(t, wires)
	a, b, c := w.box(t, "a"), w.box(t, "b"), w.box(t, "c")
	a.attach(t, "network=vlan,ip=10.99.0.9")
	b.refused(t, "10.99.0.9", "network=dotted,ip=10.99.0.9")
	b.refused(t, "kept back by a network of the policy", "network=dotted,ip=10.99.0.1")
	b.attach(t, "network=dotted,ip=10.99.0.8")
	b.Ping(t, addr("10.99.0.9"))
	c.attach(t, "network=other,ip=10.99.0.9")
	a.detach(t)
	if got := len(w.leases(t, "vlan")); got != 2 {
		t.Errorf("VLAN 50 has %d leases, want address and MAC of one container", got)
	}
	w.done(t, b, c)
}

// TestOneWireOtherName counts the addresses of a VLAN whose sub-interface the administrator has called otherwise.
func TestOneWireOtherName(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	w := newWorld(t, wires)
	w.Host.Do(t, func() {
		parent, err := netlink.LinkByName(nettest.Parent)
		if err != nil {
			t.Fatal(err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = "fifty", parent.Attrs().Index
		sub := &netlink.Vlan{LinkAttrs: attrs, VlanId: 50, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
		if err = errors.Join(netlink.LinkAdd(sub), netlink.LinkSetUp(sub)); err != nil {
			t.Fatal(err)
		}
	})
	w.Host.Remember(t)
	a, b := w.box(t, "a"), w.box(t, "b")
	a.attach(t, "network=vlan,ip=10.99.0.9")
	if got := len(w.leases(t, "vlan")); got != 2 {
		t.Errorf("VLAN 50 has %d leases, want address and MAC of one container", got)
	}
	b.refused(t, "10.99.0.9", "network=dotted,ip=10.99.0.9")
	w.done(t, a)
}

// aliases are networks that name one wire, or VLAN 50 of it, in ways that only the kernel knows to be the same.
const aliases = `
[network.gate]
driver = "macvlan"
parent = { mac = "02:70:00:00:00:01" }
  [[network.gate.subnet]]
  subnet  = "10.99.0.0/24"
  gateway = "10.99.0.1"
  exclude = ["10.99.0.200"]

[network.plain]
driver = "macvlan"
parent = "p0"
  [[network.plain.subnet]]
  subnet  = "10.99.0.0/16"
  gateway = "10.99.0.7"

[network.fifty]
driver = "macvlan"
parent = "office"
  [[network.fifty.subnet]]
  subnet  = "10.98.0.0/24"
  gateway = "10.98.0.1"

[network.tagged]
driver = "macvlan"
parent = "p0"
vlan   = 50
  [[network.tagged.subnet]]
  subnet = "10.98.0.0/24"

[[rule]]
name      = "spelled"
match     = { id = "spelled*" }
ip        = ["10.99.0.0/16", "10.98.0.0/16"]
spell-out = { drivers = ["macvlan"], parents = ["p0"], vlans = [50] }
`

// TestOneWireManyNames keeps the gateway's address of a LAN from containers of networks that name the same wire otherwise, and
// from those that spell it out.
func TestOneWireManyNames(t *testing.T) {
	w := newWorld(t, aliases)
	c, spelled := w.box(t, "c"), w.box(t, "spelled")
	for _, kept := range []string{"10.99.0.1", "10.99.0.200"} {
		c.refused(t, "kept back by a network of the policy", "network=plain,ip="+kept)
		spelled.refused(t, "kept back by a network of the policy", "network=driver=macvlan,parent=p0,ip="+kept+"/16")
	}
	c.refused(t, "kept back by a network of the policy", "network=gate,ip=10.99.0.7")
	c.attach(t, "network=plain,ip=10.99.0.9")
	w.done(t, c)
}

// TestOneVLANManyNames does so in a VLAN whose sub-interface has the administrator's name.
func TestOneVLANManyNames(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	w := newWorld(t, aliases)
	addVLAN(t, w.Host, nettest.Parent, "office", 50, false)
	w.Host.Remember(t)
	c, spelled := w.box(t, "c"), w.box(t, "spelled")
	c.refused(t, "kept back by a network of the policy", "network=tagged,ip=10.98.0.1")
	spelled.refused(t, "kept back by a network of the policy", "network=driver=macvlan,parent=p0,vlan=50,ip=10.98.0.1/16")
	c.attach(t, "network=tagged,ip=10.98.0.9")
	w.done(t, c)
}
