package netsetup

import (
	"testing"

	"github.com/lanhook/lanhook/policy"
)

func TestChildWords(t *testing.T) {
	for _, c := range []struct {
		parent string
		driver policy.Driver
		mode   policy.Mode
		flag   policy.Flag
		want   string
	}{
		{"p0", policy.Macvlan, policy.ModeBridge, 0, "a macvlan child on it"},
		{"ipvlan-p0.50", policy.Macvlan, policy.ModePrivate, 0, "a macvlan child on it"},
		{"p0", policy.IPVLAN, policy.ModeL2, policy.FlagBridge, "an ipvlan child on it in mode l2 bridge"},
		{"a-b.50", policy.IPVLAN, policy.ModeL3S, policy.FlagVEPA, "an ipvlan child on it in mode l3s vepa"},
	} {
		if got := childWords(childName(c.parent, c.driver, c.mode, c.flag)); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.driver, c.parent, got, c.want)
		}
	}
}
