package plan_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden makes the plan of each testdata/*.txtar: policy.toml, annotations.json, facts.json, choices.json and, where
// lanhook has reserved ports or made interfaces for other records, reserved.json and others.json in; plan.txt, undo.txt and, where ports or host addresses are published,
// ports.txt out, and warnings.txt where there are any, or error.txt.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := map[string][]byte{}
			want := map[string]string{}
			var inputs []txtar.File
			for _, f := range archive.Files {
				switch f.Name {
				case "plan.txt", "undo.txt", "ports.txt", "warnings.txt", "error.txt":
					want[f.Name] = string(f.Data)
				default:
					in[f.Name] = f.Data
					inputs = append(inputs, f)
				}
			}
			got := build(t, in)
			if *update {
				archive.Files = inputs
				for _, name := range []string{"plan.txt", "undo.txt", "ports.txt", "warnings.txt", "error.txt"} {
					if text, ok := got[name]; ok {
						archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(text)})
					}
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got; -update rewrites)\n%s", diff)
			}
		})
	}
}

// build runs the whole pure line: policy, request, decision, plan.
func build(t *testing.T, in map[string][]byte) map[string]string {
	t.Helper()
	p, err := policy.Decode([]policy.File{{Name: "policy.toml", Data: in["policy.toml"]}})
	if err != nil {
		t.Fatalf("policy.toml: %v", err)
	}
	annotations := unmarshal[map[string]string](t, in, "annotations.json")
	req, err := request.Parse(annotations)
	if err != nil {
		t.Fatalf("annotations.json: %v", err)
	}
	attachments, err := p.Decide(req, policy.Subject{ID: "web", Annotations: annotations})
	if err != nil {
		t.Fatalf("decide: %v", err)
	}
	type choice struct {
		Addresses []netip.Prefix
		MAC       plan.MAC
		Ports     []uint16
		Host      []netip.Addr
		HostIsNew bool
	}
	var choices []plan.Choice
	for _, c := range unmarshal[[]choice](t, in, "choices.json") {
		choices = append(choices, plan.Choice(c))
	}
	var reserved []uint16
	if in["reserved.json"] != nil {
		reserved = unmarshal[[]uint16](t, in, "reserved.json")
	}
	var others []plan.Other
	if in["others.json"] != nil {
		others = unmarshal[[]plan.Other](t, in, "others.json")
	}
	made, err := plan.Build(plan.Input{
		Record:      "abcdefghij",
		HostID:      "host",
		Attachments: attachments,
		Choices:     choices,
		Facts:       unmarshal[plan.Facts](t, in, "facts.json"),
		Others:      others,
		OwnReserved: reserved,
	})
	if err != nil {
		return map[string]string{"error.txt": errorText(err)}
	}
	got := map[string]string{"plan.txt": text(made.Steps), "undo.txt": text(plan.Undo(made.Steps))}
	if ports := portsText(made.Interfaces); ports != "" {
		got["ports.txt"] = ports
	}
	if len(made.Warnings) > 0 {
		got["warnings.txt"] = errorText(errors.Join(made.Warnings...))
	}
	return got
}

// portsText is what the result says of ports and host addresses.
func portsText(interfaces []plan.Interface) string {
	var b strings.Builder
	for _, i := range interfaces {
		for _, p := range i.Publish {
			fmt.Fprintf(&b, "%s: publish %s\n", i.Name, p)
		}
		for _, d := range i.DNAT {
			fmt.Fprintf(&b, "%s: dnat %s\n", i.Name, d)
		}
	}
	return b.String()
}

func unmarshal[T any](t *testing.T, in map[string][]byte, name string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(in[name], &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

func text(steps plan.Steps) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

// errorText is each error with its hint.
func errorText(err error) string {
	var b strings.Builder
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, e := range all {
		b.WriteString(e.Error() + "\n")
		if h, ok := e.(interface{ Hint() string }); ok && h.Hint() != "" {
			b.WriteString("hint: " + h.Hint() + "\n")
		}
	}
	return b.String()
}
