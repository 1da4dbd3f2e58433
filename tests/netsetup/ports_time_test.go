//go:build linux

package netsetup_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestPortsProcess has processes of the host on ports that are published.
func TestPortsProcess(t *testing.T) {
	t.Parallel()
	t.Run("PP-11 one that comes later gets nothing", func(t *testing.T) {
		s := newSite(t, shop, true)
		web := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp")
		for _, network := range []string{"tcp", "udp"} {
			s.Host.Serve(t, network, netip.MustParseAddrPort("[::]:8080"))
		}
		asks(t,
			question{"PP-11 from the LAN", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"},
			question{"PP-11 from the LAN", s.Neighbour, "[fd77::2]:8080", "web fd77::1"},
			question{"PP-11 the host", s.Host, "127.0.0.1:8080", "web *"},
			question{"PP-11 what cannot be published is the process's", s.Host, "[::1]:8080", "host ::1"},
		)
		s.untouched(t)
		web.detach(t)
		asks(t, question{"PP-11 then the process has it", s.Neighbour, "10.77.0.2:8080", "host 10.77.0.1"})
		s.empty(t)
	})
	t.Run("PP-11 one that is there", func(t *testing.T) {
		s := newSite(t, shop, true)
		end := s.Host.Serve(t, "tcp", netip.MustParseAddrPort("10.77.0.2:8080"))
		web := s.box(t, "web")
		web.refused(t, "port 8080/tcp of 0.0.0.0 is taken by ", "network=shop", "publish=8080:80")
		s.Neighbour.Gets(t, "tcp", "10.77.0.2:8080", "host 10.77.0.1")
		end()
		web.attach(t, "network=shop", "publish=8080:80")
		web.serves(t, 80)
		s.Neighbour.Gets(t, "tcp", "10.77.0.2:8080", "web 10.77.0.1")
		s.over(t, web)
	})
}

// TestPortsTaken has a second container ask for the first one's port.
func TestPortsTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop+back, true)
	web, second := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp,8080:80/sctp"), s.box(t, "second")
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		t.Run("PP-09 "+protocol, func(t *testing.T) {
			second.refused(t, "port 8080/"+protocol, "network=back", "publish=8080:80/"+protocol)
		})
	}
	asks(t, question{"PP-09 the first has it still", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"})
	s.over(t, web)
}

// TestPortsFree leaves the host's port to lanhook.
func TestPortsFree(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop, true)
	boxes := map[string]*box{"one": s.box(t, "one"), "two": s.box(t, "two")}
	var got []uint16
	for id, b := range boxes {
		r := b.attach(t, "network=shop", "publish=80,127.0.0.1::80,81")
		b.serves(t, 80)
		var own []uint16
		for _, p := range r.Interfaces[0].Publish {
			if !slices.Contains(own, p.Host) {
				own = append(own, p.Host)
			}
			at := netip.AddrPortFrom(p.Addr, p.Host)
			switch {
			case p.To.Port() != 80:
			case p.Addr.IsLoopback():
				t.Run("PP-24 "+id, func(t *testing.T) { s.Host.Gets(t, "tcp", at.String(), id+" *") })
			case p.Addr.Is4():
				t.Run("PP-12 "+id, func(t *testing.T) {
					s.Neighbour.Gets(t, "tcp", netip.AddrPortFrom(addr("10.77.0.2"), p.Host).String(), id+" 10.77.0.1")
					s.Neighbour.Gets(t, "tcp", netip.AddrPortFrom(addr("fd77::2"), p.Host).String(), id+" fd77::1")
				})
			}
		}
		if len(own) != 3 {
			t.Errorf("PP-24 %s got the ports %v, want three", id, own)
		}
		got = append(got, own...)
	}
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != 6 {
		t.Errorf("PP-12 they got %d ports, want 6", n)
	}
	s.over(t, boxes["one"], boxes["two"])
}

