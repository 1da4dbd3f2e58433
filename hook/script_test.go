package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what is printed into the scripts")

// TestMain lets this test program be lanhook when it is started by that name.
func TestMain(m *testing.M) {
	// A policy that others may write is refused, and scripts write theirs with the umask of whoever runs the tests.
	syscall.Umask(0o022)
	testscript.Main(m, map[string]func(){"lanhook": main})
}

// TestScript runs the scripts of testdata/script. They need no root and look only at messages and files; those that
// change links are in tests/script. Beside testscript's own commands there are
//
//	exits CODE PROGRAM ARG…          run a program that must end with this exit code
//	hook CODE STAGE STATE FLAG…      lanhook hook STAGE, with the file STATE on its standard input
//	state FILE ID KEY=VALUE…         write a runtime's state JSON, with these annotations and a process that lives
//	fill FILE SIZE BEFORE AFTER      write BEFORE, blanks up to SIZE bytes, and AFTER
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// A program with the race detector in it sleeps for a second before it ends, unless it is told not to.
			e.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
			e.Setenv("PID", strconv.Itoa(os.Getpid()))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "hook": hookStage, "state": writeState, "fill": fill,
		},
	})
}

func usage(ts *testscript.TestScript, wrong bool, text string) {
	if wrong {
		ts.Fatalf("usage: %s", text)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) < 2, "exits CODE PROGRAM ARG…")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

func hookStage(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) < 3, "hook CODE STAGE STATE FLAG…")
	program, err := exec.LookPath("lanhook")
	ts.Check(err)
	// The shell opens the file, so that it need not have an end.
	exits(ts, false, slices.Concat([]string{
		args[0], "sh", "-c", `file=$1; shift; exec "$@" <"$file"`, "sh", args[2], program,
		"hook", args[1], "--policy", "policy.toml", "--state-dir", "state",
	}, args[3:]))
}

func writeState(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) < 2, "state FILE ID KEY=VALUE…")
	annotations := map[string]string{}
	for _, word := range args[2:] {
		key, value, ok := strings.Cut(word, "=")
		usage(ts, !ok, "state FILE ID KEY=VALUE…")
		annotations[key] = value
	}
	data, err := json.Marshal(map[string]any{
		"ociVersion": "1.2.0", "id": args[1], "status": "creating", "pid": os.Getpid(), "bundle": filepath.Dir(ts.MkAbs(args[0])),
		"annotations": annotations,
	})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

func fill(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg || len(args) != 4, "fill FILE SIZE BEFORE AFTER")
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	blanks := bytes.Repeat([]byte(" "), size-len(args[2])-len(args[3]))
	data := slices.Concat([]byte(args[2]), blanks, []byte(args[3]))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}
