package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lanhook/lanhook/policy/request"
)

// key is one key of a table: how it is read and what docs/runtime.md says of it.
type key[T any] struct {
	// name, typ, def and doc are for the reference: the key, its type in TOML, the default, and the meaning.
	name, typ, def, doc string
	// set reads a value; nil for a table, whose keys decoder reads by itself.
	set func(d *decoder, out *T, e entry)
}

// decoder collects what is wrong.
type decoder struct {
	found []finding
	// places is where each annotation's value stands, by the name of its entry.
	places map[string]int
}

func (d *decoder) fail(at int, hint, format string, args ...any) {
	d.found = append(d.found, finding{at, fmt.Sprintf(format, args...), hint})
}

// The tables of the file.
const (
	annotationsKey = "annotations"
	profileKey     = "profile"
)

// keys are those at the top of the file, in the order of the reference.
func keys() []key[Config] {
	return []key[Config]{
		{name: "version", typ: "integer", def: "**required**", doc: "the version of this format: 1", set: version},
		{
			name: "runtime", typ: "string", def: "the first that exists of `runc` and `crun` in " + places(),
			doc: "the real OCI runtime, which does the work; never searched in PATH",
			set: func(d *decoder, c *Config, e entry) { d.path(&c.Runtime, e) },
		},
		{
			name: "shim", typ: "string",
			def: "`" + shimName + "` beside the containerd that calls, or else the first in the same folders",
			doc: "containerd's own shim, which containerd-shim-lanhook-v2 calls",
			set: func(d *decoder, c *Config, e entry) { d.path(&c.Shim, e) },
		},
		{
			name: "lanhook", typ: "string", def: "`lanhook` beside the program that reads this",
			doc: "the hook's program; its name is `lanhook`", set: lanhook,
		},
		{
			name: "policy", typ: "string", def: "the hook's",
			doc: "the hook's `--policy`: the file or folder that holds the policy",
			set: func(d *decoder, c *Config, e entry) { d.path(&c.Policy, e) },
		},
		{
			name: "state-dir", typ: "string", def: "the hook's", doc: "the hook's `--state-dir`",
			set: func(d *decoder, c *Config, e entry) { d.path(&c.StateDir, e) },
		},
		{
			name: "timeout", typ: "string", def: "`\"30s\"`",
			doc: "after how long the runtime kills the hook, from 3s to 4m; the hook itself gives up at two thirds of it",
			set: timeout,
		},
		{
			name: annotationsKey, typ: "table", def: "none",
			doc: "annotations for containers that have none of their own under `io.lanhook.`",
		},
		{name: profileKey, typ: "table", def: "none", doc: "one table for each profile: `[profile.NAME]`"},
	}
}

// profileKeys are those of a profile.
func profileKeys() []key[Profile] {
	return []key[Profile]{
		{
			name: "runtime", typ: "string", def: "that at the top", doc: "the real OCI runtime of containers with this profile",
			set: func(d *decoder, p *Profile, e entry) { d.path(&p.Runtime, e) },
		},
		{
			name: annotationsKey, typ: "table", def: "those at the top",
			doc: "annotations for containers with this profile that have none of their own; in place of those at the top",
		},
	}
}

// Decode reads the text of a runtime.toml, which messages call file. The error is [Errors] with everything that is wrong;
// with it comes each value that is right by itself.
func Decode(file string, data []byte) (Config, error) {
	c := defaults()
	if len(data) > maxFile {
		return c, Errors{{File: file, Msg: fmt.Sprintf("the file has more than %d bytes", maxFile)}}
	}
	entries, found := flatten(data)
	d := &decoder{found: found, places: map[string]int{}}
	hasVersion := false
	for _, e := range entries {
		switch e.path[0] {
		case annotationsKey:
			d.annotation(&c.Annotations, e, e.path[1:])
		case profileKey:
			d.profile(&c, e)
		default:
			scalar(d, keys(), &c, e, e.path)
			hasVersion = hasVersion || e.path[0] == "version"
		}
	}
	// Behind a syntax error nothing was read.
	if !hasVersion && len(found) == 0 {
		d.fail(0, "begin it with: version = 1", "version is missing")
	}
	d.requests(annotationsKey, c.Annotations)
	for name, p := range c.Profiles {
		d.requests(strings.Join([]string{profileKey, name, annotationsKey}, "."), p.Annotations)
	}
	return c, errorsOf(file, data, d.found)
}

// scalar reads one key that is no table. path is the entry's, below the table that has the keys.
func scalar[T any](d *decoder, all []key[T], out *T, e entry, path []string) {
	var names []string
	for _, k := range all {
		names = append(names, k.name)
		if k.name != path[0] || k.set == nil {
			continue
		}
		if len(path) > 1 || e.kind == kindTable {
			d.fail(e.at, "", "%s is no table", strings.TrimSuffix(e.name(), "."+strings.Join(path[1:], ".")))
			return
		}
		k.set(d, out, e)
		return
	}
	d.fail(e.at, nearest(path[0], names), "unknown key %.80q", e.name())
}

