//go:build linux

package netsetup_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// The driver vlan moves the sub-interface itself into the container; nothing of it stays on the host.
func TestVLANDriver(t *testing.T) {
	for name, test := range map[string]struct {
		keys, wish string
		tags       []int
		mtu        int
		mac        string
	}{
		"VL-06 one tag":                   {keys: "vlan = 1234", tags: []int{1234}, mtu: 1200, mac: "02:70:00:00:00:01"},
		"VL-05 MTU asked for":             {keys: "vlan = 1234", wish: ",mtu=1280", tags: []int{1234}, mtu: 1280, mac: "02:70:00:00:00:01"},
		"VL-05 MTU of the network":        {keys: "vlan = 1234\nmtu = 1000", tags: []int{1234}, mtu: 1000, mac: "02:70:00:00:00:01"},
		"QinQ":                            {keys: "vlan = [100, 20]", tags: []int{100, 20}, mtu: 1200, mac: "02:70:00:00:00:01"},
		"MAC asked for":                   {keys: "vlan = 1234", wish: ",mac=02:00:00:00:00:77", tags: []int{1234}, mtu: 1200, mac: "02:00:00:00:00:77"},
		"spoof-check, rates and the like": {keys: "vlan = 1234\nspoof-check = true\nrate = \"1gbit\"", tags: []int{1234}, mtu: 1200, mac: "02:70:00:00:00:01"},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.Need(t, nettest.NFT)
			// Below 1280 there is no IPv6.
			network := vlanOf("own", "vlan", `"p0"`, 50, test.keys)
			only4 := test.mtu < 1280
			if only4 {
				network = strings.Replace(network, "  [[network.own.subnet]]\n  subnet = \"fd50::/64\"\n", "", 1)
			}
			w := newVLAN(t, network)
			change(t, w.Host, nettest.Parent, func(l netlink.Link) error { return netlink.LinkSetMTU(l, max(1200, test.mtu)) })
			w.Host.Remember(t)
			w.inVLAN(t, test.tags...)
			c := w.box(t, "c")
			wish := "network=own,ip=10.50.0.9" + test.wish
			i := c.attach(t, wish).Interfaces[0]
			link := c.eth0(t)
			if link.Kind != "vlan" || link.MTU != test.mtu || link.MAC.String() != test.mac || link.Tag.ID != test.tags[len(test.tags)-1] {
				t.Errorf("the container's link is %+v", link)
			}
			if i.MAC.String() != test.mac || i.MTU != test.mtu || i.Uplink != policy.Wire("p0", policy.Tags(test.tags, 0)) {
				t.Errorf("the record has %+v", i)
			}
			if len(global(link.Addresses)) != 1 && only4 {
				t.Errorf("it has the addresses %v", link.Addresses)
			}
			c.Ping(t, addr("10.50.0.1"))
			w.Neighbour.Ping(t, addr("10.50.0.9"))
			if found, err := w.check(t, w.records(t)[0]); err != nil || len(found) > 0 {
				t.Errorf("check found %+v (%v)", found, err)
			}
			w.done(t, c)
			dead := w.plainBox(t, "dead")
			dead.attach(t, wish)
			dead.ended(t)
			w.collects(t, 1)
			w.empty(t)
		})
	}
}

