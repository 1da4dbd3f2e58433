//go:build linux

package kernel_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

func dot1q(id int) policy.Tag { return policy.Tag{ID: id, Protocol: policy.Dot1Q} }

func dot1ad(id int) policy.Tag { return policy.Tag{ID: id, Protocol: policy.Dot1AD} }

// addVLAN makes a sub-interface as the administrator does. It runs on the host.
func addVLAN(t *testing.T, parent, name string, tag policy.Tag) {
	t.Helper()
	lower, err := netlink.LinkByName(parent)
	if err != nil {
		t.Fatal(err)
	}
	v := &netlink.Vlan{LinkAttrs: netlink.NewLinkAttrs(), VlanId: tag.ID, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	if tag.Protocol == policy.Dot1AD {
		v.VlanProtocol = netlink.VLAN_PROTOCOL_8021AD
	}
	v.Name, v.ParentIndex = name, lower.Attrs().Index
	if err = netlink.LinkAdd(v); err == nil {
		err = netlink.LinkSetUp(v)
	}
	if err != nil {
		t.Fatalf("add VLAN %s: %v", name, err)
	}
}

// onLink does something with a link of the thread's namespace.
func onLink(t *testing.T, name string, do func(netlink.Link) error) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = do(l)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestEnsureVLAN(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	for name, ensure := range map[string]plan.EnsureVLAN{
		"VL-01 802.1q":     {Name: "p0.60", Parent: "p0", Tag: dot1q(60)},
		"802.1ad":          {Name: "p0.4094", Parent: "p0", Tag: dot1ad(4094)},
		"name of 15 bytes": {Name: "lhvabcdefghij.x", Parent: "p0", Tag: dot1q(1)},
	} {
		t.Run(name, func(t *testing.T) {
			n := nettest.New(t)
			h := openHost(t, n)
			k := h.KernelByID(-1, nil)
			p := parent(t, h)
			run(t, k, ensure)
			made := link(t, h, ensure.Name)
			want := kernel.State{
				Index: made.Index, Name: ensure.Name, Kind: "vlan", MAC: p.MAC, MTU: p.MTU, Up: true, Alias: "lanhook", TxQueueLen: 1000,
				Group: plan.Group, Parent: p.Index, Tag: ensure.Tag, BondMode: -1,
			}
			if diff := cmp.Diff(want, made, byText()); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
			run(t, k, ensure) // it is there
			if again := link(t, h, ensure.Name); again.Index != made.Index {
				t.Error("it was made a second time")
			}
			n.Host.Do(t, func() {
				for _, setting := range []string{"disable_ipv6=1", "accept_ra=0", "addr_gen_mode=1"} {
					key, value, _ := strings.Cut(setting, "=")
					got, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + ensure.Name + "/" + key)
					if err != nil || strings.TrimSpace(string(got)) != value {
						t.Errorf("%s is %q (%v)", key, got, err)
					}
				}
			})
			run(t, k, plan.ReleaseVLAN(ensure), plan.ReleaseVLAN(ensure)) // the second finds nothing
			noLink(t, h, ensure.Name)
		})
	}
}

// TestEnsureVLANRepairs brings up what another attach has not got so far, and follows the parent's MTU upwards.
func TestEnsureVLANRepairs(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	ensure := plan.EnsureVLAN{Name: "p0.60", Parent: "p0", Tag: dot1q(60)}
	n.Host.Do(t, func() {
		addVLAN(t, "p0", "p0.60", dot1q(60))
		onLink(t, "p0.60", func(l netlink.Link) error {
			return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetGroup(l, plan.Group), netlink.LinkSetMTU(l, 1200))
		})
	})
	run(t, k, ensure)
	got := link(t, h, "p0.60")
	if !got.Up || got.MTU != 1500 || got.Alias != "lanhook" || len(got.Addresses) != 0 {
		t.Errorf("link is %+v", got)
	}
	run(t, k, plan.ReleaseVLAN(ensure))
}

