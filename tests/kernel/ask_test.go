//go:build linux

package kernel_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// child is a container with a macvlan of the host's parent, which is down and has no name yet.
func child(t *testing.T) (*nettest.Net, *nettest.Space, *kernel.Kernel) {
	t.Helper()
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	h := openHost(t, n)
	c := n.Namespace(t, "container")
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	run(t, k, macvlan(parent(t, h), policy.ModeBridge)[0])
	return n, c, k
}

func withIPv6() plan.SetSysctls {
	return plan.SetSysctls{If: own, Values: []request.Sysctl{{Key: "net.ipv6.conf.IFNAME.disable_ipv6", Value: "0"}}}
}

// TestProbeLinks asks a neighbour with real frames, by a macvlan that has no address yet.
func TestProbeLinks(t *testing.T) {
	_, c, k := child(t)
	run(t, k, withIPv6(), plan.SetLink{From: own, Name: "eth0", Alias: "a"})
	all := []netip.Addr{addr("10.77.0.8"), nettest.PeerPrefix4().Addr(), addr("fd77::8"), nettest.PeerPrefix6().Addr()}
	err := k.Apply(t.Context(), plan.ProbeLinks{Links: []plan.Probe{{If: "eth0", Addresses: all}}})
	taken, ok := errors.AsType[*kernel.TakenError](err)
	if !ok || len(taken.Found) != 2 || taken.Found[0].Addr != all[1] || taken.Found[1].Addr != all[3] || taken.Found[0].If != "eth0" {
		t.Errorf("found %v", err)
	}
	var warned error
	k.Warn = func(err error) { warned = err }
	err = k.Apply(t.Context(), plan.ProbeLinks{Links: []plan.Probe{{If: "eth0", Addresses: all, Warn: true}}})
	if err != nil || warned == nil {
		t.Errorf("error %v, warning %v", err, warned)
	}
	free := []netip.Addr{all[0], all[2]}
	run(t, k, plan.ProbeLinks{Links: []plan.Probe{{If: "eth0", Addresses: free}}},
		plan.AddAddress{If: "eth0", Address: prefix("10.77.0.8/24")},
		plan.AddAddress{If: "eth0", Address: prefix("fd77::8/64")},
		plan.AnnounceLinks{Links: []plan.Announcement{{If: "eth0", Addresses: free}}})
	c.Ping(t, nettest.PeerPrefix4().Addr())
	c.Ping(t, nettest.PeerPrefix6().Addr())
}

// TestProbeLate: somebody who asks for the address after the questions, and before the kernel answers for it, is not missed, and
// neither is the end of the sockets.
func TestProbeLate(t *testing.T) {
	n, c, k := child(t)
	t.Cleanup(k.Close)
	run(t, k, plan.SetLink{From: own, Name: "eth0", Alias: "a"})
	addrs := []netip.Addr{addr("10.77.0.8")}
	announce := plan.AnnounceLinks{Links: []plan.Announcement{{If: "eth0", Addresses: addrs, Quiet: true}}}
	tap := n.Neighbour.Tap(t, nettest.PeerName)
	for name, late := range map[string]bool{"nobody": false, "somebody": true} {
		run(t, k, plan.ProbeLinks{Links: []plan.Probe{{If: "eth0", Addresses: addrs}}})
		if late {
			before := c.Received(t, "eth0")
			// An ARP probe (RFC 5227 2.1.1) of another host.
			tap.Send(t, slices.Concat([]byte{
				0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xd0, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
				0xd0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
			}, addrs[0].AsSlice(), make([]byte, 18)))
			nettest.Eventually(t, "the question is here", func() bool { return c.Received(t, "eth0") > before })
		}
		taken, is := errors.AsType[*kernel.TakenError](k.Apply(t.Context(), announce))
		if is != late || is && (!taken.Late || !taken.Found[0].Asks || taken.Found[0].MAC.String() != "d0:00:00:00:00:09") {
			t.Errorf("%s: found %+v", name, taken)
		}
	}
}

// TestStaleNeighbour: whoever keeps an old MAC address for an address that comes back reaches it at once.
func TestStaleNeighbour(t *testing.T) {
	n, _, k := child(t)
	addrs := []netip.Addr{addr("10.77.0.8"), addr("fd77::8")}
	for _, a := range addrs {
		change(t, n.Neighbour, nettest.PeerName, func(l netlink.Link) error {
			return netlink.NeighSet(&netlink.Neigh{
				LinkIndex: l.Attrs().Index, IP: a.AsSlice(), HardwareAddr: []byte{2, 0xde, 0xad, 0, 0, 1}, State: netlink.NUD_STALE,
			})
		})
	}
	run(t, k, withIPv6(), plan.SetLink{From: own, Name: "eth0", Alias: "a"},
		plan.AddAddress{If: "eth0", Address: prefix("10.77.0.8/24")},
		plan.AddAddress{If: "eth0", Address: prefix("fd77::8/64")},
		plan.AnnounceLinks{Links: []plan.Announcement{{If: "eth0", Addresses: addrs}}})
	n.Neighbour.Do(t, func() {
		nettest.Eventually(t, "the neighbour knows the new MAC address", func() bool {
			known := 0
			list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				a, _ := netip.AddrFromSlice(e.IP)
				if (a.Unmap() == addrs[0] || a == addrs[1]) && e.HardwareAddr.String() == mac(1).String() {
					known++
				}
			}
			return known == len(addrs)
		})
	})
}
