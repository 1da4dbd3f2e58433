//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// ipvlan are the steps of a whole ipvlan attachment whose addresses end in last, with default routes without gateway.
func ipvlan(p plan.Link, mode policy.Mode, flag policy.Flag, last string) []plan.Step {
	return []plan.Step{
		plan.AddIPVLAN{Name: own, Parent: p.Name, ParentIndex: p.Index, Mode: mode, Flag: flag, MTU: p.MTU},
		plan.SetSysctls{If: own, Values: []request.Sysctl{{Key: "net.ipv6.conf.IFNAME.accept_ra", Value: "0"}}},
		plan.AddAddress{If: own, Address: prefix("10.77.0." + last + "/24")},
		plan.AddAddress{If: own, Address: prefix("fd77::" + last + "/64")},
		plan.SetLink{From: own, Name: "eth0", Alias: "lanhook test"},
		plan.AddRoute{If: "eth0", Route: request.Route{Dst: prefix("0.0.0.0/0")}},
		plan.AddRoute{If: "eth0", Route: request.Route{Dst: prefix("::/0"), Metric: 7}},
	}
}

func delIPVLAN() plan.DelLink {
	return plan.DelLink{Side: plan.Container, Name: own, IfName: "eth0", Alias: "lanhook test", Kind: "ipvlan"}
}

// Each mode and flag is made, read back, used and taken back through the number of the namespace alone, as poststop does.
func TestIPVLANModes(t *testing.T) {
	nettest.Need(t, nettest.IPVLAN)
	for mode := policy.ModeL2; mode <= policy.ModeL3S; mode++ {
		for flag := policy.FlagBridge; flag <= policy.FlagVEPA; flag++ {
			t.Run(fmt.Sprintf("IV-01 %s %s", mode, flag), func(t *testing.T) {
				n := nettest.New(t)
				h := openHost(t, n)
				p := parent(t, h)
				var undo []*kernel.Kernel
				var boxes []*nettest.Space
				for _, last := range []string{"8", "9"} {
					c := n.Namespace(t, "container"+last)
					c.Remember(t)
					ns, closeNS := openNamespace(t, h, c)
					run(t, h.Kernel(ns), ipvlan(p, mode, flag, last)...)
					want := kernel.State{
						Name: "eth0", Kind: "ipvlan", MAC: p.MAC, MTU: p.MTU, Up: true, Alias: "lanhook test", Mode: mode, Flag: flag,
						TxQueueLen: 1000, Parent: p.Index, Elsewhere: true, BondMode: -1,
						// An ipvlan takes its parent's for its own (drivers/net/ipvlan of Linux).
						Permanent: p.MAC,
						Addresses: []netip.Prefix{prefix("10.77.0." + last + "/24"), prefix("fd77::" + last + "/64")},
						Routes: []request.Route{
							{Dst: prefix("0.0.0.0/0"), Table: 254, Scope: 253}, {Dst: prefix("::/0"), Metric: 7, Table: 254},
						},
					}
					got := link(t, ns, "eth0")
					got.Index = 0
					got.Addresses = global(got.Addresses)
					if diff := cmp.Diff(want, got, byText()); diff != "" {
						t.Errorf("link (-want +got):\n%s", diff)
					}
					id, err := ns.NSID()
					if err != nil {
						t.Fatal(err)
					}
					closeNS()
					undo, boxes = append(undo, h.KernelByID(id, nil)), append(boxes, c)
				}
				noLink(t, h, own)
				for _, to := range []string{"10.77.0.9", "fd77::9"} {
					if flag == policy.FlagBridge {
						boxes[0].Ping(t, addr(to))
					} else {
						boxes[0].NoPing(t, addr(to))
					}
				}
				for i, k := range undo {
					run(t, k, delIPVLAN(), delIPVLAN()) // the second finds nothing
					boxes[i].Same(t)
				}
			})
		}
	}
}

