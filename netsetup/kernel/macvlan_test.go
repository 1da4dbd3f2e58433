//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhileInUse(t *testing.T) {
	taken := fmt.Errorf("%w: by somebody", unix.EADDRINUSE)
	for name, c := range map[string]struct {
		// free is when the address becomes free, timeout what ctx allows; 0 for never and none.
		free, timeout time.Duration
		other         error
		least, most   time.Duration
		want          error
	}{
		"free at once":           {free: 1},
		"free after 5 ms":        {free: 5 * time.Millisecond, least: 5 * time.Millisecond, most: 7 * time.Millisecond},
		"free after a second":    {free: time.Second, least: time.Second, most: time.Second + mostWait},
		"never free":             {least: maxWait - mostWait, most: maxWait, want: unix.EADDRINUSE},
		"never free, cut off":    {timeout: 20 * time.Millisecond, least: 20 * time.Millisecond, most: 20 * time.Millisecond, want: unix.EADDRINUSE},
		"another error is final": {other: unix.EBUSY, want: unix.EBUSY},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, start := t.Context(), time.Now()
				if c.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.timeout)
					defer cancel()
				}
				time.Sleep(1 * time.Nanosecond)
				err := whileInUse(ctx, func() error {
					switch {
					case c.other != nil:
						return c.other
					case c.free == 0 || time.Since(start) < c.free:
						return taken
					}
					return nil
				})
				if !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if took := time.Since(start); took < c.least || took > c.most+1 {
					t.Errorf("took %s, want %s to %s", took, c.least, c.most)
				}
			})
		})
	}
}
