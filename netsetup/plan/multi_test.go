package plan_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// checkTables looks that no two routes of a container are the same to the kernel, that a rule comes when its table is whole
// and is from an address of the container's, and that each link has a table of its own.
func checkTables(t *testing.T, in plan.Input, steps plan.Steps) {
	t.Helper()
	own := map[netip.Addr]bool{}
	for _, c := range in.Choices {
		for _, p := range c.Addresses {
			own[p.Addr()] = true
		}
	}
	for _, o := range in.Others {
		for _, p := range o.Addresses {
			own[p.Addr()] = true
		}
	}
	links, seen := map[int]string{}, map[string]bool{}
	ruled := false
	for _, step := range steps {
		switch s := step.(type) {
		case plan.AddRoute:
			r := s.Route
			if !plan.OwnTable(r.Table) {
				continue
			}
			if on, there := links[r.Table]; there && r.Via.IsValid() && on != s.If {
				t.Errorf("table %d is of %s and of %s", r.Table, on, s.If)
			}
			if r.Via.IsValid() {
				links[r.Table] = s.If
			}
			key := fmt.Sprint(r.Dst, r.Metric, r.Table)
			if seen[key] || ruled {
				t.Errorf("%s is there twice, or comes after a rule", s)
			}
			seen[key] = true
		case plan.AddRouteRule:
			ruled = true
			if !own[s.From] || !plan.OwnTable(s.Table) {
				t.Errorf("%s: not from an address of the container, or not to a table of lanhook's", s)
			}
		default:
		}
	}
}