// The neighbours on the wire and a child in mode l2 reach each other, and the kernel gives each child a link-local address of
// its own, though all have one MAC address.
func TestIPVLANOnTheWire(t *testing.T) {
	nettest.Need(t, nettest.IPVLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	p := parent(t, h)
	seen := map[netip.Addr]bool{}
	for _, last := range []string{"8", "9"} {
		c := n.Namespace(t, "container"+last)
		ns, _ := openNamespace(t, h, c)
		run(t, h.Kernel(ns), ipvlan(p, policy.ModeL2, policy.FlagBridge, last)...)
		c.Ping(t, nettest.PeerPrefix4().Addr())
		c.Ping(t, nettest.PeerPrefix6().Addr())
		n.Neighbour.Ping(t, addr("10.77.0."+last))
		n.Neighbour.Ping(t, addr("fd77::"+last))
		for _, a := range link(t, ns, "eth0").Addresses {
			if a.Addr().IsLinkLocalUnicast() {
				n.Neighbour.Ping(t, a.Addr().WithZone(nettest.PeerName))
				seen[a.Addr()] = true
			}
		}
	}
	if len(seen) != 2 {
		t.Errorf("link-local addresses %v, want one each", seen)
	}
}

func TestIPVLANRefused(t *testing.T) {
	nettest.Need(t, nettest.IPVLAN, nettest.Macvlan)
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	c.Remember(t)
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	p := parent(t, h)
	good := plan.AddIPVLAN{
		Name: own, Parent: p.Name, ParentIndex: p.Index, Mode: policy.ModeL2, Flag: policy.FlagBridge, MTU: p.MTU,
	}
	refused := func(t *testing.T, s plan.Step, errno error, words string) {
		t.Helper()
		err := k.Apply(t.Context(), s)
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v, want %v and %q", err, errno, words)
		}
		c.Same(t)
	}
	t.Run("parent gone", func(t *testing.T) {
		s := good
		s.ParentIndex = 99999
		refused(t, s, syscall.ENODEV, "add ipvlan "+own+" to p0: p0 does not exist any more")
	})
	t.Run("parent that a step before should have made", func(t *testing.T) {
		s := good
		s.Parent, s.ParentIndex = "p0.50", 0
		refused(t, s, syscall.ENODEV, "add ipvlan "+own+" to p0.50")
	})
	t.Run("parent found by its name", func(t *testing.T) {
		s := good
		s.ParentIndex = 0
		run(t, k, s, delIPVLAN())
		c.Same(t)
	})
	t.Run("a mode of macvlan", func(t *testing.T) {
		s := good
		s.Mode = policy.ModePassthru
		refused(t, s, syscall.EINVAL, "in mode passthru bridge")
	})
	t.Run("loopback", func(t *testing.T) {
		s := good
		s.Parent, s.ParentIndex = "lo", 1
		refused(t, s, syscall.EINVAL, "lo is no Ethernet link")
	})
	t.Run("own name taken in the container", func(t *testing.T) {
		run(t, k, good)
		err := k.Apply(t.Context(), good)
		if !errors.Is(err, syscall.EEXIST) || !strings.Contains(err.Error(), "a link of this name already") {
			t.Errorf("error %v, want EEXIST", err)
		}
		run(t, k, delIPVLAN())
	})
	t.Run("beside a macvlan child", func(t *testing.T) {
		run(t, k, macvlan(p, policy.ModeBridge)[:1]...)
		other := n.Namespace(t, "other")
		ns2, _ := openNamespace(t, h, other)
		err := h.Kernel(ns2).Apply(t.Context(), good)
		if !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "such as a macvlan child in another network namespace") {
			t.Errorf("error %v", err)
		}
		run(t, k, delMacvlan(mac(1)))
	})
	t.Run("a macvlan child beside it", func(t *testing.T) {
		run(t, k, good)
		other := n.Namespace(t, "other")
		ns2, _ := openNamespace(t, h, other)
		err := h.Kernel(ns2).Apply(t.Context(), macvlan(p, policy.ModeBridge)[0])
		if !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "such as an ipvlan child in another network namespace") {
			t.Errorf("error %v", err)
		}
		run(t, k, delIPVLAN())
	})
	t.Run("another kind of link with our name stays", func(t *testing.T) {
		run(t, k, macvlan(p, policy.ModeBridge)[:1]...)
		run(t, k, delIPVLAN())
		link(t, ns, own)
		run(t, k, delMacvlan(mac(1)))
		c.Same(t)
	})
}

