//go:build linux

package netsetup_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/netsetup"
	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/tests/nettest"
)

// everything is the rule that stands behind the networks of each test: what may be had is the policy's tests' matter.
const everything = `

[[rule]]
name      = "all"
match     = {}
networks  = ["*"]
netns     = ["host", "none", "container:*"]
ip        = true
mac       = true
names     = ["*"]
sysctl    = ["*"]
publish   = true
dnat      = true
slaac     = true
spell-out = { drivers = ["macvlan", "bridge", "ipvlan", "vlan"], parents = ["*"], vlans = ["1-4094"] }
`

// world is lanhook on a host of the test's own.
type world struct {
	*nettest.Net
	setup *netsetup.Setup
	// policyFile and stateDir are for the program; setup works with the same.
	policyFile, stateDir string
}

// newWorld makes a host with the networks of a policy. Without the right to do so the test is skipped.
func newWorld(t *testing.T, networks string) *world {
	t.Helper()
	nettest.Need(t, nettest.Macvlan)
	dir := t.TempDir()
	w := &world{
		Net:        nettest.New(t),
		policyFile: filepath.Join(dir, "policy.toml"),
		stateDir:   filepath.Join(dir, "state"),
	}
	boot, err := process.BootID()
	if err != nil {
		t.Fatal(err)
	}
	self, err := process.Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(w.stateDir)
	if err != nil {
		t.Fatal(err)
	}
	var h *kernel.Host
	w.Host.Do(t, func() { h, err = kernel.Open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if closeErr := h.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	})
	w.setup = &netsetup.Setup{Store: st, Host: h, HostID: "host", BootID: boot, Self: self}
	w.usePolicy(t, networks)
	return w
}

// forwards has the host's wire forward IPv4, which lanhook turns on for a link by which something comes in, and does not
// turn off again; and its loopback up. The host must in the end be like now.
func (w *world) forwards(t *testing.T) {
	t.Helper()
	change(t, w.Host, "lo", netlink.LinkSetUp)
	w.Host.Do(t, func() { nettest.WriteSysctl(t, "ipv4/conf/"+nettest.Parent+"/forwarding", "1") })
	w.Host.Remember(t)
}

