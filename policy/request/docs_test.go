package request_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/policy/request"
)

const docs = "../../docs/annotations.md"

// row is a line of a Markdown table.
func row(cells ...string) string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// tables are the parts of the reference that are made from the code, by the name of their markers.
func tables() map[string]string {
	keys := row("annotation", "value", "meaning", "served by") + row("---", "---", "---", "---")
	for _, k := range request.Keys() {
		keys += row("`"+k.Name+"`", k.Form, k.Meaning, k.UsedBy)
	}
	fields := row("field", "value", "meaning", "") + row("---", "---", "---", "---")
	for _, f := range request.Fields() {
		note := ""
		switch {
		case f.Repeat:
			note = "repeatable"
		case f.Name == "driver":
			note = "in place of `name`"
		case f.SpellOut:
			note = "only with `driver`"
		}
		fields += row("`"+f.Name+"`", f.Form, f.Meaning, note)
	}
	limits := row("what", "at most") + row("---", "---")
	for _, l := range []struct {
		what string
		most int
	}{
		{"annotations under `" + request.Prefix + "` of a container", request.MaxAnnotations},
		{"bytes of a value", request.MaxValue},
		{"attachments of a container", request.MaxAttachments},
		{"`ip` of an attachment", request.MaxAddresses},
		{"`route` of an attachment", request.MaxRoutes},
		{"`sysctl` of an attachment", request.MaxSysctls},
		{"entries of `" + request.Prefix + "publish`", request.MaxPublish},
		{"ports of all these entries together", request.MaxPorts},
		{"entries of `dns`, `dns-search`, `dns-option` and `add-host`, each", request.MaxList},
		{"mistakes that one message tells", request.MaxErrors},
	} {
		limits += row(l.what, fmt.Sprint(l.most))
	}
	return map[string]string{"keys": keys, "fields": fields, "limits": limits}
}

// TestDocsTables compares the tables of the reference with the code, and rewrites them with -update.
func TestDocsTables(t *testing.T) {
	data, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, want := range tables() {
		before, rest, ok := strings.Cut(text, "<!-- "+name+" -->\n")
		got, after, closed := strings.Cut(rest, "<!-- /"+name+" -->\n")
		if !ok || !closed {
			t.Errorf("there are no markers for %s", name)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" && !*update {
			t.Errorf("the table of %s differs (-code +docs); run the test with -update:\n%s", name, diff)
		}
		text = before + "<!-- " + name + " -->\n" + want + "<!-- /" + name + " -->\n" + after
	}
	if *update && text != string(data) {
		if err := os.WriteFile(docs, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// block is a fenced block of the reference.
type block struct {
	line       int
	info, text string
}

func blocks(t *testing.T) []block {
	data, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	open := false
	for i, line := range strings.Split(string(data), "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !open:
			all = append(all, block{line: i + 1, info: info})
			open = true
		case fence:
			open = false
		case open:
			all[len(all)-1].text += line + "\n"
		}
	}
	if open || len(all) == 0 {
		t.Fatalf("%s: %d blocks, the last one open: %t", docs, len(all), open)
	}
	return all
}

// pairs reads lines of KEY=VALUE.
func pairs(t *testing.T, lines []string) map[string]string {
	annotations := map[string]string{}
	for _, line := range lines {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Errorf("%q is not KEY=VALUE", line)
		}
		annotations[key] = value
	}
	return annotations
}

// TestDocsExamples parses every example of the reference. What is said to be refused must be, with that very message.
func TestDocsExamples(t *testing.T) {
	flagged := regexp.MustCompile(`--annotation (?:'([^']*)'|"([^"]*)"|([^\s'"]+))`)
	inYAML := regexp.MustCompile(`(?m)^ +(io\.lanhook\.\S+): (?:'(.*)'|"(.*)"|(.*))$`)
	for _, b := range blocks(t) {
		t.Run(fmt.Sprintf("line %d", b.line), func(t *testing.T) {
			var annotations map[string]string
			switch b.info {
			case "text annotations":
				annotations = pairs(t, strings.Split(strings.TrimSpace(b.text), "\n"))
			case "text refused":
				input, want, _ := strings.Cut(b.text, "\n\n")
				_, err := request.Parse(pairs(t, strings.Split(input, "\n")))
				if err == nil {
					t.Fatal("Parse gave no error")
				}
				if diff := cmp.Diff(want, refusal(t, err)); diff != "" {
					t.Errorf("the message differs (-docs +code):\n%s", diff)
				}
				return
			case "sh":
				var found []string
				for _, m := range flagged.FindAllStringSubmatch(b.text, -1) {
					// podman wants double quotes within the shell's.
					found = append(found, strings.Trim(m[1]+m[2]+m[3], `"`))
				}
				annotations = pairs(t, found)
			case "yaml":
				annotations = map[string]string{}
				for _, m := range inYAML.FindAllStringSubmatch(b.text, -1) {
					annotations[m[1]] = m[2] + m[3] + m[4]
				}
			case "json":
				var config struct {
					Annotations map[string]string `json:"annotations"`
				}
				if err := json.Unmarshal([]byte(b.text), &config); err != nil {
					t.Fatal(err)
				}
				annotations = config.Annotations
			case "toml":
				allowList(t, b.text)
				return
			default:
				t.Fatalf("a block of the kind %q is checked by nothing", b.info)
			}
			r, err := request.Parse(annotations)
			if err != nil || r.Empty() {
				t.Errorf("Parse of %q = %v, %v, want a request that asks for something", annotations, describe(r), err)
			}
		})
	}
}

// allowList holds that containerd's list in an example lets all keys through; its globs are those of package path.
func allowList(t *testing.T, text string) {
	m := regexp.MustCompile(`pod_annotations = \["([^"]*)"\]`).FindStringSubmatch(text)
	if m == nil {
		t.Fatal("there is no pod_annotations")
	}
	for _, k := range request.Keys() {
		if ok, err := path.Match(m[1], k.Name); !ok || err != nil {
			t.Errorf("%s does not match %s: %v", m[1], k.Name, err)
		}
	}
}