// profile reads an entry below "profile".
func (d *decoder) profile(c *Config, e entry) {
	if len(e.path) == 1 || len(e.path) == 2 && e.kind != kindTable {
		if e.kind != kindTable {
			d.fail(e.at, "write [profile.NAME], and its keys below", "%s must be a table", e.name())
		}
		return
	}
	if c.Profiles == nil {
		c.Profiles = map[string]Profile{}
	}
	p := c.Profiles[e.path[1]]
	switch {
	case len(e.path) == 2:
	case e.path[2] == annotationsKey:
		d.annotation(&p.Annotations, e, e.path[3:])
	default:
		scalar(d, profileKeys(), &p, e, e.path[2:])
	}
	c.Profiles[e.path[1]] = p
}

// annotation reads an entry of a table of annotations. path is the entry's, below the table.
func (d *decoder) annotation(out *map[string]string, e entry, path []string) {
	switch {
	case len(path) == 0 && e.kind != kindTable:
		d.fail(e.at, "write ["+e.name()+"], and the annotations below", "%s must be a table", e.name())
		return
	case len(path) > 1:
		d.fail(e.at, fmt.Sprintf("write it in quotes: %q", strings.Join(path, ".")),
			"%.80q is not one key, but tables", strings.Join(path, "."))
		return
	}
	if *out == nil {
		*out = map[string]string{}
	}
	switch {
	case len(path) == 0:
	case !strings.HasPrefix(path[0], request.Prefix):
		d.fail(e.at, "", "annotation %.80q is none of lanhook's: they begin with %s", path[0], request.Prefix)
	case e.kind != kindString:
		d.fail(e.value, "write it in quotes", "annotation %.80q must be a string", path[0])
		// What was meant asks for something all the same, and a container that asks is refused.
		(*out)[path[0]] = e.text
	default:
		(*out)[path[0]] = e.text
		d.places[e.name()] = e.value
	}
}

// requests finds what is wrong with annotations as such. table is the name of the table that they are in.
func (d *decoder) requests(table string, annotations map[string]string) {
	places := map[string]int{}
	for key := range annotations {
		at, ok := d.places[table+"."+key]
		if !ok {
			return // it is wrong already
		}
		places[key] = at
	}
	_, err := request.Parse(annotations)
	for _, e := range request.Errors(err) {
		at, ok := places[e.Key]
		if !ok {
			// It is about all of them together.
			at = slices.Min(slices.Collect(maps.Values(places)))
		}
		d.fail(at, e.Hint(), "%s", e)
	}
}

// path reads an absolute path.
func (d *decoder) path(out *string, e entry) bool {
	switch {
	case e.kind != kindString:
		d.fail(e.value, "", "%s must be a string", e.name())
	case !filepath.IsAbs(e.text):
		d.fail(e.value, "write the whole path, from / on", "%s: %.80q is no absolute path", e.name(), e.text)
	case filepath.Clean(e.text) != e.text:
		d.fail(e.value, "write "+filepath.Clean(e.text), "%s: %.80q is not the shortest form of a path", e.name(), e.text)
	default:
		*out = e.text
		return true
	}
	return false
}

func version(d *decoder, _ *Config, e entry) {
	if e.kind != kindInteger || e.text != "1" {
		d.fail(e.value, "write version = 1", "version is %.40s, and this program reads 1 only", e.text)
	}
}

// lanhook reads the hook's program, which hook lists are searched for by its name.
func lanhook(d *decoder, c *Config, e entry) {
	var path string
	if !d.path(&path, e) {
		return
	}
	if filepath.Base(path) != lanhookName {
		d.fail(e.value, "", "lanhook: the program %.80q is not named %s", path, lanhookName)
		return
	}
	c.Lanhook = path
}

func timeout(d *decoder, c *Config, e entry) {
	const hint = `write it as "30s" or "2m"`
	if e.kind != kindString {
		d.fail(e.value, hint, "timeout must be a string")
		return
	}
	t, err := time.ParseDuration(e.text)
	switch {
	case err != nil:
		d.fail(e.value, hint, "timeout: %.80q is no duration", e.text)
	case t < 3*time.Second || t > 4*time.Minute:
		d.fail(e.value, "", "timeout is %s, but must be from 3s to 4m", t)
	case t%time.Second != 0:
		d.fail(e.value, "", "timeout is %s, but runtimes take whole seconds only", t)
	default:
		c.Timeout = t
	}
}
