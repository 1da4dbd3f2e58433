package plan_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

func TestVLANs(t *testing.T) {
	type list = []policy.VLANRange
	for name, c := range map[string]struct{ a, b, union, without list }{
		"none":               {nil, nil, nil, nil},
		"neighbours are one": {list{{From: 10, To: 12}}, list{{From: 13, To: 14}}, list{{From: 10, To: 14}}, list{{From: 10, To: 12}}},
		"out of order":       {list{{From: 30, To: 30}, {From: 10, To: 11}}, list{{From: 20, To: 20}}, list{{From: 10, To: 11}, {From: 20, To: 20}, {From: 30, To: 30}}, list{{From: 10, To: 11}, {From: 30, To: 30}}},
		"a hole":             {list{{From: 10, To: 20}}, list{{From: 12, To: 13}, {From: 15, To: 15}}, list{{From: 10, To: 20}}, list{{From: 10, To: 11}, {From: 14, To: 14}, {From: 16, To: 20}}},
		"both ends":          {list{{From: 10, To: 20}}, list{{From: 1, To: 10}, {From: 20, To: 4094}}, list{{From: 1, To: 4094}}, list{{From: 11, To: 19}}},
		"all":                {list{{From: 10, To: 20}}, list{{From: 1, To: 4094}}, list{{From: 1, To: 4094}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.union, plan.UniteVLANs(append(append(list{}, c.a...), c.b...)...)); diff != "" {
				t.Errorf("united (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.without, plan.WithoutVLANs(c.a, c.b)); diff != "" {
				t.Errorf("without (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVLANsAgainstSets compares the ranges with plain sets.
func TestVLANsAgainstSets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() []policy.VLANRange {
		var list []policy.VLANRange
		for range r.IntN(5) {
			from := 1 + r.IntN(30)
			list = append(list, policy.VLANRange{From: from, To: from + r.IntN(6)})
		}
		return list
	}
	for range 2000 {
		a, b := random(), random()
		inA, inB := members(a), members(b)
		united, rest := plan.UniteVLANs(append(append([]policy.VLANRange{}, a...), b...)...), plan.WithoutVLANs(a, b)
		gotUnited, gotRest := members(united), members(rest)
		for id := range 40 {
			if gotUnited[id] != (inA[id] || inB[id]) || gotRest[id] != (inA[id] && !inB[id]) {
				t.Fatalf("%v and %v: united %v, the first without the second %v: wrong about %d", a, b, united, rest, id)
			}
		}
		for _, list := range [][]policy.VLANRange{united, rest} {
			for i := 1; i < len(list); i++ {
				if list[i].From <= list[i-1].To {
					t.Fatalf("%v of %v and %v is out of order", list, a, b)
				}
			}
		}
	}
}

func members(list []policy.VLANRange) map[int]bool {
	in := map[int]bool{}
	for _, r := range list {
		for id := r.From; id <= r.To; id++ {
			in[id] = true
		}
	}
	return in
}
