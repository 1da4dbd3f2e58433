package policy

import (
	"fmt"
)

const (
	// maxFile and maxFiles are far above any real policy, and bound what a reader holds in memory.
	maxFile  = 1 << 20
	maxFiles = 256
	// maxNetworks and maxRules bound the checks that compare every rule with every network.
	maxNetworks = 4096
	maxRules    = 4096
)

// File is one file of a policy: its name for messages, and what is in it.
type File struct {
	Name string
	Data []byte
}

// Decode makes a policy out of files, in the order in which rules are tried. The first file must have version = 1.
//
// It is strict: what is not understood is an error, and then there is no policy. The error is [Errors], with everything
// that is wrong in all files, or a [*FileError] where there are no files or too many.
func Decode(files []File) (*Policy, error) {
	if len(files) == 0 {
		return nil, &FileError{Err: errNoFiles, Help: "name one file at least"}
	}
	if len(files) > maxFiles {
		return nil, &FileError{Path: files[maxFiles].Name, Err: fmt.Errorf("a policy has at most %d files", maxFiles)}
	}
	d := &decoder{}
	doc := &document{networks: map[string]*networkDraft{}}
	p := &Policy{Networks: map[string]*Network{}}
	whole := true
	for i, f := range files {
		p.Files = append(p.Files, f.Name)
		whole = d.file(newSource(i, f), doc) && whole
	}
	// With a file missing, that a name is unknown tells nothing.
	if whole {
		d.across(doc)
	}
	if len(d.found) > 0 {
		return nil, asErrors(d.found)
	}
	for _, n := range doc.order {
		p.Networks[n.Name] = n.Network
	}
	for i := range doc.rules {
		p.Rules = append(p.Rules, doc.rules[i].Rule)
	}
	p.warnings = asWarnings(doc.warnings(p))
	return p, nil
}

// document is everything that was read, with the places that the checks across tables need.
type document struct {
	networks map[string]*networkDraft
	// order is that of the files.
	order []*networkDraft
	rules []ruleDraft
}

// file reads one file. It is false when that was not possible as a whole, and then nothing of it is looked at: what is
// missing behind a syntax error would give errors that are none.
func (d *decoder) file(src *source, doc *document) bool {
	if len(src.data) > maxFile {
		d.fail(mark{src, -1}, "", "the file has %d bytes, %d are the most", len(src.data), maxFile)
		return false
	}
	root, found := parseTree(src)
	if len(found) > 0 {
		d.found = append(d.found, found...)
		return false
	}
	seen := decode(d, value{root, "policy"}, fileSchema(), nil, doc)
	if _, ok := seen["version"]; !ok && src.order == 0 {
		d.fail(mark{src, 0}, "begin it with: version = 1", "policy: version is missing")
	}
	return true
}

// fileSchema are the keys at the top of a file.
func fileSchema() []field[document] {
	return []field[document]{
		{
			name: "version", typ: "integer", doc: "the version of this format: 1. Required in the first file",
			set: func(d *decoder, _ *document, v value) {
				if v.is(d, kindInteger, "write version = 1") && v.text != "1" {
					d.fail(v.at, "write version = 1", "%s is %.40s, and this program reads 1 only", v.name, v.text)
				}
			},
		},
		{
			name: "network", typ: "table", doc: "one table for each network: `[network.NAME]`",
			set: func(d *decoder, doc *document, v value) { d.networks(doc, v) },
		},
		{
			name: "rule", typ: "list of tables", doc: "the rules in order: `[[rule]]`",
			set: func(d *decoder, doc *document, v value) { d.rules(doc, v) },
		},
	}
}

func (d *decoder) networks(doc *document, v value) {
	if !v.is(d, kindTable, "write [network.NAME] for each network") {
		return
	}
	for _, e := range v.entries {
		if old := doc.networks[e.name]; old != nil {
			d.fail(e.at, "", "network %s is already defined in %s", e.name, old.named)
			continue
		}
		if len(doc.order) == maxNetworks {
			d.fail(e.at, "", "policy: more than %d networks", maxNetworks)
			return
		}
		if e.val.kind != kindTable {
			d.fail(e.at, "write [network.NAME], and its keys below", "network %s must be a table, not %s",
				quoted(e.name), e.val.kind)
			continue
		}
		n := d.network(e)
		doc.networks[e.name] = n
		doc.order = append(doc.order, n)
	}
}

func (d *decoder) rules(doc *document, v value) {
	if !v.is(d, kindArray, "write [[rule]], with two brackets, for each rule") {
		return
	}
	for _, item := range v.items {
		if len(doc.rules) == maxRules {
			d.fail(item.at, "", "policy: more than %d rules", maxRules)
			return
		}
		doc.rules = append(doc.rules, d.rule(item, len(doc.rules)+1))
	}
}
