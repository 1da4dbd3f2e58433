package store

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/netsetup/plan"
)

func testRecordRef(n int) Ref {
	r := testRecord(n)
	return r.Ref()
}

func TestRecords(t *testing.T) {
	s := newStore(t)
	fill(t, s, 3)
	second := testRecord(3)
	second.Container, second.Leases = "container-1", nil
	update(t, s, func(tx *Tx) error { return tx.Put(second) })

	t.Run("one", func(t *testing.T) {
		view(t, s, func(tx *Tx) error {
			got, ok, err := tx.Record(testRecordRef(2))
			if err != nil || !ok {
				t.Fatalf("found %v, error %v", ok, err)
			}
			if d := diff(testRecord(2), got); d != "" {
				t.Errorf("record (-want +got):\n%s", d)
			}
			return nil
		})
	})
	t.Run("how many", func(t *testing.T) {
		view(t, s, func(tx *Tx) error {
			if n, err := tx.Len(); n != 4 || err != nil {
				t.Errorf("%d, %v; want 4", n, err)
			}
			return nil
		})
	})
	t.Run("by container", func(t *testing.T) {
		for container, want := range map[string][]Record{
			"container-1": {testRecord(1), second}, "container": nil, "container-": nil, "container-2": {testRecord(2)},
		} {
			view(t, s, func(tx *Tx) error {
				got, err := tx.ByContainer(container)
				if err != nil {
					t.Fatal(err)
				}
				if d := diff(want, got); d != "" {
					t.Errorf("records of %s (-want +got):\n%s", container, d)
				}
				return nil
			})
		}
	})
	t.Run("another form", func(t *testing.T) {
		want := testRecord(0)
		want.State = Attached
		update(t, s, func(tx *Tx) error { return tx.Put(want) })
		if d := diff([]Record{want, testRecord(1), second, testRecord(2)}, mustAll(t, s)); d != "" {
			t.Errorf("records (-want +got):\n%s", d)
		}
	})
	t.Run("IP-08 delete what is not there", func(t *testing.T) {
		update(t, s, func(tx *Tx) error { return tx.Delete(testRecordRef(9)) })
	})
	t.Run("delete while going through", func(t *testing.T) {
		update(t, s, func(tx *Tx) error {
			for r, err := range tx.All() {
				if err != nil {
					return err
				}
				if r.ID != second.ID {
					if err := tx.Delete(r.Ref()); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if d := diff([]Record{second}, mustAll(t, s)); d != "" {
			t.Errorf("records (-want +got):\n%s", d)
		}
	})
}

func TestPutRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Record)
		want   string
	}{
		{"no id", func(r *Record) { r.ID = "" }, `id "" is not 10 characters`},
		{"id with capitals", func(r *Record) { r.ID = "ABCDEFGHIJ" }, `id "ABCDEFGHIJ" is not 10 characters`},
		{"no container", func(r *Record) { r.Container = "" }, "container id is empty"},
		{"NUL in container", func(r *Record) { r.Container = "a\x00b" }, `container id "a\x00b" has a NUL`},
		{"long container", func(r *Record) { r.Container = strings.Repeat("a", maxName+1) }, "container id has 4097 bytes"},
		{"no state", func(r *Record) { r.State = 0 }, "it has no state"},
		{"unknown state", func(r *Record) { r.State = 4 }, "it has no state"},
		{"NUL in shared link", func(r *Record) { r.Shared = []string{"\x00"} }, "has a NUL"},
		{"interface without name", func(r *Record) { r.Interfaces[0].Name = "" }, "interface is empty"},
		{"joined without id", func(r *Record) { r.Joined[0].ID = "" }, `joined record "" is not the id of one`},
		{"joined without container", func(r *Record) { r.Joined[0].Container = "" }, "joined container id is empty"},
		{"lease of another record", func(r *Record) { r.Leases[0].Record = testID(9) }, "belongs to another record"},
		{"lease of another container", func(r *Record) { r.Leases[0].Container = "x" }, "belongs to another record"},
		{"lease without scope", func(r *Record) { r.Leases[0].Scope = "" }, "scope is empty"},
		{"lease without interface", func(r *Record) { r.Leases[0].IfName = "" }, "interface is empty"},
		{"lease of nothing", func(r *Record) { r.Leases[0].Addr = netip.Addr{} }, "not of one IP address or one MAC"},
		{"lease of two", func(r *Record) { r.Leases[0].MAC = plan.MAC{2, 0, 0, 0, 0, 1} }, "not of one IP address or one MAC"},
		{"lease with zone", func(r *Record) { r.Leases[0].Addr = netip.MustParseAddr("fe80::1%eth0") }, "has a zone"},
		{"lease of IPv4 as IPv6", func(r *Record) { r.Leases[0].Addr = netip.MustParseAddr("::ffff:192.0.2.1") }, "IPv4 written as IPv6"},
		{"lease of long MAC", func(r *Record) { r.Leases[1].MAC = make(plan.MAC, 8) }, "does not have six bytes"},
		{"too large", func(r *Record) { r.Workload = strings.Repeat("a", maxValue) }, "bytes, more than 1048576"},
	}
	s := newStore(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := testRecord(0)
			test.change(&r)
			err := s.Update(t.Context(), func(tx *Tx) error { return tx.Put(r) })
			if err == nil || !strings.HasPrefix(err.Error(), "encode record: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	if list := mustAll(t, s); len(list) != 0 {
		t.Errorf("%d records were written", len(list))
	}
}

func TestUsers(t *testing.T) {
	s := newStore(t)
	fill(t, s, 3)
	other := testRecord(3)
	other.Shared = []string{"lh-apps2", "lh-apps2/x"}
	update(t, s, func(tx *Tx) error { return tx.Put(other) })
	expect := func(link string, want ...Ref) {
		t.Helper()
		view(t, s, func(tx *Tx) error {
			var got []Ref
			for ref, err := range tx.Users(link) {
				if err != nil {
					return err
				}
				got = append(got, ref)
			}
			if d := diff(want, got); d != "" {
				t.Errorf("users of %s (-want +got):\n%s", link, d)
			}
			return nil
		})
	}
	expect("lh-apps", testRecordRef(0), testRecordRef(1), testRecordRef(2))
	expect("lh-apps2", other.Ref())
	expect("lh-app")
	// One goes over to another link, one goes away.
	moved := testRecord(0)
	moved.Shared = []string{"lh-apps2"}
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Put(moved), tx.Delete(testRecordRef(1))) })
	expect("lh-apps", testRecordRef(2))
	expect("lh-apps2", moved.Ref(), other.Ref())
}

