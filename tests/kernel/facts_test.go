//go:build linux

package kernel_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
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

// do runs changes on the host of which each must succeed.
func do(t *testing.T, s *nettest.Space, changes ...func() error) {
	t.Helper()
	s.Do(t, func() {
		for i, c := range changes {
			if err := c(); err != nil {
				t.Fatalf("change %d: %v", i, err)
			}
		}
	})
}

func route(dst, via string, kind int) *netlink.Route {
	r := &netlink.Route{Gw: net.ParseIP(via), Type: kind}
	_, r.Dst, _ = net.ParseCIDR(dst)
	return r
}

func TestParents(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	h := openHost(t, n)
	p := parent(t, h)
	do(t, n.Host, func() error {
		l, err := netlink.LinkByName(nettest.Parent)
		if err != nil {
			return err
		}
		nettest.AddAddress(t, nettest.Parent, prefix("192.0.2.77/28"))
		nettest.AddAddress(t, nettest.Parent, prefix("2001:db8::77/64"))
		if err := netlink.LinkAddAltName(l, "enp-a-rather-long-alternative-name"); err != nil {
			return err
		}
		// A child in passthru mode has its parent's MAC address.
		a := netlink.NewLinkAttrs()
		a.Name, a.ParentIndex = "child", l.Attrs().Index
		return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_PASSTHRU})
	}, func() error {
		l, err := netlink.LinkByName(nettest.CanaryVeth)
		if err != nil {
			return err
		}
		a := netlink.NewLinkAttrs()
		a.Name, a.ParentIndex, a.HardwareAddr = "other", l.Attrs().Index, net.HardwareAddr(mac(5))
		return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE})
	})
	n.Host.Remember(t)
	full := p
	full.Addresses = []netip.Addr{addr("192.0.2.77"), addr("2001:db8::77")}

	for name, c := range map[string]struct {
		query kernel.Query
		want  *plan.Link
	}{
		"by name":             {kernel.Query{Parent: policy.Parent{Name: nettest.Parent}}, &p},
		"with addresses":      {kernel.Query{Parent: policy.Parent{Name: nettest.Parent}, WantAddresses: true}, &full},
		"by MAC":              {kernel.Query{Parent: policy.Parent{MAC: net.HardwareAddr(p.MAC)}}, &p},
		"by altname":          {kernel.Query{Parent: policy.Parent{AltName: "enp-a-rather-long-alternative-name"}}, &p},
		"MV-22 no such name":  {kernel.Query{Parent: policy.Parent{Name: "none"}}, nil},
		"no such MAC":         {kernel.Query{Parent: policy.Parent{MAC: net.HardwareAddr(mac(9))}}, nil},
		"MAC of a child only": {kernel.Query{Parent: policy.Parent{MAC: net.HardwareAddr(mac(5))}}, nil},
		"no such altname":     {kernel.Query{Parent: policy.Parent{AltName: "none"}}, nil},
		"no default route":    {kernel.Query{Parent: policy.Parent{DefaultRoute: true}}, nil},
		"no such bridge":      {kernel.Query{Bridge: "none"}, nil},
		"long name":           {kernel.Query{Parent: policy.Parent{Name: "a-name-of-17-byte"}}, nil},
		"name of 200 bytes":   {kernel.Query{Parent: policy.Parent{Name: strings.Repeat("n", 200)}}, nil},
		"altname as name":     {kernel.Query{Parent: policy.Parent{Name: "enp-a-rather-long-alternative-name"}}, &p},
		"nothing asked for":   {kernel.Query{}, nil},
		"bridge before name":  {kernel.Query{Bridge: nettest.Parent, Parent: policy.Parent{Name: "lo"}}, &p},
		"altname by its name": {kernel.Query{Parent: policy.Parent{AltName: nettest.Parent}}, &p},
	} {
		t.Run(name, func(t *testing.T) {
			c.query.IfName = "eth0"
			facts, err := h.Facts(t.Context(), nil, []kernel.Query{c.query})
			if err != nil {
				t.Fatal(err)
			}
			got, ok := facts.Uplink["eth0"]
			if !ok {
				if c.want != nil {
					t.Error("not found")
				}
				return
			}
			if c.want == nil {
				t.Fatalf("found %+v", got)
			}
			got.Addresses = unlocal(got.Addresses)
			if diff := cmp.Diff(*c.want, got, byText()); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
		})
	}
}

