//go:build linux

package netsetup_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// rival is a host of the LAN that lanhook knows nothing of.
const rival = "d0:de:ad:00:00:09"

// arpFrame is an ARP packet of the rival's to all (RFC 826).
func arpFrame(t *testing.T, operation uint16, sender, target netip.Addr) []byte {
	t.Helper()
	mac, err := net.ParseMAC(rival)
	if err != nil {
		t.Fatal(err)
	}
	frame := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, []byte{8, 6, 0, 1, 8, 0, 6, 4})
	frame = binary.BigEndian.AppendUint16(frame, operation)
	frame = slices.Concat(frame, mac, sender.AsSlice(), make([]byte, 6), target.AsSlice())
	return append(frame, make([]byte, 60-len(frame))...)
}

// isProbe says whether a frame asks for an address as RFC 5227 has it: from nobody's.
func isProbe(frame []byte, addr netip.Addr) bool {
	return len(frame) >= 42 && frame[12] == 8 && frame[13] == 6 && slices.Equal(frame[28:32], make([]byte, 4)) &&
		slices.Equal(frame[38:42], addr.AsSlice())
}

// attaching attaches a container while the test plays somebody else.
func (b *box) attaching(t *testing.T, annotations ...string) <-chan error {
	t.Helper()
	c, done := b.container(t, annotations...), make(chan error, 1)
	go func() {
		_, err := b.w.setup.Attach(t.Context(), c)
		done <- err
	}()
	return done
}

// Somebody else asks for the address at the same time, or answers long after it was asked.
func TestConflictTiming(t *testing.T) {
	addr := netip.MustParseAddr("10.77.0.9")
	for _, c := range []struct {
		name, conflict, want string
		wait                 time.Duration
		reply                bool
	}{
		{"asked for at the same time", "next", rival + " is about to take address 10.77.0.9, too", 0, false},
		{"answered late", "rfc", "address 10.77.0.9 is in use on the LAN, by " + rival, 300 * time.Millisecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, strings.Replace(lan4, "[network.lan]", fmt.Sprintf("[network.lan]\nconflict = %q", c.conflict), 1))
			b := w.box(t, "c")
			tap := w.Neighbour.Tap(t, nettest.PeerName)
			done := b.attaching(t, "network=lan,ip=10.77.0.9")
			tap.Until(t, func(frame []byte) bool { return isProbe(frame, addr) })
			time.Sleep(c.wait)
			if c.reply {
				tap.Send(t, arpFrame(t, 2, addr, addr))
			} else {
				tap.Send(t, arpFrame(t, 1, netip.IPv4Unspecified(), addr))
			}
			if err := <-done; err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			b.Same(t)
			w.empty(t)
		})
	}
}

// Who answers with a tag that only gives a priority (IEEE 802.1Q) is on the same LAN, and who answers in a VLAN is not.
func TestConflictTagged(t *testing.T) {
	addr := netip.MustParseAddr("10.77.0.9")
	for name, c := range map[string]struct {
		vlan  byte
		taken bool
	}{
		"priority": {0, true},
		"VLAN":     {7, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lan4)
			b := w.box(t, "c")
			tap := w.Neighbour.Tap(t, nettest.PeerName)
			done := b.attaching(t, "network=lan,ip=10.77.0.9")
			tap.Until(t, func(frame []byte) bool { return isProbe(frame, addr) })
			reply := arpFrame(t, 2, addr, addr)
			tap.Send(t, slices.Concat(reply[:12], []byte{0x81, 0, 0xc0, c.vlan}, reply[12:]))
			if err := <-done; (err != nil) != c.taken {
				t.Errorf("got %v", err)
			}
			if !c.taken {
				b.detach(t)
			}
			b.Same(t)
			w.empty(t)
		})
	}
}

// A host that has all addresses keeps no attach busy for ever, and is named.
func TestConflictCutOff(t *testing.T) {
	w := newWorld(t, lan4)
	b := w.box(t, "c")
	tap := w.Neighbour.Tap(t, nettest.PeerName)
	c, done := b.container(t, "network=lan"), make(chan error, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		_, err := w.setup.Attach(ctx, c)
		done <- err
	}()
	answered := map[string]bool{}
	tap.Until(t, func(frame []byte) bool {
		if len(frame) < 42 || frame[12] != 8 || frame[13] != 6 {
			return false
		}
		asked := netip.AddrFrom4([4]byte(frame[38:42]))
		tap.Send(t, arpFrame(t, 2, asked, asked))
		answered[asked.String()] = true
		return len(answered) == 4
	})
	cancel(errors.New("the engine does not wait any longer"))
	err := <-done
	for _, want := range []string{"the engine does not wait any longer", "addresses that were tried", "is in use on the LAN, by " + rival} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	b.Same(t)
	w.empty(t)
}