// TestEnsureVLANParentDown: a sub-interface of a parent that is down is made, and the kernel brings it up along with its parent.
func TestEnsureVLANParentDown(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	n.Host.Do(t, func() { onLink(t, "p0", netlink.LinkSetDown) })
	inner := plan.EnsureVLAN{Name: "p0.60.7", Parent: "p0.60", Tag: dot1q(7)}
	outer := plan.EnsureVLAN{Name: "p0.60", Parent: "p0", Tag: dot1q(60)}
	for range 2 {
		run(t, h.KernelByID(-1, nil), outer, inner)
	}
	if got := link(t, h, "p0.60.7"); got.Up || got.Alias != "lanhook" || got.Group != plan.Group {
		t.Errorf("link is %+v", got)
	}
	n.Host.Do(t, func() { onLink(t, "p0", netlink.LinkSetUp) })
	for _, name := range []string{"p0.60", "p0.60.7"} {
		nettest.Eventually(t, name+" is up", func() bool { return link(t, h, name).Up })
		if got := link(t, h, name); len(got.Addresses) != 0 {
			t.Errorf("link is %+v", got)
		}
	}
	run(t, h.KernelByID(-1, nil), plan.ReleaseVLAN(inner), plan.ReleaseVLAN(outer))
}

func TestEnsureVLANRefuses(t *testing.T) {
	nettest.Need(t, nettest.VLAN, nettest.Macvlan)
	for name, test := range map[string]struct {
		host   func(t *testing.T)
		ensure plan.EnsureVLAN
		want   string
		is     error
	}{
		"no parent": {
			ensure: plan.EnsureVLAN{Name: "p7.60", Parent: "p7", Tag: dot1q(60)},
			want:   "add VLAN 60 to p7 as p7.60: no such device", is: syscall.ENODEV,
		},
		"name taken": {
			host: func(t *testing.T) {
				addVLAN(t, "p0", "p0.60", dot1q(61))
			},
			ensure: plan.EnsureVLAN{Name: "p0.60", Parent: "p0", Tag: dot1q(60)},
			want:   "add VLAN 60 to p0 as p0.60: there is a link of kind vlan of this name: file exists", is: syscall.EEXIST,
		},
		"tag taken": {
			host: func(t *testing.T) {
				addVLAN(t, "p0", "office", dot1q(60))
			},
			ensure: plan.EnsureVLAN{Name: "p0.60", Parent: "p0", Tag: dot1q(60)},
			want:   "add VLAN 60 to p0 as p0.60: the host has it as office: file exists", is: syscall.EEXIST,
		},
		"administrator's is down": {
			host: func(t *testing.T) {
				addVLAN(t, "p0", "p0.60", dot1q(60))
				onLink(t, "p0.60", netlink.LinkSetDown)
			},
			ensure: plan.EnsureVLAN{Name: "p0.60", Parent: "p0", Tag: dot1q(60)},
			want:   "use VLAN p0.60: it is down, and lanhook does not change a sub-interface that it has not made", is: syscall.ENETDOWN,
		},
		"loopback": {
			ensure: plan.EnsureVLAN{Name: "lo.60", Parent: "lo", Tag: dot1q(60)},
			want:   "add VLAN 60 to lo as lo.60: lo is the loopback interface", is: syscall.EOPNOTSUPP,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := nettest.New(t)
			h := openHost(t, n)
			if test.host != nil {
				n.Host.Do(t, func() { test.host(t) })
				n.Host.Remember(t)
			}
			k := h.KernelByID(-1, nil)
			err := k.Apply(t.Context(), test.ensure)
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.is) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
			run(t, k, plan.ReleaseVLAN(test.ensure))
		})
	}
}

