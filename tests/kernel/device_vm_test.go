//go:build linux

package kernel_test

import (
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestDeviceSwapped leaves a link in the container that it has put in the place of a device: the host would send to it.
func TestDeviceSwapped(t *testing.T) {
	nettest.Need(t, nettest.VLAN, nettest.Dummy)
	n := nettest.New(t)
	h := openHost(t, n)
	addOn := func(parent, name string, id, index int) {
		t.Helper()
		lower, err := netlink.LinkByName(parent)
		if err != nil {
			t.Fatal(err)
		}
		a := netlink.NewLinkAttrs()
		a.Name, a.ParentIndex, a.Index = name, lower.Attrs().Index, index
		if err = netlink.LinkAdd(&netlink.Vlan{LinkAttrs: a, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}); err != nil {
			t.Fatal(err)
		}
	}
	n.Host.Do(t, func() { addOn(nettest.Parent, "office", 50, 0) })
	c := n.Namespace(t, "container")
	ns, closeNS := openNamespace(t, h, c)
	defer closeNS()
	found := device(t, h, policy.Device{Name: "office"})
	k := h.Kernel(ns)
	steps := plan.Steps{plan.MoveLink{Name: own, Alias: "lanhook test", Device: found.Device}, plan.SetLink{From: own, Name: "eth0", Alias: "lanhook test"}}
	run(t, k, steps...)
	steps = plan.WithIndexes(steps, k.Index)
	run(t, h.Kernel(ns), plan.Undo(steps)...)
	if got := link(t, h, "office"); got.Tag.ID != 50 || got.Elsewhere {
		t.Errorf("the device is back as %+v", got)
	}
	steps[0] = plan.MoveLink{Name: own, Alias: "lanhook test", Device: device(t, h, policy.Device{Name: "office"}).Device}
	run(t, k, steps...)
	steps = plan.WithIndexes(steps, k.Index)
	index := link(t, ns, "eth0").Index
	change(t, c, "eth0", netlink.LinkDel)
	c.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name = "trap"
		if err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: a}); err != nil {
			t.Fatal(err)
		}
		addOn("trap", "eth0", 50, index)
	})
	run(t, h.Kernel(ns), plan.Undo(steps)...)
	noLink(t, h, "office")
	link(t, ns, "eth0")
}
