//go:build linux

package netsetup_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// vlanOf is a network on a parent with some more keys. Its subnets are those of a number, and the neighbour has the first
// address of each.
func vlanOf(name, driver, parent string, number int, keys string) string {
	if driver == "ipvlan" {
		keys += "\nmode = \"l2\""
	}
	return fmt.Sprintf(`
[network.%[1]s]
driver = %[2]q
parent = %[3]s
parent-wait = "0s"
%[5]s
  [[network.%[1]s.subnet]]
  subnet = "10.%[4]d.0.0/24"
  [[network.%[1]s.subnet]]
  subnet = "fd%[4]d::/64"
`, name, driver, parent, number, keys)
}

// newVLAN is newWorld where the kernel has VLANs.
func newVLAN(t *testing.T, networks string) *world {
	t.Helper()
	nettest.Need(t, nettest.VLAN, nettest.IPVLAN)
	return newWorld(t, networks)
}

// addVLAN makes a sub-interface as an administrator does, 802.1Q or the outer of two tags.
func addVLAN(t *testing.T, s *nettest.Space, parent, name string, id int, outer bool) {
	t.Helper()
	s.Do(t, func() {
		lower, err := netlink.LinkByName(parent)
		if err != nil {
			t.Fatal(err)
		}
		v := &netlink.Vlan{LinkAttrs: netlink.NewLinkAttrs(), VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
		if outer {
			v.VlanProtocol = netlink.VLAN_PROTOCOL_8021AD
		}
		v.Name, v.ParentIndex = name, lower.Attrs().Index
		if err = netlink.LinkAdd(v); err == nil {
			err = netlink.LinkSetUp(v)
		}
		if err != nil {
			t.Fatalf("add VLAN %s: %v", name, err)
		}
	})
}

// inVLAN gives the neighbour the first addresses of the networks' subnets in a VLAN of the wire, or in one within another.
func (w *world) inVLAN(t *testing.T, ids ...int) {
	t.Helper()
	lower := nettest.PeerName
	for i, id := range ids {
		name := fmt.Sprintf("%s.%d", lower, id)
		addVLAN(t, w.Neighbour, lower, name, id, i == 0 && len(ids) > 1)
		lower = name
	}
	w.Neighbour.Do(t, func() {
		nettest.AddAddress(t, lower, netip.MustParsePrefix("10.50.0.1/24"))
		nettest.AddAddress(t, lower, netip.MustParsePrefix("fd50::1/64"))
	})
}

// reachesIn sends a packet of each family to the neighbour's addresses.
func (b *box) reachesIn(t *testing.T) {
	t.Helper()
	b.Ping(t, addr("10.50.0.1"))
	b.Ping(t, addr("fd50::1"))
}

// subInterface fails the test unless the host has a sub-interface of lanhook's of this name: up, and without an address.
func (w *world) subInterface(t *testing.T, name string) {
	t.Helper()
	l := w.hostLink(t, name)
	if l.Kind != "vlan" || !l.Up || l.Group != plan.Group || l.Alias != "lanhook" || len(l.Addresses)+len(l.Routes) > 0 {
		t.Errorf("%s is %+v", name, l)
	}
}

// gone fails the test when the host has a link.
func (w *world) gone(t *testing.T, name string) {
	t.Helper()
	if slices.Contains(w.links(t), name) {
		t.Errorf("%s is still there", name)
	}
}

// A sub-interface comes with its first container and goes with its last, however the policy names it.
func TestVLANLife(t *testing.T) {
	for name, test := range map[string]struct {
		parent, keys string
		tags         []int
		subs         []string
	}{
		"VL-01 VLAN in the parent's name": {`"p0.60"`, "", []int{60}, []string{"p0.60"}},
		"VL-01 key vlan":                  {`"p0"`, "vlan = 60", []int{60}, []string{"p0.60"}},
		"QinQ":                            {`"p0"`, "vlan = [100, 20]", []int{100, 20}, []string{"p0.100", "p0.100.20"}},
		"QinQ in the parent's name":       {`"p0.100.20"`, "", []int{100, 20}, []string{"p0.100", "p0.100.20"}},
		"parent by its MAC address":       {`{ mac = "02:70:00:00:00:01" }`, "vlan = 60", []int{60}, []string{"p0.60"}},
	} {
		for _, driver := range []string{"macvlan", "ipvlan"} {
			t.Run(name+" "+driver, func(t *testing.T) {
				w := newVLAN(t, vlanOf("tagged", driver, test.parent, 50, test.keys))
				w.inVLAN(t, test.tags...)
				last := test.subs[len(test.subs)-1]
				if up, err := w.setup.Uplink(t.Context(), w.setup.Policy.Networks["tagged"]); up.Name != last || up.Present || err != nil {
					t.Errorf("before the first container the uplink is %s, there %t (%v)", up.Name, up.Present, err)
				}
				c := w.box(t, "c")
				r := c.attach(t, "network=tagged,ip=10.50.0.9,ip=fd50::9")
				if got := r.Interfaces[0].Uplink; got != last {
					t.Errorf("the uplink is %s, want %s", got, last)
				}
				for _, sub := range test.subs {
					w.subInterface(t, sub)
				}
				if up, err := w.setup.Uplink(t.Context(), w.setup.Policy.Networks["tagged"]); up.Name != last || !up.Present || err != nil {
					t.Errorf("the uplink is %s, there %t (%v)", up.Name, up.Present, err)
				}
				c.reachesIn(t)
				w.Neighbour.Ping(t, addr("10.50.0.9"))
				w.Neighbour.Ping(t, addr("fd50::9"))
				if again := c.attach(t, "network=tagged,ip=10.50.0.9,ip=fd50::9"); !again.Already {
					t.Errorf("attached again: %+v", again)
				}
				w.done(t, c)
			})
		}
	}
}

func TestVLANRefused(t *testing.T) {
	for name, test := range map[string]struct {
		parent, keys, want string
		host               func(l netlink.Link) error
	}{
		"VL-02 unknown link":   {parent: `"missing.456"`, want: "parent missing.456 does not exist, and neither does missing, of which it would be a VLAN"},
		"VL-02 bad delimiter":  {parent: `"p0_10"`, want: "parent p0_10 does not exist"},
		"VL-02 leading zero":   {parent: `"p0.010"`, want: "parent p0.010 does not exist"},
		"parent down":          {parent: `"p0"`, keys: "vlan = 60", want: "parent p0 is down", host: netlink.LinkSetDown},
		"parent of name down":  {parent: `"p0.60"`, want: "parent p0 is down", host: netlink.LinkSetDown},
		"MTU above the parent": {parent: `"p0"`, keys: "vlan = 60\nmtu = 1501", want: "an MTU of 1501 is above the 1500 of parent p0.60"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newVLAN(t, vlanOf("tagged", "macvlan", test.parent, 50, test.keys))
			if test.host != nil {
				change(t, w.Host, nettest.Parent, test.host)
				w.Host.Remember(t)
			}
			w.box(t, "c").refused(t, test.want, "network=tagged")
		})
	}
}

