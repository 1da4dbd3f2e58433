//go:build linux

package netsetup_test

import (
	"errors"
	"strings"
	"testing"
)

// TestIPVLANMissing: a kernel that has no ipvlan says so, and what would help.
func TestIPVLANMissing(t *testing.T) {
	w := newWorld(t, near)
	c := w.box(t, "c")
	_, err := w.setup.Attach(t.Context(), c.container(t, "network=near"))
	if err == nil { // it has, see the other tests
		w.done(t, c)
		return
	}
	hint := ""
	if hinted, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		hint = hinted.Hint()
	}
	if !strings.Contains(err.Error(), "to p0: the kernel has no links of kind ipvlan: ") || !strings.Contains(hint, "modprobe ipvlan") ||
		!strings.Contains(hint, "CONFIG_IPVLAN") {
		t.Errorf("error %v, hint %q", err, hint)
	}
	c.Same(t)
	w.empty(t)
}
