//go:build linux

package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// scenario is a folder with a README and the files that it shows.
type scenario struct {
	name string
	// files are what the README shows and the hosts get, by name.
	files map[string]string
	steps []step
}

// step is one command of a README.
type step struct {
	// line is where it stands.
	line int
	// host is the one on which it is typed.
	host    string
	command string
	// end is the line behind what belongs to it.
	end int
	// want is what the command writes, see [pattern].
	want []string
	// exit is its exit status.
	exit string
}

// block is a fenced block of a README.
type block struct {
	line int
	// words are what stands behind the opening fence.
	words []string
	text  []string
}

// scenarios reads every folder that has a README.
func scenarios(t *testing.T) []scenario {
	t.Helper()
	paths, err := filepath.Glob("*/README.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no scenarios: %v", err)
	}
	var list []scenario
	for _, path := range paths {
		s, err := read(filepath.Dir(path))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, s)
	}
	return list
}

// read reads a scenario. Every file of the folder must be shown in the README, byte for byte, in a block whose opening
// fence names it: then what is read is what runs.
func read(dir string) (scenario, error) {
	s := scenario{name: filepath.Base(dir), files: map[string]string{}}
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		return s, err
	}
	blocks, err := blocksOf(string(text))
	if err != nil {
		return s, err
	}
	for _, b := range blocks {
		switch {
		case len(b.words) == 2:
			file, err := os.ReadFile(filepath.Join(dir, b.words[1]))
			if err != nil {
				return s, fmt.Errorf("line %d: %w", b.line, err)
			}
			if shown := strings.Join(b.text, "\n") + "\n"; shown != string(file) {
				return s, fmt.Errorf("line %d: this is not what %s holds", b.line, b.words[1])
			}
			s.files[b.words[1]] = string(file)
		case b.words[0] == "console":
			steps, err := stepsOf(b)
			if err != nil {
				return s, err
			}
			s.steps = append(s.steps, steps...)
		case b.words[0] != "text":
			return s, fmt.Errorf("line %d: a block of %q, which nobody checks", b.line, b.words)
		}
	}
	if len(s.steps) == 0 {
		return s, fmt.Errorf("nothing is typed")
	}
	return s, s.complete(dir)
}

// complete looks for files that the README does not show.
func (s scenario) complete(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, shown := s.files[e.Name()]; !shown && e.Name() != "README.md" {
			return fmt.Errorf("%s is not shown", e.Name())
		}
	}
	for _, host := range hostNames() {
		if s.policy(host) == "" {
			return fmt.Errorf("there is no policy for host %s", host)
		}
	}
	return nil
}

// policy is the text of a host's policy.
func (s scenario) policy(host string) string {
	if own := s.files[host+".toml"]; own != "" {
		return own
	}
	return s.files["policy.toml"]
}

const fence = "```"

// blocksOf are the fenced blocks of a text.
func blocksOf(text string) ([]block, error) {
	var list []block
	open := false
	for i, line := range strings.Split(text, "\n") {
		rest, isFence := strings.CutPrefix(line, fence)
		switch {
		case open && line == fence:
			open = false
		case open:
			last := &list[len(list)-1]
			last.text = append(last.text, line)
		case isFence:
			b := block{line: i + 1, words: strings.Fields(rest)}
			if len(b.words) == 0 {
				return nil, fmt.Errorf("line %d: the block does not say what it is", b.line)
			}
			list = append(list, b)
			open = true
		}
	}
	if open {
		return nil, fmt.Errorf("line %d: the block has no end", list[len(list)-1].line)
	}
	return list, nil
}

