//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"regexp"
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

func bridge() plan.EnsureBridge {
	return plan.EnsureBridge{
		Name: "lh-apps", MAC: mac(0x10), MTU: 1450, Forward: true,
		Addresses: []netip.Prefix{prefix("172.30.0.1/16"), prefix("fd00:30::1/64")},
	}
}

func veth(last byte) plan.AddVeth {
	name := own[:len(own)-1] + string('a'+rune(last))
	return plan.AddVeth{
		Name: name, MAC: mac(0x20 + last), Bridge: "lh-apps", Peer: name, PeerMAC: mac(0x40 + last), MTU: 1450, PeerMTU: 1450,
	}
}

func TestBridge(t *testing.T) {
	n := nettest.New(t)
	one, two := n.Namespace(t, "one"), n.Namespace(t, "two")
	one.Remember(t)
	two.Remember(t)
	h := openHost(t, n)
	ns1, _ := openNamespace(t, h, one)
	ns2, _ := openNamespace(t, h, two)
	k1, k2 := h.Kernel(ns1), h.Kernel(ns2)
	hairpin := veth(1)
	hairpin.Hairpin = true
	run(t, k1, bridge(), hairpin, plan.SetLink{From: hairpin.Peer, Name: "eth0", Alias: "a"},
		plan.AddAddress{If: "eth0", Address: prefix("172.30.0.2/16")}, plan.AddAddress{If: "eth0", Address: prefix("fd00:30::2/64")})
	made := link(t, h, "lh-apps")
	run(t, k2, bridge(), veth(2), plan.SetLink{From: veth(2).Peer, Name: "eth0", Alias: "a"},
		plan.AddAddress{If: "eth0", Address: prefix("172.30.0.3/16")})

	t.Run("BR-01 bridge", func(t *testing.T) {
		got := link(t, h, "lh-apps")
		want := kernel.State{
			BondMode: -1,
			Index:    made.Index, Name: "lh-apps", Kind: "bridge", MAC: mac(0x10), MTU: 1450, Up: true, TxQueueLen: 1000,
			Group: plan.Group, Addresses: bridge().Addresses,
			DefaultPVID: got.DefaultPVID, // 1 in a kernel that can filter VLANs
		}
		got.Addresses = global(got.Addresses)
		if diff := cmp.Diff(want, got, byText()); diff != "" {
			t.Errorf("bridge (-want +got):\n%s", diff)
		}
	})
	t.Run("BR-06 host end", func(t *testing.T) {
		got := link(t, h, hairpin.Name)
		peer := link(t, ns1, "eth0")
		want := kernel.State{
			BondMode: -1,
			Index:    got.Index, Name: hairpin.Name, Kind: "veth", MAC: mac(0x21), MTU: 1450, Up: true, TxQueueLen: 1000,
			Parent: peer.Index, Elsewhere: true, Master: made.Index, MasterKind: "bridge",
		}
		if diff := cmp.Diff(want, got, byText()); diff != "" {
			t.Errorf("host end (-want +got):\n%s", diff)
		}
		if peer.MAC.String() != mac(0x41).String() || peer.MTU != 1450 || !peer.Up {
			t.Errorf("container's end: %+v", peer)
		}
	})
	t.Run("BR-33 settings", func(t *testing.T) {
		snapshot := n.Host.Snapshot(t)
		for _, want := range []string{
			"setting ipv6/conf/lh-apps/accept_ra 0", "setting ipv6/conf/" + hairpin.Name + "/accept_ra 0",
			"setting ipv6/conf/" + hairpin.Name + "/disable_ipv6 1",
			"setting ipv4/conf/lh-apps/forwarding 1", "setting ipv6/conf/lh-apps/forwarding 1",
		} {
			if !strings.Contains(snapshot, want) {
				t.Errorf("no line %q in:\n%s", want, snapshot)
			}
		}
	})
	t.Run("forwarding is switched off and on again", func(t *testing.T) {
		for _, on := range []bool{false, true} {
			s := bridge()
			s.Forward = on
			run(t, k1, s)
			want := map[bool]string{false: "0", true: "1"}[on]
			snapshot := n.Host.Snapshot(t)
			for _, protocol := range []string{"ipv4", "ipv6"} {
				if line := "setting " + protocol + "/conf/lh-apps/forwarding " + want; !strings.Contains(snapshot, line) {
					t.Errorf("no line %q in:\n%s", line, snapshot)
				}
			}
		}
	})
	t.Run("hairpin", func(t *testing.T) {
		n.Host.Do(t, func() {
			for name, want := range map[string]bool{hairpin.Name: true, veth(2).Name: false} {
				l, err := netlink.LinkByName(name)
				if err != nil {
					t.Fatal(err)
				}
				got, err := netlink.LinkGetProtinfo(l)
				if err != nil || got.Hairpin != want {
					t.Errorf("hairpin of %s is %v (%v), want %v", name, got.Hairpin, err, want)
				}
			}
		})
	})
	t.Run("frames go through", func(t *testing.T) {
		one.Ping(t, addr("172.30.0.1"))
		one.Ping(t, addr("fd00:30::1"))
		one.Ping(t, addr("172.30.0.3"))
		n.Host.Ping(t, addr("172.30.0.3"))
	})
	t.Run("release with a port left", func(t *testing.T) {
		run(t, k1, plan.DelLink{Side: plan.Host, Name: hairpin.Name, Kind: "veth", MAC: hairpin.MAC},
			plan.ReleaseBridge{Name: "lh-apps"})
		link(t, h, "lh-apps")
		noLink(t, ns1, "eth0")
	})
	t.Run("BR-07 release and release again", func(t *testing.T) {
		del := plan.DelLink{Side: plan.Host, Name: veth(2).Name, Kind: "veth", MAC: veth(2).MAC}
		run(t, k2, del, plan.ReleaseBridge{Name: "lh-apps"}, del, plan.ReleaseBridge{Name: "lh-apps"})
		noLink(t, h, "lh-apps")
	})
}

