// Package tests holds what the whole tree must satisfy: which folder may import which other, who may use which
// module, what builds on any system and what the hook may not link.
package tests

import (
	"encoding/json"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lanhook/lanhook"

// folder is one line of the import table. A test may import what its folder may, its own package and, beyond that,
// what tests lists; one that needs root lies below tests/.
type folder struct {
	path string
	// imports are the folders that the product code in it may import.
	imports []string
	// tests are further folders that only its tests may import.
	tests []string
	// portable folders build on every system.
	portable bool
}

// folders is the import table, from the leaves up. A folder with Go files has a line, and each line has a folder.
func folders() []folder {
	return []folder{
		{path: "policy/request", portable: true},
		{path: "netsetup/ipam", portable: true},
		{path: "policy", imports: []string{"policy/request", "netsetup/ipam"}, portable: true},
		{path: "netsetup/plan", imports: []string{"policy", "policy/request", "netsetup/ipam"}, portable: true},
		{path: "netsetup/apply", imports: []string{"netsetup/plan"}, tests: []string{"policy", "policy/request"}},
		{path: "netsetup/firewall", imports: []string{"netsetup/plan", "policy/request"}, tests: []string{"policy"}},
		{path: "netsetup/process"},
		{
			path: "netsetup/kernel",
			imports: []string{
				"netsetup/firewall", "netsetup/plan", "netsetup/probe", "netsetup/process", "policy", "policy/request",
			},
		},
		{path: "netsetup/probe"},
		{path: "netsetup/store", imports: []string{"netsetup/plan"}, tests: []string{"policy", "policy/request"}},
		{
			path:    "netsetup/guest",
			imports: []string{"netsetup/ipam", "netsetup/process", "policy", "policy/request"},
		},
		{
			path: "netsetup",
			imports: []string{
				"netsetup/apply", "netsetup/guest", "netsetup/ipam", "netsetup/kernel", "netsetup/plan",
				"netsetup/process", "netsetup/store", "policy", "policy/request",
			},
		},
		{path: "hook/oci", portable: true},
		{path: "hook/engine", imports: []string{"hook/oci"}, portable: true},
		{
			path: "hook",
			// kernel to open the host; ipam, plan and store for what is printed: ranges, steps, interfaces, records.
			imports: []string{
				"hook/engine", "hook/oci", "netsetup", "netsetup/guest", "netsetup/ipam", "netsetup/kernel", "netsetup/plan",
				"netsetup/process", "netsetup/store", "policy", "policy/request", "shim/config",
			},
		},
		{path: "shim/config", imports: []string{"policy/request"}},
		{
			path: "shim/inject",
			// What the policy allows of names and namespaces, and the files that serve it.
			imports: []string{"hook/oci", "netsetup/guest", "netsetup/process", "policy", "policy/request"},
		},
		{
			path: "shim/runtime", imports: []string{"hook/oci", "shim/config", "shim/inject"},
			tests: []string{"netsetup/guest", "tests/standin"},
		},
		{
			path: "shim/containerd", imports: []string{"hook/oci", "shim/config", "shim/inject"},
			tests: []string{"tests/standin"},
		},
		{path: "tests"},
		{path: "tests/testsum"},
		{path: "tests/nettest"},
		{path: "tests/standin"},
		{
			path: "tests/kernel",
			tests: []string{
				"netsetup/firewall", "netsetup/kernel", "netsetup/plan", "netsetup/process", "policy", "policy/request", "tests/nettest",
			},
		},
		{
			path:  "tests/firewall",
			tests: []string{"netsetup/firewall", "netsetup/plan", "policy", "policy/request", "tests/nettest"},
		},
		{path: "tests/script", tests: []string{"tests/nettest"}},
		{path: "tests/store", tests: []string{"netsetup/store", "netsetup/plan"}},
		{
			path: "tests/netsetup",
			tests: []string{
				"netsetup", "netsetup/apply", "netsetup/guest", "netsetup/ipam", "netsetup/kernel", "netsetup/plan",
				"netsetup/process", "netsetup/store", "policy", "policy/request", "tests/nettest",
			},
		},
		{path: "tests/e2e"},
		{path: "tests/bench", imports: []string{"hook/oci"}},
		{path: "tests/vm", imports: []string{"tests/vm/spec"}},
		{path: "tests/vm/boot", tests: []string{"tests/vm"}},
		{path: "tests/vm/device", tests: []string{"tests/vm"}},
		{path: "tests/vm/image", imports: []string{"tests/vm"}},
		{path: "tests/vm/init", imports: []string{"tests/vm/spec"}},
		{path: "tests/vm/lane", imports: []string{"tests/vm"}},
		{path: "tests/vm/run", imports: []string{"tests/vm"}},
		{path: "tests/vm/spec"},
		{path: "tests/scenarios", tests: []string{"tests/vm"}},
	}
}

// dependency is who may import a module that is not ours. What lies below tests/ may import every one of them.
type dependency struct {
	module string
	// users are folders whose product code may import it, none for one that is for tests only.
	users []string
}

func dependencies() []dependency {
	return []dependency{
		{"github.com/google/go-cmp", nil},
		{"github.com/google/nftables", []string{"netsetup/firewall"}},
		{"github.com/mdlayher/netlink", []string{"netsetup/firewall"}}, // what nftables speaks by
		{"github.com/opencontainers/runtime-spec", []string{"hook/oci"}},
		{"github.com/pelletier/go-toml/v2", []string{"policy", "shim/config", "hook/engine"}},
		{"github.com/rogpeppe/go-internal", nil},
		{"github.com/spf13/pflag", []string{"hook"}},
		{"github.com/vishvananda/netlink", []string{"netsetup/kernel"}},
		{"go.etcd.io/bbolt", []string{"netsetup/store"}},
		{"golang.org/x/sys", []string{"hook", "netsetup/firewall", "netsetup/guest", "netsetup/kernel", "netsetup/probe", "netsetup/process", "netsetup/store"}},
		{"golang.org/x/tools", nil}, // txtar
	}
}

// forbidden are standard packages that no product code imports, with the reason.
func forbidden() map[string]string {
	return map[string]string{
		"os/exec":       "a hook leaves no child behind and runs no other program",
		"net/http":      "the hook is to stay small, and nothing in it speaks HTTP",
		"html/template": "the hook is to stay small",
		"text/template": "the hook is to stay small",
		"testing":       "no test hooks in the product",
	}
}

// drawers are names that say nothing of what is inside.
func drawers() []string {
	return []string{"util", "utils", "helper", "helpers", "common", "types", "base", "misc", "lib", "pkg", "internal"}
}

func TestFolders(t *testing.T) {
	table := map[string]folder{}
	for _, f := range folders() {
		if _, twice := table[f.path]; twice {
			t.Errorf("folder %s has two lines in the table", f.path)
		}
		table[f.path] = f
	}
	found := map[string]bool{}
	for _, p := range list(t, "./...") {
		found[p.folder()] = true
		f, ok := table[p.folder()]
		if !ok {
			t.Errorf("folder %q has no line in the table of imports", p.folder())
			continue
		}
		for _, used := range ours(p.Imports) {
			if !slices.Contains(f.imports, used) {
				t.Errorf("%s may not import %s", f.path, used)
			}
		}
		for _, may := range f.imports {
			if !slices.Contains(ours(p.Imports), may) {
				t.Errorf("the table of imports lets %s import %s, which it does not", f.path, may)
			}
		}
		allowed := slices.Concat(f.imports, f.tests, []string{f.path})
		for _, used := range ours(slices.Concat(p.TestImports, p.XTestImports)) {
			if !slices.Contains(allowed, used) {
				t.Errorf("the tests of %s may not import %s", f.path, used)
			}
		}
	}
	for _, f := range folders() {
		if !found[f.path] {
			t.Errorf("the table of imports has a line for %s, but there is no such package", f.path)
		}
	}
}

// TestModules finds the modules of the tree. One beside the product's takes nothing from it, or its dependencies would be
// the product's again.
func TestModules(t *testing.T) {
	var found []string
	err := filepath.WalkDir(root(t), func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == filepath.Join(root(t), "bin") || strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.Name() == "go.mod":
			folder, relErr := filepath.Rel(root(t), filepath.Dir(name))
			found = append(found, filepath.ToSlash(folder))
			return relErr
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{".", "tests/client"}; !slices.Equal(found, want) {
		t.Errorf("modules %v, want %v", found, want)
	}
	for _, folder := range found[1:] {
		var file struct{ Require []struct{ Path string } }
		path := filepath.Join(folder, "go.mod")
		if err := json.Unmarshal(goTool(t, nil, "mod", "edit", "-json", path), &file); err != nil {
			t.Fatal(err)
		}
		for _, r := range file.Require {
			if r.Path == module {
				t.Errorf("%s requires the product's module", path)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, p := range list(t, "./...") {
		for name := range strings.SplitSeq(p.folder(), "/") {
			if slices.Contains(drawers(), name) {
				t.Errorf("folder %s: %q says nothing of what is inside", p.folder(), name)
			}
		}
	}
}

func TestDependencies(t *testing.T) {
	modules := dependencies()
	for _, m := range modules {
		if !slices.Contains(required(t), m.module) {
			t.Errorf("the table of modules has a line for %s, but go.mod does not require it", m.module)
		}
	}
	for _, p := range list(t, "./...") {
		everything := strings.HasPrefix(p.folder(), "tests/")
		for _, used := range foreign(slices.Concat(p.Imports, p.TestImports, p.XTestImports)) {
			users, ok := usersOf(modules, used)
			// What the product may not import its tests may, when the module is for tests only.
			testOnly := len(users) == 0 && !slices.Contains(p.Imports, used)
			switch {
			case !ok:
				t.Errorf("%s imports %s, which has no line in the table of modules", p.folder(), used)
			case !everything && !testOnly && !slices.Contains(users, p.folder()):
				t.Errorf("%s may not import %s, only %v and what is below tests/ may", p.folder(), used, users)
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	for _, p := range list(t, "./...") {
		if p.folder() == "tests" || strings.HasPrefix(p.folder(), "tests/") {
			continue
		}
		for _, used := range p.Imports {
			if why, bad := forbidden()[used]; bad {
				t.Errorf("%s imports %s: %s", p.folder(), used, why)
			}
		}
	}
}

// TestPortable compiles the folders without a Linux call, and their tests, for systems without Linux's.
func TestPortable(t *testing.T) {
	args := []string{"vet"}
	for _, f := range folders() {
		if f.portable {
			args = append(args, "./"+f.path)
		}
	}
	for _, system := range []string{"darwin", "windows"} {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			goTool(t, []string{"GOOS=" + system, "GOARCH=amd64", "CGO_ENABLED=0"}, args...)
		})
	}
}