// TestSharedNames: each name once, whatever many records use it, and none of another thing whose name begins alike.
func TestSharedNames(t *testing.T) {
	s := newStore(t)
	for n, names := range [][]string{
		{"br0", "uplink/br0/10"}, {"br0", "uplink/br0/10", "uplink/br0/100-110"}, {"uplink/br0/1", "uplink/br01/7"}, {"uplink/br0/10", "uplink/a/1"},
	} {
		r := testRecord(n)
		r.Shared = names
		update(t, s, func(tx *Tx) error { return tx.Put(r) })
	}
	for prefix, want := range map[string][]string{
		"uplink/br0/": {"uplink/br0/1", "uplink/br0/10", "uplink/br0/100-110"}, "uplink/br01/": {"uplink/br01/7"}, "uplink/b/": nil,
	} {
		view(t, s, func(tx *Tx) error {
			got, err := tx.SharedNames(prefix)
			if d := diff(want, got); d != "" {
				t.Errorf("names that begin with %s (-want +got):\n%s", prefix, d)
			}
			return err
		})
	}
}

func TestInterfaceHolder(t *testing.T) {
	s := newStore(t)
	fill(t, s, 2)
	ns := testRecord(1).NetNS
	holder := func(ns NetNS, name string) (ref Ref, ok bool) {
		t.Helper()
		view(t, s, func(tx *Tx) (err error) {
			ref, ok, err = tx.InterfaceHolder(ns, name)
			return err
		})
		return ref, ok
	}
	if ref, ok := holder(ns, "eth0"); !ok || ref != testRecordRef(1) {
		t.Errorf("holder %v, %v, want the second record", ref, ok)
	}
	if ref, ok := holder(NetNS{Inode: ns.Inode + 5, Cookie: ns.Cookie}, "eth0"); !ok || ref != testRecordRef(1) {
		t.Errorf("holder %v, %v by the cookie alone, want the second record", ref, ok)
	}
	for name, none := range map[string]NetNS{
		"same inode, another cookie": {Inode: ns.Inode, Cookie: 1}, "same inode, no cookie": {Inode: ns.Inode}, "no identity": {},
	} {
		if ref, ok := holder(none, "eth0"); ok {
			t.Errorf("%s: holder %v, want none", name, ref)
		}
	}
	if ref, ok := holder(ns, "eth"); ok {
		t.Errorf("holder %v of part of the name, want none", ref)
	}

	t.Run("taken", func(t *testing.T) {
		r := testRecord(5)
		r.NetNS, r.Leases = ns, nil
		err := s.Update(t.Context(), func(tx *Tx) error { return tx.Put(r) })
		got := asError[*InUseError](t, err)
		want := "interface eth0 in network namespace 4026532001 is in use by container container-1"
		if got.Holder != testRecordRef(1) || got.Error() != want || got.Hint() == "" {
			t.Errorf("error %q, holder %v, hint %q, want %q", got, got.Holder, got.Hint(), want)
		}
	})
	t.Run("kernel without cookies", func(t *testing.T) {
		r := testRecord(6)
		r.NetNS.Cookie = 0
		update(t, s, func(tx *Tx) error { return tx.Put(r) })
		if ref, ok := holder(NetNS{Inode: r.NetNS.Inode}, "eth0"); !ok || ref != r.Ref() {
			t.Errorf("holder %v, %v, want that by inode", ref, ok)
		}
	})
	t.Run("gone", func(t *testing.T) {
		update(t, s, func(tx *Tx) error { return tx.Delete(testRecordRef(1)) })
		if ref, ok := holder(ns, "eth0"); ok {
			t.Errorf("holder %v of a deleted record's interface", ref)
		}
	})
}

