package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/hook/oci"
)

// DockerFile is where dockerd looks for its configuration without being told.
const DockerFile = "/etc/docker/daemon.json"

// runtimeProgram is the base name by which our runtime is known again.
const runtimeProgram = "lanhook-runtime"

// Docker is what a setup of Docker takes.
type Docker struct {
	// Config is the daemon's file, "" for DockerFile.
	Config string
	// Runtime is the absolute path of lanhook-runtime.
	Runtime string
	// Profile is that of runtime.toml which the runtime is to choose, "" for none. The engine's runtime is then called
	// lanhook-PROFILE.
	Profile string
}

// name is what Docker shall call the runtime.
func (d Docker) name() string {
	if d.Profile == "" {
		return Name
	}
	return Name + "-" + d.Profile
}

// Setup puts the runtime into daemon.json, whose other bytes stay as they are.
func (d Docker) Setup(f Files) (Plan, error) {
	before, file, err := d.read(f)
	if err != nil {
		return Plan{}, err
	}
	after, err := d.add(before)
	if err != nil {
		return Plan{}, &HandError{Path: file, Why: err.Error(), Add: d.whole(), Fix: "say in it by hand what is above"}
	}
	// Without default-route the container would have no route beyond the network.
	note := fmt.Sprintf("containers get it with docker run --runtime %s --network none --annotation io.lanhook.network=NETWORK,default-route=true", d.name())
	if d.Profile != "" {
		note = fmt.Sprintf("containers get what [profile.%s] of %s says, with docker run --runtime %s", d.Profile, settingsFile, d.name())
	}
	return d.plan(file, before, after, append(otherDefault(after), note)), nil
}

// Undo takes the runtime out of daemon.json again, whatever its path, and the file when setup made it.
func (d Docker) Undo(f Files) (Plan, error) {
	before, file, err := d.read(f)
	if err != nil || before == nil {
		return d.plan(file, before, before, nil), err
	}
	after, err := d.cut(before)
	if err != nil {
		return Plan{}, &HandError{Path: file, Why: err.Error(), Fix: "take the runtime " + d.name() + " out by hand"}
	}
	var notes []string
	for _, name := range others(after) {
		undo := "lanhook setup docker --undo"
		if profile, ok := strings.CutPrefix(name, Name+"-"); ok {
			undo += " --profile " + profile
		}
		notes = append(notes, fmt.Sprintf("the runtime %s stays; %s takes it out", name, undo))
	}
	return d.plan(file, before, after, notes), nil
}

// dockerRuntimes are the parts of daemon.json that name runtimes.
type dockerRuntimes struct {
	Default  string `json:"default-runtime"`
	Runtimes map[string]struct {
		Path string `json:"path"`
	} `json:"runtimes"`
}

// otherDefault says that containers have another runtime by default than lanhook-runtime may run.
func otherDefault(text []byte) []string {
	var file dockerRuntimes
	if err := json.Unmarshal(text, &file); err != nil {
		return nil // dockerd will say so; what setup needs of it is understood
	}
	program := file.Runtimes[file.Default].Path
	if program == "" || ours(program) {
		return nil
	}
	return []string{sameRuntime(file.Default, program)}
}