func TestIPVLANAddressInUse(t *testing.T) {
	nettest.Need(t, nettest.IPVLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	steps := ipvlan(parent(t, h), policy.ModeL2, policy.FlagBridge, "9")
	t.Run("by a living container", func(t *testing.T) {
		one, two := n.Namespace(t, "one"), n.Namespace(t, "two")
		ns1, _ := openNamespace(t, h, one)
		ns2, _ := openNamespace(t, h, two)
		run(t, h.Kernel(ns1), steps...)
		k := h.Kernel(ns2)
		run(t, k, steps[:2]...)
		for _, s := range steps[2:4] {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			err := k.Apply(ctx, s)
			cancel()
			if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another ipvlan child of its parent has it") {
				t.Errorf("error %v", err)
			}
		}
		run(t, k, delIPVLAN())
		run(t, h.Kernel(ns1), delIPVLAN())
	})
	t.Run("by a namespace that is being destroyed", func(t *testing.T) {
		old, next := n.Namespace(t, "old"), n.Namespace(t, "next")
		ns, closeOld := openNamespace(t, h, old)
		nextNS, _ := openNamespace(t, h, next)
		run(t, h.Kernel(ns), steps...)
		closeOld()
		old.End()
		run(t, h.Kernel(nextNS), steps...)
		run(t, h.Kernel(nextNS), delIPVLAN())
	})
}

// What the host itself has on the parent is seen, since the kernel would change it without a word.
func TestIPVLANSiblings(t *testing.T) {
	nettest.Need(t, nettest.IPVLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	p := parent(t, h)
	n.Host.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name, a.ParentIndex = "iv0", p.Index
		if err := netlink.LinkAdd(&netlink.IPVlan{LinkAttrs: a, Mode: netlink.IPVLAN_MODE_L3, Flag: netlink.IPVLAN_FLAG_VEPA}); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() {
		n.Host.Do(t, func() {
			if err := netlink.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "iv0"}}); err != nil {
				t.Error(err)
			}
		})
	})
	for _, c := range []struct {
		mode policy.Mode
		flag policy.Flag
		on   string
		want string
	}{
		{policy.ModeL3, policy.FlagVEPA, nettest.Parent, ""},
		{policy.ModeL3, policy.FlagBridge, nettest.Parent, "the host has the ipvlan child iv0 on it, in mode l3 vepa"},
		{policy.ModeL2, policy.FlagVEPA, nettest.Parent, "the host has the ipvlan child iv0 on it, in mode l3 vepa"},
		{policy.ModeL2, policy.FlagBridge, nettest.CanaryVeth, ""},
		{0, 0, nettest.Parent, ""},
	} {
		facts, err := h.Facts(t.Context(), nil, []kernel.Query{
			{IfName: "eth0", Parent: policy.Parent{Name: c.on}, Mode: c.mode, Flag: c.flag},
		})
		if err != nil || facts.Users["eth0"] != c.want {
			t.Errorf("%s %s on %s: %q (%v), want %q", c.mode, c.flag, c.on, facts.Users["eth0"], err, c.want)
		}
	}
}

