//go:build linux

package kernel_test

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// vlanBridge is a bridge that filters VLANs, on which the host has no address.
func vlanBridge() plan.EnsureBridge {
	return plan.EnsureBridge{Name: "lh-apps", MAC: mac(0x10), MTU: 1500, VLANs: true, Uplink: nettest.Parent}
}

func wire(vlans ...policy.VLANRange) plan.EnsureUplink {
	return plan.EnsureUplink{Bridge: "lh-apps", Link: nettest.Parent, VLANs: vlans}
}

func vlans(from, to int) policy.VLANRange { return policy.VLANRange{From: from, To: to} }

func access(id int) plan.PortVLANs { return plan.PortVLANs{Access: id} }

func trunk(ranges ...policy.VLANRange) plan.PortVLANs { return plan.PortVLANs{Trunk: ranges} }

// vlanNet is a bridge that filters VLANs, and containers behind it.
type vlanNet struct {
	*nettest.Net
	host  *kernel.Host
	ports []plan.AddVeth
}

// attach gives a new container the next port of a bridge, as its eth0 with an address.
func (n *vlanNet) attach(t *testing.T, name, bridge string, v plan.PortVLANs, address string) *nettest.Space {
	t.Helper()
	s := n.Namespace(t, name)
	ns, _ := openNamespace(t, n.host, s)
	add := veth(byte(len(n.ports)))
	add.Bridge, add.MTU, add.PeerMTU, add.VLANs = bridge, 1500, 1500, v
	n.ports = append(n.ports, add)
	run(t, n.host.Kernel(ns), add, plan.SetLink{From: add.Peer, Name: "eth0"})
	if address != "" {
		run(t, n.host.Kernel(ns), plan.AddAddress{If: "eth0", Address: prefix(address)})
	}
	return s
}

// end takes everything back.
func (n *vlanNet) end(t *testing.T) {
	t.Helper()
	k := n.host.KernelByID(-1, nil)
	for _, p := range n.ports {
		run(t, k, plan.DelLink{Side: plan.Host, Name: p.Name, Kind: "veth", MAC: p.MAC})
	}
	run(t, k, plan.ReleaseBridge{Name: "lh-apps"})
	noLink(t, n.host, "lh-apps")
}

func newVLANNet(t *testing.T) *vlanNet {
	t.Helper()
	nettest.Need(t, nettest.VLANFiltering)
	n := &vlanNet{Net: nettest.New(t)}
	n.host = openHost(t, n.Net)
	return n
}

