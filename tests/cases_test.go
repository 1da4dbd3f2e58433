package tests

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// cases are the ids that docs/cases.md is to have, in order.
func cases() []string {
	var ids []string
	for _, kind := range []struct {
		name string
		n    int
	}{{"MV", 22}, {"BR", 42}, {"PP", 25}, {"IP", 28}, {"RT", 19}, {"IV", 8}, {"VL", 7}} {
		for i := range kind.n {
			ids = append(ids, fmt.Sprintf("%s-%02d", kind.name, i+1))
		}
	}
	return ids
}

// TestCases holds docs/cases.md to the tree: each case has a line, and each line a test that exists and bears the
// case's id, or a reason why there is none.
func TestCases(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root(t), "docs", "cases.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^\| ((?:MV|BR|PP|IP|RT|IV|VL)-\d\d) \| (.+) \| (.+) \|$`)
	shown := regexp.MustCompile("`([a-z0-9/]+)` (Test\\w+)")
	sources := map[string]testFolder{}
	var ids []string
	for line := range strings.SplitSeq(string(doc), "\n") {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		id, by := m[1], m[3]
		ids = append(ids, id)
		named := shown.FindAllStringSubmatch(by, -1)
		reason := strings.HasPrefix(by, "Not in this version") || strings.HasPrefix(by, "Decided otherwise")
		if len(named) == 0 && !reason {
			t.Errorf("%s: neither a test nor a reason: %s", id, by)
		}
		for _, n := range named {
			folder, name := n[1], n[2]
			if _, read := sources[folder]; !read {
				sources[folder] = readTests(t, folder)
			}
			if err := sources[folder].shows(name, id); err != nil {
				t.Errorf("%s: %s: %v", id, folder, err)
			}
		}
	}
	if !slices.Equal(ids, cases()) {
		t.Errorf("the lines are those of\n%v, want\n%v", ids, cases())
	}
}

// testFolder is the text of a folder's test files, and of what lies below its testdata.
type testFolder struct {
	files map[string]string
	data  string
}

func readTests(t *testing.T, folder string) testFolder {
	t.Helper()
	read := testFolder{files: map[string]string{}}
	tree := os.DirFS(filepath.Join(root(t), filepath.FromSlash(folder)))
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		below := strings.HasPrefix(name, "testdata/")
		if !below && (path.Dir(name) != "." || !strings.HasSuffix(name, "_test.go")) {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if below {
			read.data += string(text)
		} else {
			read.files[name] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatalf("read the tests of %s: %v", folder, err)
	}
	return read
}

// shows says whether a test exists and the id stands within it, in the comment before it, or in the golden files that
// a test named for them reads.
func (f testFolder) shows(name, id string) error {
	for _, text := range f.files {
		before, after, found := strings.Cut(text, "\nfunc "+name+"(t *testing.T) {")
		if !found {
			continue
		}
		comment := before[strings.LastIndex(before, "\n\n")+1:]
		body, _, _ := strings.Cut(after, "\n}\n")
		golden := strings.Contains(name, "Golden") && strings.Contains(f.data, id)
		if !golden && !strings.Contains(comment+body, id) {
			return fmt.Errorf("%s does not bear the id", name)
		}
		return nil
	}
	return fmt.Errorf("there is no %s", name)
}
