package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// roleVariable makes the test binary one of several processes of a test, see [TestMain].
const roleVariable = "LANHOOK_STORE_TEST_ROLE"

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite the golden files")
	role, dir := os.Getenv(roleVariable), os.Getenv("LANHOOK_STORE_TEST_DIR")
	if role == "" {
		os.Exit(m.Run())
	}
	if err := play(role, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func newStore(t testing.TB) *Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "state"))
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// all are the records of the store, in order.
func all(ctx context.Context, s *Store) ([]Record, error) {
	var list []Record
	err := s.View(ctx, func(tx *Tx) error {
		for r, err := range tx.All() {
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return nil
	})
	return list, err
}

func mustAll(t testing.TB, s *Store) []Record {
	t.Helper()
	list, err := all(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty())
}

// asError is errors.AsType that fails the test.
func asError[E error](t testing.TB, err error) E {
	t.Helper()
	target, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("error %v (%T), want a %T", err, err, target)
	}
	return target
}

// testID makes a record's id of a number.
func testID(n int) string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	id := make([]byte, idLen)
	for i := idLen - 1; i >= 0; i-- {
		id[i] = digits[n%len(digits)]
		n /= len(digits)
	}
	return string(id)
}

// testRecord makes a record with all fields set, a step of each kind that an attach has, two leases, a shared link and
// an interface. Those of two numbers up to 60,000 have nothing in common.
func testRecord(n int) Record {
	id, container := testID(n), fmt.Sprintf("container-%d", n)
	mac := plan.MAC{2, 0x42, 0, 0, byte(n >> 8), byte(n)}
	addr := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	publish := plan.Publish{
		Addr: netip.IPv4Unspecified(), Host: 40000, Count: 1, To: netip.AddrPortFrom(addr, 80),
	}
	return Record{
		Version: Version, ID: id, Container: container, Workload: "web", State: Pending,
		BootID: "5c2f4e0a-0000-4000-8000-000000000001", Host: HostNetNS{Inode: 4026531840, Cookie: 1},
		NetNS:   NetNS{Inode: 4026532000 + uint64(n), Cookie: 1000 + uint64(n), NSID: -1, Path: "/proc/7/ns/net"},
		Process: Process{PID: 7, Start: 70}, Writer: Process{PID: 8, Start: 80}, Runtime: "runc",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Steps: append(plan.Steps{
			plan.EnsureBridge{
				Name: "lh-apps", MAC: mac, MTU: 1500, Forward: true, Localnet: true, Filtered: true, VLANs: true, VRF: "red",
				Addresses: []netip.Prefix{netip.MustParsePrefix("172.30.0.1/16"), netip.MustParsePrefix("fd00:30::1/64")},
			},
			plan.AddVeth{Name: "lv" + id, MAC: mac, Bridge: "lh-apps", Peer: "lp" + id, PeerMAC: mac, MTU: 1500},
			plan.EnsureForwarding{Links: []string{"ens192"}, V6: true},
			plan.ReservePorts{Ports: []uint16{40000}},
			plan.AddRules{Record: id, Of: []plan.Rules{{
				Bridge: "lh-apps", Port: "lv" + id, Gate: plan.NAT, ICC: true, Isolate: true,
				Addresses: []netip.Addr{addr}, Masquerade: []netip.Addr{addr}, Publish: []plan.Publish{publish},
				Detour: []netip.Addr{addr}, Unbound: []netip.Addr{addr}, Spoof: true, MAC: mac, Out: policy.Rate{Bits: 1e6, Burst: 32768},
			}}},
			plan.SetRate{If: "lv" + id, Rate: policy.Rate{Bits: 1e9, Burst: 1250000}},
			plan.AddGuard{Table: "lm" + id, If: "eth1", Spoof: true, MAC: mac, Addresses: []netip.Addr{addr}},
			plan.AddMacvlan{Name: "lm" + id, Parent: "eth0", ParentIndex: 2, Mode: policy.ModeBridge, MAC: mac, MTU: 1500},
			plan.SetSysctls{If: "lv" + id, Values: []request.Sysctl{{Key: "net.ipv6.conf.IFNAME.accept_ra", Value: "0"}}},
			plan.AddAddress{If: "lv" + id, Address: netip.PrefixFrom(addr, 8)},
			plan.SetLink{From: "lv" + id, Name: "eth0", Alias: "lanhook " + id},
			plan.AddRoute{If: "eth0", Route: request.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: addr}},
		}, testLinks(id, mac, addr)...),
		Interfaces: []plan.Interface{{
			Name: "eth0", Network: "apps", Driver: "bridge", Uplink: "lh-apps", MAC: mac, MTU: 1500, Rule: "web",
			Addresses: []netip.Prefix{netip.PrefixFrom(addr, 8)}, Gateways: []netip.Addr{addr},
			Publish: []plan.Publish{publish},
		}},
		Leases: []Lease{
			{Scope: "apps", Addr: addr, Record: id, Container: container, IfName: "eth0"},
			{Scope: "apps", MAC: mac, Record: id, Container: container, IfName: "eth0"},
		},
		Shared: []string{"lh-apps"},
		Guest:  "0123456789abcdef", Names: []string{"apps"}, Joined: []Ref{{Container: "owner", ID: testID(n + 60000)}}, Left: true, Sandbox: true,
		Warnings: []string{"eth0: no router has given an IPv6 address yet"},
	}
}