// subInterface makes a VLAN of a link in a namespace, with an address.
func subInterface(t *testing.T, s *nettest.Space, parent string, id int, address string) {
	t.Helper()
	s.Do(t, func() {
		p, err := netlink.LinkByName(parent)
		if err != nil {
			t.Fatal(err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = "v"+address[:strings.IndexByte(address, '/')], p.Attrs().Index
		sub := &netlink.Vlan{LinkAttrs: attrs, VlanId: id}
		if err = errors.Join(netlink.LinkAdd(sub), netlink.LinkSetUp(sub)); err != nil {
			t.Fatalf("add VLAN %d of %s: %v", id, parent, err)
		}
		nettest.AddAddress(t, attrs.Name, netip.MustParsePrefix(address))
	})
}

// has compares the VLANs of a port.
func (n *vlanNet) has(t *testing.T, port string, want ...kernel.PortVLAN) {
	t.Helper()
	got, _, err := n.host.PortVLANs(port)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("VLANs of %s (-want +got):\n%s", port, diff)
	}
}

func tagged(from, to int) kernel.PortVLAN { return kernel.PortVLAN{Range: vlans(from, to)} }

func untagged(id int) kernel.PortVLAN {
	return kernel.PortVLAN{Range: vlans(id, id), Untagged: true, PVID: true}
}

func TestBridgeVLANs(t *testing.T) {
	n := newVLANNet(t)
	nettest.Need(t, nettest.VLAN)
	run(t, n.host.KernelByID(-1, nil), vlanBridge(), wire(vlans(10, 10), vlans(20, 29)))
	one := n.attach(t, "one", "lh-apps", access(20), "172.30.0.1/24")
	n.attach(t, "two", "lh-apps", access(20), "172.30.0.2/24")
	other := n.attach(t, "other", "lh-apps", access(10), "172.30.0.3/24")
	router := n.attach(t, "router", "lh-apps", trunk(vlans(10, 10), vlans(20, 29)), "172.30.0.4/24")

	t.Run("BR-27 bridge", func(t *testing.T) {
		b := link(t, n.host, "lh-apps")
		if !b.FiltersVLANs || b.DefaultPVID != 0 || len(b.Addresses) != 0 || b.Alias != "lanhook uplink "+nettest.Parent {
			t.Errorf("bridge: %+v", b)
		}
		n.has(t, "lh-apps")
	})
	t.Run("BR-27 BR-29 access port", func(t *testing.T) { n.has(t, n.ports[0].Name, untagged(20)) })
	t.Run("trunk port", func(t *testing.T) { n.has(t, n.ports[3].Name, tagged(10, 10), tagged(20, 29)) })
	t.Run("uplink", func(t *testing.T) { n.has(t, nettest.Parent, tagged(10, 10), tagged(20, 29)) })
	t.Run("BR-41 each VLAN for itself", func(t *testing.T) {
		one.Ping(t, addr("172.30.0.2"))
		one.NoPing(t, addr("172.30.0.3"))
		one.NoPing(t, addr("172.30.0.4"))
	})
	t.Run("a trunk's own sub-interfaces", func(t *testing.T) {
		subInterface(t, router, "eth0", 20, "172.30.1.20/24")
		subInterface(t, router, "eth0", 10, "172.30.2.10/24")
		for s, a := range map[*nettest.Space]string{one: "172.30.1.1/24", other: "172.30.2.1/24"} {
			s.Do(t, func() { nettest.AddAddress(t, "eth0", prefix(a)) })
		}
		one.Ping(t, addr("172.30.1.20"))
		other.Ping(t, addr("172.30.2.10"))
		other.NoPing(t, addr("172.30.1.20"))
	})
	t.Run("neighbours of each VLAN on the wire", func(t *testing.T) {
		subInterface(t, n.Neighbour, nettest.PeerName, 20, "172.30.0.20/24")
		one.Ping(t, addr("172.30.0.20"))
		other.NoPing(t, addr("172.30.0.20"))
	})
	t.Run("done twice", func(t *testing.T) {
		run(t, n.host.KernelByID(-1, nil), vlanBridge(), wire(vlans(10, 10), vlans(20, 29)))
		n.has(t, nettest.Parent, tagged(10, 10), tagged(20, 29))
	})
	t.Run("an uplink loses some VLANs", func(t *testing.T) {
		run(t, n.host.KernelByID(-1, nil), plan.ReleaseUplink{
			Bridge: "lh-apps", Link: nettest.Parent, VLANs: []policy.VLANRange{vlans(22, 24), vlans(29, 29), vlans(99, 99)},
		})
		n.has(t, nettest.Parent, tagged(10, 10), tagged(20, 21), tagged(25, 28))
	})
	n.end(t)
	if l := link(t, n.host, nettest.Parent); l.Master != 0 {
		t.Errorf("the uplink is still a port: %+v", l)
	}
}

// TestTags: what comes out of the uplink when a container sends tags of its own.
func TestTags(t *testing.T) {
	n := newVLANNet(t)
	run(t, n.host.KernelByID(-1, nil), vlanBridge(), wire(vlans(10, 10), vlans(20, 29)))
	q, ad := nettest.Dot1Q, nettest.Dot1AD
	type tags = []nettest.FrameTag
	for _, c := range []struct {
		name  string
		vlans plan.PortVLANs
		// end is the tag of a frame that always passes.
		end tags
		// sent are the tags of frames, seen those on the wire; nil where nothing passes.
		sent, seen []tags
	}{
		{
			"access", access(20), nil,
			[]tags{{}, {q(20)}, {q(0)}, {q(10)}, {q(30)}, {q(1)}, {q(4095)}, {q(20), q(10)}, {q(0), q(10)}, {q(1), q(10)}, {q(10), q(20)}, {ad(10)}, {ad(20), q(10)}},
			[]tags{{q(20)}, {q(20)}, {q(20)}, nil, nil, nil, nil, {q(20), q(10)}, {q(20), q(10)}, nil, nil, {q(20), ad(10)}, {q(20), ad(20), q(10)}},
		},
		{
			"trunk", trunk(vlans(10, 10), vlans(20, 22)),
			tags{q(20)},
			[]tags{{}, {q(20)}, {q(10)}, {q(0)}, {q(1)}, {q(30)}, {q(23)}, {q(10), q(30)}, {q(0), q(30)}, {q(30), q(10)}, {ad(10)}},
			[]tags{nil, {q(20)}, {q(10)}, nil, nil, nil, nil, {q(10), q(30)}, nil, nil, nil},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			eth0 := n.attach(t, c.name, "lh-apps", c.vlans, "").Tap(t, "eth0")
			uplink := n.Neighbour.Tap(t, nettest.PeerName)
			for i, sent := range c.sent {
				got, passed := passes(t, eth0, uplink, sent, c.end)
				if passed != (c.seen[i] != nil) || !slices.Equal(got, c.seen[i]) {
					t.Errorf("sent with the tags %x: the wire has %x (%v), want %x", sent, got, passed, c.seen[i])
				}
			}
		})
	}
	n.end(t)
}

