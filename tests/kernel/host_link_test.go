//go:build linux

package kernel_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// hostLink is a host, and the step that makes its own macvlan on the wire.
func hostLink(t *testing.T) (*nettest.Net, *kernel.Host, *kernel.Kernel, plan.EnsureHostLink) {
	t.Helper()
	nettest.Need(t, nettest.Macvlan)
	n := nettest.New(t)
	h := openHost(t, n)
	return n, h, h.KernelByID(-1, nil), plan.EnsureHostLink{
		Name: plan.HostLinkName("lan", nettest.Parent), Parent: nettest.Parent, Driver: policy.Macvlan, Mode: policy.ModeBridge,
		MAC: mac(7), MTU: 1400, Addresses: []netip.Addr{addr("10.77.0.200"), addr("fd77::c8")}, Scope: "lan:p0",
	}
}

// TestHostLinkBare has the link without its addresses until the LAN was asked for them. A route brings the address along that it needs.
func TestHostLinkBare(t *testing.T) {
	n, h, k, s := hostLink(t)
	s.Bare = true
	has := func(want ...string) {
		t.Helper()
		var got []string
		for _, p := range global(link(t, h, s.Name).Addresses) {
			got = append(got, p.String())
		}
		if l := link(t, h, s.Name); !l.Up || !slices.Equal(got, want) {
			t.Errorf("the link, up %t, has %v, want %v", l.Up, got, want)
		}
	}
	run(t, k, s)
	has()
	run(t, k, plan.AddHostAddresses{Link: s.Name, Addresses: s.Addresses[:1]})
	has("10.77.0.200/32")
	run(t, k, plan.AddHostRoute{Link: s.Name, To: addr("fd77::9"), From: addr("fd77::c8")})
	has("10.77.0.200/32", "fd77::c8/128")
	run(t, k, plan.ReleaseHostLink{Name: s.Name})
	has("10.77.0.200/32", "fd77::c8/128") // it leads to somebody
	run(t, k, plan.ReleaseHostLink{Name: s.Name, Proved: true})
	if err := k.Apply(t.Context(), plan.AddHostAddresses{Link: s.Name, Addresses: s.Addresses}); err == nil {
		t.Error("the link is gone, and has got addresses")
	}
	if err := h.RenewHostLink(s); err != nil {
		t.Error(err)
	}
	has("10.77.0.200/32", "fd77::c8/128")
	run(t, k, plan.ReleaseHostLink{Name: s.Name})
	n.Host.Same(t)
}

// The link has its addresses alone and routes to containers alone, and every step may be done twice.
func TestHostLink(t *testing.T) {
	n, h, k, s := hostLink(t)
	routes := []plan.Step{
		plan.AddHostRoute{Link: s.Name, To: addr("10.77.0.9"), From: addr("10.77.0.200")},
		plan.AddHostRoute{Link: s.Name, To: addr("fd77::9"), From: addr("fd77::c8")},
	}
	for range 2 {
		run(t, k, s)
		run(t, k, routes...)
	}
	got := link(t, h, s.Name)
	if got.Kind != "macvlan" || got.Mode != s.Mode || got.Group != plan.Group || got.MTU != 1400 || !got.Up || got.MAC.String() != s.MAC.String() {
		t.Errorf("the link is %+v", got)
	}
	if want := []netip.Prefix{prefix("10.77.0.200/32"), prefix("fd77::c8/128")}; !slices.Equal(global(got.Addresses), want) {
		t.Errorf("addresses %v, want %v", got.Addresses, want)
	}
	var to []string
	for _, r := range got.Routes {
		to = append(to, r.Dst.String()+" from "+r.Src.String())
	}
	if want := []string{"10.77.0.9/32 from 10.77.0.200", "fd77::9/128 from fd77::c8"}; !slices.Equal(to, want) {
		t.Errorf("routes %v, want %v", to, want)
	}
	if names, err := h.HostLinks(); err != nil || !slices.Equal(names, []string{s.Name}) {
		t.Errorf("links of the host: %v (%v)", names, err)
	}
	for range 2 {
		run(t, k, plan.DelHostRoute{Link: s.Name, To: addr("10.77.0.9")}, plan.DelHostRoute{Link: s.Name, To: addr("fd77::9")})
	}
	if got := link(t, h, s.Name); len(got.Routes) > 0 {
		t.Errorf("routes are left: %v", got.Routes)
	}
	for range 2 {
		run(t, k, plan.ReleaseHostLink{Name: s.Name}, plan.DelHostRoute{Link: s.Name, To: addr("10.77.0.9")})
	}
	noLink(t, h, s.Name)
	n.Host.Same(t)
}

