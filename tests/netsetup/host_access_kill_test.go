//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// TestHostAccessKilled kills createRuntime and poststop at each deed, of a container that is the only one that the host reaches.
func TestHostAccessKilled(t *testing.T) {
	t.Parallel()
	wish := []string{"network=lan"}
	w := newWorld(t, reach("lan", ""))
	t.Run("createRuntime", func(t *testing.T) { w.killHook(t, wish, false, true, "netlink", "set") })
	t.Run("createRuntime, container stopped", func(t *testing.T) { w.killHook(t, wish, true, true, "netlink") })
	t.Run("poststop", func(t *testing.T) { w.killPoststop(t, wish, false) })
	t.Run("poststop, namespace kept", func(t *testing.T) { w.killPoststop(t, wish, true, "netlink") })
}

// TestHostAccessDetachedBeforeRoutes detaches a container between the last moment of its attach at which it has the lock and the host's
// route to it. The host's link stays for another, without that route.
func TestHostAccessDetachedBeforeRoutes(t *testing.T) {
	w := newWorld(t, reach("lan", ""))
	one := w.box(t, "one")
	one.attach(t, "network=lan,ip=10.77.0.30,ip=fd77::1e")
	wish := "network=lan,ip=10.77.0.31,ip=fd77::1f"
	c := w.box(t, "c")
	_, deeds := w.traced(t, orders{Kinds: []string{"netlink"}}, c.state(t, "creating", wish), "hook", "createRuntime")
	c.detach(t)
	before := fmt.Sprint(w.hostLinks(t)[0].Routes)
	// The routes are the last two: of IPv4 and of IPv6.
	o, _ := w.traced(t, orders{Before: len(deeds) - 1, Meanwhile: []string{"detach", "c"}, Kinds: []string{"netlink"}},
		c.state(t, "creating", wish), "hook", "createRuntime")
	if o.code != 1 || !strings.Contains(o.stderr, "container c was detached while it was being attached") {
		t.Errorf("the hook gave %+v", o)
	}
	if after := fmt.Sprint(w.hostLinks(t)[0].Routes); after != before {
		t.Errorf("the host had the routes %s, and has %s", before, after)
	}
	c.Same(t)
	w.well(t)
	w.done(t, one)
}

// TestCollectGoesOn lets gc fail to remove the host's link: it removes what else is nobody's, and says so.
func TestCollectGoesOn(t *testing.T) {
	w := newWorld(t, reach("lan", "")+web)
	c := w.plainBox(t, "c")
	c.attach(t, "network=lan", "network.eth1=web")
	port := w.port(t, "c")
	c.ended(t)
	nettest.Eventually(t, "the link is gone", func() bool { return !slices.Contains(w.links(t), port) })
	w.lose(t)
	name := plan.HostLinkName("lan", nettest.Parent)
	o, deeds := w.traced(t, orders{Fail: 1, Errno: int(syscall.EBUSY), Kinds: []string{"netlink"}}, "", "gc")
	if o.code != 1 || !strings.Contains(o.stderr, "remove the host's link "+name) {
		t.Errorf("gc gave %+v after %q", o, deeds)
	}
	if got := w.links(t); !slices.Contains(got, name) || slices.Contains(got, "lh-web") {
		t.Errorf("left are the links %q", got)
	}
	w.collects(t, 0)
	w.empty(t)
}
