// Package netsetup is the line from a container's request to its interfaces and back: [Setup.Attach], [Setup.Detach],
// [Setup.Check] and [Setup.Collect] call the stages in order and hold nothing else. What the stages decide and do is
// theirs: policy, ipam, plan, store, kernel, apply.
package netsetup

import (
	"context"
	"time"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// undoTimeout bounds what is taken back after an attach failed, whose own time may be over by then. The kernel needs
// some milliseconds a link.
const undoTimeout = 5 * time.Second

// Setup is lanhook at work on one host.
type Setup struct {
	// Policy is needed to attach and to plan only: undoing reads nothing but records.
	Policy *policy.Policy
	Store  *store.Store
	// Host is the namespace in which parents and bridges are.
	Host *kernel.Host
	// HostID tells this host from others on the same LAN; addresses and MACs are derived from it.
	HostID string
	// BootID is the kernel's; a record of another boot has nothing left in the kernel.
	BootID string
	// Self is the process that works, for records that are cut off.
	Self process.Process
}

// Container is who is attached.
type Container struct {
	ID string
	// Workload is its stable name, the ID when it has none.
	Workload string
	// Runtime is the engine or runtime, for people.
	Runtime string
	// NetNS is the path of its network namespace, "" for a plan without one.
	NetNS string
	// Process is its first process, zero when unknown.
	Process process.Process
	// Sandbox says that it is a pod's sandbox: with its end all containers of its namespace have ended.
	Sandbox bool
	// Guest names the files that a shim made for it, "" for none.
	Guest   string
	Request request.Request
	Subject policy.Subject
}

// Result is what an attach gave.
type Result struct {
	Ref store.Ref
	// Already is true when the container had been attached before, and nothing was done.
	Already bool
	// Interfaces are what the container asked for: those that it shares, then those of its own.
	Interfaces []plan.Interface
	// Joined are the records of the containers with which it shares interfaces.
	Joined []store.Ref
	// Unnamed is why other containers could not be told its name, or the end of a dead one whose record was in the way,
	// nil as a rule. The attach is good without.
	Unnamed error
	// Warnings are what the container's owner should know though it is attached: what it does not have, as what is reserved for its
	// name and somebody else has, and addresses that others on the LAN have and that the policy lets it use all the same; nil as a
	// rule.
	Warnings error
}

// Detached is what a detach took back.
type Detached struct {
	Container string
	// Found is false when no record names the container.
	Found bool
	// Interfaces are those that were taken back.
	Interfaces []plan.Interface
	// Alive are the records that were left because their container still runs.
	Alive []store.Ref
	// Left are the records that were left to other containers of the namespace, which share their interfaces.
	Left []store.Ref
}

// background gives a context for undoing: it outlives ctx, and has a bound of its own.
func background(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
}