// A VLAN that is a container's own is nobody else's; who has it is named, and the dead are cleared away.
func TestVLANDriverInUse(t *testing.T) {
	// A policy that named the VLAN twice would be refused as a whole.
	networks := vlanOf("own", "vlan", `"p0"`, 50, "vlan = 60") + vlanOf("same", "vlan", `"p0"`, 51, "vlan = 60") +
		vlanOf("children", "macvlan", `{ mac = "02:70:00:00:00:01" }`, 52, "vlan = 60") + vlanOf("other", "vlan", `"p0"`, 53, "vlan = 61") +
		vlanOf("twice", "vlan", `"p0"`, 54, "vlan = 60\nvlan-protocol = \"802.1ad\"")
	t.Run("by a container", func(t *testing.T) {
		w := newVLAN(t, networks)
		c, other := w.box(t, "c"), w.box(t, "other")
		c.attach(t, "network=own")
		other.refused(t, "VLAN 60 of p0 is in use by interface eth0 of container c", "network=same")
		other.refused(t, "VLAN 60 of p0 is in use by interface eth0 of container c", "network=children")
		other.attach(t, "network=other", "network.eth1=twice")
		c.detach(t)
		w.done(t, other)
	})
	t.Run("by children", func(t *testing.T) {
		w := newVLAN(t, networks)
		c, other := w.box(t, "c"), w.box(t, "other")
		c.attach(t, "network=children")
		other.refused(t, "VLAN 60 of p0 is in use by interface eth0 of container c", "network=own")
		c.detach(t)
		other.attach(t, "network=own")
		w.done(t, other)
	})
	t.Run("by the dead", func(t *testing.T) {
		w := newVLAN(t, networks)
		for i, network := range []string{"own", "same", "children", "own", "children"} {
			c := w.plainBox(t, fmt.Sprintf("c%d", i))
			c.attach(t, "network="+network)
			c.ended(t)
		}
		w.collects(t, 1)
		w.empty(t)
	})
	t.Run("by the host", func(t *testing.T) {
		w := newVLAN(t, networks)
		addVLAN(t, w.Host, nettest.Parent, "office", 60, false)
		w.Host.Remember(t)
		w.box(t, "c").refused(t, "VLAN 60 of p0 cannot be moved into the container: the host has it as office", "network=own")
	})
	t.Run("by the same container", func(t *testing.T) {
		w := newVLAN(t, networks)
		w.box(t, "c").refused(t, "VLAN 60 of p0 cannot be the container's own: its eth0 uses it too", "network=children", "network.eth1=own")
		w.box(t, "d").refused(t, "it moves p0.60 into a container", "network=own", "network.eth1=same")
	})
	t.Run("by one that has just ended", func(t *testing.T) {
		w := newVLAN(t, networks)
		for i := range 5 {
			c := w.plainBox(t, fmt.Sprintf("c%d", i))
			c.attach(t, "network=own")
			c.End()
			if err := w.release(t.Context(), c.id); err != nil {
				t.Fatal(err)
			}
		}
		w.empty(t)
	})
}

// TestVLANStateLost: without records gc goes by what hangs on a sub-interface, in whatever namespace.
func TestVLANStateLost(t *testing.T) {
	for name, test := range map[string]struct{ network, wish string }{
		"macvlan":      {vlanOf("n", "macvlan", `"p0"`, 50, "vlan = [100, 20]"), "network=n"},
		"ipvlan":       {vlanOf("n", "ipvlan", `"p0"`, 50, "vlan = [100, 20]"), "network=n"},
		"passthru":     {vlanOf("n", "macvlan", `"p0"`, 50, "vlan = [100, 20]\nmode = \"passthru\""), "network=n"},
		"inner VLAN":   {vlanOf("n", "vlan", `"p0"`, 50, "vlan = [100, 20]"), "network=n"},
		"its own link": {vlanOf("n", "macvlan", `"p0"`, 50, "vlan = [100, 20]"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newVLAN(t, test.network)
			c := w.plainBox(t, "c")
			c.attach(t, "network=n")
			w.lose(t)
			if test.wish == "" {
				// What the container has itself is gone, but the sub-interfaces are there.
				c.Do(t, func() {
					l, err := netlink.LinkByName("eth0")
					if err == nil {
						err = netlink.LinkDel(l)
					}
					if err != nil {
						t.Fatal(err)
					}
				})
			}
			collect := func(dry bool) netsetup.Collected {
				t.Helper()
				found, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{DryRun: dry})
				if err != nil {
					t.Fatal(err)
				}
				return found
			}
			before := w.links(t)
			if test.wish != "" {
				if found := collect(false); len(found.VLANs) > 0 || !slices.Equal(before, w.links(t)) {
					t.Errorf("gc found %v, and left %v", found.VLANs, w.links(t))
				}
				c.eth0(t)
				c.End()
				nettest.Eventually(t, "the container's link is gone", func() bool { return len(collect(true).VLANs) > 0 })
			}
			dry, left := collect(true).VLANs, w.links(t)
			if !slices.Equal(before, left) || !slices.Contains(dry, "p0.100") {
				t.Errorf("a dry run found %v, and left %v", dry, left)
			}
			if found := collect(false).VLANs; !slices.Equal(found, dry) {
				t.Errorf("gc found %v, and its dry run %v", found, dry)
			}
			w.Host.Same(t)
		})
	}
}

