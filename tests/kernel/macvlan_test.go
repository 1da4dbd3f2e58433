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

// Each mode is made, read back, used and taken back through the number of the namespace alone, as poststop does.
func TestMacvlanModes(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	for name, mode := range map[string]policy.Mode{
		"MV-04 bridge": policy.ModeBridge, "MV-04 private": policy.ModePrivate, "MV-04 vepa": policy.ModeVEPA,
		"MV-04 passthru": policy.ModePassthru, "MV-04 source": policy.ModeSource,
	} {
		t.Run(name, func(t *testing.T) {
			n := nettest.New(t)
			c := n.Namespace(t, "container")
			c.Remember(t)
			h := openHost(t, n)
			ns, closeNS := openNamespace(t, h, c)
			p := parent(t, h)
			steps := macvlan(p, mode)
			run(t, h.Kernel(ns), steps...)

			want := kernel.State{
				Name: "eth0", Kind: "macvlan", MAC: mac(1), MTU: p.MTU, Up: true, Alias: "lanhook test", Mode: mode,
				TxQueueLen: 1000, Parent: p.Index, Elsewhere: true, BondMode: -1,
				Addresses: []netip.Prefix{prefix("10.77.0.9/24"), prefix("fd77::9/64")},
				Routes: []request.Route{
					{Dst: prefix("0.0.0.0/0"), Via: addr("10.77.0.1"), Table: 254},
					{Dst: prefix("::/0"), Via: addr("fd77::1"), Metric: 7, Table: 254},
				},
			}
			if mode == policy.ModePassthru {
				want.MAC = p.MAC
			}
			got := link(t, ns, "eth0")
			got.Index = 0
			got.Addresses = global(got.Addresses)
			if diff := cmp.Diff(want, got, byText()); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
			noLink(t, h, own) // MV-01: nothing of it was ever the host's.
			c.Ping(t, nettest.PeerPrefix4().Addr())
			c.Ping(t, nettest.PeerPrefix6().Addr())

			id, err := ns.NSID()
			if err != nil {
				t.Fatal(err)
			}
			closeNS()
			undo := h.KernelByID(id, nil)
			run(t, undo, delMacvlan(want.MAC), delMacvlan(want.MAC)) // MV-06: the second finds nothing.
		})
	}
}

// global leaves link-local addresses out, which come and go by themselves.
func global(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p)
		}
	}
	return out
}

// byText compares addresses as they are written.
func byText() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b plan.MAC) bool { return a.String() == b.String() }),
	}
}

func TestMacvlanOptions(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	p := parent(t, h)
	run(t, h.Kernel(ns),
		plan.AddMacvlan{
			Name: own, Parent: p.Name, ParentIndex: p.Index, Mode: policy.ModeBridge, MAC: mac(1), MTU: 1400, BroadcastQueue: 77,
		},
		plan.SetLink{From: own, Name: "lan.50", Alias: "a", TxQueueLen: 123, Promiscuous: true, AllMulti: true},
		plan.SetSysctls{If: "lan.50", Values: []request.Sysctl{
			{Key: "net.ipv4.conf.IFNAME.rp_filter", Value: "2"}, {Key: "net.ipv6.conf.IFNAME.autoconf", Value: "0"},
		}})
	t.Run("MV-09 mtu, BR-39 flags and queue", func(t *testing.T) {
		got := link(t, ns, "lan.50")
		if got.MTU != 1400 || got.TxQueueLen != 123 || !got.Promiscuous || !got.AllMulti || !got.Up {
			t.Errorf("link is %+v", got)
		}
	})
	t.Run("broadcast queue", func(t *testing.T) {
		c.Do(t, func() {
			l, err := netlink.LinkByName("lan.50")
			if err != nil {
				t.Fatal(err)
			}
			if got := l.(*netlink.Macvlan).BCQueueLen; got != 77 {
				t.Errorf("queue of %d, want 77", got)
			}
		})
	})
	t.Run("BR-35 settings of a name with a dot", func(t *testing.T) {
		snapshot := c.Snapshot(t)
		if !strings.Contains(snapshot, "setting ipv4/conf/lan.50/rp_filter 2") {
			t.Errorf("rp_filter is not 2 in:\n%s", snapshot)
		}
	})
	t.Run("an IPv6 address is not probed", func(t *testing.T) {
		c.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/lan.50/accept_dad", "1") })
		run(t, h.Kernel(ns), plan.AddAddress{If: "lan.50", Address: prefix("fd77::50/64")})
		c.Do(t, func() {
			l, err := netlink.LinkByName("lan.50")
			if err != nil {
				t.Fatal(err)
			}
			list, err := netlink.AddrList(l, netlink.FAMILY_V6)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				if a.IP.Equal(net.ParseIP("fd77::50")) && a.Flags&unix.IFA_F_TENTATIVE == 0 {
					return
				}
			}
			t.Errorf("fd77::50 is not in use at once: %v", list)
		})
	})
	t.Run("a setting that is not there", func(t *testing.T) {
		err := h.Kernel(ns).Apply(t.Context(), plan.SetSysctls{If: "lan.50", Values: []request.Sysctl{
			{Key: "net.ipv4.conf.IFNAME.no_such", Value: "1"},
		}})
		want := `set net.ipv4.conf.lan.50.no_such to "1": the kernel has no such setting`
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	})
}