// TestReleaseVLANLeaves looks at what is not lanhook's to remove, or not idle.
func TestReleaseVLANLeaves(t *testing.T) {
	nettest.Need(t, nettest.VLAN, nettest.Macvlan)
	ensure := plan.EnsureVLAN{Name: "p0.60", Parent: "p0", Tag: dot1q(60)}
	for name, change := range map[string]func(t *testing.T, l netlink.Link) error{
		"VL-03 no mark": func(_ *testing.T, l netlink.Link) error { return netlink.LinkSetGroup(l, 0) },
		"port of a bridge": func(_ *testing.T, l netlink.Link) error {
			bridge, err := netlink.LinkByName(nettest.CanaryBridge)
			return errors.Join(err, netlink.LinkSetMaster(l, bridge))
		},
		"child": func(_ *testing.T, l netlink.Link) error {
			child := &netlink.Macvlan{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.MACVLAN_MODE_BRIDGE}
			child.Name, child.ParentIndex = "child", l.Attrs().Index
			return netlink.LinkAdd(child)
		},
		"inner VLAN": func(t *testing.T, _ netlink.Link) error {
			addVLAN(t, "p0.60", "p0.60.5", dot1q(5))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := nettest.New(t)
			h := openHost(t, n)
			k := h.KernelByID(-1, nil)
			run(t, k, ensure)
			n.Host.Do(t, func() { onLink(t, "p0.60", func(l netlink.Link) error { return change(t, l) }) })
			n.Host.Remember(t)
			run(t, k, plan.ReleaseVLAN(ensure))
			link(t, h, "p0.60")
		})
	}
}

