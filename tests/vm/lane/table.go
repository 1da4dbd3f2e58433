//go:build linux

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lanhook/lanhook/tests/vm"
)

const (
	// testLimit is how long a test program may take, and guestLimit when its guest is asked what it is doing.
	testLimit  = 30 * time.Minute
	guestLimit = testLimit + time.Minute
)

// meantSuffix is how the names of files end whose tests are for guests: they need what other machines may not have. They are
// run on every kernel, but for those of [only], wherever they are below tests/.
const meantSuffix = "_vm_test.go"

// have are the features of the guests' kernels, in the words of LANHOOK_TEST_HAVE.
func have() []string {
	return []string{
		"macvlan", "bridge", "veth", "vxlan", "nft", "bridge-nf", "ipvlan", "vlan", "vlan-filtering", "dummy", "bond", "vrf", "sctp",
	}
}

// modules are loaded before a test program is started. Tests look whether the first ones are there. The others the kernel
// loads when they are used, which for all of them together takes seconds here, as long as some tests wait for an answer.
func modules() []string {
	return []string{
		"br_netfilter", "iptable_filter", "iptable_nat", "ip6table_filter", "ip6table_nat",
		"macvlan", "veth", "nft_chain_nat", "nft_ct", "nft_fib_inet", "nft_limit", "nft_masq", "nft_meta_bridge", "nft_nat",
	}
}

// choice is which of a folder's tests are run on which kernels.
type choice struct {
	folder  string
	kernels []string
	// names is what a test's name matches; empty is all.
	names string
}

// ordinary are the folders below tests/ whose other tests are run in guests too. They also run on the host, and far
// faster: here they show what is different on another kernel, above all on the oldest one.
func ordinary() []choice {
	return []choice{
		{folder: "kernel", kernels: []string{vm.Oldest}},
		{folder: "firewall", kernels: []string{vm.Oldest}},
		{folder: "store", kernels: vm.Kernels()},
		{folder: "e2e", kernels: vm.Kernels(), names: `^TestRuntime$`},
	}
}

// only is the one kernel on which a test is run that is meant for guests, "" for all of them. What such a test shows is lanhook's
// doing, with the same calls to the kernel that other tests make on each.
func only(name string) string {
	switch {
	case stops(name):
		return vm.Newest
	case slices.Contains(books(), name):
		return vm.Oldest
	}
	return ""
}

// books are the tests of what lanhook keeps in its own books, and of what it asks the LAN, with frames that no kernel makes.
func books() []string {
	return []string{
		"TestConflictDrivers", "TestHostAccessIPVLANTwice", "TestHostAccessVLANLost", "TestOneVLANManyNames", "TestOneWire",
		"TestOneWireManyNames", "TestOneWireOtherName", "TestRouterAddress", "TestVLANCollectLeaves", "TestVLANLeases",
		"TestVLANStateLost",
	}
}

// stops says whether a test is a matrix that stops lanhook at each of its deeds. They take half of the lane's time, and so have
// guests of their own.
func stops(name string) bool {
	return strings.HasSuffix(name, "Killed") || strings.HasSuffix(name, "Crash")
}

// chosen says whether an ordinary test is run.
func (s *suite) chosen(name string) bool {
	if _, leave := unfit()[name]; leave {
		return false
	}
	return slices.ContainsFunc(ordinary(), func(c choice) bool {
		return c.folder == s.folder && slices.Contains(c.kernels, s.kernel) && regexp.MustCompile(c.names).MatchString(name)
	})
}

// unfit are tests that are not run in guests unless they are asked for by name, with the reason.
func unfit() map[string]string {
	return map[string]string{
		"TestMany": "it fills maps with every port that there is, and takes minutes",
	}
}

// onHost are the folders below tests/ whose tests run on the host and boot guests.
func onHost() []string { return []string{"vm/boot", "vm/device", "scenarios"} }

// suite is what one guest does: run tests of a folder.
type suite struct {
	folder, kernel string
	// matrices says that these are the tests that stop lanhook, and not the others.
	matrices bool
	// tests are the names of all that are run; meant are those of them for which the guests are there.
	tests, meant []string
}

// String is the suite's name in what is written of it.
func (s *suite) String() string {
	name := fmt.Sprintf("tests/%s on %s", s.folder, s.kernel)
	if s.matrices {
		name += ", matrices"
	}
	return name
}

// suites are those of this run, those that take longest first.
func (l *lane) suites() ([]suite, error) {
	files, err := filepath.Glob("tests/*/*_test.go")
	if err != nil {
		return nil, err
	}
	byFolder := map[string][]string{}
	for _, file := range files {
		folder := filepath.Base(filepath.Dir(file))
		byFolder[folder] = append(byFolder[folder], file)
	}
	var list []suite
	for folder, files := range byFolder {
		for _, kernel := range l.kernels {
			for _, matrices := range []bool{false, true} {
				s := suite{folder: folder, kernel: kernel, matrices: matrices}
				if err := l.choose(&s, files); err != nil {
					return nil, err
				}
				if len(s.tests) > 0 {
					list = append(list, s)
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b suite) int {
		if a.matrices != b.matrices {
			return map[bool]int{true: -1, false: 1}[a.matrices]
		}
		if n := len(b.tests) - len(a.tests); n != 0 {
			return n
		}
		return strings.Compare(a.String(), b.String())
	})
	return list, nil
}

// choose chooses a suite's tests.
func (l *lane) choose(s *suite, files []string) error {
	for _, file := range files {
		names, err := testsOf(file)
		if err != nil {
			return err
		}
		meant := strings.HasSuffix(file, meantSuffix)
		for _, name := range names {
			run := meant && (only(name) == "" || only(name) == s.kernel) || s.chosen(name)
			if l.only != nil {
				run = l.only.MatchString(name) && s.needsGuest()
			}
			run = run && stops(name) == s.matrices
			if run {
				s.tests = append(s.tests, name)
			}
			if run && meant {
				s.meant = append(s.meant, name)
			}
		}
	}
	return nil
}

// needsGuest says whether the tests of a folder do something with a kernel.
func (s *suite) needsGuest() bool {
	return !slices.Contains([]string{"testsum", "vm", "bench", "scenarios"}, s.folder)
}

// testsOf are the names of a file's tests.
func testsOf(file string) ([]string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("look for tests: %w", err)
	}
	var names []string
	for _, declaration := range parsed.Decls {
		f, ok := declaration.(*ast.FuncDecl)
		if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
			names = append(names, f.Name.Name)
		}
	}
	return names, nil
}

// hostSuites are the folders of this run whose tests run on the host.
func (l *lane) hostSuites() ([]string, error) {
	var folders []string
	for _, folder := range onHost() {
		files, err := filepath.Glob("tests/" + folder + "/*_test.go")
		if err != nil {
			return nil, err
		}
		run := false
		for _, file := range files {
			names, err := testsOf(file)
			if err != nil {
				return nil, err
			}
			run = run || slices.ContainsFunc(names, func(name string) bool { return l.only == nil || l.only.MatchString(name) })
		}
		if run {
			folders = append(folders, folder)
		}
	}
	return folders, nil
}