// passes sends a frame with tags, and one behind it that always passes, and gives the tags with which the first arrives.
func passes(t *testing.T, from, to *nettest.Tap, tags, always []nettest.FrameTag) (seen []nettest.FrameTag, passed bool) {
	t.Helper()
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	sender := net.HardwareAddr(mac(0x77))
	from.Send(t, nettest.TestFrame(all, sender, "frame", tags...))
	from.Send(t, nettest.TestFrame(all, sender, "end", always...))
	isEnd := func(frame []byte) bool { word, _, _ := nettest.FrameWord(frame); return word == "end" }
	for _, frame := range to.Until(t, isEnd) {
		if word, tags, ok := nettest.FrameWord(frame); ok && word == "frame" {
			return tags, true
		}
	}
	return nil, false
}

// addAdminBridge makes a bridge of the administrator's, up.
func addAdminBridge(t *testing.T, n *nettest.Net, filters bool) {
	t.Helper()
	n.Host.Do(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = "br0", net.HardwareAddr(mac(0x30))
		b := &netlink.Bridge{LinkAttrs: attrs, VlanFiltering: &filters}
		if err := errors.Join(netlink.LinkAdd(b), netlink.LinkSetUp(b)); err != nil {
			t.Fatal(err)
		}
		// Its first port gives it an address otherwise, which stays.
		nettest.WriteSysctl(t, "ipv6/conf/br0/disable_ipv6", "1")
	})
	n.Host.Remember(t)
}