// TestBridgeLinkLocal: nobody is asked whether a bridge's link-local address is taken, or nothing could be forwarded by it for
// up to two seconds after its first port came. The kernel calls it tentative all the same until its work queue has run.
func TestBridgeLinkLocal(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	n.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/default/accept_dad", "1") }) // the kernel's own default
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	run(t, k, bridge(), veth(1), plan.SetLink{From: veth(1).Peer, Name: "eth0", Alias: "a"})
	n.Host.Do(t, func() {
		l, err := netlink.LinkByName("lh-apps")
		if err != nil {
			t.Fatal(err)
		}
		nettest.Eventually(t, "the bridge has a link-local address that can be used", func() bool {
			all, err := netlink.AddrList(l, netlink.FAMILY_V6)
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(all, func(a netlink.Addr) bool {
				return a.IP.IsLinkLocalUnicast() && a.Flags&syscall.IFA_F_TENTATIVE == 0
			})
		})
		counts, err := os.ReadFile("/proc/thread-self/net/dev_snmp6/lh-apps")
		if err != nil {
			t.Fatal(err)
		}
		if asked := regexp.MustCompile(`(?m)^Icmp6OutNeighborSolicits\s+(\d+)$`).FindSubmatch(counts); asked == nil || string(asked[1]) != "0" {
			t.Errorf("asked neighbours whether the address is taken: %q, want 0", asked)
		}
		nettest.WriteSysctl(t, "ipv6/conf/default/accept_dad", "0")
	})
	run(t, k, plan.DelLink{Side: plan.Host, Name: veth(1).Name, Kind: "veth", MAC: veth(1).MAC}, plan.ReleaseBridge{Name: "lh-apps"})
}