// others are the runtimes that setup has put into a file, by their names.
func others(text []byte) []string {
	var file dockerRuntimes
	if err := json.Unmarshal(text, &file); err != nil {
		return nil
	}
	var names []string
	for name, r := range file.Runtimes {
		if ours(r.Path) && (name == Name || strings.HasPrefix(name, Name+"-")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (d Docker) read(f Files) (before []byte, file string, err error) {
	if file = d.Config; file == "" {
		file = DockerFile
	}
	before, err = f.Read(file)
	return before, file, err
}

func (d Docker) plan(file string, before, after []byte, notes []string) Plan {
	return Plan{
		Changes: []Change{{Path: file, Before: before, After: after}},
		Notes:   notes,
		Reload:  "systemctl reload docker", // dockerd takes new runtimes with SIGHUP, since 1.12
	}
}

// entry is the runtime as Docker wants it.
func (d Docker) entry() []byte {
	path, args := jsonText(d.Runtime), ""
	if d.Profile != "" {
		args = `, "runtimeArgs": [` + jsonText("--lanhook-profile="+d.Profile) + `]`
	}
	return fmt.Appendf(nil, `{"path": %s%s}`, path, args)
}

// The three layouts of what is added differ, so that undo can tell which one it was, and what was there before.

// whole is a file that has nothing else.
func (d Docker) whole() string {
	return fmt.Sprintf("{\n  \"runtimes\": {\n    %s: %s\n  }\n}\n", jsonText(d.name()), d.entry())
}

// add puts the runtime in: the bytes that come back are text itself when it is there already.
func (d Docker) add(text []byte) ([]byte, error) {
	if text == nil {
		return []byte(d.whole()), nil
	}
	top, err := oci.Members(text)
	if err != nil {
		return nil, err
	}
	runtimes, found, err := oci.One(top, "runtimes")
	if err != nil {
		return nil, err
	}
	if !found {
		// White space behind the brace, unlike in an object that is there and empty.
		lead, inner, outer := blank(text, top), " ", " "
		if end := strings.LastIndexByte(lead, '\n'); end >= 0 {
			inner, outer = lead+lead[end+1:], lead
		}
		return insert(text, 0, top, fmt.Sprintf(`"runtimes": {%s%s: %s%s}`, inner, jsonText(d.name()), d.entry(), outer)), nil
	}
	value := text[runtimes.Value:runtimes.End]
	all, err := oci.Members(value)
	if err != nil {
		return nil, fmt.Errorf("its runtimes are no object")
	}
	member := fmt.Sprintf("%s: %s", jsonText(d.name()), d.entry())
	ours, found, err := d.ours(value, all)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return insert(text, runtimes.Value, all, member), nil
	case sameJSON(value[ours.Value:ours.End], d.entry()):
		return text, nil
	}
	return slices.Concat(text[:runtimes.Value+ours.Value], d.entry(), text[runtimes.Value+ours.End:]), nil
}

// insert adds a member to the object at text[at:], whose members are all, as the last one.
func insert(text []byte, at int, all []oci.Member, member string) []byte {
	if len(all) == 0 {
		at += bytes.IndexByte(text[at:], '{') + 1
	} else {
		member = "," + blank(text[at:], all) + member
		at += all[len(all)-1].End
	}
	return slices.Concat(text[:at], []byte(member), text[at:])
}

// blank is the white space before the first member of an object.
func blank(text []byte, all []oci.Member) string {
	if len(all) == 0 {
		return ""
	}
	return string(text[bytes.IndexByte(text, '{')+1 : all[0].Start])
}

// ours finds the runtime of our name among the runtimes. One that runs another program is somebody else's.
func (d Docker) ours(runtimes []byte, all []oci.Member) (oci.Member, bool, error) {
	m, found, err := oci.One(all, d.name())
	if err != nil || !found {
		return m, false, err
	}
	var entry struct {
		Path string `json:"path"`
	}
	if err := json.Unmarshal(runtimes[m.Value:m.End], &entry); err != nil || path.Base(entry.Path) != runtimeProgram {
		return m, false, fmt.Errorf("its runtime %s is not %s", d.name(), runtimeProgram)
	}
	return m, true, nil
}

// cut takes the runtime out; nil means that the file was made by setup.
func (d Docker) cut(text []byte) ([]byte, error) {
	top, err := oci.Members(text)
	if err != nil {
		return nil, err
	}
	runtimes, found, err := oci.One(top, "runtimes")
	if err != nil || !found {
		return text, err
	}
	value := text[runtimes.Value:runtimes.End]
	all, err := oci.Members(value)
	if err != nil {
		return text, nil // no object, so nothing of ours
	}
	ours, found, err := d.ours(value, all)
	if err != nil || !found {
		return text, nil //nolint:nilerr // what is not ours stays
	}
	// What setup would add today stands for what it added then: the program may have moved.
	was := d
	was.Runtime = ""
	without := slices.Concat(text[:runtimes.Value], remove(value, all, ours), text[runtimes.End:])
	entry := value[ours.Value:ours.End]
	if then, ok := d.reread(entry); ok {
		was = then
	}
	whole := remove(text, top, runtimes)
	switch {
	case was.Runtime == "":
		return without, nil
	case string(text) == was.whole():
		return nil, nil
	case len(all) == 1 && gives(was, whole, text):
		return whole, nil
	}
	return without, nil
}

// reread is the setup that wrote an entry.
func (d Docker) reread(entry []byte) (Docker, bool) {
	var e struct {
		Path string   `json:"path"`
		Args []string `json:"runtimeArgs"`
	}
	if json.Unmarshal(entry, &e) != nil {
		return d, false
	}
	was := Docker{Runtime: e.Path, Profile: d.Profile}
	return was, bytes.Equal(entry, was.entry())
}

// gives says whether a setup of before makes after.
func gives(d Docker, before, after []byte) bool {
	made, err := d.add(before)
	return err == nil && bytes.Equal(made, after)
}

// remove takes a member out, with the comma and the white space that part it from the one before, or behind when it is
// the first.
func remove(text []byte, all []oci.Member, m oci.Member) []byte {
	i := slices.Index(all, m)
	switch {
	case i > 0:
		return slices.Concat(text[:all[i-1].End], text[m.End:])
	case len(all) > 1:
		return slices.Concat(text[:m.Start], text[all[1].Start:])
	}
	return slices.Concat(text[:m.Start], text[m.End:])
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// jsonText writes a string of JSON.
func jsonText(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		return `""` // a string always has a text
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// profileOf is the profile of a runtime that setup names so.
func profileOf(name string) (profile string, ours bool) {
	if name == Name {
		return "", true
	}
	return strings.CutPrefix(name, Name+"-")
}
