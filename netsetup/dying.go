package netsetup

import (
	"context"
	"fmt"
	"time"

	"github.com/lanhook/lanhook/netsetup/store"
)

// dyingWait bounds the wait for a namespace whose container has ended. The kernel destroys one after the other, each in some
// tens of milliseconds, and begins with taking back the number by which the host knows it.
const dyingWait = 2 * time.Second

// heldError is why something is in use by a container that has ended: somebody else holds its network namespace.
type heldError struct {
	error
	rec  store.Record
	path string
}

func (e *heldError) Error() string {
	return fmt.Sprintf("%s, which has ended; %s still holds its network namespace", e.error, e.path)
}

func (e *heldError) Unwrap() error { return e.error }

// Hint says how to take it back all the same.
func (e *heldError) Hint() string {
	return "end what holds it; lanhook detach " + e.rec.Container + " takes back what the container had"
}

// awaitEnd waits for the namespace of a container whose first process is gone, when nobody is seen to hold it: the kernel is still
// at its end, and what it had is free in a moment. So a workload that is started again at once gets its own address and MAC
// again. Where somebody holds it, the reason why it was looked at names him.
func (s *Setup) awaitEnd(ctx context.Context, rec store.Record, reason error) (why error, v verdict, err error) {
	if rec.State != store.Attached || rec.Left || rec.Process.PID == 0 || alive(rec.Process) || rec.Host != s.hostNetNS() {
		return reason, living, nil
	}
	found, err := s.Host.Scan()
	if err != nil {
		return reason, living, err
	}
	if path, held := found.Path(identity(rec)); held {
		return &heldError{reason, rec, path}, living, nil
	}
	for end, wait := time.Now().Add(dyingWait), time.Millisecond; time.Now().Before(end); wait = min(2*wait, 50*time.Millisecond) {
		used, err := s.Host.Alive(rec.NetNS.NSID)
		if err != nil || !used {
			return reason, verdictOf(used), err
		}
		if pause(ctx, wait) != nil {
			break
		}
	}
	return reason, living, nil
}

// awaitLeaving waits for a record that another process is taking back, as that of a container which leaves its pod, and says whether
// it is gone: what it has is free in a moment, though its namespace lives on.
func (s *Setup) awaitLeaving(ctx context.Context, rec store.Record) (gone bool, err error) {
	for end := time.Now().Add(dyingWait); rec.State == store.Leaving && alive(rec.Writer) && time.Now().Before(end); {
		if pause(ctx, 10*time.Millisecond) != nil {
			break
		}
		now, there, err := s.find(ctx, rec.Ref())
		if err != nil || !there {
			return err == nil, err
		}
		rec = now
	}
	return false, nil
}
