//go:build linux

package kernel_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// device is what a plan knows of a device of the host.
func device(t *testing.T, h *kernel.Host, d policy.Device) plan.FoundDevice {
	t.Helper()
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{{IfName: "eth0", Device: d}})
	if err != nil {
		t.Fatal(err)
	}
	found, ok := facts.Device["eth0"]
	if !ok {
		t.Fatalf("device %s was not found", d)
	}
	return found
}

// change changes a link as an administrator does, or a container that has the right to.
func change(t *testing.T, s *nettest.Space, name string, do ...func(netlink.Link) error) {
	t.Helper()
	s.Do(t, func() {
		l, err := netlink.LinkByName(name)
		for _, fn := range do {
			if err == nil {
				err = fn(l)
			}
		}
		if err != nil {
			t.Fatalf("change link %s: %v", name, err)
		}
	})
}

// lend are the steps of a device's attachment.
func lend(d plan.Device) plan.Steps {
	return plan.Steps{
		plan.MoveLink{Name: own, Alias: "lanhook test", Device: d, MAC: mac(7), MTU: 1400},
		plan.AddAddress{If: own, Address: prefix("10.77.0.9/24")},
		plan.SetLink{From: own, Name: "eth0", Alias: "lanhook test", TxQueueLen: 123, Promiscuous: true},
	}
}

// furnish gives the host's device all that it is to have again.
func furnish(t *testing.T, n *nettest.Net) {
	t.Helper()
	change(t, n.Host, nettest.Parent,
		func(l netlink.Link) error { return netlink.LinkSetAlias(l, "uplink of the lab") },
		func(l netlink.Link) error { return netlink.LinkAddAltName(l, "port-on-the-left-of-the-door") },
		func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1450) },
		func(l netlink.Link) error { return netlink.LinkSetTxQLen(l, 77) },
		netlink.LinkSetAllmulticastOn)
	n.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.Parent, prefix("10.77.0.2/24"))
		nettest.AddAddress(t, nettest.Parent, prefix("fd77::2/64"))
		nettest.Eventually(t, "the address is in use", func() bool {
			local := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
			routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, local, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
			return err == nil && slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Dst.IP.Equal(addr("fd77::2").AsSlice()) })
		})
	})
	n.Host.Remember(t)
}

// whole reads a link of the host for comparison: without what the kernel may give anew.
func whole(t *testing.T, h *kernel.Host, name string) kernel.State {
	t.Helper()
	s := link(t, h, name)
	s.Index, s.Addresses = 0, global(s.Addresses)
	slices.SortFunc(s.Addresses, netip.Prefix.Compare)
	return s
}

// TestDeviceReturns moves a device in and takes it back: while the container lives, which has changed all that it can, and by
// the number of the namespace alone as poststop does.
func TestDeviceReturns(t *testing.T) {
	nettest.Need(t, nettest.Veth)
	for name, up := range map[string]bool{"up": true, "down": false} {
		t.Run(name, func(t *testing.T) {
			n := nettest.New(t)
			furnish(t, n)
			if !up {
				change(t, n.Host, nettest.Parent, netlink.LinkSetDown)
				n.Host.Remember(t)
			}
			h := openHost(t, n)
			before := whole(t, h, nettest.Parent)
			c := n.Namespace(t, "container")
			ns, closeNS := openNamespace(t, h, c)
			found := device(t, h, policy.Device{Name: "port-on-the-left-of-the-door"})
			if len(found.Bound) > 0 || found.Name != nettest.Parent {
				t.Errorf("found %+v", found)
			}
			k := h.Kernel(ns)
			steps := lend(found.Device)
			run(t, k, steps...)
			noLink(t, h, nettest.Parent)
			got := link(t, ns, "eth0")
			if got.MTU != 1400 || got.MAC.String() != mac(7).String() || !got.Promiscuous || !got.Up {
				t.Errorf("in the container it is %+v", got)
			}
			steps = plan.WithIndexes(steps, k.Index)
			change(t, c, "eth0", netlink.LinkSetDown,
				func(l netlink.Link) error { return netlink.LinkSetName(l, "mine") },
				func(l netlink.Link) error { return netlink.LinkSetAlias(l, "not what it was") },
				func(l netlink.Link) error { return netlink.LinkSetGroup(l, plan.Group) }, // as if lanhook had made it
				netlink.LinkSetARPOff)
			if !up { // The kernel does not join all groups again that it joins when a link comes.
				change(t, c, "mine", netlink.LinkSetMulticastOff)
			}
			change(t, c, "mine",
				func(l netlink.Link) error { return netlink.LinkAddAltName(l, nettest.Parent) },
				func(l netlink.Link) error { return netlink.LinkDelAltName(l, "port-on-the-left-of-the-door") })
			id, err := ns.NSID()
			if err != nil {
				t.Fatal(err)
			}
			closeNS()
			undo := h.KernelByID(id, func() (*kernel.Namespace, error) { return h.Namespace(c.Path()) })
			for range 2 { // The second finds that it is done.
				run(t, undo, plan.Undo(steps)...)
				if diff := cmp.Diff(before, whole(t, h, nettest.Parent), byText()); diff != "" {
					t.Errorf("on the host (-before +after):\n%s", diff)
				}
				if again := device(t, h, policy.Device{Name: nettest.Parent}); again.NoARP || again.NoMulticast {
					t.Errorf("it has lost ARP (%t) or multicast (%t)", again.NoARP, again.NoMulticast)
				}
			}
			if !up {
				n.Host.Remember(t) // It is anew in multicast groups that it had left with going down.
			}
		})
	}
}

