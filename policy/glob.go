package policy

import "strings"

// glob says whether s as a whole matches the pattern: '*' stands for any text, the empty one and one with '/' or ':'
// too, '?' for one byte, and every other byte for itself. Brackets and backslashes are plain text, since cgroup paths
// of systemd have them.
//
// Only the last '*' is ever retried, so the time is at most len(pattern) * len(s), whatever a container wrote.
func glob(pattern, s string) bool {
	star, retry := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			retry++
			p, i = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// globAny says whether one of the patterns matches s.
func globAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if glob(p, s) {
			return true
		}
	}
	return false
}

// isGlob says whether a pattern can match anything but itself.
func isGlob(pattern string) bool { return strings.ContainsAny(pattern, "*?") }
