package engine

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	// around is how many lines that stay are shown about those that change, as diff -u does.
	around = 3
	// maxTable bounds the table in which lines are compared. What is larger is shown as taken out and put in anew.
	maxTable = 1 << 22
)

// Diff shows what becomes of a file, in the unified format that patch reads; "" for a file that stays.
func Diff(c Change) string {
	if c.None() {
		return ""
	}
	from, to := c.Path, c.Path
	if c.Before == nil {
		from = "/dev/null"
	}
	if c.After == nil {
		to = "/dev/null"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", from, to)
	hunks(&b, script(lines(c.Before), lines(c.After)))
	return b.String()
}

// lines are a text's, each with its end.
func lines(text []byte) []string {
	var all []string
	for line := range bytes.Lines(text) {
		all = append(all, string(line))
	}
	return all
}

// edit is one line of a difference: ' ' stays, '-' goes, '+' comes.
type edit struct {
	op   byte
	line string
}

// script finds the longest common subsequence of two files between what they begin and end with alike.
func script(from, to []string) []edit {
	var all []edit
	for len(from) > 0 && len(to) > 0 && from[0] == to[0] {
		all = append(all, edit{' ', from[0]})
		from, to = from[1:], to[1:]
	}
	same := 0
	for same < min(len(from), len(to)) && from[len(from)-1-same] == to[len(to)-1-same] {
		same++
	}
	all = append(all, middle(from[:len(from)-same], to[:len(to)-same])...)
	for _, line := range from[len(from)-same:] {
		all = append(all, edit{' ', line})
	}
	return all
}

func middle(from, to []string) []edit {
	var all []edit
	common := lengths(from, to)
	for len(from) > 0 || len(to) > 0 {
		i, j := len(from), len(to)
		switch {
		case common != nil && i > 0 && j > 0 && from[0] == to[0]:
			all = append(all, edit{' ', from[0]})
			from, to = from[1:], to[1:]
		case i > 0 && (j == 0 || common == nil || common[i-1][j] >= common[i][j-1]):
			all = append(all, edit{'-', from[0]})
			from = from[1:]
		default:
			all = append(all, edit{'+', to[0]})
			to = to[1:]
		}
	}
	return all
}

// lengths holds, for each number of last lines of both files, how many they have in common; nil for too many.
func lengths(from, to []string) [][]int32 {
	if (len(from)+1)*(len(to)+1) > maxTable {
		return nil
	}
	t := make([][]int32, len(from)+1)
	t[0] = make([]int32, len(to)+1)
	for i := 1; i <= len(from); i++ {
		t[i] = make([]int32, len(to)+1)
		for j := 1; j <= len(to); j++ {
			if from[len(from)-i] == to[len(to)-j] {
				t[i][j] = t[i-1][j-1] + 1
				continue
			}
			t[i][j] = max(t[i-1][j], t[i][j-1])
		}
	}
	return t
}

// hunks writes the parts of a difference that change, with what is around them.
func hunks(b *strings.Builder, all []edit) {
	shown := make([]bool, len(all))
	for i, e := range all {
		if e.op == ' ' {
			continue
		}
		for j := max(0, i-around); j <= min(len(all)-1, i+around); j++ {
			shown[j] = true
		}
	}
	from, to := 0, 0 // lines before this one
	for i := 0; i < len(all); {
		n := 0
		for i+n < len(all) && shown[i+n] {
			n++
		}
		hunk := all[i : i+max(n, 1)]
		gone, come := 0, 0
		for _, e := range hunk {
			if e.op != '+' {
				gone++
			}
			if e.op != '-' {
				come++
			}
		}
		if n > 0 {
			fmt.Fprintf(b, "@@ -%s +%s @@\n", span(from, gone), span(to, come))
			write(b, hunk)
		}
		from, to, i = from+gone, to+come, i+len(hunk)
	}
}

// span is the place of a hunk: its first line, or for none the line before, and how many there are.
func span(before, count int) string {
	if count > 0 {
		before++
	}
	return fmt.Sprintf("%d,%d", before, count)
}

func write(b *strings.Builder, hunk []edit) {
	for _, e := range hunk {
		b.WriteByte(e.op)
		b.WriteString(e.line)
		if !strings.HasSuffix(e.line, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}