// As many containers as a /24 has addresses are attached at once, beside neighbours that lanhook knows nothing of: all get
// one, none gets another's.
func TestConflictWholeSubnet(t *testing.T) {
	w := newWorld(t, `
[network.all]
driver = "macvlan"
parent = "p0"

  [[network.all.subnet]]
  subnet = "10.79.0.0/24"
`)
	seen := map[netip.Addr]string{}
	for _, a := range []string{"10.79.0.1", "10.79.0.10", "10.79.0.120", "10.79.0.254"} {
		w.Neighbour.Do(t, func() { nettest.AddAddress(t, nettest.PeerName, netip.MustParsePrefix(a+"/24")) })
		seen[netip.MustParseAddr(a)] = "the neighbour"
	}
	const n = 250
	boxes, results := w.crowd(t, n), make([]netsetup.Result, n)
	wants := make([]netsetup.Container, n)
	for i, b := range boxes {
		wants[i] = b.container(t, "network=all")
	}
	together(t, n, func(i int) (err error) {
		results[i], err = w.setup.Attach(t.Context(), wants[i])
		return err
	})
	for i, r := range results {
		if len(r.Interfaces) == 0 {
			continue // its error is told
		}
		a := r.Interfaces[0].Addresses[0].Addr()
		if other, twice := seen[a]; twice {
			t.Errorf("%s has %s, as has %s", boxes[i].id, a, other)
		}
		seen[a] = boxes[i].id
	}
	one := w.plainBox(t, "one-more")
	if _, err := w.setup.Attach(t.Context(), one.container(t, "network=all")); err == nil || !strings.Contains(err.Error(), "no address is free") {
		t.Errorf("one more got %v", err)
	}
	together(t, n, func(i int) error { return w.release(t.Context(), wants[i].ID) })
	w.empty(t)
}

