package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFeatures looks where tests ask for what the kernels of the machines for development lack: only of files that end in
// _vm_test.go the lane of guests runs all tests. Elsewhere such a test would be skipped for ever.
func TestFeatures(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root(t), "tests", "*", "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	feature := regexp.MustCompile(`\bnettest\.(IPVLAN|VLAN|VLANFiltering|Dummy|Bond|VRF|SCTP)\b`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		used := feature.Find(text)
		if used == nil {
			continue
		}
		found++
		if !strings.HasSuffix(file, "_vm_test.go") {
			t.Errorf("%s asks for %s, but its name does not end in _vm_test.go", file, used)
		}
	}
	if found == 0 {
		t.Error("no file asks for any")
	}
}