// A bridge without our mark is used as it is and never removed.
func TestForeignBridge(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	before := link(t, h, nettest.CanaryBridge)
	ensure := bridge()
	ensure.Name = nettest.CanaryBridge

	t.Run("BR-02 BR-12 used as it is", func(t *testing.T) {
		run(t, k, ensure)
		n.Host.Same(t)
		v := veth(1)
		v.Bridge, v.MTU = nettest.CanaryBridge, 1500
		run(t, k, v)
		if got := link(t, h, v.Name); got.Master != before.Index {
			t.Errorf("the port's master is %d, want %d", got.Master, before.Index)
		}
		run(t, k, plan.DelLink{Side: plan.Host, Name: v.Name, Kind: "veth", MAC: v.MAC},
			plan.ReleaseBridge{Name: nettest.CanaryBridge})
		if got := link(t, h, nettest.CanaryBridge); got.Index != before.Index || got.MTU != before.MTU {
			t.Errorf("bridge is %+v, was %+v", got, before)
		}
	})
	t.Run("BR-12 never released, even without a port", func(t *testing.T) {
		n.Host.Do(t, func() {
			if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lh-theirs"}}); err != nil {
				t.Fatal(err)
			}
		})
		run(t, k, plan.ReleaseBridge{Name: "lh-theirs"})
		theirs := link(t, h, "lh-theirs")
		run(t, k, plan.DelLink{Side: plan.Host, Name: "lh-theirs", Kind: "bridge", MAC: theirs.MAC})
	})
	t.Run("BR-05 promiscuous as it was", func(t *testing.T) {
		set := func(change func(netlink.Link) error) {
			n.Host.Do(t, func() {
				l, err := netlink.LinkByName(nettest.CanaryBridge)
				if err == nil {
					err = change(l)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		}
		set(netlink.SetPromiscOn)
		run(t, k, ensure)
		if !link(t, h, nettest.CanaryBridge).Promiscuous {
			t.Error("the bridge is no longer promiscuous")
		}
		set(netlink.SetPromiscOff)
	})
	t.Run("down", func(t *testing.T) {
		set := func(change func(netlink.Link) error) {
			n.Host.Do(t, func() {
				l, err := netlink.LinkByName(nettest.CanaryBridge)
				if err == nil {
					err = change(l)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		}
		set(netlink.LinkSetDown)
		err := k.Apply(t.Context(), ensure)
		var e *kernel.Error
		if !errors.As(err, &e) || !errors.Is(err, syscall.ENETDOWN) || e.Hint() != "bring it up: ip link set lh-canary up" {
			t.Errorf("error %v", err)
		}
		set(netlink.LinkSetUp)
	})
	t.Run("no bridge", func(t *testing.T) {
		s := ensure
		s.Name = nettest.CanaryVeth
		err := k.Apply(t.Context(), s)
		want := "add bridge lh-canary0: there is a link of kind veth of this name"
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
		run(t, k, plan.ReleaseBridge{Name: nettest.CanaryVeth})
		link(t, h, nettest.CanaryVeth)
	})
}

func TestVethNames(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	c.Do(t, func() {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: veth(2).Peer}}); err != nil {
			t.Fatal(err)
		}
	})
	c.Remember(t)
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	for name, change := range map[string]func(*plan.AddVeth){
		"BR-13 RT-18 taken on the host":  func(s *plan.AddVeth) { s.Name, s.Peer = nettest.CanaryVeth, "lh-free" },
		"RT-18 taken in the container":   func(s *plan.AddVeth) { s.Peer = veth(2).Peer },
		"RT-18 same name on both sides":  func(s *plan.AddVeth) { s.Name, s.Peer = nettest.CanaryVeth, nettest.CanaryVeth },
		"RT-18 both taken, both foreign": func(s *plan.AddVeth) { s.Name, s.Peer = nettest.CanaryVeth, veth(2).Peer },
	} {
		t.Run(name, func(t *testing.T) {
			s := veth(1)
			s.Bridge = nettest.CanaryBridge
			change(&s)
			err := k.Apply(t.Context(), s)
			if !errors.Is(err, syscall.EEXIST) || !strings.Contains(err.Error(), s.Name) || !strings.Contains(err.Error(), s.Peer) {
				t.Errorf("error %v, want EEXIST and both names", err)
			}
			run(t, k, plan.DelLink{Side: plan.Host, Name: s.Name, Kind: "veth", MAC: s.MAC})
			n.Host.Same(t)
			c.Same(t)
		})
	}
	t.Run("no such bridge", func(t *testing.T) {
		if err := k.Apply(t.Context(), veth(1)); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("error %v, want ENODEV", err)
		}
	})
}

func TestBridgeRefused(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	release := plan.ReleaseBridge{Name: "lh-apps"}
	t.Run("BR-16 impossible MTU", func(t *testing.T) {
		s := bridge()
		s.MTU = 70000
		if err := k.Apply(t.Context(), s); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "mtu greater than") {
			t.Errorf("error %v, want EINVAL and the kernel's words", err)
		}
		run(t, k, release)
		noLink(t, h, "lh-apps")
	})
	t.Run("BR-36 IPv6 switched off", func(t *testing.T) {
		n.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/default/disable_ipv6", "1") })
		err := k.Apply(t.Context(), bridge())
		want := "add address fd00:30::1/64 to bridge lh-apps: IPv6 is disabled on this link"
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
		run(t, k, release)
		n.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv6/conf/default/disable_ipv6", "0") })
	})
	t.Run("begun too late", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errTest)
		if err := k.Apply(ctx, bridge()); !errors.Is(err, errTest) {
			t.Errorf("error %v, want the reason of the context", err)
		}
		noLink(t, h, "lh-apps")
	})
	t.Run("nothing to release", func(t *testing.T) { run(t, k, release) })
}