// secondHost is lanhook on the neighbour, with a state of its own.
func (w *world) secondHost(t *testing.T, networks string) *netsetup.Setup {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Decode([]policy.File{{Name: "policy.toml", Data: []byte("version = 1\n" + networks + everything)}})
	if err != nil {
		t.Fatal(err)
	}
	var h *kernel.Host
	w.Neighbour.Do(t, func() { h, err = kernel.Open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	s := *w.setup
	s.Store, s.Policy, s.Host, s.HostID = st, p, h, "other"
	return &s
}

// Two hosts that do not know of each other give out the addresses of one LAN at once. All but all are given out: whoever
// asks at the same time as another goes on to the next.
func TestConflictTwoHosts(t *testing.T) {
	const n = 12
	network := func(parent string) string {
		return fmt.Sprintf(`
[network.shared]
driver = "macvlan"
parent = %q

  [[network.shared.subnet]]
  subnet = "10.79.0.0/27"

  [[network.shared.subnet]]
  subnet = "fd79::/123"
`, parent)
	}
	w := newWorld(t, network(nettest.Parent))
	hosts := []*netsetup.Setup{w.setup, w.secondHost(t, network(nettest.PeerName))}
	boxes, results := w.crowd(t, 2*n), make([]netsetup.Result, 2*n)
	wants := make([]netsetup.Container, 2*n)
	for i, b := range boxes {
		wants[i] = b.container(t, "network=shared", fmt.Sprintf("name=same%d", i/2))
	}
	together(t, 2*n, func(i int) (err error) {
		results[i], err = hosts[i%2].Attach(t.Context(), wants[i])
		return err
	})
	if t.Failed() {
		t.FailNow()
	}
	seen := map[netip.Addr]string{}
	for i, r := range results {
		for _, p := range r.Interfaces[0].Addresses {
			if other, twice := seen[p.Addr()]; twice {
				t.Errorf("%s has %s, as has %s", boxes[i].id, p.Addr(), other)
			}
			seen[p.Addr()] = boxes[i].id
		}
	}
	boxes[0].Ping(t, results[2*n-1].Interfaces[0].Addresses[0].Addr())
	boxes[2*n-1].Ping(t, results[0].Interfaces[0].Addresses[1].Addr())
	together(t, 2*n, func(i int) error { return hosts[i%2].Release(t.Context(), results[i].Ref) })
	w.empty(t)
}

// An address goes from a container that has just ended to another one, though the kernel has not taken the old namespace
// apart yet, which answers for it until then.
func TestConflictWithTheDying(t *testing.T) {
	w := newWorld(t, lan4)
	for _, b := range w.crowd(t, 40) {
		b.attach(t, "network=lan,ip=10.77.0.9")
		b.End()
		if err := w.release(t.Context(), b.id); err != nil {
			t.Fatal(err)
		}
	}
	w.empty(t)
}

// Whoever waits for an address that somebody has does not flood the LAN with questions.
func TestConflictAsksSeldom(t *testing.T) {
	w := newWorld(t, strings.Replace(lan4, "driver", `reserve = { printer = "10.77.0.77" }`+"\ndriver", 1))
	addr := netip.MustParseAddr("10.77.0.77")
	w.Neighbour.Do(t, func() { nettest.AddAddress(t, nettest.PeerName, netip.PrefixFrom(addr, 24)) })
	b := w.box(t, "c")
	tap := w.Neighbour.Tap(t, nettest.PeerName)
	got := onlyAddress(t, b.attach(t, "network=lan", "name=printer").Interfaces[0], netip.Addr.Is4)
	asked := 0
	for _, frame := range tap.Until(t, func(frame []byte) bool { return isProbe(frame, got) }) {
		if isProbe(frame, addr) {
			asked++
		}
	}
	if asked < 2 || asked > 60 {
		t.Errorf("asked %d times for %s", asked, addr)
	}
	w.done(t, b)
}

// A LAN with nobody on it, because the parent has no carrier, is no reason to wait or to fail.
func TestConflictWithoutCarrier(t *testing.T) {
	w := newWorld(t, lan)
	change(t, w.Neighbour, nettest.PeerName, netlink.LinkSetDown)
	w.Host.Remember(t)
	b := w.box(t, "c")
	b.attach(t, "network=lan")
	b.detach(t)
	w.empty(t)
}

// What repair announces again, a neighbour takes that had another MAC address for it.
func TestRepairAnnounces(t *testing.T) {
	w := newWorld(t, lan)
	b := w.box(t, "c")
	r := b.attach(t, "network=lan")
	for _, p := range r.Interfaces[0].Addresses {
		w.Neighbour.Do(t, func() {
			l, err := netlink.LinkByName(nettest.PeerName)
			if err == nil {
				err = netlink.NeighSet(&netlink.Neigh{
					LinkIndex: l.Attrs().Index, IP: p.Addr().AsSlice(), HardwareAddr: []byte{0xd0, 0, 0, 0, 0, 1}, State: netlink.NUD_STALE,
				})
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	repaired, err := w.setup.Repair(t.Context())
	if err != nil || repaired.Announced != 1 || !repaired.None() {
		t.Errorf("repaired %+v (%v)", repaired, err)
	}
	for _, p := range r.Interfaces[0].Addresses {
		nettest.Eventually(t, "the neighbour knows the MAC address of "+p.String(), func() bool {
			return w.neighbour(t, p.Addr()).String() == r.Interfaces[0].MAC.String()
		})
	}
	b.detach(t)
	w.empty(t)
}

// A namespace without a first process that is known, and one whose first process has ended, are announced as long as they live.
func TestRepairAnnouncesNamespaces(t *testing.T) {
	w := newWorld(t, remakes)
	named, held, ended := w.box(t, "named"), w.plainBox(t, "held"), w.plainBox(t, "ended")
	c := named.container(t, "network=lan,ip=10.77.0.9")
	c.Process = process.Process{}
	if _, err := w.setup.Attach(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	held.attach(t, "network=lan,ip=10.77.0.10")
	_, endJoined := join(t, held.Space)
	held.End()
	ended.attach(t, "network=lan,ip=10.77.0.11")
	ended.ended(t)
	if r, err := w.setup.Repair(t.Context()); err != nil || r.Announced != 2 {
		t.Errorf("repaired %+v (%v)", r, err)
	}
	for _, b := range []*box{held, ended} {
		b.detachAny(t)
	}
	endJoined()
	w.done(t, named)
}

// What a container has removed is announced no more, since it may be another host's by now; the rest of what it has still is.
func TestRepairAnnouncesWhatIsThere(t *testing.T) {
	w := newWorld(t, remakes)
	b := w.box(t, "c")
	b.attach(t, "network=lan,ip=10.77.0.9", "network.eth1=other,ip=10.88.0.9", "network.eth2=other,ip=10.88.0.10")
	change(t, b.Space, "eth0", netlink.LinkDel)
	change(t, b.Space, "eth1", func(l netlink.Link) error {
		return netlink.AddrDel(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IP{10, 88, 0, 9}, Mask: net.CIDRMask(24, 32)}})
	})
	tap := w.Neighbour.Tap(t, nettest.PeerName)
	if r, err := w.setup.Repair(t.Context()); err != nil || r.Announced != 1 {
		t.Errorf("repaired %+v (%v)", r, err)
	}
	announces := func(frame []byte, last byte) bool {
		return len(frame) >= 42 && frame[12] == 8 && frame[13] == 6 && frame[31] == last && slices.Equal(frame[28:32], frame[38:42])
	}
	for _, frame := range tap.Until(t, func(frame []byte) bool { return announces(frame, 10) }) {
		if announces(frame, 9) {
			t.Errorf("announced %s, which the container has no more", net.IP(frame[28:32]))
		}
	}
	w.done(t, b)
}

// neighbour is the MAC address that the neighbour has for an address.
func (w *world) neighbour(t *testing.T, addr netip.Addr) (mac net.HardwareAddr) {
	t.Helper()
	w.Neighbour.Do(t, func() {
		list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			t.Fatal(err)
		}
		for _, n := range list {
			if n.IP.Equal(addr.AsSlice()) {
				mac = n.HardwareAddr
			}
		}
	})
	return mac
}