// TestPortsAgain gives a port to another container while the kernel remembers connections of the first.
func TestPortsAgain(t *testing.T) {
	t.Parallel()
	const wish = "publish=8080:80,8080:80/udp"
	s := newSite(t, shop, true)
	client := netip.MustParseAddrPort("10.77.0.1:5555")
	early := s.Host.Serve(t, "udp", netip.MustParseAddrPort("10.77.0.2:8081"))
	s.Neighbour.GetsFrom(t, "udp", client, "10.77.0.2:8081", "host 10.77.0.1")
	early()
	for _, c := range []struct{ name, id, n string }{
		{"PP-25 the first", "one", "9"},
		{"PP-25 the same port at another address", "two", "10"},
		{"PP-25 the same port at a former address", "three", "9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := s.at(t, c.id, "shop", c.n, wish+",8081:80/udp")
			for _, network := range []string{"tcp", "udp"} {
				s.Neighbour.GetsFrom(t, network, client, "10.77.0.2:8080", c.id+" 10.77.0.1")
			}
			// A client who talked to a process of the host before.
			s.Neighbour.GetsFrom(t, "udp", client, "10.77.0.2:8081", c.id+" 10.77.0.1")
			s.untouched(t)
			b.detach(t)
		})
	}
	t.Run("PP-25 nothing of it for who has the address then", func(t *testing.T) {
		b := s.at(t, "four", "shop", "9")
		s.Neighbour.GetsFrom(t, "udp", client, "10.77.0.2:8080", nettest.Refused)
		s.over(t, b)
	})
}

// TestPortsDrift has somebody else change lanhook's rules.
func TestPortsDrift(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop+back, true)
	web := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp,127.0.0.1:8081:80")
	far := s.at(t, "far", "back", "9", "publish=8090:80")
	want := linesOf(s.tablesOf(t, true))
	for name, script := range map[string]string{
		"PP-19 a port gone":           `delete element inet lanhook any4 { tcp . 8080 }`,
		"PP-19 a port elsewhere":      `delete element inet lanhook any4 { tcp . 8080 }; add element inet lanhook any4 { tcp . 8080 : 172.31.0.77 . 80 }`,
		"PP-19 a rule gone":           `flush chain inet lanhook forward`,
		"PP-19 a rule more":           `insert rule inet lanhook forward accept`,
		"PP-19 an address gone":       `delete element inet lanhook masquerade6 { fd31::9 }`,
		"PP-23 all tables gone":       `flush ruleset`,
		"PP-23 lanhook's table empty": `delete table inet lanhook; add table inet lanhook`,
	} {
		t.Run(name, func(t *testing.T) {
			s.clean(t)
			s.admin(t, script)
			if script == "flush ruleset" {
				s.admin(t, s.tables)
			}
			if s.drift(t) == "" {
				t.Error("check finds nothing")
			}
			r, err := s.setup.Repair(t.Context())
			if err != nil || len(r.Rules) == 0 {
				t.Errorf("repair gave %+v (%v)", r, err)
			}
			if diff := cmp.Diff(want, linesOf(s.tablesOf(t, true))); diff != "" {
				t.Errorf("rules (-before +after):\n%s", diff)
			}
			s.Neighbour.Gets(t, "tcp", "10.77.0.2:8080", "web 10.77.0.1")
			s.untouched(t)
		})
	}
	t.Run("PP-20 attached twice, repaired twice", func(t *testing.T) {
		if r := web.attach(t, "network=shop,ip=172.31.0.9,ip=fd31::9", "publish=8080:80,8080:80/udp,127.0.0.1:8081:80"); !r.Already {
			t.Errorf("attached as %+v", r)
		}
		if r, err := s.setup.Repair(t.Context()); err != nil || !r.None() {
			t.Errorf("repair gave %+v (%v)", r, err)
		}
		if diff := cmp.Diff(want, linesOf(s.tablesOf(t, true))); diff != "" {
			t.Errorf("rules (-before +after):\n%s", diff)
		}
	})
	s.over(t, web, far)
}

// TestPortsFlushedOrDetached: a detach over tables that are gone succeeds, and an attach over them makes them anew for all.
func TestPortsFlushedOrDetached(t *testing.T) {
	t.Parallel()
	s := newSite(t, shop, true)
	web, late := s.at(t, "web", "shop", "9", "publish=8080:80,8080:80/udp"), s.box(t, "late")
	flush := func() { s.admin(t, "add table inet lanhook; delete table inet lanhook") }
	flush()
	asks(t, question{"PP-23 gone", s.Neighbour, "10.77.0.2:8080", nettest.Refused})
	late.attach(t, "network=shop", "publish=8081:80")
	asks(t, question{"PP-23 back with the next container", s.Neighbour, "10.77.0.2:8080", "web 10.77.0.1"})
	late.detach(t)
	flush()
	s.over(t, web)
}
