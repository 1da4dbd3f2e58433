//go:build linux

package netsetup_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lanhook/lanhook/netsetup"
)

// TestPublishAtOnce attaches a hundred containers with ports at once, over tables that go away meanwhile.
func TestPublishAtOnce(t *testing.T) {
	const n = 100
	w := newWorld(t, web)
	boxes := w.crowd(t, n)
	wants := make([]netsetup.Container, n)
	for i, b := range boxes {
		wants[i] = b.container(t, "network=web", fmt.Sprintf("publish=80,%d:81/udp", 41000+i))
	}
	var flushed []string
	together(t, n+1, func(i int) error {
		if i == n {
			for range 20 {
				flushed = append(flushed, w.nft(t, "add table inet lanhook; delete table inet lanhook"))
			}
			return nil
		}
		_, err := w.setup.Attach(t.Context(), wants[i])
		return err
	})
	if _, err := w.setup.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.clean(t)
	free := map[uint16]bool{}
	for _, rec := range w.records(t) {
		for _, l := range rec.Leases {
			if strings.HasPrefix(l.Scope, "port/tcp/") && l.Addr.Is4() {
				var port uint16
				if _, err := fmt.Sscanf(l.Scope, "port/tcp/%d", &port); err != nil || free[port] {
					t.Errorf("port %d is chosen twice (%v)", port, err)
				}
				free[port] = true
			}
		}
	}
	if len(free) != n || len(flushed) != 20 {
		t.Errorf("%d ports were chosen", len(free))
	}
	together(t, n, func(i int) error { return w.release(t.Context(), wants[i].ID) })
	w.empty(t)
}

// A detach may come while the attach is still at it: whichever wins, nothing is left.
func TestPublishDetachedMeanwhile(t *testing.T) {
	const n = 8
	w := newWorld(t, web)
	boxes := w.crowd(t, n)
	wants := make([]netsetup.Container, n)
	for i, b := range boxes {
		wants[i] = b.container(t, "network=web", fmt.Sprintf("publish=%d:80,%d:81/udp", 8000+i, 41000+i))
	}
	var gone atomic.Int32
	together(t, n, func(i int) error {
		for range 5 {
			ended := make(chan error, 1)
			go func() {
				_, err := w.setup.Attach(t.Context(), wants[i])
				ended <- err
			}()
			for over := false; !over; {
				select {
				case err := <-ended:
					if over = true; err != nil {
						gone.Add(1)
					}
				default:
				}
				time.Sleep(time.Duration(5*i+2) * time.Millisecond)
				if err := w.release(t.Context(), wants[i].ID); err != nil {
					return err
				}
			}
		}
		return nil
	})
	t.Logf("%d of %d attaches were refused", gone.Load(), n*5)
	w.empty(t)
}