// lose deletes all records, as if the state had been lost.
func (w *world) lose(t *testing.T) {
	t.Helper()
	err := w.setup.Store.Update(t.Context(), func(tx *store.Tx) error {
		for _, rec := range w.recordsIn(t, tx) {
			if err := tx.Delete(rec.Ref()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) recordsIn(t *testing.T, tx *store.Tx) (all []store.Record) {
	t.Helper()
	for rec, err := range tx.All() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
	return all
}

// TestVLANCollectLeaves: what hangs on a sub-interface on the host itself keeps it too, and what bears no mark is nobody's to
// remove.
func TestVLANCollectLeaves(t *testing.T) {
	w := newVLAN(t, "")
	k := w.setup.Host.KernelByID(-1, nil)
	for id, name := range map[int]string{60: "p0.60", 61: "p0.61", 62: "p0.62"} {
		if err := k.Apply(t.Context(), plan.EnsureVLAN{Name: name, Parent: "p0", Tag: policy.Tag{ID: id, Protocol: policy.Dot1Q}}); err != nil {
			t.Fatal(err)
		}
	}
	addVLAN(t, w.Host, "p0.60", "inner", 5, false)
	change(t, w.Host, "p0.61", func(l netlink.Link) error {
		bridge, err := netlink.LinkByName(nettest.CanaryBridge)
		return errors.Join(err, netlink.LinkSetMaster(l, bridge))
	})
	change(t, w.Host, "p0.62", func(l netlink.Link) error { return netlink.LinkSetGroup(l, 7) })
	w.Host.Remember(t)
	found, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{})
	if err != nil || len(found.VLANs) > 0 {
		t.Errorf("gc found %v (%v)", found.VLANs, err)
	}
	w.Host.Same(t)
}

// TestVLANOfAnotherEngine: the last container leaves a sub-interface on which another engine has hung its own by then, in a
// namespace of which no record knows. gc removes it when that one has gone.
func TestVLANOfAnotherEngine(t *testing.T) {
	for name, child := range map[string]func(netlink.LinkAttrs) netlink.Link{
		"macvlan": func(a netlink.LinkAttrs) netlink.Link {
			return &netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE}
		},
		"passthru": func(a netlink.LinkAttrs) netlink.Link {
			return &netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_PASSTHRU}
		},
		"ipvlan": func(a netlink.LinkAttrs) netlink.Link {
			return &netlink.IPVlan{LinkAttrs: a, Mode: netlink.IPVLAN_MODE_L2}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newVLAN(t, vlanOf("n", "macvlan", `"p0.40"`, 50, ""))
			c, theirs := w.box(t, "c"), w.plainBox(t, "theirs")
			c.attach(t, "network=n")
			if name != "macvlan" {
				// The kernel has children of one kind on a link, so that this one comes between the two.
				change(t, c.Space, "eth0", netlink.LinkDel)
			}
			w.Host.Do(t, func() {
				parent, err := netlink.LinkByName("p0.40")
				if err != nil {
					t.Fatal(err)
				}
				a := netlink.NewLinkAttrs()
				a.Name, a.ParentIndex, a.Namespace = "theirs", parent.Attrs().Index, netlink.NsPid(theirs.PID)
				if err = netlink.LinkAdd(child(a)); err != nil {
					t.Fatal(err)
				}
			})
			change(t, theirs.Space, "theirs", netlink.LinkSetUp)
			c.detach(t)
			w.subInterface(t, "p0.40")
			if found, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{}); err != nil || len(found.VLANs) > 0 {
				t.Errorf("gc found %v (%v)", found.VLANs, err)
			}
			change(t, theirs.Space, "theirs", netlink.LinkDel)
			if found, err := w.setup.Collect(t.Context(), netsetup.CollectOptions{}); err != nil || !slices.Equal(found.VLANs, []string{"p0.40"}) {
				t.Errorf("gc found %v (%v)", found.VLANs, err)
			}
			w.empty(t)
		})
	}
}

