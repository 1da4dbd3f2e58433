package tests

import (
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestProgramsAreLean looks at all that the programs import, and at what the linker leaves in them: a library may import
// what a program never calls. Each of them runs while somebody waits for a container. The wrapper and the shim run for
// containers of others as well, so they have nothing to do with the kernel's network or the store.
func TestProgramsAreLean(t *testing.T) {
	heavy := []string{
		"net/http", "html/template", "google.golang.org/grpc", "go.etcd.io/etcd", "github.com/containerd",
		"github.com/prometheus", "crypto/tls",
	}
	heavier := slices.Concat(heavy, []string{
		"github.com/vishvananda", "go.etcd.io", "github.com/spf13", module + "/netsetup/kernel", module + "/netsetup/store",
	})
	for folder, prefixes := range map[string][]string{"hook": heavy, "shim/runtime": heavier, "shim/containerd": heavier} {
		t.Run(folder, func(t *testing.T) {
			for _, p := range list(t, "-deps", "./"+folder) {
				for _, prefix := range prefixes {
					if p.ImportPath == prefix || strings.HasPrefix(p.ImportPath, prefix+"/") {
						t.Errorf("%s imports %s", folder, p.ImportPath)
					}
				}
			}
			packages := linked(t, folder)
			for _, prefix := range slices.Concat(prefixes, []string{"text/template", "os/exec"}) {
				for name := range packages {
					if name == prefix || strings.HasPrefix(name, prefix+"/") {
						t.Errorf("%s links %s", folder, name)
					}
				}
			}
		})
	}
}

// linked are the packages with a function in the program of a folder.
func linked(t *testing.T, folder string) map[string]bool {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	goTool(t, []string{"CGO_ENABLED=0", "GOOS=linux"}, "build", "-buildvcs=false", "-o", program, "./"+folder)
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]bool{}
	for _, symbol := range symbols {
		if elf.ST_TYPE(symbol.Info) == elf.STT_FUNC {
			packages[packageOf(symbol.Name)] = true
		}
	}
	if !packages["main"] {
		t.Fatalf("found no function of package main among %d symbols", len(symbols))
	}
	return packages
}

// packageOf is the package of a symbol such as text/template.(*Template).Parse or net/http.init.
func packageOf(symbol string) string {
	slash := strings.LastIndexByte(symbol, '/')
	// A type parameter or a closure may hold a path of its own.
	if bracket := strings.IndexAny(symbol, "[("); bracket >= 0 && bracket < slash {
		slash = strings.LastIndexByte(symbol[:bracket], '/')
	}
	if dot := strings.IndexByte(symbol[slash+1:], '.'); dot >= 0 {
		return symbol[:slash+1+dot]
	}
	return symbol
}
