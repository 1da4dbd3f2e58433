//go:build linux

package netsetup

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup/guest"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// crowded is a state with n containers on one network with names, and one of their records.
func crowded(t *testing.T, n int) (*Setup, store.Record) {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Setup{Store: st, BootID: "boot"}
	if s.Self, err = process.Find(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	var last store.Record
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		addr := netip.MustParseAddr("172.30.0.2")
		for i := range n {
			id := "c" + strconv.Itoa(i)
			last = store.Record{
				ID: store.NewID(), Container: id, Workload: id, BootID: "boot", State: store.Attached,
				NetNS:   store.NetNS{Inode: uint64(i) + 1, Cookie: uint64(i) + 1, NSID: i},
				Created: time.Unix(int64(i), 0).UTC(), Guest: guest.Key("/"+id, id), Names: []string{"apps"},
				Interfaces: []plan.Interface{{Name: "eth0", Network: "apps", Addresses: []netip.Prefix{netip.PrefixFrom(addr, 16)}}},
			}
			addr = addr.Next()
			if err := tx.Put(last); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, last
}

// TestReadersGrowWithTheNetwork: the state is locked while readers are looked up, so twice the containers may not take
// four times the work.
func TestReadersGrowWithTheNetwork(t *testing.T) {
	work := func(n int) float64 {
		s, rec := crowded(t, n)
		var allocs float64
		err := s.Store.View(t.Context(), func(tx *store.Tx) (err error) {
			allocs = testing.AllocsPerRun(1, func() {
				var all []reader
				if all, err = s.readers(tx, []store.Record{rec}, map[string]bool{}); err == nil && len(all) != n {
					t.Errorf("%d readers, want %d", len(all), n)
				}
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return allocs
	}
	const n = 100
	if one, two := work(n), work(2*n); two > 3*one {
		t.Errorf("%v allocations for %d containers, but %v for %d", one, n, two, 2*n)
	}
}

// TestLateNames: a hook whose time is over writes no more files of others.
func TestLateNames(t *testing.T) {
	s, rec := crowded(t, 2)
	f := guest.Decide(policy.Guest{Attached: true}, guest.Spec{}, guest.Host{})
	if _, err := s.guests().Make(t.Context(), rec.Guest, f, guest.Owner{Process: s.Self}); err != nil {
		t.Fatal(err)
	}
	late := errors.New("late")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(late)
	r := []reader{{key: rec.Guest}, {key: rec.Guest}}
	if own, others := s.rewrite(ctx, r, map[string]bool{}); own != nil || !errors.Is(others, late) {
		t.Errorf("others: %v, %v", own, others)
	}
	if own, others := s.rewrite(ctx, r, map[string]bool{rec.Guest: true}); !errors.Is(own, late) || others != nil {
		t.Errorf("own: %v, %v", own, others)
	}
}
