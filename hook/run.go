package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/lanhook/lanhook/policy"
)

// Exit codes of all commands.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	// exitDenied is a refusal by the policy.
	exitDenied = 3
)

// app is one run of the program: its streams and what the global flags say.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// policy is the file or folder of --policy, "" for the default places.
	policy   string
	stateDir string
	json     bool
}

// defaultStateDir is on a tmpfs: the state ends with the boot, as namespaces do.
const defaultStateDir = "/run/lanhook"

// run is the program without the process: it never exits and touches no global.
//
// The hook goes its own way before the command line is even built: somebody waits for the container.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	if len(args) > 1 && args[0] == "hook" && !strings.HasPrefix(args[1], "-") && args[1] != "help" {
		return a.hook(args[1:])
	}
	if len(args) > 0 && args[0] == "join" {
		return a.join(args[1:], syscall.Environ())
	}
	return a.cli(args)
}

// usageError is a command line that makes no sense.
type usageError struct {
	msg  string
	hint string
}

func (e *usageError) Error() string { return e.msg }

func (e *usageError) Hint() string { return e.hint }

// report prints an error for people, as one line and a hint line, and gives its exit code.
func (a *app) report(doing string, err error) int {
	if err == nil {
		return exitDone
	}
	if doing != "" {
		doing += ": "
	}
	fmt.Fprintf(a.stderr, "lanhook: %s%s\n", doing, oneLine(err))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", hint)
	}
	return exitCode(err)
}

// oneLine is the error's text on one line: runtimes show the first line of what a hook says, some no more.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// linesOf are the lines of an error's text, none of nil.
func linesOf(err error) []string {
	if err == nil {
		return []string{}
	}
	return strings.Split(err.Error(), "\n")
}

// hintOf is the first hint in an error's tree: of several mistakes the first may have none.
func hintOf(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		return h.Hint()
	}
	switch e := err.(type) { //nolint:errorlint // this walks the tree itself
	case interface{ Unwrap() error }:
		return hintOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if hint := hintOf(one); hint != "" {
				return hint
			}
		}
	}
	return ""
}

func exitCode(err error) int {
	var (
		denied *policy.DeniedError
		usage  *usageError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &denied):
		return exitDenied
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailed
}