// whileItComesAndGoes calls fn again and again while the host has a link, has none, or is about to. made makes the link.
func whileItComesAndGoes(t *testing.T, host *nettest.Space, name string, made func() error, fn func() error) {
	t.Helper()
	var over atomic.Bool
	changed := make(chan error, 1)
	go func() {
		var err error
		host.Do(t, func() {
			for err == nil && !over.Load() {
				var l netlink.Link
				if err = made(); err == nil {
					time.Sleep(100 * time.Microsecond)
					l, err = netlink.LinkByName(name)
				}
				if err == nil {
					err = netlink.LinkDel(l)
				}
			}
		})
		changed <- err
	}()
	var err error
	for range 1000 {
		if err = fn(); err != nil {
			break
		}
	}
	over.Store(true)
	if err := errors.Join(err, <-changed); err != nil {
		t.Error(err)
	}
}

// TestFactsOfWhatGoesAway looks at a link that goes away at any time, as a sub-interface does with its last container: it is
// there or not, and no error.
func TestFactsOfWhatGoesAway(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	made := func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "fleeting"}})
	}
	whileItComesAndGoes(t, n.Host, "fleeting", made, func() error {
		_, err := h.Facts(t.Context(), nil, []kernel.Query{
			{IfName: "eth0", Parent: policy.Parent{Name: "fleeting"}, WantAddresses: true},
		})
		_, _, linkErr := h.Link("fleeting")
		return errors.Join(err, linkErr)
	})
}

// A bridge and its port may have one MAC address; the port cannot be a parent.
func TestParentByMACOfBridge(t *testing.T) {
	n := nettest.New(t)
	h := openHost(t, n)
	p := parent(t, h)
	do(t, n.Host, func() error {
		a := netlink.NewLinkAttrs()
		a.Name, a.HardwareAddr = "br0", net.HardwareAddr(p.MAC)
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			return err
		}
		l, err := netlink.LinkByName(nettest.Parent)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(l, &netlink.Bridge{LinkAttrs: a})
	})
	n.Host.Remember(t)
	facts, err := h.Facts(t.Context(), nil, []kernel.Query{{IfName: "eth0", Parent: policy.Parent{MAC: net.HardwareAddr(p.MAC)}}})
	if got := facts.Uplink["eth0"].Name; err != nil || got != "br0" {
		t.Errorf("parent is %q (%v), want br0", got, err)
	}
}

func unlocal(list []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		if !a.IsLinkLocalUnicast() {
			out = append(out, a)
		}
	}
	return out
}

