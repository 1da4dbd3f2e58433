package request

import "strings"

// longestWord is how long a word may be for a suggestion, in bytes. No key or field of ours is near that, and the
// time that the distance takes grows with the square of the length.
const longestWord = 64

// Nearest is the one of known that word most likely was meant to be, false when none is near. The first of known is
// taken when several are equally near. Case does not count.
func Nearest(word string, known []string) (string, bool) {
	if word == "" || len(word) > longestWord {
		return "", false
	}
	best, found := "", false
	limit := min(3, 1+(len(word)-1)/4)
	for _, k := range known {
		if k == "" || len(k) > longestWord {
			continue
		}
		d := distance(strings.ToLower(word), strings.ToLower(k))
		// With as many changes as there are letters, everything is near everything.
		if d > limit || d >= max(len(k), len(word)) {
			continue
		}
		best, found, limit = k, true, d-1
	}
	return best, found
}

// distance is the number of letters to insert, delete, replace, or swap with their neighbour that lead from a to b
// (the optimal string alignment distance).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// didYouMean is the hint that suggests the nearest of known, "" when none is near.
func didYouMean(word string, known []string) string {
	if k, ok := Nearest(word, known); ok {
		return "did you mean " + k + "?"
	}
	return ""
}