// A link that is not ours stays, whatever its name.
func TestMacvlanNames(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	addBridge := func(name string) {
		a := netlink.NewLinkAttrs()
		a.Name = name
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			t.Fatal(err)
		}
	}
	c.Do(t, func() { addBridge("eth0"); addBridge("lh-foreign") })
	c.Remember(t)
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	p := parent(t, h)
	add := plan.AddMacvlan{
		Name: own, Parent: p.Name, ParentIndex: p.Index, Mode: policy.ModeBridge, MAC: mac(1), MTU: p.MTU,
	}

	t.Run("own name taken in the container", func(t *testing.T) {
		taken := add
		taken.Name = "lh-foreign"
		if err := k.Apply(t.Context(), taken); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("error %v, want EEXIST", err)
		}
		run(t, k, plan.DelLink{Side: plan.Container, Name: "lh-foreign", Kind: "macvlan", MAC: mac(1)})
		c.Same(t)
	})
	t.Run("MV-14 name taken in the container only", func(t *testing.T) {
		run(t, k, add)
		err := k.Apply(t.Context(), plan.SetLink{From: own, Name: "eth0", Alias: "a"})
		var taken *kernel.NameTakenError
		if !errors.As(err, &taken) || taken.Name != "eth0" || taken.Hint() == "" {
			t.Errorf("error %v, want a NameTakenError for eth0", err)
		}
		del := delMacvlan(mac(1))
		run(t, k, del, del)
		c.Same(t)
	})
	t.Run("MV-14 name of the host's parent", func(t *testing.T) {
		run(t, k, add, plan.SetLink{From: own, Name: nettest.Parent, Alias: "a"})
		link(t, ns, nettest.Parent)
		if again := parent(t, h); again.Index != p.Index {
			t.Errorf("the parent's index is %d, was %d", again.Index, p.Index)
		}
		run(t, k, plan.DelLink{
			Side: plan.Container, Name: own, IfName: nettest.Parent, Alias: "a", Kind: "macvlan", MAC: mac(1),
		})
		c.Same(t)
	})
	t.Run("our name and MAC address, another kind", func(t *testing.T) {
		c.Do(t, func() {
			a := netlink.NewLinkAttrs()
			a.Name, a.HardwareAddr = own, net.HardwareAddr(mac(1))
			if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
				t.Fatal(err)
			}
		})
		run(t, k, delMacvlan(mac(1)))
		link(t, ns, own)
		run(t, k, plan.DelLink{Side: plan.Container, Name: own, Kind: "bridge", MAC: mac(1)})
		c.Same(t)
	})
	t.Run("same name, another alias", func(t *testing.T) {
		run(t, k, add, plan.SetLink{From: own, Name: "eth1", Alias: "theirs"})
		del := plan.DelLink{
			Side: plan.Container, Name: own, IfName: "eth1", Alias: "ours", Kind: "macvlan", MAC: mac(1),
		}
		run(t, k, del)
		link(t, ns, "eth1")
		// The container may have given it another MAC address: the alias tells.
		del.Alias, del.MAC = "theirs", mac(2)
		run(t, k, del)
		noLink(t, ns, "eth1")
	})
}