// TestVLANDrift finds what is not as the record says, and puts right what can be.
func TestVLANDrift(t *testing.T) {
	w := newVLAN(t, vlanOf("tagged", "macvlan", `"p0"`, 50, "vlan = 60")+vlanOf("own", "vlan", `"p0"`, 51, "vlan = 61"))
	w.inVLAN(t, 60)
	c := w.box(t, "c")
	c.attach(t, "network=tagged")
	drift := func(want string, repair bool) {
		t.Helper()
		found, err := w.check(t, w.records(t)[0])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(found, func(d netsetup.Drift) bool { return d.What == want && d.Repair == repair }) {
			t.Errorf("check found %+v, not %q with repair %t", found, want, repair)
		}
	}
	change(t, w.Host, "p0.60", netlink.LinkSetDown)
	drift("VLAN p0.60 is down", true)
	r, err := w.setup.Repair(t.Context())
	if err != nil || !slices.Equal(r.Links, []string{"VLAN p0.60 is down"}) {
		t.Errorf("repaired %+v (%v)", r, err)
	}
	w.subInterface(t, "p0.60")
	c.reachesIn(t)
	if found, err := w.check(t, w.records(t)[0]); err != nil || len(found) > 0 {
		t.Errorf("check found %+v (%v)", found, err)
	}

	change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
	drift("VLAN p0.60 is down", false)
	if r, err := w.setup.Repair(t.Context()); err != nil || !r.None() {
		t.Errorf("with its parent down it repaired %+v (%v)", r, err)
	}
	change(t, w.Host, nettest.Parent, netlink.LinkSetUp)
	change(t, w.Host, "p0.60", netlink.LinkDel)
	drift("VLAN p0.60 is gone", true)
	addVLAN(t, w.Host, nettest.Parent, "p0.60", 61, false)
	drift("link p0.60 is not VLAN 60 of p0", false)
	c.detach(t)
	if got := w.hostLink(t, "p0.60"); got.Tag.ID != 61 {
		t.Errorf("another's sub-interface is %+v", got)
	}
	change(t, w.Host, "p0.60", netlink.LinkDel)
	w.empty(t)
}

// TestVLANHostIPv6: whatever the host has of IPv6 is as before while containers are attached.
func TestVLANHostIPv6(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("this kernel has no IPv6")
	}
	w := newVLAN(t, vlanOf("tagged", "macvlan", `"p0"`, 50, "vlan = 60"))
	list := func() (all []string) {
		w.Host.Do(t, func() {
			addresses, err := netlink.AddrList(nil, netlink.FAMILY_V6)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range addresses {
				all = append(all, fmt.Sprint(a.IPNet, " ", a.LinkIndex))
			}
		})
		return all
	}
	before := list()
	c := w.box(t, "c")
	c.attach(t, "network=tagged")
	change(t, w.Host, nettest.Parent, netlink.LinkSetDown)
	change(t, w.Host, nettest.Parent, netlink.LinkSetUp)
	nettest.Eventually(t, "the parent has its address again", func() bool { return len(list()) >= len(before) })
	if after := list(); !slices.Equal(before, after) {
		t.Errorf("the host had %v, and has %v", before, after)
	}
	w.done(t, c)
}
