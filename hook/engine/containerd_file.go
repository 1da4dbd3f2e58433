package engine

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
)

// dropIn writes a file of our own and its name into the file's imports.
func (c Containerd) dropIn(f Files, main containerdFile, h handler) ([]Change, error) {
	path := filepath.Join(filepath.Dir(main.path), dropIn)
	before, err := f.Read(path)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%sversion = %d\n\n%s", dropInMark, main.version, h.toml)
	if before != nil && !bytes.HasPrefix(before, []byte(dropInMark)) {
		return nil, &HandError{Path: path, Why: "it is not by setup", Add: h.toml}
	}
	after, err := addImport(main, path)
	if err != nil {
		return nil, err
	}
	return []Change{{Path: path, Before: before, After: []byte(text)}, {Path: main.path, Before: main.text, After: after}}, nil
}

// importLine names a file in a configuration that imports no other.
func importLine(path string) string { return fmt.Sprintf("imports = [%s]%s", quote(path), importMark) }

// addImport names a file in the imports, unless they name it already.
func addImport(main containerdFile, path string) ([]byte, error) {
	text, add := main.text, fmt.Sprintf("imports = [%s]\n", quote(path))
	imports := main.root.at("imports")
	if imports == nil {
		// Behind the version, of which it is known that it stands before all tables.
		at := main.root.at("version").end
		line := importLine(path)
		if end := bytes.IndexByte(text[at:], '\n'); end >= 0 {
			at += end + 1
		} else {
			at, line = len(text), "\n"+line[:len(line)-1]
		}
		return checkImport(main, slices.Concat(text[:at], []byte(line), text[at:]), path)
	}
	names := main.root.strings("imports")
	if names == nil {
		return nil, &HandError{Path: main.path, Why: "its imports are no list of names", Add: add}
	}
	for _, name := range names {
		if same, err := filepath.Match(importPath(main.path, name), path); err == nil && same {
			return text, nil
		}
	}
	item := quote(path)
	if len(names) > 0 {
		item = ", " + item
	}
	return checkImport(main, slices.Concat(text[:imports.end], []byte(item), text[imports.end:]), path)
}

// checkImport reads an edited file again.
func checkImport(main containerdFile, text []byte, path string) ([]byte, error) {
	made, err := parseContainerd(main.path, text)
	if err != nil || !slices.Contains(made.root.strings("imports"), path) {
		return nil, &HandError{Path: main.path, Why: "its imports are written in a way that cannot be added to", Add: importLine(path)}
	}
	return text, nil
}

// cutImport takes a name out of the imports again.
func cutImport(file string, text []byte, path string) ([]byte, error) {
	if text == nil {
		return nil, nil
	}
	line := []byte(importLine(path))
	if at := bytes.Index(text, line); at >= 0 && (at == 0 || text[at-1] == '\n') {
		return slices.Concat(text[:at], text[at+len(line):]), nil
	}
	if rest, ok := bytes.CutSuffix(text, append([]byte{'\n'}, line[:len(line)-1]...)); ok {
		return rest, nil
	}
	main, err := parseContainerd(file, text)
	if err != nil {
		return nil, err
	}
	i := slices.Index(main.root.strings("imports"), path)
	if i < 0 {
		return text, nil
	}
	items := main.root.at("imports").items
	from, to := items[i].start, items[i].end
	switch {
	case i > 0:
		from = items[i-1].end
	case len(items) > 1:
		to = items[1].start
	}
	return slices.Concat(text[:from], text[to:]), nil
}

// block changes the file itself: the handler comes at its end, or where it is already.
func (c Containerd) block(f Files, main, clean containerdFile, h handler) ([]Change, error) {
	if err := shadowed(f, clean, h); err != nil {
		return nil, err
	}
	begin, text := blockBegin, clean.text
	if text == nil {
		text = []byte(newFile)
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		begin, text = blockGlued, append(slices.Clip(text), '\n')
	}
	block := fmt.Appendf(nil, "%s\n%s%s\n", begin, h.toml, blockEnd)
	after := slices.Concat(text, block)
	if bytes.Contains(main.text, block) {
		after = main.text // where the administrator has it
	}
	made, err := parseContainerd(main.path, after)
	if err != nil || h.misses(made.cri().at("containerd", "runtimes", Name)) != "" {
		return nil, &HandError{Path: main.path, Why: "its CRI section is written in a way that cannot be added to", Add: h.toml}
	}
	return []Change{{Path: main.path, Before: main.text, After: after}}, nil
}

// shadowed refuses a file whose imports would take the place of what is added to it under containerd 1.
func shadowed(f Files, main containerdFile, h handler) error {
	if main.text == nil {
		if others, err := f.Glob(filepath.Join(filepath.Dir(main.path), "conf.d/*.toml")); err != nil || len(others) > 0 {
			return &HandError{Path: main.path, Why: "it is not there, but conf.d is", Fix: "write it first: containerd config default >" + main.path}
		}
		return nil
	}
	all, err := imported(f, main)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.cri() != nil {
			return &HandError{
				Path: main.path, Why: fmt.Sprintf("it imports %s, whose CRI section replaces its own under containerd 1", other.path),
				Add: h.toml, Fix: fmt.Sprintf("add the lines above to %s by hand, or under containerd 2 take containerd config migrate", other.path),
			}
		}
	}
	return nil
}

// imported reads the files that a configuration imports, and those that they import, in containerd's order.
func imported(f Files, main containerdFile) ([]containerdFile, error) {
	var all []containerdFile
	seen := map[string]bool{main.path: true}
	pending := []containerdFile{main}
	for len(pending) > 0 {
		from := pending[0]
		pending = pending[1:]
		for _, pattern := range from.root.strings("imports") {
			names, err := f.Glob(importPath(from.path, pattern))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				if seen[name] {
					continue
				}
				seen[name] = true
				file, err := readContainerd(f, name)
				if err != nil {
					return nil, err
				}
				all, pending = append(all, file), append(pending, file)
			}
		}
	}
	return all, nil
}

// importPath is a pattern of imports as containerd takes it: relative to the file.
func importPath(file, pattern string) string {
	if pattern = filepath.Clean(pattern); filepath.IsAbs(pattern) {
		return pattern
	}
	return filepath.Join(filepath.Dir(file), pattern)
}

// cutBlock takes what lies between our marks out of a file, and says whether there was anything. nil for a file of which
// nothing else is left but what setup began it with.
func cutBlock(text []byte) (rest []byte, had bool, err error) {
	begin := bytes.Index(text, []byte(blockBegin))
	if begin < 0 {
		return text, false, nil
	}
	end := bytes.Index(text[begin:], []byte(blockEnd+"\n"))
	if end < 0 || begin > 0 && text[begin-1] != '\n' {
		return nil, false, fmt.Errorf("the marks of what setup added are broken")
	}
	after := text[begin+end+len(blockEnd)+1:]
	if bytes.Contains(after, []byte(blockBegin)) {
		return nil, false, fmt.Errorf("the marks of what setup added stand there twice")
	}
	before := text[:begin]
	if bytes.HasPrefix(text[begin:], []byte(blockGlued)) && len(after) == 0 {
		before = bytes.TrimSuffix(before, []byte("\n"))
	}
	rest = slices.Concat(before, after)
	if string(rest) == newFile {
		return nil, true, nil
	}
	if rest == nil {
		rest = []byte{}
	}
	return rest, true, nil
}