func TestMacvlanRefused(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	c.Remember(t)
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	p := parent(t, h)
	good := plan.AddMacvlan{
		Name: own, Parent: p.Name, ParentIndex: p.Index, Mode: policy.ModeBridge, MAC: mac(1), MTU: p.MTU,
	}
	refused := func(t *testing.T, s plan.AddMacvlan, errno error, words string) {
		t.Helper()
		err := k.Apply(t.Context(), s)
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v, want %v and %q", err, errno, words)
		}
	}
	t.Run("MV-22 parent gone", func(t *testing.T) {
		s := good
		s.ParentIndex = 99999
		refused(t, s, syscall.ENODEV, "p0 does not exist any more")
	})
	t.Run("MTU above the parent's", func(t *testing.T) {
		s := good
		s.MTU = 9000
		refused(t, s, syscall.EINVAL, "an MTU of 9000 is above the 1500 of p0")
	})
	t.Run("passthru beside another", func(t *testing.T) {
		run(t, k, good)
		s := good
		s.Name, s.Mode, s.MAC = "lh-second", policy.ModePassthru, nil
		refused(t, s, syscall.EINVAL, "passthru takes a parent for itself")
		run(t, k, delMacvlan(mac(1)))
	})
	t.Run("another beside passthru", func(t *testing.T) {
		first := good
		first.Mode, first.MAC = policy.ModePassthru, nil
		run(t, k, first)
		s := good
		s.Name = "lh-second"
		refused(t, s, syscall.EINVAL, "passthru mode")
		run(t, k, delMacvlan(link(t, h, nettest.Parent).MAC))
	})
	t.Run("parent is a bridge port", func(t *testing.T) {
		enslave := func(master int) {
			n.Host.Do(t, func() {
				l, err := netlink.LinkByName(nettest.Parent)
				if err == nil {
					err = netlink.LinkSetMasterByIndex(l, master)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		}
		enslave(link(t, h, nettest.CanaryBridge).Index)
		refused(t, good, syscall.EBUSY, "p0 is in use by something that takes all its frames: it is a port of a bridge")
		enslave(0)
	})
}

func TestMacvlanAddressInUse(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	h := openHost(t, n)
	p := parent(t, h)
	steps := macvlan(p, policy.ModeBridge)

	t.Run("by a living container", func(t *testing.T) {
		one, two := n.Namespace(t, "one"), n.Namespace(t, "two")
		ns1, _ := openNamespace(t, h, one)
		ns2, _ := openNamespace(t, h, two)
		run(t, h.Kernel(ns1), steps...)
		k := h.Kernel(ns2)
		run(t, k, steps[:2]...)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		err := k.Apply(ctx, steps[2])
		want := "bring link eth0 up: 02:11:22:33:44:01 is in use on p0"
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
		// The first message had the link named already.
		run(t, k, delMacvlan(mac(1)))
		noLink(t, ns2, "eth0")
		noLink(t, ns2, own)
		run(t, h.Kernel(ns1), delMacvlan(mac(1)))
	})
	t.Run("by a namespace that is being destroyed", func(t *testing.T) {
		// Some links make its destruction last.
		old := n.Namespace(t, "old")
		old.Do(t, func() {
			for i := range 30 {
				a := netlink.NewLinkAttrs()
				a.Name = fmt.Sprintf("filler%d", i)
				if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
					t.Fatal(err)
				}
			}
		})
		next := n.Namespace(t, "next")
		ns, closeOld := openNamespace(t, h, old)
		nextNS, _ := openNamespace(t, h, next)
		run(t, h.Kernel(ns), steps...)
		closeOld()
		old.End()
		run(t, h.Kernel(nextNS), steps...)
		run(t, h.Kernel(nextNS), delMacvlan(mac(1)))
	})
}
