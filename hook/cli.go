package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/pflag"
)

// version is set by the linker (-X, see the Makefile), which writes variables only; nothing else changes it.
var version = "dev"

// cli is the administrator's command line.
func (a *app) cli(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	global := pflag.NewFlagSet("lanhook", pflag.ContinueOnError)
	global.StringVar(&a.policy, "policy", "", "policy `FILE-OR-DIR` (default /etc/lanhook/policy.toml and policy.d)")
	global.StringVar(&a.stateDir, "state-dir", defaultStateDir, "`DIR` of records and leases")
	global.BoolVar(&a.json, "json", false, "print JSON for programs")
	path, err := a.root().execute(ctx, a.stdout, "", global, args)
	if quiet, ok := errors.AsType[*quietError](err); ok {
		return quiet.code
	}
	return a.report(strings.TrimSpace(strings.TrimPrefix(path, "lanhook")), err)
}

// quietError is a failure that the command's output has told already.
type quietError struct{ code int }

func (e *quietError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func (a *app) root() *command {
	return &command{
		use: "lanhook",
		long: `lanhook plugs OCI containers into real networks: annotations on a container say which network it wants, the
administrator's policy says what may be had, and an OCI hook makes the interface before the container starts.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by policy.`,
		sub: []*command{
			a.hookCmd(), a.attachCmd(), a.detachCmd(), a.planCmd(), a.lsCmd(), a.inspectCmd(), a.portsCmd(), a.whyCmd(),
			a.networkCmd(), a.macCmd(), a.checkCmd(), a.repairCmd(), a.gcCmd(), a.policyCmd(), a.setupCmd(), a.doctorCmd(),
			a.versionCmd(),
		},
	}
}

// hookCmd is the hook for its help, and for who writes global flags before it: run takes it before the command line is
// built otherwise.
func (a *app) hookCmd() *command {
	stage := func(name, short string) *command {
		var o stageOptions
		return &command{
			use: name, short: short,
			flags: o.register,
			run: func(context.Context, []string) error {
				if code := a.stage(name, o); code != exitDone {
					return &quietError{code}
				}
				return nil
			},
		}
	}
	return group("hook", "What runtimes call, with the container's state on stdin",
		stage("createRuntime", "Attach the container; it does not start when this fails"),
		stage("prestart", "The same, for runtimes without createRuntime"),
		stage("poststop", "Take everything back; always succeeds"),
	)
}

func (a *app) versionCmd() *command {
	return &command{use: "version", short: "Print the version", run: func(context.Context, []string) error {
		if a.json {
			return a.printJSON(map[string]string{"version": version})
		}
		_, err := fmt.Fprintln(a.stdout, version)
		return err
	}}
}

// printJSON writes one value for programs.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printTable writes a table for people: a header, then rows; nothing at all without rows but the header.
func (a *app) printTable(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		if _, err := io.WriteString(w, strings.TrimRight(strings.Join(row, "\t"), "\t")+"\n"); err != nil {
			return err
		}
	}
	return w.Flush()
}

// count is a number of things, in words.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