// TestByNamespace puts records with and without interfaces into two namespaces, and takes them away again.
func TestByNamespace(t *testing.T) {
	s := newStore(t)
	fill(t, s, 2)
	ns := testRecord(1).NetNS
	owner, member, extra := testRecord(1), testRecord(2), testRecord(3)
	for _, r := range []*Record{&member, &extra} {
		r.NetNS, r.Leases, r.Shared, r.Joined = ns, nil, nil, []Ref{owner.Ref()}
	}
	member.Interfaces = nil
	extra.Interfaces[0].Name = "eth1"
	second := extra.Interfaces[0]
	second.Name = "eth2"
	extra.Interfaces = append(extra.Interfaces, second)
	expect := func(ns NetNS, want ...Record) {
		t.Helper()
		view(t, s, func(tx *Tx) error {
			got, err := tx.ByNamespace(ns)
			if d := diff(want, got); err != nil || d != "" {
				t.Errorf("error %v, records (-want +got):\n%s", err, d)
			}
			return nil
		})
	}
	expect(ns, owner)
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Put(member), tx.Put(extra)) })
	expect(ns, owner, member, extra)
	expect(testRecord(0).NetNS, testRecord(0))
	expect(NetNS{Inode: ns.Inode, Cookie: 1})
	expect(NetNS{})

	// One gets an interface, and one loses all that it has.
	member.Interfaces, extra.Interfaces = []plan.Interface{second}, nil
	member.Interfaces[0].Name = "eth3"
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Put(member), tx.Put(extra)) })
	expect(ns, owner, member, extra)
	update(t, s, func(tx *Tx) error { return errors.Join(tx.Delete(owner.Ref()), tx.Delete(extra.Ref())) })
	expect(ns, member)
	update(t, s, func(tx *Tx) error { return tx.Delete(member.Ref()) })
	expect(ns)
	checkDatabase(t, s)
}

