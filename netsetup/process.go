package netsetup

import (
	"context"
	"time"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
)

// stopGrace is how long a detach after a stop waits for the container's first process to end. crun calls poststop when
// it has sent SIGKILL, not when the process is gone, and a large one takes its time.
const stopGrace = 3 * time.Second

// alive says whether a recorded process still runs: the same one, not another that was given its number.
func alive(p store.Process) bool { return p.PID != 0 && process.Process(p).Alive() }

// outlives waits until deadline for a recorded process to end, and says whether it still runs.
func outlives(ctx context.Context, p store.Process, deadline time.Time) bool {
	for wait := time.Millisecond; alive(p); wait = min(2*wait, 50*time.Millisecond) {
		if time.Now().After(deadline) || pause(ctx, wait) != nil {
			return true
		}
	}
	return false
}

// pause waits, or gives the reason why ctx is done.
func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// identity is what a record says of its container's namespace.
func identity(rec store.Record) kernel.Identity {
	return kernel.Identity{Inode: rec.NetNS.Inode, Cookie: rec.NetNS.Cookie}
}

// hostNetNS is the namespace that this process works from, as records have it.
func (s *Setup) hostNetNS() store.HostNetNS { return store.HostNetNS(s.Host.Identity()) }