func TestAdminBridgeVLANs(t *testing.T) {
	use := plan.EnsureBridge{Name: "br0", MAC: mac(0x10), MTU: 1500, VLANs: true}
	t.Run("BR-29 that filters", func(t *testing.T) {
		n := newVLANNet(t)
		addAdminBridge(t, n.Net, true)
		run(t, n.host.KernelByID(-1, nil), use)
		one, two := n.attach(t, "one", "br0", access(100), "172.30.0.1/24"), n.attach(t, "two", "br0", access(100), "172.30.0.2/24")
		n.attach(t, "keeps", "br0", plan.PortVLANs{Access: 100, Default: true}, "172.30.0.3/24")
		plain := n.attach(t, "plain", "br0", plan.PortVLANs{}, "172.30.0.4/24")
		n.attach(t, "native", "br0", plan.PortVLANs{Trunk: []policy.VLANRange{vlans(100, 101)}, Default: true}, "172.30.0.5/24")
		n.has(t, n.ports[0].Name, untagged(100))
		n.has(t, n.ports[2].Name, kernel.PortVLAN{Range: vlans(1, 1), Untagged: true}, untagged(100))
		n.has(t, n.ports[3].Name, untagged(1))
		n.has(t, n.ports[4].Name, untagged(1), tagged(100, 101))
		one.Ping(t, addr("172.30.0.2"))
		one.Ping(t, addr("172.30.0.3"))
		plain.Ping(t, addr("172.30.0.5"))
		two.NoPing(t, addr("172.30.0.4"))
		n.has(t, "br0", untagged(1))
		for _, p := range n.ports {
			run(t, n.host.KernelByID(-1, nil), plan.DelLink{Side: plan.Host, Name: p.Name, Kind: "veth", MAC: p.MAC})
		}
		run(t, n.host.KernelByID(-1, nil), plan.ReleaseBridge{Name: "br0"})
	})
	t.Run("BR-28 that does not filter is left as it is", func(t *testing.T) {
		n := newVLANNet(t)
		addAdminBridge(t, n.Net, false)
		refused(t, n.host.KernelByID(-1, nil), use, syscall.EINVAL, "bridge br0 does not filter VLANs",
			"ip link set br0 type bridge vlan_filtering 1")
		s := n.Namespace(t, "container")
		ns, _ := openNamespace(t, n.host, s)
		add := veth(1)
		add.Bridge, add.VLANs = "br0", access(20)
		refused(t, n.host.Kernel(ns), add, syscall.EINVAL, "bridge br0 does not filter VLANs", "")
		refused(t, n.host.KernelByID(-1, nil), plan.EnsureUplink{Bridge: "br0", Link: nettest.Parent}, syscall.EPERM,
			"lanhook does not change a bridge that it has not made", "")
	})
}

// refused carries out a step that must fail.
func refused(t *testing.T, k *kernel.Kernel, s plan.Step, number syscall.Errno, words, hint string) {
	t.Helper()
	err := k.Apply(t.Context(), s)
	var e *kernel.Error
	if !errors.As(err, &e) || !errors.Is(err, number) || !strings.Contains(err.Error(), words) || !strings.Contains(e.Hint(), hint) {
		t.Errorf("%s: error %v, want %v with %q and the hint %q", s, err, number, words, hint)
	}
}

func TestUplinkRefused(t *testing.T) {
	n := newVLANNet(t)
	nettest.Need(t, nettest.Macvlan)
	k := n.host.KernelByID(-1, nil)
	run(t, k, vlanBridge())
	refused(t, k, plan.EnsureUplink{Bridge: "lh-apps", Link: "none"}, syscall.ENODEV, "there is no link none", "")
	refused(t, k, plan.EnsureUplink{Bridge: "none", Link: nettest.Parent}, syscall.ENODEV, "there is no such bridge", "")
	refused(t, k, plan.EnsureUplink{Bridge: "lh-apps", Link: nettest.CanaryBridge}, syscall.ELOOP, "it is a bridge itself", "")
	s := n.Namespace(t, "container")
	ns, _ := openNamespace(t, n.host, s)
	child := macvlan(parent(t, n.host), policy.ModeBridge)[0]
	run(t, n.host.Kernel(ns), child)
	refused(t, k, wire(), syscall.EBUSY, "as with macvlan or ipvlan children", "ip -d link")
	run(t, n.host.Kernel(ns), delMacvlan(mac(1)))
	plain := vlanBridge()
	plain.Uplink = ""
	refused(t, k, plain, syscall.EBUSY, "it was made for another uplink, or for none", "end the containers on it first")
	n.end(t)
}

