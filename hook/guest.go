package main

import (
	"context"
	"fmt"
	"os"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/netsetup/guest"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// unshimmed refuses what only a shim can give where none took part, which would have edited the rest of config.json as
// well: the hook runs too late for it, and what a container asked for must not be lost without a word.
func unshimmed(req request.Request, by string) error {
	keys := req.ShimOnly()
	if by == oci.ByRuntime || len(keys) == 0 {
		return nil
	}
	return &policy.DeniedError{
		What: keys[0],
		Why:  fmt.Sprintf("only a shim can serve this, and %s did not make the container", oci.ByRuntime),
		Advice: "let the engine use " + oci.ByRuntime + " (with containerd, containerd-shim-lanhook-v2), or take the " +
			"annotation out",
	}
}

// discard removes the files of a container that is not created after all. The runtime, for which they were made, and the
// container's process still live, so nobody else would take them for nobody's before both have ended.
func (a *app) discard(state oci.State, o stageOptions) error {
	if o.guest == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lateRelease)
	defer cancel()
	boot, err := process.BootID()
	if err != nil {
		return err
	}
	return guest.In(a.stateDir, boot).Discard(ctx, o.guest, state.PID, os.Getppid())
}
