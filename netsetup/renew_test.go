//go:build linux

package netsetup

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// ruled is a record with rules of a bridge.
func ruled(container, bridge string, gate plan.Gate, created int64) store.Record {
	rec := store.Record{
		ID: store.NewID(), Container: container, BootID: "boot", State: store.Attached, NetNS: store.NetNS{NSID: -1},
		Created: time.Unix(created, 0).UTC(),
	}
	rec.Steps = plan.Steps{
		plan.EnsureBridge{Name: bridge},
		plan.AddRules{Record: rec.ID, Of: []plan.Rules{{Bridge: bridge, Port: "lh" + rec.ID + "a", Gate: gate, ICC: true}}},
	}
	return rec
}

// TestAgree: what the newest record says of a bridge is in all that are on it, whether one of them is gone or not; and
// who writes one as he had read it before does not take it back.
func TestAgree(t *testing.T) {
	st, err := store.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Setup{Store: st, BootID: "boot"}
	all := []store.Record{
		ruled("gone", "lh-apps", plan.NAT, 1), ruled("old", "lh-apps", plan.NAT, 2), ruled("far", "lh-db", plan.NAT, 3),
		ruled("foreign", "lh-apps", plan.Open, 4), ruled("new", "lh-apps", plan.Closed, 5),
	}
	old := all[1]
	if err := st.Update(t.Context(), func(tx *store.Tx) error {
		for _, rec := range all[1:] {
			if err := tx.Put(rec); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.agree(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	gates := map[string]plan.Gate{}
	if err := st.View(t.Context(), func(tx *store.Tx) error {
		stored, err := s.all(tx)
		for _, rec := range stored {
			for _, rules := range rulesOf([]store.Record{rec}) {
				gates[rec.Container] = rules.Of[0].Gate
			}
			if rec.Container == "old" {
				old.Steps = withRules(old.Steps, rec.Steps)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]plan.Gate{"old": plan.Closed, "far": plan.NAT, "foreign": plan.Open, "new": plan.Closed}
	if diff := cmp.Diff(want, gates); diff != "" {
		t.Errorf("gates (-want +got):\n%s", diff)
	}
	if got := rulesOf([]store.Record{old})[0].Of[0].Gate; got != plan.Closed || len(old.Steps) != 2 {
		t.Errorf("who had read it before writes the gate %s in %d steps", got, len(old.Steps))
	}
}
