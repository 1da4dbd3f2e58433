//go:build linux

package kernel_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestProbe tries every kind of link, beside a host that is not touched: nettest looks at its links, and for threads
// that stayed elsewhere.
func TestProbe(t *testing.T) {
	nettest.New(t)
	have := strings.Split(os.Getenv("LANHOOK_TEST_HAVE"), ",")
	probed, err := kernel.Probe()
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, p := range probed {
		kinds = append(kinds, p.Kind)
		if p.Err != nil && slices.Contains(have, p.Kind) {
			t.Errorf("%s: %v", p.Kind, p.Err)
		}
	}
	if want := []string{"veth", "bridge", "vlan", "macvlan", "ipvlan"}; !slices.Equal(kinds, want) {
		t.Errorf("tried %v, want %v", kinds, want)
	}
}

// TestProbeRules tries rules of every kind, beside a host that is not touched: nettest looks at its ruleset as well.
func TestProbeRules(t *testing.T) {
	nettest.Need(t, nettest.NFT)
	nettest.New(t)
	if err := kernel.ProbeRules(); err != nil {
		t.Error(err)
	}
}