// testLinks are steps about links of other kinds than macvlan and bridge.
func testLinks(id string, mac plan.MAC, addr netip.Addr) plan.Steps {
	outer, inner := policy.Tag{ID: 100, Protocol: policy.Dot1AD}, policy.Tag{ID: 20, Protocol: policy.Dot1Q}
	return plan.Steps{
		plan.EnsureVLAN{Name: "ens192.100", Parent: "ens192", Tag: outer},
		plan.AddIPVLAN{Name: "li" + id, Parent: "ens192.100", Mode: policy.ModeL3S, Flag: policy.FlagVEPA, Index: 7, MTU: 1400},
		plan.AddVLAN{Name: "ln" + id, Parent: "ens192.100", ParentIndex: 9, Tag: inner, Index: 8, MAC: mac, MTU: 1400},
		plan.MoveLink{
			Name: "ld" + id, Alias: "lanhook " + id, Index: 9, MAC: mac, MTU: 1400,
			Device: plan.Device{
				Name: "ens224", Index: 3, MAC: mac, Permanent: mac, Path: "/sys/devices/pci0000:00/0000:00:03.0", MTU: 1500, Up: true,
				Addresses: []plan.DeviceAddress{{
					Address: netip.PrefixFrom(addr, 8), Peer: addr, Broadcast: addr, Label: "ens224:1", Scope: 253, Flags: 0x200, Metric: 7,
				}},
				NoARP: true, NoMulticast: true, Group: 7, Parent: 9,
				NoIPv6: true, Promiscuous: true, AllMulti: true, TxQueueLen: 1000, Alias: "left", AltNames: []string{"enp3s0"}, Kind: "can",
			},
		},
		plan.EnsureUplink{Bridge: "lh-apps", Link: "ens256", VLANs: []policy.VLANRange{{From: 10, To: 10}, {From: 20, To: 29}}, DefaultVLAN: true},
		plan.AddRouteRule{From: addr, Table: 70000, Priority: 1000},
		plan.AwaitAddresses{Links: []plan.Await{{If: "eth0", Wait: 3 * time.Second}}},
	}
}

// fill puts records 0 to n-1.
func fill(t testing.TB, s *Store, n int) []Record {
	t.Helper()
	var list []Record
	update(t, s, func(tx *Tx) error {
		for i := range n {
			list = append(list, testRecord(i))
			if err := tx.Put(list[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return mustAll(t, s)
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// replace puts a file in the place of another, as a new one.
func replace(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".other", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".other", path); err != nil {
		t.Fatal(err)
	}
}