// TestDeviceCutOff takes back what was begun only: after each step, and before the first.
func TestDeviceCutOff(t *testing.T) {
	nettest.Need(t, nettest.Veth)
	for done := range 4 {
		n := nettest.New(t)
		furnish(t, n)
		h := openHost(t, n)
		before := whole(t, h, nettest.Parent)
		ns, _ := openNamespace(t, h, n.Namespace(t, "container"))
		steps := lend(device(t, h, policy.Device{Name: nettest.Parent}).Device)
		run(t, h.Kernel(ns), steps[:done]...)
		if done == 0 {
			// What the administrator does meanwhile to a device that is not moved is not lanhook's to take back.
			change(t, n.Host, nettest.Parent, func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1440) })
			before.MTU = 1440
			n.Host.Remember(t)
		}
		journal := steps
		if done > 0 {
			journal = steps[:done] // as who takes back an attach that has failed has it
		}
		run(t, h.Kernel(ns), plan.Undo(journal)...)
		if diff := cmp.Diff(before, whole(t, h, nettest.Parent), byText()); diff != "" {
			t.Errorf("after %d steps, on the host (-before +after):\n%s", done, diff)
		}
	}
}

// TestDeviceNameTaken gives a device another name when its own is somebody else's by now, and says so.
func TestDeviceNameTaken(t *testing.T) {
	nettest.Need(t, nettest.Veth)
	n := nettest.New(t)
	furnish(t, n)
	h := openHost(t, n)
	before := whole(t, h, nettest.Parent)
	ns, _ := openNamespace(t, h, n.Namespace(t, "container"))
	steps := lend(device(t, h, policy.Device{Name: nettest.Parent}).Device)
	run(t, h.Kernel(ns), steps...)
	n.Host.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name = nettest.Parent
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			t.Fatal(err)
		}
	})
	// It has one of the other names as well, which does not keep the device away.
	change(t, n.Host, nettest.Parent, func(l netlink.Link) error { return netlink.LinkAddAltName(l, "port-on-the-left-of-the-door") })
	err := h.Kernel(ns).Apply(t.Context(), plan.Undo(steps)[0])
	altered, ok := errors.AsType[*kernel.AlteredError](err)
	if !ok || !strings.Contains(altered.Error(), "called dev0") || altered.Hint() == "" {
		t.Fatalf("error %v", err)
	}
	before.Name, before.AltNames = "dev0", nil
	if diff := cmp.Diff(before, whole(t, h, "dev0"), byText()); diff != "" {
		t.Errorf("on the host (-before +after):\n%s", diff)
	}
	n.Host.Remember(t)
}

