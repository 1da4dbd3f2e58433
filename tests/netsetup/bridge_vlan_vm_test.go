//go:build linux

package netsetup_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// floors are two VLANs of one uplink on one bridge, and a network for routers between them.
const floors = `
[network.ten]
driver = "bridge"
bridge = "lan0"
vlan   = 10
uplink = "p0"
  [[network.ten.subnet]]
  subnet  = "10.10.0.0/24"
  gateway = "10.10.0.1"

[network.twenty]
driver = "bridge"
bridge = "lan0"
vlan   = 20
uplink = "p0"
  [[network.twenty.subnet]]
  subnet  = "10.20.0.0/24"
  gateway = "10.20.0.1"
  [[network.twenty.subnet]]
  subnet  = "fd20::/64"

[network.tower]
driver = "bridge"
bridge = "lan0"
trunk  = [10, "20-29"]
uplink = "p0"
`

// newFloors is a host with a bridge's uplink to the neighbour.
func newFloors(t *testing.T, networks string) *world {
	t.Helper()
	nettest.Need(t, nettest.VLANFiltering, nettest.VLAN)
	return newWorld(t, networks)
}

// tagged gives a namespace a VLAN of its link, with addresses.
func tagged(t *testing.T, s *nettest.Space, link string, id int, addresses ...string) {
	t.Helper()
	s.Do(t, func() {
		parent, err := netlink.LinkByName(link)
		if err != nil {
			t.Fatal(err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = link+"."+strconv.Itoa(id), parent.Attrs().Index
		sub := &netlink.Vlan{LinkAttrs: attrs, VlanId: id}
		if err = errors.Join(netlink.LinkAdd(sub), netlink.LinkSetUp(sub)); err != nil {
			t.Fatalf("add VLAN %d of %s: %v", id, link, err)
		}
		for _, a := range addresses {
			nettest.AddAddress(t, attrs.Name, netip.MustParsePrefix(a))
		}
	})
}

// vlansOf are the VLANs of a port of the host, as text.
func (w *world) vlansOf(t *testing.T, port string) string {
	t.Helper()
	list, ok, err := w.setup.Host.PortVLANs(port)
	if err != nil || !ok {
		t.Fatalf("VLANs of %s: %v", port, err)
	}
	var words []string
	for _, v := range list {
		word := v.Range.String()
		if v.Untagged {
			word += "u"
		}
		if v.PVID {
			word += "p"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// carries fails the test unless a port has the VLANs: "10 20-29" with tags, "20up" without one and for what has none.
func (w *world) carries(t *testing.T, port, want string) {
	t.Helper()
	if got := w.vlansOf(t, port); got != want {
		t.Errorf("%s has the VLANs %q, want %q", port, got, want)
	}
}

func TestBridgeVLANs(t *testing.T) {
	t.Run("BR-27 BR-29 BR-41 two VLANs of one uplink", func(t *testing.T) {
		w := newFloors(t, floors)
		ten, twenty, more := w.box(t, "ten"), w.box(t, "twenty"), w.box(t, "more")
		ten.attach(t, "network=ten,ip=10.10.0.8")
		w.carries(t, nettest.Parent, "10")
		twenty.attach(t, "network=twenty,ip=10.20.0.8,ip=fd20::8")
		more.attach(t, "network=twenty,ip=10.20.0.9,ip=fd20::9")
		bridge := w.hostLink(t, "lan0")
		if !bridge.FiltersVLANs || len(bridge.Addresses) != 0 || bridge.Group != plan.Group {
			t.Errorf("bridge: %+v", bridge)
		}
		w.carries(t, "lan0", "")
		w.carries(t, nettest.Parent, "10 20")
		w.carries(t, w.port(t, "ten"), "10up")
		w.carries(t, w.port(t, "more"), "20up")
		tagged(t, w.Neighbour, nettest.PeerName, 10, "10.10.0.1/24")
		tagged(t, w.Neighbour, nettest.PeerName, 20, "10.20.0.1/24", "fd20::1/64")
		ten.Ping(t, addr("10.10.0.1"))
		twenty.Ping(t, addr("10.20.0.1"))
		twenty.Ping(t, addr("fd20::1"))
		twenty.Ping(t, addr("10.20.0.9"))
		// The neighbour routes between them. Without it neither reaches the other, whatever address it has.
		w.Neighbour.Do(t, func() { nettest.WriteSysctl(t, "ipv4/ip_forward", "1") })
		ten.Ping(t, addr("10.20.0.8"))
		w.Neighbour.Do(t, func() { nettest.WriteSysctl(t, "ipv4/ip_forward", "0") })
		ten.NoPing(t, addr("10.20.0.8"))
		ten.Do(t, func() { nettest.AddAddress(t, "eth0", netip.MustParsePrefix("10.20.0.77/24")) })
		ten.NoPing(t, addr("10.20.0.8"))
		ten.detachAny(t)
		w.carries(t, nettest.Parent, "20")
		twenty.detach(t)
		w.carries(t, nettest.Parent, "20")
		w.done(t, more)
		w.Host.Same(t)
	})
	t.Run("no frame of one VLAN is seen in the other", func(t *testing.T) {
		w := newFloors(t, floors)
		ten, twenty := w.box(t, "ten"), w.box(t, "twenty")
		ten.attach(t, "network=ten")
		twenty.attach(t, "network=twenty")
		sees, sends := ten.Tap(t, "eth0"), twenty.Tap(t, "eth0")
		wire := w.Neighbour.Tap(t, nettest.PeerName)
		all, own := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, twenty.eth0(t).MAC
		sends.Send(t, nettest.TestFrame(all, []byte(own), "twenty"))
		wire.Send(t, nettest.TestFrame(all, []byte{2, 0, 0, 0, 0, 9}, "wire 20", nettest.Dot1Q(20)))
		wire.Send(t, nettest.TestFrame(all, []byte{2, 0, 0, 0, 0, 9}, "wire untagged"))
		wire.Send(t, nettest.TestFrame(all, []byte{2, 0, 0, 0, 0, 9}, "wire 11", nettest.Dot1Q(11)))
		wire.Send(t, nettest.TestFrame(all, []byte{2, 0, 0, 0, 0, 9}, "last", nettest.Dot1Q(10)))
		is := func(want string) func([]byte) bool {
			return func(frame []byte) bool { word, _, _ := nettest.FrameWord(frame); return word == want }
		}
		for _, frame := range sees.Until(t, is("last")) {
			if word, _, ok := nettest.FrameWord(frame); ok {
				t.Errorf("VLAN 10 has the frame %q", word)
			}
		}
		sends.Send(t, nettest.TestFrame(all, []byte(own), "end"))
		seen := map[string][]nettest.FrameTag{}
		for _, frame := range wire.Until(t, is("end")) {
			if word, tags, ok := nettest.FrameWord(frame); ok {
				seen[word] = tags
			}
		}
		if diff := cmp.Diff(map[string][]nettest.FrameTag{"twenty": {nettest.Dot1Q(20)}}, seen); diff != "" {
			t.Errorf("on the wire (-want +got):\n%s", diff)
		}
		w.done(t, ten, twenty)
	})
	t.Run("a trunk and its own sub-interfaces", func(t *testing.T) {
		w := newFloors(t, floors)
		router, ten := w.box(t, "router"), w.box(t, "ten")
		router.attach(t, "network=tower")
		w.carries(t, w.port(t, "router"), "10 20-29")
		w.carries(t, nettest.Parent, "10 20-29")
		ten.attach(t, "network=ten,ip=10.10.0.8")
		tagged(t, router.Space, "eth0", 10, "10.10.0.1/24")
		tagged(t, router.Space, "eth0", 25, "10.25.0.1/24")
		tagged(t, w.Neighbour, nettest.PeerName, 25, "10.25.0.9/24")
		ten.Ping(t, addr("10.10.0.1"))
		router.Ping(t, addr("10.25.0.9"))
		router.detachAny(t)
		w.carries(t, nettest.Parent, "10")
		w.done(t, ten)
	})
	t.Run("BR-29 the default VLAN where it is asked for", func(t *testing.T) {
		options := "driver = \"bridge\"\ndefault-vlan = true\nspoof-check = true"
		w := newFloors(t, strings.ReplaceAll(floors[:strings.Index(floors, "[network.tower]")], `driver = "bridge"`, options))
		c := w.box(t, "c")
		c.attach(t, "network=ten,ip=10.10.0.8")
		w.carries(t, nettest.Parent, "1up 10")
		w.carries(t, w.port(t, "c"), "1u 10up")
		tagged(t, w.Neighbour, nettest.PeerName, 10, "10.10.0.1/24")
		c.Ping(t, addr("10.10.0.1"))
		w.done(t, c)
	})
	t.Run("two at once, and the last ones at once", func(t *testing.T) {
		w := newFloors(t, floors)
		var boxes []*box
		for i := range 12 {
			boxes = append(boxes, w.plainBox(t, "c"+strconv.Itoa(i)))
		}
		atOnce := func(do func(i int) error) {
			t.Helper()
			var wait sync.WaitGroup
			for i := range boxes {
				wait.Go(func() {
					if err := do(i); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
		}
		containers := map[int]func() error{}
		for i, b := range boxes {
			c := b.container(t, "network="+[]string{"ten", "twenty", "tower"}[i%3])
			containers[i] = func() error { _, err := w.setup.Attach(t.Context(), c); return err }
		}
		atOnce(func(i int) error { return containers[i]() })
		w.carries(t, nettest.Parent, "10 20-29")
		atOnce(func(i int) error {
			if i%3 == 0 {
				return nil
			}
			return w.release(t.Context(), boxes[i].id)
		})
		w.carries(t, nettest.Parent, "10")
		atOnce(func(i int) error { return w.release(t.Context(), boxes[i].id) })
		w.empty(t)
		w.Host.Same(t)
	})
}

// adminVLANs makes a bridge of the administrator's, with the wire as its port.
func (w *world) adminVLANs(t *testing.T, script string) {
	t.Helper()
	w.Host.Do(t, func() {
		if out, err := exec.Command("sh", "-euc", `
			ip link add lan0 address 02:71:00:00:00:01 type bridge
			echo 1 > /proc/sys/net/ipv6/conf/lan0/disable_ipv6
			ip link set lan0 up
			`+script).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	w.Host.Remember(t)
}

func TestAdminBridgeVLANs(t *testing.T) {
	t.Run("BR-29 that filters and has the uplink", func(t *testing.T) {
		w := newFloors(t, floors)
		w.adminVLANs(t, "ip link set lan0 type bridge vlan_filtering 1; ip link set p0 master lan0; bridge vlan add dev p0 vid 20-29")
		c := w.box(t, "c")
		c.refused(t, "p0 does not carry VLAN 10, and lanhook does not change a bridge that it has not made", "network=ten")
		c.attach(t, "network=twenty,ip=10.20.0.8")
		w.carries(t, w.port(t, "c"), "20up")
		tagged(t, w.Neighbour, nettest.PeerName, 20, "10.20.0.1/24")
		c.Ping(t, addr("10.20.0.1"))
		w.done(t, c)
	})
	t.Run("BR-28 that does not filter", func(t *testing.T) {
		w := newFloors(t, floors)
		w.adminVLANs(t, "ip link set p0 master lan0")
		w.box(t, "c").refused(t, "bridge lan0 does not filter VLANs, and lanhook does not change a bridge that it has not made", "network=ten")
	})
	t.Run("without the uplink", func(t *testing.T) {
		w := newFloors(t, floors)
		w.adminVLANs(t, "ip link set lan0 type bridge vlan_filtering 1")
		w.box(t, "c").refused(t, "p0 is no port of bridge lan0", "network=ten")
	})
	t.Run("that does not filter, and a plain network", func(t *testing.T) {
		w := newFloors(t, strings.ReplaceAll(floors[:strings.Index(floors, "[network.twenty]")], "vlan   = 10", ""))
		w.adminVLANs(t, "ip link set p0 master lan0")
		c := w.box(t, "c")
		c.attach(t, "network=ten,ip=10.10.0.8")
		w.Neighbour.Do(t, func() { nettest.AddAddress(t, nettest.PeerName, netip.MustParsePrefix("10.10.0.1/24")) })
		c.Ping(t, addr("10.10.0.1"))
		w.done(t, c)
	})
}

func TestUplink(t *testing.T) {
	plain := strings.ReplaceAll(floors[:strings.Index(floors, "[network.twenty]")], "vlan   = 10", "")
	onto := func(uplink string) string { return strings.ReplaceAll(plain, `"p0"`, uplink) }
	t.Run("of a plain bridge", func(t *testing.T) {
		w := newFloors(t, plain)
		c := w.box(t, "c")
		c.attach(t, "network=ten,ip=10.10.0.8")
		if b := w.hostLink(t, "lan0"); b.FiltersVLANs || len(b.Addresses) != 0 {
			t.Errorf("bridge: %+v", b)
		}
		w.Neighbour.Do(t, func() { nettest.AddAddress(t, nettest.PeerName, netip.MustParsePrefix("10.10.0.1/24")) })
		c.Ping(t, addr("10.10.0.1"))
		w.done(t, c)
		w.Host.Same(t)
	})
	t.Run("a sub-interface", func(t *testing.T) {
		w := newFloors(t, onto(`"p0.10"`))
		c, d := w.box(t, "c"), w.box(t, "d")
		c.attach(t, "network=ten,ip=10.10.0.8")
		d.attach(t, "network=ten,ip=10.10.0.9")
		tagged(t, w.Neighbour, nettest.PeerName, 10, "10.10.0.1/24")
		c.Ping(t, addr("10.10.0.1"))
		c.detach(t)
		d.Ping(t, addr("10.10.0.1"))
		w.done(t, d)
		w.Host.Same(t)
	})
	t.Run("by its MAC address", func(t *testing.T) {
		w := newFloors(t, onto(`{ mac = "02:70:00:00:00:01" }`))
		c, d := w.box(t, "c"), w.box(t, "d")
		c.attach(t, "network=ten,ip=10.10.0.8")
		d.attach(t, "network=ten,ip=10.10.0.9")
		c.Ping(t, addr("10.10.0.9"))
		w.done(t, c, d)
	})
	t.Run("with an address of the host", func(t *testing.T) {
		w := newFloors(t, plain)
		w.Host.Do(t, func() { nettest.AddAddress(t, nettest.Parent, netip.MustParsePrefix("10.77.0.2/24")) })
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "uplink p0 has the host's address 10.77.0.2, which would no longer be reached", "network=ten")
	})
	t.Run("that does not exist", func(t *testing.T) {
		newFloors(t, onto(`"eth7"`)).box(t, "c").refused(t, "uplink eth7 does not exist", "network=ten")
	})
	t.Run("that is down", func(t *testing.T) {
		w := newFloors(t, plain)
		change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "uplink p0 is down", "network=ten")
	})
	t.Run("of another bridge", func(t *testing.T) {
		w := newFloors(t, onto(`"lh-canary0"`))
		w.Host.Do(t, func() {
			if out, err := exec.Command("ip", "link", "set", "lh-canary0", "master", nettest.CanaryBridge).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		})
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "uplink lh-canary0 is a port of a bridge already", "network=ten")
	})
	t.Run("whose VLAN is the host's", func(t *testing.T) {
		w := newFloors(t, floors)
		tagged(t, w.Host, nettest.Parent, 20, "10.20.0.2/24")
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "what comes in on uplink p0 in VLAN 20 goes to its sub-interface p0.20, and not to the bridge", "network=twenty")
		c := w.box(t, "d")
		c.attach(t, "network=ten")
		w.done(t, c)
	})
	t.Run("whose VLAN a sub-interface would take", func(t *testing.T) {
		w := newFloors(t, floors)
		// Of a link that is named in two ways a policy does not know that it is one.
		parent := fmt.Sprintf("{ mac = %q }", w.hostLink(t, nettest.Parent).MAC.String())
		w.usePolicy(t, floors+vlanOf("same", "macvlan", parent, 30, "vlan = 20")+vlanOf("other", "macvlan", parent, 31, "vlan = 31"))
		tower, same, other := w.box(t, "tower"), w.box(t, "same"), w.box(t, "other")
		tower.attach(t, "network=tower")
		same.refused(t, "parent p0.20 would take its VLAN from bridge lan0, whose uplink carries it", "network=same")
		other.attach(t, "network=other")
		tower.detach(t)
		same.attach(t, "network=same")
		tower.refused(t, "what comes in on uplink p0 in VLAN 20 goes to its sub-interface p0.20, and not to the bridge", "network=twenty")
		w.done(t, same, other)
	})
	t.Run("with children", func(t *testing.T) {
		w := newFloors(t, lan)
		child, c := w.box(t, "child"), w.box(t, "c")
		child.attach(t, "network=lan")
		// A policy that has both is refused, so it has changed.
		w.usePolicy(t, plain)
		c.refused(t, "as with macvlan or ipvlan children", "network=ten")
		w.done(t, child)
		c.attach(t, "network=ten")
		w.usePolicy(t, lan)
		child.refused(t, "parent p0 is a port of a bridge", "network=lan")
		w.done(t, c)
	})
	t.Run("another one by a later policy", func(t *testing.T) {
		w := newFloors(t, plain)
		c := w.box(t, "c")
		c.attach(t, "network=ten")
		d := w.box(t, "d")
		w.usePolicy(t, onto(`"lh-canary0"`))
		d.refused(t, "bridge lan0 has the uplink p0, not lh-canary0", "network=ten")
		w.usePolicy(t, strings.ReplaceAll(plain, `uplink = "p0"`, ""))
		d.refused(t, "bridge lan0 has the uplink p0, and the network names none", "network=ten")
		w.usePolicy(t, floors)
		d.refused(t, "bridge lan0 does not filter VLANs: it was made for containers without one", "network=ten")
		w.done(t, c)
	})
}

func TestVLANSpoofCheck(t *testing.T) {
	options := "driver = \"bridge\"\nspoof-check = true"
	w := newFloors(t, strings.ReplaceAll(floors[:strings.Index(floors, "[network.tower]")], `driver = "bridge"`, options))
	c := w.box(t, "c")
	c.attach(t, "network=twenty,ip=10.20.0.8,ip=fd20::8")
	tagged(t, w.Neighbour, nettest.PeerName, 20, "10.20.0.1/24", "fd20::1/64")
	c.Ping(t, addr("10.20.0.1"))
	c.Ping(t, addr("fd20::1"))
	wire, eth0 := w.Neighbour.Tap(t, nettest.PeerName), c.Tap(t, "eth0")
	// What a container may send: an ARP request of its own, with the word for the test behind it.
	own := []byte(c.eth0(t).MAC)
	ask := func(word string, sender byte, tags ...nettest.FrameTag) []byte {
		packet := slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 1}, own, []byte{10, 20, 0, sender}, make([]byte, 6), []byte{10, 20, 0, 1})
		frame := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, own)
		for _, tag := range tags {
			frame = append(frame, byte(tag.Type>>8), byte(tag.Type), byte(tag.ID>>8), byte(tag.ID))
		}
		return slices.Concat(frame, []byte{8, 6}, packet, []byte(word))
	}
	for name, frame := range map[string][]byte{
		"another's address":            ask("frame", 9),
		"the tag of the access VLAN":   ask("frame", 8, nettest.Dot1Q(20)),
		"that tag, another's address":  ask("frame", 9, nettest.Dot1Q(20)),
		"a priority tag":               ask("frame", 8, nettest.Dot1Q(0)),
		"that, and another's address":  ask("frame", 9, nettest.Dot1Q(0)),
		"two tags":                     ask("frame", 8, nettest.Dot1Q(20), nettest.Dot1Q(10)),
		"a tag of 802.1ad":             ask("frame", 9, nettest.Dot1AD(20)),
		"another VLAN":                 ask("frame", 8, nettest.Dot1Q(10)),
		"a tag within a priority tag":  ask("frame", 9, nettest.Dot1Q(0), nettest.Dot1Q(20)),
		"a tag of 802.1Q in 802.1ad's": ask("frame", 9, nettest.Dot1AD(0), nettest.Dot1Q(20)),
	} {
		eth0.Send(t, frame)
		eth0.Send(t, ask("end", 8))
		for _, got := range wire.Until(t, func(f []byte) bool { return strings.Contains(string(f), "end") }) {
			if strings.Contains(string(got), "frame") {
				t.Errorf("passes with %s: %x", name, got)
			}
		}
	}
	w.done(t, c)
}

func TestVLANsChecked(t *testing.T) {
	w := newFloors(t, floors)
	ten, twenty := w.box(t, "ten"), w.box(t, "twenty")
	ten.attach(t, "network=ten,ip=10.10.0.8")
	twenty.attach(t, "network=twenty,ip=10.20.0.8,ip=fd20::8")
	w.must(t, "", "check")
	port := w.port(t, "ten")
	w.Host.Do(t, func() {
		if out, err := exec.Command("sh", "-euc", `
			bridge vlan del dev `+port+` vid 10; bridge vlan add dev `+port+` vid 20 pvid untagged
			ip link set p0 nomaster; ip link set lan0 type bridge vlan_filtering 0`).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	out := w.run(t, "", "check")
	for _, want := range []string{
		"port " + port + " has lost VLAN 10 without a tag", "port " + port + " has VLAN 20 without a tag, which nobody gave it",
		"uplink p0 is no port of bridge lan0", "bridge lan0 does not keep VLANs apart (vlan_filtering)",
	} {
		if !strings.Contains(out.stdout, want) {
			t.Errorf("check does not say %q:\n%s", want, out.stdout)
		}
	}
	w.run(t, "", "repair")
	w.must(t, "", "check")
	w.carries(t, nettest.Parent, "10 20")
	w.carries(t, port, "10up")
	w.done(t, ten, twenty)
}

func TestBridgeVRF(t *testing.T) {
	nettest.Need(t, nettest.VRF)
	w := newFloors(t, appsWith("vrf = \"blue\"\nfirewall = false"))
	c := w.box(t, "c")
	c.refused(t, "vrf blue does not exist", "network=apps")
	w.Host.Do(t, func() {
		if out, err := exec.Command("sh", "-euc", "ip link add blue type vrf table 1000; ip link set blue up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	w.Host.Remember(t)
	t.Run("BR-31", func(t *testing.T) {
		d := w.box(t, "d")
		c.attach(t, "network=apps,ip=172.30.0.8,ip=fd30::8")
		d.attach(t, "network=apps,ip=172.30.0.9,ip=fd30::9")
		if b := w.hostLink(t, "lh-apps"); b.MasterKind != "vrf" {
			t.Errorf("bridge: %+v", b)
		}
		c.Ping(t, addr("172.30.0.9"))
		c.Ping(t, addr("172.30.0.1"))
		c.Ping(t, addr("fd30::1"))
		w.must(t, "", "check")
		change(t, w.Host, "lh-apps", netlink.LinkSetNoMaster)
		if out := w.run(t, "", "check"); !strings.Contains(out.stdout, "bridge lh-apps is not in vrf blue") {
			t.Errorf("check: %s", out.stdout)
		}
		w.run(t, "", "repair")
		w.must(t, "", "check")
		c.Ping(t, addr("fd30::1"))
		w.usePolicy(t, appsWith("firewall = false"))
		w.box(t, "e").refused(t, "bridge lh-apps is in a VRF, and the network names none", "network=apps")
		w.done(t, c, d)
	})
}
