//go:build linux

package nettest_test

import (
	"testing"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestFeatures asks for each feature that is not everywhere. In a lane that promises one, to find it missing fails.
func TestFeatures(t *testing.T) {
	for _, f := range []nettest.Feature{
		nettest.IPVLAN, nettest.VLAN, nettest.VLANFiltering, nettest.Dummy, nettest.Bond, nettest.VRF, nettest.SCTP,
	} {
		t.Run(string(f), func(t *testing.T) { nettest.Need(t, f) })
	}
}
