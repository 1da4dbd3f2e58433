//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lanhook/lanhook/tests/nettest"
)

// TestMessages counts what a plain attach asks the kernel and has it do, which is most of the time that it takes. A feature
// that few use has to find out that it is not asked for without a further message.
func TestMessages(t *testing.T) {
	for _, c := range []struct {
		name, policy, wish string
		most               int
	}{
		{"macvlan", strings.Replace(lan, "[network.lan]", "[network.lan]\nconflict = \"off\"", 1), "network=lan", 13},
		// Three questions and one announcement for each family.
		{"macvlan that asks its LAN", lan, "network=lan", 23},
		{"bridge", apps, "network=apps", 31},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.policy)
			// The first one makes what is shared.
			first := w.plainBox(t, "first")
			w.must(t, first.state(t, "creating", c.wish), "hook", "createRuntime")
			b := w.plainBox(t, "second")
			most := c.most
			if links := listed(t, b.Space); len(links) > 1 {
				most += 3 // This kernel gives links of its own to a namespace, and so it is looked what these have.
			}
			o, deeds := w.traced(t, orders{Kinds: []string{"netlink", "read"}}, b.state(t, "creating", c.wish), "hook", "createRuntime")
			if o.code != 0 || len(deeds) > most {
				t.Errorf("%d messages, want %d at most: %q (%+v)", len(deeds), most, deeds, o)
			}
			for _, b := range []*box{first, b} {
				b.ended(t)
				w.must(t, b.state(t, "stopped"), "hook", "poststop")
			}
			w.empty(t)
		})
	}
}

func listed(t *testing.T, s *nettest.Space) (links []netlink.Link) {
	t.Helper()
	s.Do(t, func() {
		var err error
		if links, err = netlink.LinkList(); err != nil {
			t.Fatal(err)
		}
	})
	return links
}