// The mode of a bond is known, also of one that lies below a VLAN.
func TestBondMode(t *testing.T) {
	nettest.Need(t, nettest.Bond, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	n.Host.Do(t, func() {
		add := func(name string, parent int, make func(netlink.LinkAttrs) netlink.Link) int {
			a := netlink.NewLinkAttrs()
			a.Name, a.ParentIndex = name, parent
			l := make(a)
			if err := netlink.LinkAdd(l); err != nil {
				t.Fatalf("add %s: %v", name, err)
			}
			return l.Attrs().Index
		}
		tagged := func(id int) func(netlink.LinkAttrs) netlink.Link {
			return func(a netlink.LinkAttrs) netlink.Link { return &netlink.Vlan{LinkAttrs: a, VlanId: id} }
		}
		bond := add("bond0", 0, func(a netlink.LinkAttrs) netlink.Link {
			b := netlink.NewLinkBond(a)
			b.Mode = netlink.BOND_MODE_BALANCE_ALB
			return b
		})
		add("deep", add("bond0.50", bond, tagged(50)), tagged(7))
	})
	t.Cleanup(func() {
		n.Host.Do(t, func() {
			if err := netlink.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "bond0"}}); err != nil {
				t.Error(err)
			}
		})
	})
	for name, want := range map[string]int{"bond0": 6, "bond0.50": 6, "deep": 6, nettest.Parent: -1} {
		facts, err := h.Facts(t.Context(), nil, []kernel.Query{{IfName: "eth0", Parent: policy.Parent{Name: name}}})
		if got := facts.Uplink["eth0"].BondMode; err != nil || got != want {
			t.Errorf("%s: bond mode %d (%v), want %d", name, got, err, want)
		}
	}
}

// What comes in by a link is bounded by a hook of the link's own. In mode l3s nothing passes it, which is why a plan refuses
// that.
func TestIPVLANRateIn(t *testing.T) {
	nettest.Need(t, nettest.IPVLAN, nettest.NFT)
	for mode, bounded := range map[policy.Mode]bool{policy.ModeL2: true, policy.ModeL3: true, policy.ModeL3S: false} {
		t.Run(mode.String(), func(t *testing.T) {
			n := nettest.New(t)
			c := n.Namespace(t, "container")
			h := openHost(t, n)
			ns, _ := openNamespace(t, h, c)
			run(t, h.Kernel(ns), ipvlan(parent(t, h), mode, policy.FlagBridge, "9")...)
			to := netip.MustParseAddrPort("10.77.0.9:9")
			n.Neighbour.Do(t, func() {
				l, err := netlink.LinkByName(nettest.PeerName)
				if err == nil {
					err = netlink.NeighAdd(&netlink.Neigh{
						LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: to.Addr().AsSlice(),
						HardwareAddr: net.HardwareAddr(parent(t, h).MAC),
					})
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			if got := arrives(t, n.Neighbour, c, to); got < nettest.BurstSize {
				t.Errorf("%d bytes of %d arrived", got, nettest.BurstSize)
			}
			run(t, h.Kernel(ns), plan.AddGuard{Table: own, If: "eth0", In: slow()})
			got := arrives(t, n.Neighbour, c, to)
			if got == 0 || (got <= far) != bounded {
				t.Errorf("with a rate %d bytes arrived at once of %d", got, nettest.BurstSize)
			}
			run(t, h.Kernel(ns), delIPVLAN(), plan.DelGuard{Table: own})
		})
	}
}

// arrives is how many bytes of a burst come to a socket of a container.
func arrives(t *testing.T, from, in *nettest.Space, to netip.AddrPort) int {
	t.Helper()
	var socket *net.UDPConn
	in.Do(t, func() {
		var err error
		if socket, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
	})
	defer socket.Close()
	raw, err := socket.SyscallConn()
	if err == nil {
		forced := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8*nettest.BurstSize)
		})
		err = errors.Join(err, forced)
	}
	if err != nil {
		t.Fatal(err)
	}
	from.Burst(t, to)
	total, buf := 0, make([]byte, 2*nettest.BurstPayload)
	for {
		if err := socket.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, _, err := socket.ReadFrom(buf)
		if err != nil {
			return total
		}
		total += n
	}
}