// TestVLANsAtOnce has thirty attaches make the same two sub-interfaces at once.
func TestVLANsAtOnce(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	steps := []plan.EnsureVLAN{
		{Name: "p0.100", Parent: "p0", Tag: dot1ad(100)}, {Name: "p0.100.20", Parent: "p0.100", Tag: dot1q(20)},
	}
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			k := h.KernelByID(-1, nil)
			for _, s := range steps {
				if err := k.Apply(t.Context(), s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range steps {
		if got := link(t, h, s.Name); !got.Up || len(got.Addresses) != 0 || got.Group != plan.Group {
			t.Errorf("link is %+v", got)
		}
	}
	run(t, h.KernelByID(-1, nil), plan.ReleaseVLAN(steps[0])) // it has a child
	link(t, h, "p0.100")
	run(t, h.KernelByID(-1, nil), plan.ReleaseVLAN(steps[1]), plan.ReleaseVLAN(steps[0]))
}

// tagsOf reads the VLAN tags of a frame as they are on the wire: "88a8:100 8100:20".
func tagsOf(frame []byte) string {
	var tags []string
	for at := 12; at+4 <= len(frame); at += 4 {
		kind := binary.BigEndian.Uint16(frame[at:])
		if kind != unix.ETH_P_8021Q && kind != unix.ETH_P_8021AD {
			break
		}
		tags = append(tags, fmt.Sprintf("%04x:%d", kind, binary.BigEndian.Uint16(frame[at+2:])&0xfff))
	}
	return strings.Join(tags, " ")
}

// TestVLANOnTheWire looks at the tags of what a container sends, for each driver, and lets it reach the neighbour's own
// sub-interface.
func TestVLANOnTheWire(t *testing.T) {
	nettest.Need(t, nettest.VLAN, nettest.Macvlan, nettest.IPVLAN)
	for tagName, tags := range map[string][]policy.Tag{
		"8100:50": {dot1q(50)}, "88a8:51": {dot1ad(51)}, "88a8:100 8100:20": {dot1ad(100), dot1q(20)},
		"8100:100 8100:20": {dot1q(100), dot1q(20)},
	} {
		for _, driver := range []policy.Driver{policy.Macvlan, policy.IPVLAN, policy.VLAN} {
			t.Run(fmt.Sprintf("%s %s", driver, tagName), func(t *testing.T) {
				n := nettest.New(t)
				h := openHost(t, n)
				c := n.Namespace(t, "container")
				c.Remember(t)
				ns, closeNS := openNamespace(t, h, c)
				n.Neighbour.Do(t, func() {
					lower := nettest.PeerName
					for _, tag := range tags {
						addVLAN(t, lower, fmt.Sprintf("%s.%d", lower, tag.ID), tag)
						lower = fmt.Sprintf("%s.%d", lower, tag.ID)
					}
					nettest.AddAddress(t, lower, prefix("10.50.0.1/24"))
				})
				tap := n.Neighbour.Tap(t, nettest.PeerName)

				steps := onVLAN(t, h, driver, tags)
				steps = append(steps, plan.AddAddress{If: own, Address: prefix("10.50.0.9/24")}, plan.SetLink{From: own, Name: "eth0", Alias: "lanhook test"})
				run(t, h.Kernel(ns), steps...)
				inside := link(t, ns, "eth0")
				sent := ""
				go c.Reach(t, addr("10.50.0.1"), 5*time.Second) //nolint:errcheck // nobody answers; what it sends is looked at
				tap.Until(t, func(frame []byte) bool {
					sent = tagsOf(frame)
					return string(frame[6:12]) == string(inside.MAC) && sent != ""
				})
				if sent != tagName {
					t.Errorf("a frame of the container has the tags %q, want %q", sent, tagName)
				}
				c.Ping(t, addr("10.50.0.1"))
				n.Neighbour.Ping(t, addr("10.50.0.9"))

				id, err := ns.NSID()
				if err != nil {
					t.Fatal(err)
				}
				closeNS()
				run(t, h.KernelByID(id, nil), plan.Undo(steps)...)
				c.Same(t)
			})
		}
	}
}

// onVLAN are the steps that make a container's link on some tags of the wire, as a plan has them.
func onVLAN(t *testing.T, h *kernel.Host, driver policy.Driver, tags []policy.Tag) plan.Steps {
	t.Helper()
	q := kernel.Query{IfName: "eth0", Parent: policy.Parent{Name: nettest.Parent}, VLAN: tags}
	if driver == policy.VLAN {
		q.VLAN, q.Own = tags[:len(tags)-1], tags[len(tags)-1]
	}
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{q})
	if err != nil {
		t.Fatal(err)
	}
	uplink := facts.Uplink["eth0"]
	var steps plan.Steps
	for _, s := range uplink.Subs {
		steps = append(steps, plan.EnsureVLAN(s))
	}
	switch driver { //nolint:exhaustive // the others have no tags
	case policy.Macvlan:
		return append(steps, plan.AddMacvlan{Name: own, Parent: uplink.Name, Mode: policy.ModeBridge, MAC: mac(1), MTU: uplink.MTU})
	case policy.IPVLAN:
		return append(steps, plan.AddIPVLAN{Name: own, Parent: uplink.Name, Mode: policy.ModeL2, Flag: policy.FlagBridge, MTU: uplink.MTU})
	default:
		return append(steps, plan.AddVLAN{
			Name: own, Parent: uplink.Name, ParentIndex: uplink.Index, Tag: tags[len(tags)-1], MAC: mac(1), MTU: uplink.MTU,
		})
	}
}

// TestAddVLAN gives a container the sub-interface itself, with the settings asked for, and takes it back by each of the
// names that it may have.
func TestAddVLAN(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	p := parent(t, h)
	for name, test := range map[string]struct {
		add  plan.AddVLAN
		want kernel.State
	}{
		"VL-05 parent's MTU": {
			add:  plan.AddVLAN{Tag: dot1q(1234)},
			want: kernel.State{MAC: p.MAC, MTU: p.MTU},
		},
		"VL-05 MTU and MAC asked for": {
			add:  plan.AddVLAN{Tag: dot1ad(7), MTU: 1000, MAC: mac(1)},
			want: kernel.State{MAC: mac(1), MTU: 1000},
		},
		"parent by name": {add: plan.AddVLAN{Tag: dot1q(1234), ParentIndex: -1}, want: kernel.State{MAC: p.MAC, MTU: p.MTU}},
	} {
		t.Run(name, func(t *testing.T) {
			c := n.Namespace(t, "container")
			c.Remember(t)
			ns, closeNS := openNamespace(t, h, c)
			add := test.add
			add.Name, add.Parent = own, p.Name
			if add.ParentIndex++; add.ParentIndex == 1 {
				add.ParentIndex = p.Index
			}
			k := h.Kernel(ns)
			run(t, k, add, plan.SetLink{From: own, Name: "eth0", Alias: "lanhook test"})
			got, want := link(t, ns, "eth0"), test.want
			got.Index, got.Addresses = 0, nil
			want.Name, want.Kind, want.Tag, want.Up, want.Alias, want.TxQueueLen = "eth0", "vlan", add.Tag, true, "lanhook test", 1000
			want.Parent, want.Elsewhere, want.BondMode = p.Index, true, -1
			if diff := cmp.Diff(want, got, byText()); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
			noLink(t, h, own)
			id, err := ns.NSID()
			if err != nil {
				t.Fatal(err)
			}
			closeNS()
			undo := plan.Undo(plan.Steps{add, plan.SetLink{From: own, Name: "eth0", Alias: "lanhook test"}})
			run(t, h.KernelByID(id, nil), append(undo, undo...)...)
			c.Same(t)
		})
	}
}

func TestAddVLANRefuses(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	c, other := n.Namespace(t, "container"), n.Namespace(t, "other")
	ns, _ := openNamespace(t, h, c)
	otherNS, _ := openNamespace(t, h, other)
	run(t, h.Kernel(otherNS), plan.AddVLAN{Name: "lh-other", Parent: "p0", Tag: dot1q(70)})
	run(t, h.Kernel(ns), plan.AddVLAN{Name: "lh-taken", Parent: "p0", Tag: dot1q(71)})
	n.Host.Do(t, func() { addVLAN(t, "p0", "office", dot1q(72)) })
	n.Host.Remember(t)
	for name, test := range map[string]struct {
		step plan.Step
		want string
		is   error
	}{
		"no parent": {plan.AddVLAN{Name: own, Parent: "p7", Tag: dot1q(60)}, "p7 does not exist any more", syscall.ENODEV},
		"MTU above the parent's": {
			plan.AddVLAN{Name: own, Parent: "p0", Tag: dot1q(60), MTU: 1501}, "an MTU of 1501 is above the 1500 of p0", syscall.EINVAL,
		},
		"name taken":             {plan.AddVLAN{Name: "lh-taken", Parent: "p0", Tag: dot1q(60)}, "the container has a link of this name already", syscall.EEXIST},
		"tag on the host":        {plan.AddVLAN{Name: own, Parent: "p0", Tag: dot1q(72)}, "the host has it as office", syscall.EEXIST},
		"tag in a container":     {plan.AddVLAN{Name: own, Parent: "p0", Tag: dot1q(70)}, "it is in another network namespace", syscall.EEXIST},
		"tag of a shared one":    {plan.EnsureVLAN{Name: "p0.70", Parent: "p0", Tag: dot1q(70)}, "it is in another network namespace", syscall.EEXIST},
		"sub-interface of lo":    {plan.AddVLAN{Name: own, Parent: "lo", Tag: dot1q(60)}, "lo is the loopback interface", syscall.EOPNOTSUPP},
		"another tag of its own": {plan.AddVLAN{Name: "lh-third", Parent: "p0", Tag: dot1ad(70)}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := h.Kernel(ns).Apply(t.Context(), test.step)
			if !errors.Is(err, test.is) || test.is != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
}

// TestVLANOfAnEndingContainer starts containers with the same VLAN one after the other: the kernel is still at the last one's
// end.
func TestVLANOfAnEndingContainer(t *testing.T) {
	nettest.Need(t, nettest.VLAN)
	n := nettest.New(t)
	h := openHost(t, n)
	for range 10 {
		c := n.Namespace(t, "container")
		ns, closeNS := openNamespace(t, h, c)
		run(t, h.Kernel(ns), plan.AddVLAN{Name: own, Parent: "p0", Tag: dot1q(60)})
		closeNS()
		c.End()
	}
	ensure := plan.EnsureVLAN{Name: "p0.60", Parent: "p0", Tag: dot1q(60)}
	run(t, h.KernelByID(-1, nil), ensure, plan.ReleaseVLAN(ensure))
}
