package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/lanhook/lanhook/hook/oci"
	"github.com/lanhook/lanhook/netsetup/guest"
)

// joinTimeout bounds the look for a container that another one joins.
const joinTimeout = 10 * time.Second

// join is «lanhook join --bundle DIR [--state-dir DIR] [--log FILE --log-format FORMAT] WORD RUNTIME ARG…», into which
// lanhook-runtime turns for a container that asks for the network namespace of another: where that is only the records
// tell. It writes the namespace into config.json, with the files that the other container reads, and turns into the real
// runtime, still the same process. It comes back only when something failed.
func (a *app) join(args, env []string) int {
	flags := pflag.NewFlagSet("join", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SetInterspersed(false)
	flags.StringVar(&a.stateDir, "state-dir", defaultStateDir, "")
	bundle := flags.String("bundle", "", "")
	var log oci.Log
	flags.StringVar(&log.Path, "log", "", "")
	flags.StringVar(&log.Format, "log-format", "", "")
	const least = 2
	if err := flags.Parse(args); err != nil || flags.NArg() < least || !filepath.IsAbs(flags.Arg(1)) {
		return a.report("join", &usageError{
			msg: fmt.Sprintf("cannot understand %q", args), hint: "lanhook-runtime calls this, for io.lanhook.netns=container:ID",
		})
	}
	line := flags.Args()[1:]
	err := a.joinBundle(*bundle, flags.Arg(0))
	if err == nil {
		err = fmt.Errorf("run the real runtime %s: %w", line[0], syscall.Exec(line[0], line, env)) //nolint:gosec // G204: it is what lanhook-runtime found
	}
	return a.reportJoin(log, err)
}

// reportJoin says what is wrong on stderr as every command does, and on one line in the runtime's log: containerd shows
// its user nothing else.
func (a *app) reportJoin(log oci.Log, err error) int {
	code := a.report("join", err)
	text := "lanhook: join: " + oneLine(err)
	if hint := hintOf(err); hint != "" {
		text += " (" + hint + ")"
	}
	if logErr := log.Append(text, time.Now()); logErr != nil {
		fmt.Fprintf(a.stderr, "lanhook: join: write %s: %v\n", log.Path, logErr)
	}
	return code
}

// joinBundle edits a bundle.
func (a *app) joinBundle(bundle, word string) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), joinTimeout, lateError(joinTimeout))
	defer cancel()
	s, err := a.open(withoutPolicy)
	if err != nil {
		return err
	}
	defer s.Host.Close()
	peer, err := s.Peer(ctx, word)
	if err != nil {
		return err
	}
	files := guest.In(a.stateDir, s.BootID)
	e := oci.Edits{NetNS: &oci.NetNS{Kind: oci.NetNSPath, Path: peer.Path}, Folder: files.Folder()}
	if peer.Guest != "" {
		mounts, mountsErr := files.Mounts(peer.Guest)
		if mountsErr != nil {
			return mountsErr
		}
		for _, m := range mounts {
			// Its host name is no part of its network namespace.
			if m.Destination != guest.HostnamePath {
				e.Mounts = append(e.Mounts, oci.Mount{Destination: m.Destination, Source: m.Source})
			}
		}
	}
	file := filepath.Join(bundle, "config.json")
	config, err := oci.ReadConfig(file)
	if err != nil {
		return err
	}
	edited, err := e.Apply(config)
	if err != nil || bytes.Equal(edited, config) {
		return err
	}
	return oci.WriteVolatile(file, edited)
}