func TestLeases(t *testing.T) {
	s := newStore(t)
	fill(t, s, 2)
	r := testRecord(7)
	addr := func(text string) Lease {
		return Lease{Scope: "lan", Addr: netip.MustParseAddr(text), Record: r.ID, Container: r.Container, IfName: "eth0"}
	}
	mac := Lease{Scope: "lan", MAC: plan.MAC{2, 0, 0, 0, 0, 1}, Record: r.ID, Container: r.Container, IfName: "eth0"}
	r.Leases = []Lease{addr("10.0.0.1"), addr("2001:db8::1"), mac}
	expect := func(scope string, want ...Lease) {
		t.Helper()
		view(t, s, func(tx *Tx) error {
			var got []Lease
			for lease, err := range tx.Leases(scope) {
				if err != nil {
					return err
				}
				got = append(got, lease)
			}
			if d := diff(want, got); d != "" {
				t.Errorf("leases of %s (-want +got):\n%s", scope, d)
			}
			return nil
		})
	}
	t.Run("IP-26 one address in two scopes", func(t *testing.T) {
		update(t, s, func(tx *Tx) error {
			if lease, ok, err := tx.Holder("apps", r.Leases[0].Addr); err != nil || !ok || lease.Container != "container-1" {
				t.Errorf("holder %v, %v, error %v, want container-1", lease, ok, err)
			}
			if lease, ok, err := tx.Holder("lan", r.Leases[0].Addr); err != nil || ok {
				t.Errorf("holder %v, %v, error %v in the other scope, want none", lease, ok, err)
			}
			return tx.Put(r)
		})
		expect("lan", r.Leases...)
	})
	t.Run("holder of a MAC address", func(t *testing.T) {
		view(t, s, func(tx *Tx) error {
			lease, ok, err := tx.HolderMAC("lan", mac.MAC)
			if d := diff(mac, lease); d != "" || !ok || err != nil {
				t.Errorf("found %v, error %v, lease (-want +got):\n%s", ok, err, d)
			}
			if lease, ok, err := tx.HolderMAC("apps", mac.MAC); ok || err != nil {
				t.Errorf("holder %v, %v, error %v in the other scope, want none", lease, ok, err)
			}
			return nil
		})
	})
	t.Run("where an address is", func(t *testing.T) {
		for scope, want := range map[string]string{
			"lan": "lan", "lan:eth0": "eth0", "lan:eth0+50": "eth0+50", "bridge:br0": "bridge br0", "bridge:br0:7": "bridge br0 in VLAN 7",
		} {
			l := Lease{Scope: scope, Addr: netip.MustParseAddr("10.0.0.1")}
			if got := l.what(); got != "address 10.0.0.1 on "+want {
				t.Errorf("in %s: %q, want it on %s", scope, got, want)
			}
		}
	})
	t.Run("in use", func(t *testing.T) {
		taker := testRecord(8)
		taker.Leases = []Lease{{Scope: "lan", Addr: netip.MustParseAddr("10.9.9.9")}, r.Leases[0]}
		for i := range taker.Leases {
			taker.Leases[i].Record, taker.Leases[i].Container, taker.Leases[i].IfName = taker.ID, taker.Container, "eth1"
		}
		want := "address 10.0.0.1 on lan is in use by interface eth0 of container container-7 (web)"
		update(t, s, func(tx *Tx) error {
			for name, err := range map[string]error{
				"put": tx.Put(taker), "take": tx.Take(taker.Leases[1]), "free": tx.Free(taker.Leases[1]),
			} {
				got := asError[*InUseError](t, err)
				if got.Error() != want || got.Holder != r.Ref() || got.IfName != "eth0" {
					t.Errorf("%s: error %q, holder %v, want %q", name, got, got.Holder, want)
				}
			}
			for name, lease := range map[string]Lease{"nobody's": taker.Leases[0], "its own": r.Leases[0]} {
				if err := tx.Free(lease); err != nil {
					t.Errorf("%s lease: error %v, want that it is free", name, err)
				}
			}
			return nil // the refused put has left nothing to commit, and asking takes nothing
		})
		expect("lan", r.Leases...)
	})
	t.Run("take and put", func(t *testing.T) {
		more := addr("10.0.0.2")
		update(t, s, func(tx *Tx) error {
			if err := tx.Take(more); err != nil {
				return err
			}
			if lease, ok, err := tx.Holder("lan", more.Addr); !ok || err != nil || lease.Container != r.Container {
				t.Errorf("holder %v, %v, error %v right after it was taken", lease, ok, err)
			}
			r.Leases = []Lease{addr("10.0.0.1"), more}
			return tx.Put(r)
		})
		expect("lan", r.Leases...)
	})
	t.Run("take without put", func(t *testing.T) {
		err := s.Update(t.Context(), func(tx *Tx) error { return tx.Take(addr("10.0.0.3")) })
		if err == nil || !strings.Contains(err.Error(), "address 10.0.0.3 on lan was taken for record container-7/") {
			t.Errorf("error %v, want that the address was taken and not put", err)
		}
		expect("lan", r.Leases...)
	})
	t.Run("gone with the record", func(t *testing.T) {
		update(t, s, func(tx *Tx) error { return tx.Delete(r.Ref()) })
		expect("lan")
		expect("apps", testRecord(0).Leases[0], testRecord(1).Leases[0], testRecord(0).Leases[1], testRecord(1).Leases[1])
	})
}
