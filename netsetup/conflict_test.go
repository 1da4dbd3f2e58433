package netsetup

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// TestCounts says how long an address of somebody else's is passed over, by who has it and whether there is any other.
func TestCounts(t *testing.T) {
	card, local, tried := plan.MAC{0xd0, 0, 0, 0, 0, 1}, plan.MAC{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.0.2.9")
	for name, c := range map[string]struct {
		mac           plan.MAC
		addr          netip.Addr
		age           time.Duration
		usual, scarce bool
	}{
		"just found":                       {card, netip.Addr{}, time.Second, true, true},
		"a minute ago":                     {card, netip.Addr{}, foreignAtLeast, true, false},
		"long ago":                         {card, netip.Addr{}, foreignFor, false, false},
		"of what may be a container":       {local, netip.Addr{}, time.Second, true, false},
		"found by this attach":             {local, tried, 2 * time.Minute, true, true},
		"found before the clock went back": {card, netip.Addr{}, -time.Hour, false, false},
	} {
		for scarce, want := range map[bool]bool{false: c.usual, true: c.scarce} {
			p := picking{draft: &draft{tried: []netip.Addr{tried}}, scarce: scarce}
			if got := p.counts(store.Foreign{Addr: c.addr, MAC: c.mac, Seen: time.Now().Add(-c.age)}); got != want {
				t.Errorf("%s, scarce %t: got %t", name, scarce, got)
			}
		}
	}
}

// TestBegins begins again for the reason alone, whatever is around it, and never on what was not taken back.
func TestBegins(t *testing.T) {
	anew, other := &anewError{errors.New("taken")}, errors.New("another")
	for name, c := range map[string]struct {
		reason, remains error
		want            bool
	}{
		"as it is":        {anew, nil, true},
		"with words":      {fmt.Errorf("eth0: %w", anew), nil, true},
		"with others":     {errors.Join(other, anew), nil, true},
		"another reason":  {other, nil, false},
		"something stays": {anew, other, false},
	} {
		if got := begins(c.reason, c.remains); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
