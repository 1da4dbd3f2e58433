package plan_test

import (
	"regexp"
	"testing"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// TestSubNames holds the names of sub-interfaces: those of a host that runs must not change with a new version, which would
// make a second one.
func TestSubNames(t *testing.T) {
	tag := policy.Tag{ID: 50, Protocol: policy.Dot1Q}
	within := plan.Link{Name: "office", Base: "eth0", Tags: []policy.Tag{{ID: 100, Protocol: policy.Dot1AD}}}
	form := regexp.MustCompile(`^lhv[a-z2-7]{10}$`)
	seen := map[string]bool{}
	for name, test := range map[string]struct {
		link         plan.Link
		tag          policy.Tag
		usual, other string
	}{
		"a tag":            {plan.Link{Name: "eth0"}, tag, "eth0.50", "lhvvc4dg6zb2a"},
		"another protocol": {plan.Link{Name: "eth0"}, policy.Tag{ID: 50, Protocol: policy.Dot1AD}, "eth0.50", "lhv77o266vawj"},
		"another link":     {plan.Link{Name: "enp0s31f6abcdef"}, tag, "enp0s31f6abcdef.50", "lhvfgsbi2vftf"},
		"within a tag":     {within, tag, "office.50", "lhvygjpeaxc7j"},
	} {
		t.Run(name, func(t *testing.T) {
			usual, other := plan.SubNames(test.link, test.tag)
			if usual != test.usual || other != test.other || !form.MatchString(other) || seen[other] {
				t.Errorf("names %s and %s, want %s and %s", usual, other, test.usual, test.other)
			}
			seen[other] = true
		})
	}
	renamed := within
	renamed.Name = "home"
	if _, other := plan.SubNames(renamed, tag); !seen[other] {
		t.Errorf("the name %s is made of what the link is called", other)
	}
}
