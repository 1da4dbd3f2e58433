//go:build linux

package kernel_test

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// A frame to a reserved address goes past the firewall, and must not teach a bridge of ours where somebody else is.
func TestBridgeLearnsNothingFromReservedAddresses(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	foreign := veth(2)
	foreign.Bridge, foreign.MTU = nettest.CanaryBridge, 1500
	run(t, k, bridge(), veth(1), plan.SetLink{From: veth(1).Peer, Name: "eth0"}, foreign, plan.SetLink{From: foreign.Peer, Name: "eth1"})
	other := func(to byte) plan.MAC { return plan.MAC{2, 0x99, 0, 0, 0, to} }
	send := func(link string, to byte) {
		c.Do(t, func() {
			sendFrame(t, link, slices.Concat([]byte{1, 0x80, 0xc2, 0, 0, to}, other(to), []byte{0x88, 0xcc}, make([]byte, 46)))
		})
	}
	learnt := func(port string, to byte) (found bool) {
		n.Host.Do(t, func() {
			l, err := netlink.LinkByName(port)
			if err != nil {
				t.Fatal(err)
			}
			list, err := netlink.NeighList(l.Attrs().Index, unix.AF_BRIDGE)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				found = found || e.HardwareAddr.String() == other(to).String()
			}
		})
		return found
	}
	for _, to := range []byte{0x03, 0x0e} {
		// Without this the test would show nothing. What was sent first has come by then, too.
		nettest.Eventually(t, "another's bridge learns from such a frame", func() bool {
			send("eth0", to)
			send("eth1", to)
			return learnt(foreign.Name, to)
		})
		if learnt(veth(1).Name, to) {
			t.Errorf("the bridge learns from a frame to 01:80:c2:00:00:%02x", to)
		}
	}
	run(t, k, plan.DelLink{Side: plan.Host, Name: veth(1).Name, Kind: "veth", MAC: veth(1).MAC}, plan.ReleaseBridge{Name: "lh-apps"},
		plan.DelLink{Side: plan.Host, Name: foreign.Name, Kind: "veth", MAC: foreign.MAC})
}

// sendFrame sends a frame as it is. It is for use within [nettest.Space.Do].
func sendFrame(t *testing.T, link string, frame []byte) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index, Halen: 6}); err != nil {
		t.Fatalf("send a frame: %v", err)
	}
}