// What the administrator has made is used, whatever it is called, and left as it is.
func TestVLANOfTheAdministrator(t *testing.T) {
	for name, sub := range map[string]string{"VL-03 usual name": "p0.20", "VL-03 another name": "office"} {
		t.Run(name, func(t *testing.T) {
			w := newVLAN(t, vlanOf("tagged", "macvlan", `"p0"`, 50, "vlan = 20")+vlanOf("named", "macvlan", `"`+sub+`"`, 51, ""))
			addVLAN(t, w.Host, nettest.Parent, sub, 20, false)
			w.Host.Do(t, func() { nettest.AddAddress(t, sub, netip.MustParsePrefix("10.50.0.9/24")) })
			w.Host.Remember(t)
			w.inVLAN(t, 20)
			c, other := w.box(t, "c"), w.box(t, "other")
			c.refused(t, "address 10.50.0.9 is this host's own", "network=tagged,ip=10.50.0.9")
			c.attach(t, "network=tagged,ip=10.50.0.8")
			other.attach(t, "network=named")
			c.reachesIn(t)
			if got := w.hostLink(t, sub); !got.Up || got.Group != 0 || got.Alias != "" || !slices.Contains(got.Addresses, netip.MustParsePrefix("10.50.0.9/24")) {
				t.Errorf("it is %+v", got)
			}
			w.done(t, c, other)
		})
	}
}