// TestDeviceVirtualGone finds nothing to give back of a device that has died with the namespace, or that the container has
// deleted.
func TestDeviceVirtualGone(t *testing.T) {
	nettest.Need(t, nettest.Veth)
	for name, end := range map[string]func(t *testing.T, c *nettest.Space){
		"namespace ended": func(_ *testing.T, c *nettest.Space) { c.End() },
		"deleted":         func(t *testing.T, c *nettest.Space) { change(t, c, "eth0", netlink.LinkDel) },
	} {
		t.Run(name, func(t *testing.T) {
			n := nettest.New(t)
			h := openHost(t, n)
			c := n.Namespace(t, "container")
			ns, closeNS := openNamespace(t, h, c)
			k := h.Kernel(ns)
			steps := lend(device(t, h, policy.Device{Name: nettest.Parent}).Device)
			run(t, k, steps...)
			steps = plan.WithIndexes(steps, k.Index)
			id, err := ns.NSID()
			if err != nil {
				t.Fatal(err)
			}
			closeNS()
			end(t, c)
			undo := h.KernelByID(id, func() (*kernel.Namespace, error) { return h.Namespace(c.Path()) })
			run(t, undo, plan.Undo(steps)...)
			noLink(t, h, nettest.Parent)
			n.Host.Remember(t)
		})
	}
}

// TestDeviceBound says why the host needs a device.
func TestDeviceBound(t *testing.T) {
	nettest.Need(t, nettest.Veth, nettest.Bridge, nettest.Macvlan)
	n := nettest.New(t)
	h := openHost(t, n)
	found := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, device(t, h, policy.Device{Name: nettest.Parent}).Bound); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
	}
	found()
	n.Host.Do(t, func() {
		nettest.AddAddress(t, nettest.Parent, prefix("10.77.0.2/24"))
		for _, r := range []netlink.Route{
			{Gw: addr("10.77.0.1").AsSlice(), Priority: 500}, {Gw: addr("10.77.0.1").AsSlice(), Table: 77},
		} {
			if err := netlink.RouteAdd(&r); err != nil {
				t.Fatal(err)
			}
		}
	})
	found("it has the host's default route")
	n.Host.Do(t, func() {
		if err := netlink.RouteDel(&netlink.Route{Gw: addr("10.77.0.1").AsSlice(), Priority: 500}); err != nil {
			t.Fatal(err)
		}
	})
	found() // Another table's default route is for somebody who asks for it.
	add := func(l netlink.Link) {
		t.Helper()
		n.Host.Do(t, func() {
			if err := netlink.LinkAdd(l); err != nil {
				t.Fatal(err)
			}
		})
	}
	child := netlink.NewLinkAttrs()
	child.Name, child.ParentIndex = "child0", parent(t, h).Index
	add(&netlink.Macvlan{LinkAttrs: child})
	found("macvlan child0 hangs on it")
	change(t, n.Host, "child0", netlink.LinkDel)
	bridge := netlink.NewLinkAttrs()
	bridge.Name = "br0"
	add(&netlink.Bridge{LinkAttrs: bridge})
	change(t, n.Host, nettest.Parent, func(l netlink.Link) error {
		master, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(l, master)
	})
	found("it is a port of bridge br0")
	n.Host.Remember(t)
}

// TestDeviceRefused names the cause when the kernel does not let a device go, and changes nothing.
func TestDeviceRefused(t *testing.T) {
	nettest.Need(t, nettest.Veth, nettest.Bridge)
	n := nettest.New(t)
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, n.Namespace(t, "container"))
	n.Host.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name = "br0"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			t.Fatal(err)
		}
	})
	n.Host.Remember(t)
	for name, c := range map[string]struct {
		device plan.Device
		want   string
	}{
		"netns-local": {device(t, h, policy.Device{Name: "br0"}).Device, "a link of kind bridge like this"},
		"changed": {
			plan.Device{Name: "other", Index: device(t, h, policy.Device{Name: "br0"}).Index}, "changed since it was looked at",
		},
	} {
		t.Run(name, func(t *testing.T) {
			step := plan.MoveLink{Name: own, Device: c.device}
			if err := h.Kernel(ns).Apply(t.Context(), step); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			run(t, h.Kernel(ns), plan.Undo(plan.Steps{step})...)
			link(t, h, "br0")
		})
	}
}