// A bridge of ours gets the settings that rules need, whether it is made now or was there before; another's gets none.
func TestBridgeSettings(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	k := h.Kernel(ns)
	has := func(name string) [2]string {
		return [2]string{
			setting(t, n.Host, "ipv4/conf/"+name+"/rp_filter"), setting(t, n.Host, "ipv4/conf/"+name+"/route_localnet"),
		}
	}
	n.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv4/conf/default/rp_filter", "1") })
	n.Host.Remember(t)
	for name, c := range map[string]struct {
		steps func(plain, full plan.EnsureBridge) []plan.Step
		want  [2]string
	}{
		"none":          {func(plain, _ plan.EnsureBridge) []plan.Step { return []plan.Step{plain} }, [2]string{"1", "0"}},
		"made with":     {func(_, full plan.EnsureBridge) []plan.Step { return []plan.Step{full} }, [2]string{"2", "1"}},
		"made without":  {func(plain, full plan.EnsureBridge) []plan.Step { return []plan.Step{plain, full} }, [2]string{"2", "1"}},
		"not taken off": {func(plain, full plan.EnsureBridge) []plan.Step { return []plan.Step{full, plain} }, [2]string{"2", "1"}},
		"filtered alone": {func(_, full plan.EnsureBridge) []plan.Step {
			full.Localnet = false
			return []plan.Step{full}
		}, [2]string{"2", "0"}},
		"as it is": {func(plain, full plan.EnsureBridge) []plan.Step {
			full.AsIs = true
			return []plan.Step{plain, full}
		}, [2]string{"1", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			full := bridge()
			full.Filtered, full.Localnet = true, true
			run(t, k, c.steps(bridge(), full)...)
			if got := has("lh-apps"); got != c.want {
				t.Errorf("rp_filter and route_localnet are %q, want %q", got, c.want)
			}
			facts, err := h.Facts(t.Context(), nil, []kernel.Query{{IfName: "eth0", Bridge: "lh-apps"}})
			if got := facts.Uplink["eth0"]; err != nil || !got.Up || got.Localnet != (c.want[1] == "1") {
				t.Errorf("facts %+v (%v)", got, err)
			}
			run(t, k, plan.ReleaseBridge{Name: "lh-apps"})
			n.Host.Same(t)
		})
	}
	t.Run("BR-12 another's", func(t *testing.T) {
		s := bridge()
		s.Name, s.Filtered, s.Localnet = nettest.CanaryBridge, true, true
		run(t, k, s)
		n.Host.Same(t)
	})
	t.Run("another's, allowed for all links", func(t *testing.T) {
		ask := kernel.Query{IfName: "eth0", Bridge: nettest.CanaryBridge, Publish: []policy.Publish{{Addr: addr("127.0.0.1"), Count: 1}}}
		for value, want := range map[string]bool{"0": false, "1": true} {
			n.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv4/conf/all/route_localnet", value) })
			facts, err := h.Facts(t.Context(), nil, []kernel.Query{ask})
			if got := facts.Uplink["eth0"].Localnet; err != nil || got != want {
				t.Errorf("with %s for all: %v (%v), want %v", value, got, err, want)
			}
		}
		n.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv4/conf/all/route_localnet", "0") })
	})
}

// Isolated ports reach the host and ports that are not isolated, and not each other.
func TestIsolatedPorts(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	var spaces []*nettest.Space
	for i := range byte(3) {
		c := n.Namespace(t, string('a'+rune(i)))
		spaces = append(spaces, c)
		ns, _ := openNamespace(t, h, c)
		v := veth(i + 1)
		v.Isolated, v.Hairpin = i < 2, i == 0
		run(t, h.Kernel(ns), bridge(), v, plan.SetLink{From: v.Peer, Name: "eth0", Alias: "a"},
			plan.AddAddress{If: "eth0", Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, 0, 2 + i}), 16)})
		n.Host.Do(t, func() {
			l, err := netlink.LinkByName(v.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := netlink.LinkGetProtinfo(l); err != nil || got.Isolated != v.Isolated || got.Hairpin != v.Hairpin {
				t.Errorf("port %s: %+v (%v)", v.Name, got, err)
			}
		})
	}
	spaces[0].Ping(t, addr("172.30.0.1"))
	spaces[0].Ping(t, addr("172.30.0.4"))
	spaces[2].Ping(t, addr("172.30.0.3"))
	spaces[0].NoPing(t, addr("172.30.0.3"))
	k := h.KernelByID(-1, nil)
	for i := range byte(3) {
		run(t, k, plan.DelLink{Side: plan.Host, Name: veth(i + 1).Name, Kind: "veth", MAC: veth(i + 1).MAC})
	}
	run(t, k, plan.ReleaseBridge{Name: "lh-apps"})
}

// TestBridgeFiltersNoVLANs: a kernel that cannot keep VLANs apart says so, and makes no bridge.
func TestBridgeFiltersNoVLANs(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	k := h.KernelByID(-1, nil)
	s := bridge()
	s.Addresses, s.VLANs = nil, true
	err := k.Apply(t.Context(), s)
	if err == nil {
		if b := link(t, h, s.Name); !b.FiltersVLANs {
			t.Errorf("bridge: %+v", b)
		}
		run(t, k, plan.ReleaseBridge{Name: s.Name})
	} else if !errors.Is(err, syscall.EOPNOTSUPP) || !strings.Contains(err.Error(), "none that filter VLANs") {
		t.Errorf("error %v", err)
	}
	noLink(t, h, s.Name)
}