// Leases are of the VLAN, whatever the sub-interface is called: two networks of one VLAN share its addresses.
func TestVLANLeases(t *testing.T) {
	w := newVLAN(t, vlanOf("tagged", "macvlan", `"p0"`, 50, "vlan = 20")+vlanOf("named", "macvlan", `"office"`, 50, ""))
	addVLAN(t, w.Host, nettest.Parent, "office", 20, false)
	w.Host.Remember(t)
	c, other := w.box(t, "c"), w.box(t, "other")
	c.attach(t, "network=tagged,ip=10.50.0.8")
	other.refused(t, "10.50.0.8", "network=named,ip=10.50.0.8")
	w.done(t, c)
}

// The last user of a sub-interface removes it, whoever made it.
func TestVLANShared(t *testing.T) {
	networks := vlanOf("one", "macvlan", `"p0.40"`, 50, "") + vlanOf("two", "macvlan", `"p0"`, 51, "vlan = 40") +
		vlanOf("outer", "macvlan", `"p0"`, 52, "vlan = 100\nvlan-protocol = \"802.1ad\"") + vlanOf("inner", "macvlan", `"p0"`, 53, "vlan = [100, 20]")
	for name, makerFirst := range map[string]bool{"VL-04 maker leaves last": false, "maker leaves first": true} {
		t.Run(name, func(t *testing.T) {
			w := newVLAN(t, networks)
			w.inVLAN(t, 40)
			maker, second := w.box(t, "maker"), w.box(t, "second")
			maker.attach(t, "network=one")
			index := w.hostLink(t, "p0.40").Index
			second.attach(t, "network=two")
			first, last := second, maker
			if makerFirst {
				first, last = maker, second
			}
			first.detach(t)
			w.subInterface(t, "p0.40")
			if w.hostLink(t, "p0.40").Index != index {
				t.Error("p0.40 was made anew")
			}
			w.done(t, last)
		})
	}
	t.Run("one within the other", func(t *testing.T) {
		w := newVLAN(t, networks)
		outer, inner := w.box(t, "outer"), w.box(t, "inner")
		outer.attach(t, "network=outer")
		inner.attach(t, "network=inner")
		outer.detach(t)
		w.subInterface(t, "p0.100")
		w.done(t, inner)
		inner.attach(t, "network=inner")
		outer.attach(t, "network=outer")
		inner.detach(t)
		w.subInterface(t, "p0.100")
		w.gone(t, "p0.100.20")
		w.done(t, outer)
	})
	t.Run("both in one container", func(t *testing.T) {
		w := newVLAN(t, networks)
		c := w.box(t, "c")
		c.attach(t, "network=inner", "network.eth1=outer", "network.eth2=one")
		w.done(t, c)
	})
	t.Run("containers that ended without a word", func(t *testing.T) {
		w := newVLAN(t, networks)
		for i := range 3 {
			c := w.plainBox(t, fmt.Sprintf("c%d", i))
			c.attach(t, "network=inner")
			c.ended(t)
		}
		w.subInterface(t, "p0.100.20")
		w.collects(t, 3)
		w.empty(t)
	})
}

