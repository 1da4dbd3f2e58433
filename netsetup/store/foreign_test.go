package store

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// TestForeign keeps the addresses of others by LAN, and forgets those of one LAN that are too old when it learns more of it.
func TestForeign(t *testing.T) {
	s := newStore(t)
	at := func(second int64) time.Time { return time.Unix(1_700_000_000+second, 0).UTC() }
	foreign := func(scope, addr string, mac byte, seen time.Time) Foreign {
		return Foreign{Scope: scope, Addr: netip.MustParseAddr(addr), MAC: plan.MAC{0xd0, 0, 0, 0, 0, mac}, Seen: seen}
	}
	one, six := foreign("lan:a", "192.0.2.9", 1, at(0)), foreign("lan:a", "2001:db8::9", 2, at(1))
	elsewhere, again := foreign("lan:b", "192.0.2.9", 3, at(0)), foreign("lan:a", "192.0.2.10", 4, at(5))
	renewed := foreign("lan:a", "2001:db8::9", 5, at(6))
	for _, put := range []struct {
		list   []Foreign
		before time.Time
	}{{[]Foreign{one, six, elsewhere}, at(0)}, {[]Foreign{again}, at(1)}, {[]Foreign{renewed}, at(1)}} {
		update(t, s, func(tx *Tx) error { return tx.PutForeign(put.list, put.before) })
	}
	for _, c := range []struct {
		scope, addr string
		want        *Foreign
	}{
		{"lan:a", "192.0.2.9", nil},
		{"lan:a", "192.0.2.10", &again},
		{"lan:a", "2001:db8::9", &renewed},
		{"lan:b", "192.0.2.9", &elsewhere},
		{"lan:b", "192.0.2.10", nil},
		{"lan", "192.0.2.9", nil},
	} {
		view(t, s, func(tx *Tx) error {
			got, ok, err := tx.Foreign(c.scope, netip.MustParseAddr(c.addr))
			if ok != (c.want != nil) || ok && diff(*c.want, got) != "" {
				t.Errorf("%s on %s is %+v, %t", c.addr, c.scope, got, ok)
			}
			return err
		})
	}
	for _, bad := range []Foreign{
		{}, foreign("", "192.0.2.9", 1, at(0)), foreign("lan:a", "::ffff:192.0.2.9", 1, at(0)), {Scope: "lan:a", Addr: one.Addr},
	} {
		err := s.Update(t.Context(), func(tx *Tx) error { return tx.PutForeign([]Foreign{bad}, at(0)) })
		if err == nil || !strings.Contains(err.Error(), "foreign address") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestForeignOfAnotherVersion: what another lanhook found says nothing, and goes when its LAN is asked again.
func TestForeignOfAnotherVersion(t *testing.T) {
	s := newStore(t)
	f := Foreign{Scope: "lan:a", Addr: netip.MustParseAddr("192.0.2.9"), MAC: plan.MAC{0xd0, 0, 0, 0, 0, 1}, Seen: time.Unix(1_700_000_000, 0).UTC()}
	update(t, s, func(tx *Tx) error {
		value, err := plan.Encode(func(c *plan.Codec) {
			v := Version + 1
			c.Int(&v)
		})
		return errors.Join(err, tx.put(foreign, f.key(), value))
	})
	view(t, s, func(tx *Tx) error {
		if got, ok, err := tx.Foreign(f.Scope, f.Addr); ok || err != nil {
			t.Errorf("found %+v (%v)", got, err)
		}
		return nil
	})
	view(t, s, func(tx *Tx) error {
		if old, err := tx.HasOldForeign(time.Unix(0, 0)); !old || err != nil {
			t.Errorf("it is not old (%v)", err)
		}
		return nil
	})
	other := f
	other.Addr = netip.MustParseAddr("192.0.2.10")
	update(t, s, func(tx *Tx) error { return tx.PutForeign([]Foreign{other}, f.Seen) })
	view(t, s, func(tx *Tx) error {
		if _, there, err := tx.get(foreign, f.key()); there || err != nil {
			t.Errorf("it is still there (%v)", err)
		}
		return nil
	})
}

// TestForgetForeign: the collector forgets those of all LANs that are too old, and no others.
func TestForgetForeign(t *testing.T) {
	s := newStore(t)
	at := time.Unix(1_700_000_000, 0).UTC()
	find := func(scope, addr string, seen time.Time) Foreign {
		return Foreign{Scope: scope, Addr: netip.MustParseAddr(addr), MAC: plan.MAC{0xd0, 0, 0, 0, 0, 1}, Seen: seen}
	}
	all := []Foreign{
		find("lan:a", "192.0.2.9", at), find("lan:a", "192.0.2.10", at.Add(time.Second)),
		find("lan:b", "192.0.2.9", at), find("lan:b", "2001:db8::9", at.Add(time.Second)),
	}
	update(t, s, func(tx *Tx) error { return tx.PutForeign(all, at) })
	old := func(want bool) {
		t.Helper()
		view(t, s, func(tx *Tx) error {
			if got, err := tx.HasOldForeign(at.Add(time.Second)); got != want || err != nil {
				t.Errorf("there are old ones: %t (%v), want %t", got, err, want)
			}
			return nil
		})
	}
	old(true)
	update(t, s, func(tx *Tx) error { return tx.ForgetForeign(at.Add(time.Second)) })
	old(false)
	for i, f := range all {
		view(t, s, func(tx *Tx) error {
			if _, there, err := tx.Foreign(f.Scope, f.Addr); there != (i%2 == 1) || err != nil {
				t.Errorf("%s on %s is there: %t (%v)", f.Addr, f.Scope, there, err)
			}
			return nil
		})
	}
}
