//go:build linux

package firewall_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

var update = flag.Bool("update", false, "rewrite docs/firewall.md")

// TestDocs writes docs/firewall.md, or compares it: testdata/firewall.md is its text, and each testdata/firewall/*.txtar an
// example. The rules in it are what nft(8) lists after the policy was read, the containers' annotations were decided on and
// planned, and the planned rules were put into a kernel.
func TestDocs(t *testing.T) {
	files, err := filepath.Glob("testdata/firewall/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	var examples strings.Builder
	var listing string
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var text string
		text, listing = example(t, archive)
		examples.WriteString(text)
	}
	page, err := os.ReadFile("testdata/firewall.md")
	if err != nil {
		t.Fatal(err)
	}
	inet, _, _ := strings.Cut(listing, "\n}\n")
	got := strings.NewReplacer(
		"{{sets}}\n", setTable(inet), "{{chains}}\n", chains(inet), "{{examples}}\n", examples.String(),
	).Replace(string(page))
	path := filepath.Join("..", "..", "docs", "firewall.md")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("docs/firewall.md is not what nft lists; run go test -update (-want +got):\n%s", diff)
	}
}

// TestDocsAdmin loads the page's example of the administrator's own rules, and finds them after lanhook has come and gone.
func TestDocsAdmin(t *testing.T) {
	page, err := os.ReadFile("testdata/firewall.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin = "```text\ntable inet lanhook {"
	_, rest, ok := strings.Cut(string(page), begin)
	table, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("the page has no example of the administrator's own rules")
	}
	h, c := host(t)
	nft(t, h, "table inet lanhook {"+table)
	before := nft(t, h, "list table inet lanhook")
	renew(t, c, everything()...)
	release(t, c)
	if diff := cmp.Diff(before, nft(t, h, "list table inet lanhook")); diff != "" {
		t.Errorf("the administrator's rules are not as they were (-want +got):\n%s", diff)
	}
	nft(t, h, "delete table inet lanhook")
}

// example puts the rules of one example into a kernel of its own and shows what is there.
func example(t *testing.T, archive *txtar.Archive) (text, listing string) {
	t.Helper()
	title, about, _ := strings.Cut(strings.TrimSpace(string(archive.Comment)), "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n%s\n\n", title, strings.TrimSpace(about))
	var networks string
	var all []plan.AddRules
	for _, f := range archive.Files {
		data := strings.TrimSpace(string(f.Data))
		if f.Name == "policy.toml" {
			networks = data
			fmt.Fprintf(&b, "```toml\n%s\n```\n\n", data)
			continue
		}
		// A container, by its name: the first line are its addresses, the others its annotations.
		addresses, annotations, _ := strings.Cut(data, "\n")
		fmt.Fprintf(&b, "Container `%s` has %s and these annotations:\n\n```ini\n%s\n```\n\n", f.Name,
			strings.ReplaceAll(addresses, " ", " and "), annotations)
		all = append(all, planned(t, networks, f.Name, addresses, annotations))
	}
	// A namespace without the foreign things that a test's host has.
	place := nettest.New(t).Namespace(t, title)
	c := dial(t, place)
	renew(t, c, all...)
	listing = nft(t, place, "list ruleset")
	fmt.Fprintf(&b, "The elements that come of it:\n\n```text\n%s```\n\n", filled(listing))
	fmt.Fprintf(&b, "<details><summary>nft list ruleset</summary>\n\n```text\n%s```\n\n</details>\n\n",
		strings.ReplaceAll(listing, "\t", "    "))
	release(t, c)
	if left := nft(t, place, "list ruleset"); left != "" {
		t.Errorf("%s: released, there is still:\n%s", title, left)
	}
	return b.String(), listing
}

// planned are the rules that an attach of a container comes to.
func planned(t *testing.T, networks, name, addresses, annotations string) plan.AddRules {
	t.Helper()
	file := "version = 1\n" + networks + "\n[[rule]]\nname = \"all\"\nmatch = {}\nnetworks = [\"*\"]\n" +
		"ip = true\npublish = true\ndnat = true\n"
	p, err := policy.Decode([]policy.File{{Name: "policy.toml", Data: []byte(file)}})
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]string{}
	for line := range strings.Lines(annotations) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		asked[key] = value
	}
	req, err := request.Parse(asked)
	if err != nil {
		t.Fatal(err)
	}
	attachments, err := p.Decide(req, policy.Subject{ID: name, Annotations: asked})
	if err != nil {
		t.Fatal(err)
	}
	choice := plan.Choice{MAC: plan.MAC{2, 0, 0, 0, 0, 0x0a}}
	for a := range strings.FieldsSeq(addresses) {
		choice.Addresses = append(choice.Addresses, netip.MustParsePrefix(a))
	}
	for _, published := range attachments[0].Publish {
		choice.Ports = append(choice.Ports, published.Host)
	}
	record := (name + strings.Repeat("a", 10))[:10]
	made, err := plan.Build(plan.Input{
		Record: record, HostID: "host", Attachments: attachments, Choices: []plan.Choice{choice},
		Facts: plan.Facts{Local: map[netip.Addr]bool{
			netip.MustParseAddr("198.51.100.7"): true, netip.MustParseAddr("198.51.100.9"): true,
			netip.MustParseAddr("127.0.0.1"): true,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range made.Steps {
		if a, ok := s.(plan.AddRules); ok {
			return a
		}
	}
	t.Fatalf("container %s has no rules", name)
	return plan.AddRules{}
}

// block is one set, map or chain of a listing.
type block struct {
	kind, name string
	lines      []string
}

// blocks are those of a listing, in order.
func blocks(listing string) []block {
	var all []block
	for line := range strings.Lines(listing) {
		words := strings.Fields(line)
		line = strings.TrimRight(line, "\n")
		switch {
		case len(words) == 3 && words[2] == "{" && strings.HasPrefix(line, "\t"):
			all = append(all, block{kind: words[0], name: words[1]})
		case strings.HasPrefix(line, "\t\t"):
			last := &all[len(all)-1]
			last.lines = append(last.lines, strings.TrimPrefix(line, "\t\t"))
		}
	}
	return all
}

// setTable lists the sets and maps of IPv4, and those of no family.
func setTable(listing string) string {
	var b strings.Builder
	b.WriteString("| set | type | holds |\n|---|---|---|\n")
	for _, s := range blocks(listing) {
		if s.kind == "chain" || strings.HasSuffix(s.name, "6") {
			continue
		}
		comment := strings.TrimSuffix(strings.TrimPrefix(s.lines[1], `comment "`), `"`)
		fmt.Fprintf(&b, "| `%s` | %s `%s` | %s |\n", s.name, s.kind, strings.TrimPrefix(s.lines[0], "type "), comment)
	}
	return b.String()
}

// chains are the chains as they are listed.
func chains(listing string) string {
	var b strings.Builder
	b.WriteString("```text\n")
	for _, c := range blocks(listing) {
		if c.kind == "chain" {
			fmt.Fprintf(&b, "chain %s {\n", c.name)
			for _, line := range c.lines {
				fmt.Fprintf(&b, "    %s\n", line)
			}
			b.WriteString("}\n")
		}
	}
	return b.String() + "```\n"
}

// filled are the sets with something in them, one element a line, without the comments.
func filled(listing string) string {
	var b strings.Builder
	for _, s := range blocks(listing) {
		from := slices.IndexFunc(s.lines, func(l string) bool { return strings.HasPrefix(l, "elements = {") })
		if from < 0 || s.kind == "chain" {
			continue
		}
		list := strings.TrimSuffix(strings.TrimPrefix(strings.Join(s.lines[from:], " "), "elements = {"), "}")
		for e := range strings.SplitSeq(list, ",") {
			before, after, _ := strings.Cut(strings.Join(strings.Fields(e), " "), ` comment "`)
			_, value, _ := strings.Cut(after, `"`)
			fmt.Fprintf(&b, "%-12s %s%s\n", s.name, before, value)
		}
	}
	return b.String()
}
