package request_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lanhook/lanhook/policy/request"
)

var update = flag.Bool("update", false, "rewrite the golden files and the tables of docs/annotations.md")

// TestGolden reads testdata/good, where every case must be a request, and testdata/refused, where none may be one. A
// case is CASE/annotations.json and what comes of it, CASE/request.txt or CASE/error.txt.
func TestGolden(t *testing.T) {
	for dir, result := range map[string]string{"good": "request.txt", "refused": "error.txt"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no golden files in %s: %v", dir, err)
		}
		for _, file := range files {
			t.Run(dir+"/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				goldenFile(t, file, result)
			})
		}
	}
}

func goldenFile(t *testing.T, file, result string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	out := &txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		name, kind := filepath.Split(f.Name)
		if kind != "annotations.json" {
			continue
		}
		got := golden(t, strings.TrimSuffix(name, "/"), f.Data, result == "request.txt")
		out.Files = append(out.Files, f, txtar.File{Name: name + result, Data: []byte(got)})
		t.Run(strings.TrimSuffix(name, "/"), func(t *testing.T) {
			if diff := cmp.Diff(want[name+result], got); diff != "" && !*update {
				t.Errorf("%s differs (-want +got):\n%s", name+result, diff)
			}
		})
	}
	if len(out.Files) != len(archive.Files) && !*update {
		t.Errorf("%d cases, but %d files: a result has no case, or a case no result", len(out.Files)/2, len(archive.Files))
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// golden is what comes of a case, as text.
func golden(t *testing.T, name string, data []byte, good bool) string {
	var annotations map[string]string
	if err := json.Unmarshal(data, &annotations); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	r, err := request.Parse(annotations)
	switch {
	case good && err != nil:
		t.Errorf("%s: Parse = %v, want a request", name, err)
	case good:
		return describe(r)
	case err == nil:
		t.Errorf("%s: Parse = %s, want an error", name, describe(r))
	default:
		return refusal(t, err)
	}
	return ""
}

// describe is a request, one thing a line.
func describe(r request.Request) string {
	var b strings.Builder
	for _, a := range r.Attachments {
		fmt.Fprintf(&b, "%s %s: %s\n", a.Key, a.IfName, a)
	}
	for _, p := range r.Publish {
		fmt.Fprintf(&b, "publish: %s\n", p)
	}
	for _, one := range []struct {
		what, value string
	}{
		{"name", r.Name},
		{"netns", r.NetNS},
		{"hostname", r.Hostname},
		{"dns", strings.Trim(fmt.Sprint(r.DNS), "[]")},
		{"dns-search", strings.Join(r.DNSSearch, " ")},
		{"dns-option", strings.Join(r.DNSOption, " ")},
		{"add-host", strings.Join(r.AddHost, " ")},
		{"shim only", strings.Join(r.ShimOnly(), " ")},
	} {
		if one.value != "" {
			fmt.Fprintf(&b, "%s: %s\n", one.what, one.value)
		}
	}
	if r.Empty() {
		b.WriteString("empty\n")
	}
	return b.String()
}

// refusal is an error of Parse, with the hints. Whatever the annotations hold, a mistake takes one line of plain text.
func refusal(t *testing.T, err error) string {
	var b strings.Builder
	all := request.Errors(err)
	if lines := strings.Split(err.Error(), "\n"); len(lines) != len(all) {
		t.Errorf("%d mistakes take %d lines:\n%v", len(all), len(lines), err)
	}
	for _, one := range all {
		b.WriteString(one.Error() + "\n")
		if hint := one.Hint(); hint != "" {
			b.WriteString("  hint: " + hint + "\n")
		}
		if !strings.HasPrefix(one.Key, request.Prefix) {
			t.Errorf("%v: the key %q is none of ours", one, one.Key)
		}
	}
	foreign := func(r rune) bool { return r != '\n' && r != '…' && r != 'ö' && (r < ' ' || r > '~') }
	if strings.ContainsFunc(b.String(), foreign) {
		t.Errorf("the message holds other than printable characters: %q", b.String())
	}
	return b.String()
}