// stepsOf are the commands of a console's block: each begins with the name of a host and "# ", goes on in the next line
// where it ends in a backslash, and is followed by what it writes. "exit status N" at the end of that is what the command
// returns, where it is not 0.
func stepsOf(b block) ([]step, error) {
	prompt := regexp.MustCompile(`^(` + strings.Join(hostNames(), "|") + `)# (.+)$`)
	status := regexp.MustCompile(`^exit status (\d+)$`)
	var list []step
	goesOn := false
	for i, line := range b.text {
		typed := prompt.FindStringSubmatch(line)
		if len(list) == 0 && typed == nil {
			return nil, fmt.Errorf("line %d: a console begins with a command", b.line+1)
		}
		if !goesOn && typed != nil {
			list = append(list, step{line: b.line + 1 + i, host: typed[1], command: typed[2], exit: "0"})
		}
		last := &list[len(list)-1]
		last.end = b.line + 2 + i
		returned := status.FindStringSubmatch(line)
		switch {
		case goesOn:
			last.command += "\n" + line
		case typed != nil:
		case returned != nil:
			last.exit = returned[1]
		default:
			last.want = append(last.want, line)
		}
		goesOn = strings.HasSuffix(line, `\`) && (goesOn || typed != nil)
	}
	return list, nil
}

// rewrite puts into a README what commands write that it shows otherwise. What it leaves open with [anything] is lost
// there.
func rewrite(name string, seen map[int][]string, steps []step) error {
	path := filepath.Join(name, "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	for _, s := range slices.Backward(steps) {
		if output, differs := seen[s.line]; differs {
			// Lines are counted from 1, and the command stays.
			lines = slices.Replace(lines, s.line+strings.Count(s.command, "\n"), s.end-1, output...)
		}
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644)
}

// anything is what a README writes for text that is not the same each time, and alone in a line for any lines.
const anything = "…"

// pattern is what a command writes when it writes what a README shows. How wide a space is does not matter.
func pattern(want []string) *regexp.Regexp {
	var text strings.Builder
	for _, line := range want {
		if strings.TrimSpace(line) == anything {
			text.WriteString(`(?:.*\n)*?`)
			continue
		}
		words := strings.Fields(line)
		for i, word := range words {
			words[i] = strings.ReplaceAll(regexp.QuoteMeta(word), anything, `.*`)
		}
		text.WriteString(`[ \t]*` + strings.Join(words, `[ \t]+`) + `[ \t]*\n`)
	}
	return regexp.MustCompile(`\A` + text.String() + `\z`)
}

func TestReadmes(t *testing.T) {
	names := map[string]bool{}
	for _, s := range scenarios(t) {
		names[s.name] = true
		// What a scenario starts it also stops.
		if last := s.steps[len(s.steps)-1]; last.exit != "0" {
			t.Errorf("%s: the last command, of line %d, fails", s.name, last.line)
		}
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range regexp.MustCompile(`\]\(([a-z0-9-]+)/README\.md\)`).FindAllStringSubmatch(string(text), -1) {
		if !names[link[1]] {
			t.Errorf("README.md: there is no scenario %s", link[1])
		}
		delete(names, link[1])
	}
	for name := range claims() {
		if _, err := os.Stat(filepath.Join(name, "README.md")); err != nil {
			t.Errorf("claims of a scenario that is not there: %v", err)
		}
	}
	for name := range names {
		t.Errorf("README.md does not name the scenario %s", name)
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		want, got string
		match     bool
	}{
		{"", "", true},
		{"", "a\n", false},
		{"a", "a\n", true},
		{"a", "ab\n", false},
		{"a", "a\nb\n", false},
		{"a\nb", "a\nb\n", true},
		{"a\nb", "b\na\n", false},
		{"a  b", "a b\n", true},
		{"a b", "ab\n", false},
		{"a.b", "acb\n", false},
		{"a … c", "a b c\n", true},
		{"a…c", "ac\n", true},
		{"a …", "a\n", false},
		{"a…", "a\nb\n", false},
		{"…", "", true},
		{"…", "a\nb\n", true},
		{"…\nb", "a\nb\n", true},
		{"…\nb", "b\na\n", false},
		{"…\nb\n…", "a\nb\nc\n", true},
		{"…\nb\n…", "a\nbb\nc\n", false},
	} {
		var want []string
		if c.want != "" {
			want = strings.Split(c.want, "\n")
		}
		if got := pattern(want).MatchString(c.got); got != c.match {
			t.Errorf("%q for %q: match %v, want %v", c.got, c.want, got, c.match)
		}
	}
}

func TestSteps(t *testing.T) {
	blocks, err := blocksOf("x\n```console\na# one\nout\nb# two \\\n  three\nexit status 3\n```\n```text\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := stepsOf(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 2 || len(steps) != 2 {
		t.Fatalf("%d blocks and %d steps, want 2 of each", len(blocks), len(steps))
	}
	if s := steps[0]; s.line != 3 || s.host != "a" || s.command != "one" || !slices.Equal(s.want, []string{"out"}) || s.exit != "0" || s.end != 5 {
		t.Errorf("first step: %+v", s)
	}
	if s := steps[1]; s.line != 5 || s.host != "b" || s.command != "two \\\n  three" || s.want != nil || s.exit != "3" || s.end != 8 {
		t.Errorf("second step: %+v", s)
	}
	for _, wrong := range []string{"```console\nout\n```\n", "```console\n", "```\n```\n"} {
		if blocks, err = blocksOf(wrong); err == nil {
			_, err = stepsOf(blocks[0])
		}
		if err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
