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
		"neighbours are one": {list{{10, 12}}, list{{13, 14}}, list{{10, 14}}, list{{10, 12}}},
		"out of order":       {list{{30, 30}, {10, 11}}, list{{20, 20}}, list{{10, 11}, {20, 20}, {30, 30}}, list{{10, 11}, {30, 30}}},
		"a hole":             {list{{10, 20}}, list{{12, 13}, {15, 15}}, list{{10, 20}}, list{{10, 11}, {14, 14}, {16, 20}}},
		"both ends":          {list{{10, 20}}, list{{1, 10}, {20, 4094}}, list{{1, 4094}}, list{{11, 19}}},
		"all":                {list{{10, 20}}, list{{1, 4094}}, list{{1, 4094}}, nil},
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
