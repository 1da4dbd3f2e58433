package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// goPackage is what go list says of one package.
type goPackage struct {
	ImportPath                         string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// folder is the package's path below the module.
func (p goPackage) folder() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// usersOf finds the line of the module that a package belongs to.
func usersOf(modules []dependency, pkg string) ([]string, bool) {
	for _, m := range modules {
		if pkg == m.module || strings.HasPrefix(pkg, m.module+"/") {
			return m.users, true
		}
	}
	return nil, false
}

// ours are the folders among imports that are in this module.
func ours(imports []string) []string {
	var found []string
	for _, i := range imports {
		if i == module || strings.HasPrefix(i, module+"/") {
			found = append(found, strings.TrimPrefix(i, module+"/"))
		}
	}
	return found
}

// foreign are the imports that are neither ours nor the standard library's, whose first element has no dot.
func foreign(imports []string) []string {
	var found []string
	for _, i := range imports {
		first, _, _ := strings.Cut(i, "/")
		if strings.Contains(first, ".") && i != module && !strings.HasPrefix(i, module+"/") {
			found = append(found, i)
		}
	}
	return found
}

// required are the modules that go.mod requires.
func required(t *testing.T) []string {
	t.Helper()
	var file struct{ Require []struct{ Path string } }
	if err := json.Unmarshal(goTool(t, nil, "mod", "edit", "-json"), &file); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, r := range file.Require {
		paths = append(paths, r.Path)
	}
	return paths
}

// list runs go list for Linux, where every package has its files. Packages that do not compile are listed too (-e): the
// compiler says better what is wrong with them.
func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	fields := "-json=ImportPath,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports"
	args = append([]string{"list", "-e", "-buildvcs=false", fields}, args...)
	decoder := json.NewDecoder(bytes.NewReader(goTool(t, []string{"GOOS=linux"}, args...)))
	var packages []goPackage
	for {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("read what go list prints: %v", err)
		}
		// With -e a folder that is imported but empty is listed too.
		if len(p.GoFiles)+len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 {
			packages = append(packages, p)
		}
	}
}

// goTool runs the go command in the module's root and gives its stdout.
func goTool(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = root(t)
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%s go %s: %v\n%s", strings.Join(env, " "), strings.Join(args, " "), err, &stderr)
	}
	return stdout.Bytes()
}

// root is the module's root, the parent of this folder.
func root(t *testing.T) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if path.Base(filepath.ToSlash(here)) != "tests" {
		t.Fatal(fmt.Errorf("tests run in %s, want the folder tests", here))
	}
	return filepath.Dir(here)
}