func TestDefaultRoute(t *testing.T) {
	for name, c := range map[string]struct {
		routes []*netlink.Route
		want   string
	}{
		"MV-07 IPv4": {[]*netlink.Route{route("0.0.0.0/0", "198.18.0.2", 0)}, nettest.CanaryVeth},
		"MV-07 IPv6": {[]*netlink.Route{route("::/0", "2001:2::2", 0)}, nettest.CanaryVeth},
		"IPv4 before IPv6": {
			[]*netlink.Route{route("::/0", "2001:2::2", 0), route("0.0.0.0/0", "10.6.0.2", 0)}, nettest.Parent,
		},
		"beside a blackhole for documentation": {
			[]*netlink.Route{
				route("0.0.0.0/0", "198.18.0.2", 0), route("192.0.2.0/24", "", unix.RTN_BLACKHOLE),
				route("198.51.100.0/24", "10.6.0.2", 0),
			},
			nettest.CanaryVeth,
		},
		"unreachable by default": {[]*netlink.Route{route("0.0.0.0/0", "", unix.RTN_UNREACHABLE)}, ""},
		"halves only": {
			[]*netlink.Route{route("0.0.0.0/1", "198.18.0.2", 0), route("128.0.0.0/1", "198.18.0.2", 0)}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := nettest.New(t)
			h := openHost(t, n)
			n.Host.Do(t, func() { nettest.AddAddress(t, nettest.Parent, prefix("10.6.0.1/24")) })
			for _, r := range c.routes {
				do(t, n.Host, func() error { return netlink.RouteAdd(r) })
			}
			n.Host.Remember(t)
			facts, err := h.Facts(t.Context(), nil, []kernel.Query{{IfName: "eth0", Parent: policy.Parent{DefaultRoute: true}}})
			if err != nil {
				t.Fatal(err)
			}
			if got := facts.Uplink["eth0"].Name; got != c.want {
				t.Errorf("default route is on %q, want %q", got, c.want)
			}
		})
	}
	t.Run("of several hops the first", func(t *testing.T) {
		n := nettest.New(t)
		h := openHost(t, n)
		n.Host.Do(t, func() {
			nettest.AddAddress(t, nettest.Parent, prefix("10.6.0.1/24"))
			r := route("0.0.0.0/0", "", 0)
			for _, via := range []string{"10.6.0.2", "198.18.0.2"} {
				r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{Gw: net.ParseIP(via)})
			}
			if err := netlink.RouteAdd(r); err != nil {
				t.Fatal(err)
			}
		})
		n.Host.Remember(t)
		facts, err := h.Facts(t.Context(), nil, []kernel.Query{{IfName: "eth0", Parent: policy.Parent{DefaultRoute: true}}})
		if got := facts.Uplink["eth0"].Name; err != nil || got != nettest.Parent {
			t.Errorf("default route is on %q (%v), want %q", got, err, nettest.Parent)
		}
	})
}

func TestFacts(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	t.Run("BR-15 MTU of the default route", func(t *testing.T) {
		do(t, n.Host, func() error { return netlink.RouteAdd(route("0.0.0.0/0", "198.18.0.2", 0)) },
			func() error {
				l, err := netlink.LinkByName(nettest.CanaryVeth)
				if err != nil {
					return err
				}
				return netlink.LinkSetMTU(l, 9000)
			})
		n.Host.Remember(t)
		got, err := h.Facts(t.Context(), ns, []kernel.Query{
			{IfName: "eth0", Bridge: "lh-new"}, {IfName: "lo", Bridge: nettest.CanaryBridge},
		})
		if err != nil {
			t.Fatal(err)
		}
		uplink := got.Uplink["lo"]
		want := plan.Facts{
			Uplink: map[string]plan.Link{"lo": {
				Index: uplink.Index, Name: nettest.CanaryBridge, Kind: "bridge", MAC: plan.MAC{2, 0x70, 0, 0, 0, 3}, MTU: 1500, Up: true,
				BondMode: -1,
				// What a kernel that filters VLANs gives to the ports of any bridge.
				DefaultVLAN: uplink.DefaultVLAN,
			}},
			Taken: map[string]bool{"lo": true}, DefaultMTU: 9000,
		}
		if diff := cmp.Diff(want, got, byText()); diff != "" {
			t.Errorf("facts (-want +got):\n%s", diff)
		}
	})
	t.Run("no MTU without need", func(t *testing.T) {
		got, err := h.Facts(t.Context(), ns, []kernel.Query{{IfName: "eth0", Bridge: nettest.CanaryBridge}})
		if err != nil || got.DefaultMTU != 0 {
			t.Errorf("MTU %d (%v), want none", got.DefaultMTU, err)
		}
	})
	t.Run("port of a bridge, and lo", func(t *testing.T) {
		got, err := h.Facts(t.Context(), nil, []kernel.Query{
			{IfName: "a", Parent: policy.Parent{Name: "lh-canary1"}}, {IfName: "b", Parent: policy.Parent{Name: "lo"}},
		})
		if err != nil || got.Uplink["a"].MasterKind != "bridge" || !got.Uplink["b"].Loopback {
			t.Errorf("facts %+v (%v)", got, err)
		}
	})
}