// A link with addresses of one family leaves the other one's alone, and one that an attach was killed over is finished.
func TestHostLinkHalfMade(t *testing.T) {
	n, h, k, s := hostLink(t)
	s.Addresses = s.Addresses[:1]
	run(t, k, s)
	change(t, n.Host, s.Name, netlink.LinkSetDown)
	run(t, k, s)
	got := link(t, h, s.Name)
	if !got.Up || !slices.Equal(got.Addresses, []netip.Prefix{prefix("10.77.0.200/32")}) {
		t.Errorf("the link is %+v", got)
	}
	run(t, k, plan.ReleaseHostLink{Name: s.Name})
	n.Host.Same(t)
}

// What somebody else has stays: a link of the name, with or without its form, and a route to the address.
func TestHostLinkOfSomebodyElse(t *testing.T) {
	n, h, k, s := hostLink(t)
	t.Run("link", func(t *testing.T) {
		change(t, n.Host, nettest.Parent, func(p netlink.Link) error {
			a := netlink.NewLinkAttrs()
			a.Name, a.ParentIndex = s.Name, p.Attrs().Index
			return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE})
		})
		err := k.Apply(t.Context(), s)
		if !errors.Is(err, syscall.EEXIST) || !strings.Contains(err.Error(), "there is a link of kind macvlan of this name") {
			t.Errorf("error %v", err)
		}
		run(t, k, plan.ReleaseHostLink{Name: s.Name})
		if names, err := h.HostLinks(); err != nil || len(names) > 0 {
			t.Errorf("links of the host: %v (%v)", names, err)
		}
		change(t, n.Host, s.Name, netlink.LinkDel)
	})
	t.Run("route", func(t *testing.T) {
		run(t, k, s)
		to, err := netlink.ParseIPNet("10.77.0.9/32")
		if err != nil {
			t.Fatal(err)
		}
		theirs := &netlink.Route{Dst: to, Gw: addr("198.18.0.2").AsSlice()}
		n.Host.Do(t, func() { err = netlink.RouteAdd(theirs) })
		if err != nil {
			t.Fatal(err)
		}
		err = k.Apply(t.Context(), plan.AddHostRoute{Link: s.Name, To: addr("10.77.0.9"), From: addr("10.77.0.200")})
		if _, ok := errors.AsType[*kernel.Error](err); !ok || !errors.Is(err, syscall.EEXIST) {
			t.Errorf("error %v", err)
		}
		run(t, k, plan.DelHostRoute{Link: s.Name, To: addr("10.77.0.9")})
		n.Host.Do(t, func() { err = netlink.RouteDel(theirs) })
		if err != nil {
			t.Errorf("their route: %v", err)
		}
		run(t, k, plan.ReleaseHostLink{Name: s.Name})
	})
	t.Run("parent that has another one's name", func(t *testing.T) {
		run(t, k, s)
		renamed := s
		renamed.ParentIndex = link(t, h, nettest.Parent).Index
		run(t, k, renamed)
		renamed.ParentIndex++
		if err := k.Apply(t.Context(), renamed); !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "on another link") {
			t.Errorf("error %v", err)
		}
		run(t, k, plan.ReleaseHostLink{Name: s.Name})
	})
	t.Run("parent that is gone", func(t *testing.T) {
		gone := s
		gone.Parent = "missing"
		if err := k.Apply(t.Context(), gone); !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), "missing") {
			t.Errorf("error %v", err)
		}
	})
	n.Host.Same(t)
}
