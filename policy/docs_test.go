package policy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func repoFile(parts ...string) string { return filepath.Join(append([]string{".."}, parts...)...) }

// TestDocsTables writes the tables of docs/policy.md from the schema, or compares them with it.
func TestDocsTables(t *testing.T) {
	path := repoFile("docs", "policy.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, part := range []struct{ name, table string }{
		{"file", table(fileSchema())},
		{"network", table(networkSchema())},
		{"parent", table(parentSchema())},
		{"device", table(deviceSchema())},
		{"subnet", table(subnetSchema())},
		{"rule", table(ruleSchema())},
		{"match", table(matchSchema())},
		{"spell-out", table(spellOutSchema())},
		{"later", laterTable()},
	} {
		begin, end := "<!-- "+part.name+" -->\n", "<!-- /"+part.name+" -->\n"
		before, rest, ok := strings.Cut(text, begin)
		got, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("docs/policy.md has no place for the table %s", part.name)
		}
		if diff := cmp.Diff(part.table, got); diff != "" && !*update {
			t.Errorf("table %s is not what the schema says; run go test -update (-want +got):\n%s", part.name, diff)
		}
		text = before + begin + part.table + end + after
	}
	if *update && text != string(data) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// table has the columns that at least one key fills.
func table[T any](schema []field[T]) string {
	columns := []struct {
		title string
		cell  func(field[T]) string
	}{
		{"key", func(f field[T]) string { return "`" + f.name + "`" }},
		{"type", func(f field[T]) string { return f.typ }},
		{"driver", func(f field[T]) string { return strings.Join(words(f.drivers), ", ") }},
		{"default", func(f field[T]) string {
			if f.required {
				return "**required**"
			}
			return f.def
		}},
		{"meaning", func(f field[T]) string { return f.doc }},
	}
	rows := make([][]string, len(schema)+2)
	for _, c := range columns {
		if !slices.ContainsFunc(schema, func(f field[T]) bool { return c.cell(f) != "" }) {
			continue
		}
		rows[0], rows[1] = append(rows[0], c.title), append(rows[1], "---")
		for i, f := range schema {
			rows[i+2] = append(rows[i+2], strings.ReplaceAll(c.cell(f), "|", `\|`))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r, " | "))
	}
	return b.String()
}

func laterTable() string {
	var b strings.Builder
	b.WriteString("| where | keys and words |\n| --- | --- |\n")
	for _, row := range []struct {
		where  string
		laters []later
	}{
		{"`driver`", laterDrivers()},
		{"`ipam`", laterIPAM()},
		{"`[network.NAME]`", laterNetworkKeys()},
	} {
		var names []string
		for _, l := range row.laters {
			names = append(names, "`"+l.name+"`")
		}
		fmt.Fprintf(&b, "| %s | %s |\n", row.where, strings.Join(names, ", "))
	}
	return b.String()
}

// TestDocsExamples reads every TOML block of docs/policy.md. A plain one is a good policy without warnings; one that is
// marked "refused" or "warned" is followed by what lanhook policy check says of it.
func TestDocsExamples(t *testing.T) {
	data, err := os.ReadFile(repoFile("docs", "policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	rest := string(data)
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
		kind := strings.TrimSpace(head)
		kinds[kind]++
		t.Run(fmt.Sprintf("%s %d", kind, kinds[kind]), func(t *testing.T) {
			want := ""
			if kind != "" {
				said, ok := strings.CutPrefix(next, "\n```text\n")
				if !ok {
					t.Fatal("no text follows")
				}
				want, _, _ = strings.Cut(said, "```\n")
			}
			if diff := cmp.Diff(want, check(block)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if kinds[""] < 4 || kinds["refused"] == 0 || kinds["warned"] == 0 {
		t.Errorf("examples are missing: %v", kinds)
	}
}

// check is all that is to be said of a policy: its errors, or else its warnings.
func check(text string) string {
	var b strings.Builder
	p, err := Decode([]File{{"policy.toml", []byte(text)}})
	if err != nil {
		all, _ := errors.AsType[Errors](err)
		for _, e := range all {
			fmt.Fprintln(&b, e)
			if e.Hint != "" {
				fmt.Fprintf(&b, "    hint: %s\n", e.Hint)
			}
		}
		return b.String()
	}
	for _, w := range p.Warnings() {
		if !strings.Contains(w.Msg, "matches every container") {
			fmt.Fprintln(&b, w)
		}
	}
	return b.String()
}

// TestPackagedPolicy: the policy that packages install allows nothing, and its example is a good one once the marks of
// comments are gone.
func TestPackagedPolicy(t *testing.T) {
	data, err := os.ReadFile(repoFile("packaging", "policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Decode([]File{{"policy.toml", data}})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Networks) != 0 || len(p.Rules) != 0 || len(p.Warnings()) != 0 {
		t.Errorf("it has %d networks, %d rules and the warnings %v", len(p.Networks), len(p.Rules), p.Warnings())
	}
	var example bytes.Buffer
	for line := range strings.Lines(string(data)) {
		indent, text, ok := strings.Cut(line, "#")
		if ok && strings.TrimSpace(indent) == "" && strings.TrimSpace(text) != "" && text[0] != ' ' {
			line = indent + text
		}
		example.WriteString(line)
	}
	p, err = Decode([]File{{"policy.toml", example.Bytes()}})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Networks) != 6 || len(p.Rules) != 2 || len(p.Warnings()) != 0 {
		t.Errorf("the example has %d networks, %d rules and the warnings %v", len(p.Networks), len(p.Rules), p.Warnings())
	}
}