// usePolicy reads other networks, as if the administrator had edited the file.
func (w *world) usePolicy(t *testing.T, networks string) {
	t.Helper()
	text := []byte("version = 1\n" + networks + everything)
	p, err := policy.Decode([]policy.File{{Name: "policy.toml", Data: text}})
	if err != nil {
		t.Fatal(err)
	}
	w.setup.Policy = p
	if err := os.WriteFile(w.policyFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// records are what the store has.
func (w *world) records(t *testing.T) []store.Record {
	t.Helper()
	var all []store.Record
	err := w.setup.Store.View(t.Context(), func(tx *store.Tx) error {
		for rec, err := range tx.All() {
			if err != nil {
				return err
			}
			all = append(all, rec)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// leases are the addresses, IP and MAC, that a network's parent or bridge has given away, by name of the link.
func (w *world) leases(t *testing.T, network string) []store.Lease {
	t.Helper()
	n := w.setup.Policy.Networks[network]
	uplink, err := w.setup.Uplink(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	var all []store.Lease
	err = w.setup.Store.View(t.Context(), func(tx *store.Tx) error {
		for lease, err := range tx.Leases(n.Scope(uplink.Wire)) {
			if err != nil {
				return err
			}
			all = append(all, lease)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// empty fails the test unless nothing is left: no record, no lease, and the host as it was.
func (w *world) empty(t *testing.T) {
	t.Helper()
	if all := w.records(t); len(all) > 0 {
		t.Errorf("records are left: %+v", all)
	}
	for name := range w.setup.Policy.Networks {
		if all := w.leases(t, name); len(all) > 0 {
			t.Errorf("leases of %s are left: %+v", name, all)
		}
	}
	w.Host.Same(t)
}

// recordsOf are the records of one container.
func (w *world) recordsOf(t *testing.T, id string) []store.Record {
	t.Helper()
	return slices.DeleteFunc(w.records(t), func(r store.Record) bool { return r.Container != id })
}

type linker interface {
	Link(name string) (kernel.State, bool, error)
}

func mustLink(t *testing.T, from linker, name string) kernel.State {
	t.Helper()
	s, ok, err := from.Link(name)
	if err != nil || !ok {
		t.Fatalf("link %s: there %t (%v)", name, ok, err)
	}
	return s
}

// hostLink reads one link of the host.
func (w *world) hostLink(t *testing.T, name string) kernel.State {
	t.Helper()
	return mustLink(t, w.setup.Host, name)
}

// links are the names of the host's links.
func (w *world) links(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, l := range linkList(t, w.Host) {
		names = append(names, l.Attrs().Name)
	}
	return names
}

// linkList are the links of a namespace, the oldest first.
func linkList(t *testing.T, s *nettest.Space) []netlink.Link {
	t.Helper()
	var list []netlink.Link
	s.Do(t, func() {
		var err error
		list, err = netlink.LinkList()
		for errors.Is(err, netlink.ErrDumpInterrupted) { // a link came or went meanwhile
			list, err = netlink.LinkList()
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	slices.SortFunc(list, func(x, y netlink.Link) int { return x.Attrs().Index - y.Attrs().Index })
	return list
}

// change changes a link of a namespace as an administrator does.
func change(t *testing.T, s *nettest.Space, name string, fn func(netlink.Link) error) {
	t.Helper()
	s.Do(t, func() {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = fn(l)
		}
		if err != nil {
			t.Fatalf("change link %s: %v", name, err)
		}
	})
}

// adminBridge makes a bridge on the host as an administrator does, with a port that is there to stay: with its first
// carrier a bridge gets an IPv6 address, which it then keeps. Host and bridge must in the end be like now.
func (w *world) adminBridge(t *testing.T, name string, addresses ...string) {
	t.Helper()
	addBridge(t, w.Host, name, addresses...)
	w.Host.Do(t, func() {
		bridge, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		a := netlink.NewLinkAttrs()
		a.Name, a.MasterIndex, a.Flags = "port0", bridge.Attrs().Index, net.FlagUp
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "port1"}); err != nil {
			t.Fatal(err)
		}
	})
	change(t, w.Host, "port1", netlink.LinkSetUp)
	nettest.Eventually(t, name+" has its own address", func() bool {
		return len(w.hostLink(t, name).Addresses) > len(addresses)
	})
	w.Host.Remember(t)
}

// addBridge makes a bridge, up, with addresses.
func addBridge(t *testing.T, s *nettest.Space, name string, addresses ...string) {
	t.Helper()
	s.Do(t, func() {
		a := netlink.NewLinkAttrs()
		a.Name = name
		// A bridge without an address of its own takes its ports'.
		a.HardwareAddr = []byte{0x02, 0x71, 0, 0, 0, byte(len(name))}
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			t.Fatal(err)
		}
	})
	change(t, s, name, netlink.LinkSetUp)
	s.Do(t, func() {
		for _, p := range addresses {
			nettest.AddAddress(t, name, netip.MustParsePrefix(p))
		}
	})
}

// readSetting reads a file below /proc/sys/net of a namespace.
func readSetting(t *testing.T, s *nettest.Space, name string) string {
	t.Helper()
	var raw []byte
	s.Do(t, func() {
		var err error
		if raw, err = os.ReadFile("/proc/sys/net/" + name); err != nil {
			t.Fatal(err)
		}
	})
	return strings.TrimSpace(string(raw))
}

// same fails the test unless a namespace is as it was.
func same(t *testing.T, before string, s *nettest.Space) {
	t.Helper()
	after := s.Snapshot(t)
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); diff != "" {
		t.Errorf("%s is not as it was (-before +after):\n%s", s.Name, diff)
	}
}
