package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/runtime.md")

func docs(t *testing.T) (path, text string) {
	t.Helper()
	path = filepath.Join("..", "..", "docs", "runtime.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, string(data)
}

// TestDocsTables writes the tables of docs/runtime.md from the keys, or compares them with those.
func TestDocsTables(t *testing.T) {
	path, text := docs(t)
	was := text
	for _, part := range []struct{ name, table string }{
		{"file", table(keys())},
		{"profile", table(profileKeys())},
	} {
		begin, end := "<!-- "+part.name+" -->\n", "<!-- /"+part.name+" -->\n"
		before, rest, ok := strings.Cut(text, begin)
		got, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("docs/runtime.md has no place for the table %s", part.name)
		}
		if diff := cmp.Diff(part.table, got); diff != "" && !*update {
			t.Errorf("table %s is not what the keys say; run go test -update (-want +got):\n%s", part.name, diff)
		}
		text = before + begin + part.table + end + after
	}
	if *update && text != was {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func table[T any](all []key[T]) string {
	var b strings.Builder
	b.WriteString("| key | type | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, k := range all {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.name, k.typ, k.def, k.doc)
	}
	return b.String()
}

// TestDocsExamples reads the blocks of docs/runtime.md that are a runtime.toml: a plain one is right, and one that is
// marked "refused" is followed by what is said of it.
func TestDocsExamples(t *testing.T) {
	_, rest := docs(t)
	kinds := map[string]int{}
	for {
		_, after, ok := strings.Cut(rest, "\n```toml")
		if !ok {
			break
		}
		head, body, _ := strings.Cut(after, "\n")
		block, next, ok := strings.Cut(body, "```\n")
		if !ok {
			t.Fatalf("a block does not end: %.40q", body)
		}
		rest = next
		if !strings.HasPrefix(block, "version") {
			continue // an engine's
		}
		kind := strings.TrimSpace(head)
		kinds[kind]++
		want := ""
		if kind == "refused" {
			said, ok := strings.CutPrefix(next, "\n```text\n")
			if !ok {
				t.Fatal("no text follows")
			}
			want, _, _ = strings.Cut(said, "```\n")
		}
		var got strings.Builder
		_, err := Decode("runtime.toml", []byte(block))
		for _, e := range errorsIn(err) {
			fmt.Fprintln(&got, e)
			if e.Hint != "" {
				fmt.Fprintf(&got, "    hint: %s\n", e.Hint)
			}
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%s: -want +got\n%s", block, diff)
		}
	}
	if kinds[""] == 0 || kinds["refused"] == 0 {
		t.Errorf("examples are missing: %v", kinds)
	}
}