// TestVLANAtOnce has containers come and go on one sub-interface at once.
func TestVLANAtOnce(t *testing.T) {
	for _, n := range []int{2, 30} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newVLAN(t, vlanOf("inner", "macvlan", `"p0"`, 50, "vlan = [100, 20]"))
			w.inVLAN(t, 100, 20)
			boxes := w.crowd(t, n)
			wants := make([]netsetup.Container, n)
			for i, b := range boxes {
				wants[i] = b.container(t, "network=inner")
			}
			attach := func(i int) error {
				_, err := w.setup.Attach(t.Context(), wants[i])
				return err
			}
			together(t, n, attach)
			w.subInterface(t, "p0.100")
			w.subInterface(t, "p0.100.20")
			for _, b := range boxes {
				b.Ping(t, addr("10.50.0.1"))
			}
			together(t, n, func(i int) error { return w.release(t.Context(), wants[i].ID) })
			w.empty(t)
			// Each finds it there, or gone, or on its way to either.
			together(t, n, func(i int) error {
				for range 3 {
					if err := attach(i); err != nil {
						return err
					}
					if _, there, err := w.setup.Host.Link("p0.100.20"); err != nil || !there {
						return fmt.Errorf("its sub-interface is there: %t (%w)", there, err)
					}
					if err := w.release(t.Context(), wants[i].ID); err != nil {
						return err
					}
				}
				return nil
			})
			w.empty(t)
		})
	}
}

// TestVLANNames makes sub-interfaces of links whose names have dots, or leave no room for more.
func TestVLANNames(t *testing.T) {
	for _, parent := range []string{"enp0s31f6abcdef", "lan.7", "lan.a.b"} {
		for _, inName := range []bool{false, true} {
			if inName && len(parent+".60") > 15 {
				continue // no policy names it so
			}
			t.Run(fmt.Sprintf("%s, VLAN in the name %t", parent, inName), func(t *testing.T) {
				network := vlanOf("tagged", "macvlan", `"`+parent+`"`, 50, "vlan = 60")
				if inName {
					network = vlanOf("tagged", "macvlan", `"`+parent+`.60"`, 50, "")
				}
				w := newVLAN(t, network)
				// An older kernel gives no link that is up another name.
				change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
				change(t, w.Host, nettest.Parent, func(l netlink.Link) error { return netlink.LinkSetName(l, parent) })
				change(t, w.Host, parent, netlink.LinkSetUp)
				nettest.Eventually(t, "the parent has its link-local address again", func() bool {
					return strings.Contains(w.Host.Snapshot(t), "::70:ff:fe00:1/64 on "+parent+" ")
				})
				w.Host.Remember(t)
				w.inVLAN(t, 60)
				c, other := w.box(t, "c"), w.box(t, "other")
				sub := c.attach(t, "network=tagged").Interfaces[0].Uplink
				if want := parent + ".60"; sub != want && (len(want) < 16 || !strings.HasPrefix(sub, "lhv")) {
					t.Errorf("the sub-interface is called %s", sub)
				}
				w.subInterface(t, sub)
				if again := other.attach(t, "network=tagged").Interfaces[0].Uplink; again != sub {
					t.Errorf("the second one's is %s", again)
				}
				c.reachesIn(t)
				w.done(t, c, other)
			})
		}
	}
}

// TestVLANParentComesAndGoes: the parent's end takes sub-interface and children with it; gc tidies up, and the next container
// waits for the parent.
func TestVLANParentComesAndGoes(t *testing.T) {
	w := newVLAN(t, strings.Replace(vlanOf("tagged", "macvlan", `"late0"`, 50, "vlan = 60"), `"0s"`, `"10s"`, 1))
	lay := func() {
		w.Host.Do(t, func() {
			a := netlink.NewLinkAttrs()
			a.Name = "late0"
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "late1"}); err != nil {
				t.Fatal(err)
			}
		})
		change(t, w.Host, "late1", netlink.LinkSetUp)
		change(t, w.Host, "late0", netlink.LinkSetUp)
	}
	c := w.box(t, "c")
	for range 2 {
		want := c.container(t, "network=tagged")
		ended := make(chan error, 1)
		go func() {
			_, err := w.setup.Attach(t.Context(), want)
			ended <- err
		}()
		time.Sleep(50 * time.Millisecond)
		lay()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.subInterface(t, "late0.60")
		change(t, w.Host, "late0", netlink.LinkDel)
		found, err := w.check(t, w.records(t)[0])
		if err != nil || !slices.ContainsFunc(found, func(d netsetup.Drift) bool { return d.What == "VLAN late0.60 is gone" }) {
			t.Errorf("check found %+v (%v)", found, err)
		}
		w.done(t, c)
	}
}