// TestVLANsRepaired: what somebody else has changed is seen, and put right.
func TestVLANsRepaired(t *testing.T) {
	n := newVLANNet(t)
	k := n.host.KernelByID(-1, nil)
	run(t, k, vlanBridge(), wire(vlans(10, 12)))
	one := n.attach(t, "one", "lh-apps", access(20), "172.30.0.1/24")
	n.attach(t, "two", "lh-apps", access(20), "172.30.0.2/24")
	port := n.ports[0]
	n.Host.Do(t, func() {
		for _, name := range []string{port.Name, nettest.Parent} {
			l, err := netlink.LinkByName(name)
			if err == nil {
				err = errors.Join(netlink.BridgeVlanDel(l, 20, false, false, false, true), netlink.BridgeVlanDel(l, 11, false, false, false, true),
					netlink.BridgeVlanAdd(l, 77, true, true, false, true))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.Command("ip", "link", "set", "lh-apps", "type", "bridge", "vlan_filtering", "0").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	drift := func(name string, want plan.PortVLANs, only bool) []string {
		has, _, err := n.host.PortVLANs(name)
		if err != nil {
			t.Fatal(err)
		}
		return kernel.VLANDrift(name, has, want, only)
	}
	want := []string{
		"port " + port.Name + " has lost VLAN 20 without a tag", "port " + port.Name + " has VLAN 77 without a tag, which nobody gave it",
		"port " + port.Name + " takes what has no tag for VLAN 77, not 20",
	}
	if diff := cmp.Diff(want, drift(port.Name, port.VLANs, true)); diff != "" {
		t.Errorf("drift of a port (-want +got):\n%s", diff)
	}
	want = []string{"port " + nettest.Parent + " has lost VLAN 11 with a tag"}
	if diff := cmp.Diff(want, drift(nettest.Parent, wire(vlans(10, 12)).Port(), false)); diff != "" {
		t.Errorf("drift of an uplink (-want +got):\n%s", diff)
	}
	if err := errors.Join(n.host.RepairBridge(vlanBridge()), n.host.RepairPort(port)); err != nil {
		t.Fatal(err)
	}
	run(t, k, wire(vlans(10, 12)))
	n.has(t, port.Name, untagged(20))
	if got := append(drift(port.Name, port.VLANs, true), drift(nettest.Parent, wire(vlans(10, 12)).Port(), false)...); len(got) != 0 {
		t.Errorf("after repair: %v", got)
	}
	one.Ping(t, addr("172.30.0.2"))
	n.end(t)
}

func TestBridgeVRF(t *testing.T) {
	nettest.Need(t, nettest.VRF)
	n := nettest.New(t)
	n.Host.Do(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "blue"
		vrf := &netlink.Vrf{LinkAttrs: attrs, Table: 1000}
		if err := errors.Join(netlink.LinkAdd(vrf), netlink.LinkSetUp(vrf)); err != nil {
			t.Fatal(err)
		}
	})
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	s := bridge()
	t.Run("BR-31 that does not exist", func(t *testing.T) {
		s := s
		s.VRF = "green"
		refused(t, k, s, syscall.ENODEV, "put bridge lh-apps into vrf green", "")
		s.VRF = nettest.Parent
		refused(t, k, s, syscall.EINVAL, "put bridge lh-apps into vrf "+nettest.Parent+": that is a link of kind veth", "")
		noLink(t, h, "lh-apps")
	})
	n.Host.Remember(t)
	t.Run("BR-31", func(t *testing.T) {
		s := s
		s.VRF = "blue"
		run(t, k, s, s)
		b := link(t, h, "lh-apps")
		if b.Master != link(t, h, "blue").Index || b.MasterKind != "vrf" || len(global(b.Addresses)) != 2 {
			t.Errorf("bridge: %+v", b)
		}
		s.VRF = ""
		refused(t, k, s, syscall.EBUSY, "it was made for another VRF, or for none", "end the containers on it first")
		run(t, k, plan.ReleaseBridge{Name: "lh-apps"})
	})
}
