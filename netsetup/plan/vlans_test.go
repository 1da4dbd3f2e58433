package plan_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

func TestVLANs(t *testing.T) {
	for name, c := range map[string]struct{ a, b, union, without string }{
		"none":               {"", "", "", ""},
		"neighbours are one": {"10-12", "13-14", "10-14", "10-12"},
		"out of order":       {"30 10-11", "20", "10-11 20 30", "10-11 30"},
		"a hole":             {"10-20", "12-13 15", "10-20", "10-11 14 16-20"},
		"both ends":          {"10-20", "1-10 20-4094", "1-4094", "11-19"},
		"all":                {"10-20", "1-4094", "1-4094", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(ranges(t, c.union), policy.UniteVLANs(ranges(t, c.a+" "+c.b)...)); diff != "" {
				t.Errorf("united (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(ranges(t, c.without), plan.WithoutVLANs(ranges(t, c.a), ranges(t, c.b))); diff != "" {
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
		united, rest := policy.UniteVLANs(append(append([]policy.VLANRange{}, a...), b...)...), plan.WithoutVLANs(a, b)
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

// ranges reads ranges that are parted by spaces.
func ranges(t *testing.T, text string) []policy.VLANRange {
	t.Helper()
	var list []policy.VLANRange
	for word := range strings.FieldsSeq(text) {
		from, to, two := strings.Cut(word, "-")
		if !two {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, lastErr := strconv.Atoi(to)
		if err = errors.Join(err, lastErr); err != nil {
			t.Fatal(err)
		}
		list = append(list, policy.VLANRange{From: first, To: last})
	}
	return list
}
