//go:build linux

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

// The exit statuses of [Boot] that are not the command's own. That of a command which signal N ended is 128 + N, and one
// that is not there has 127, one that cannot be run 126, as in a shell.
const (
	// ExitTimeout is the status of a command that took too long.
	ExitTimeout = 124
	// ExitGuest is the status when the guest has not started or has not ended well: a panic, a hang.
	ExitGuest = 125
)

// Streams are where a command's output goes. They are files, because the guest's processor writes to them by itself; nil
// is nowhere.
type Streams struct {
	Stdout, Stderr *os.File
	// Log is told of boots that are tried again, and of how a guest ended that did not end well; nil is nowhere.
	Log io.Writer
	// Terminal connects the command to this process's terminal instead.
	Terminal bool
	// Rows and Columns are the terminal's size.
	Rows, Columns uint16
}

// Result is how the guest of [Boot] did.
type Result struct {
	// Exit is the command's exit status, or one of those above.
	Exit int
	// Boots is how often the guest was booted: 1, or more when the command had not started.
	Boots int
	// Start is how long the last of them took until the command started, Whole how long the guest lived in all.
	Start, Whole time.Duration
}

// Boot runs one command in a guest of its own. What it gives back is the result of the command as far as there is one; an
// error is one of the host's. A guest whose command has not started is booted again, one whose command has is not.
func Boot(ctx context.Context, o Options, s Streams, args ...string) (Result, error) {
	result := Result{Exit: ExitGuest}
	if len(args) == 0 {
		return result, errors.New("no command for the guest")
	}
	o, err := o.withDefaults()
	if err != nil {
		return result, err
	}
	mode := spec.Command
	if s.Terminal {
		mode = spec.Shell
	}
	told, err := o.run(mode, args)
	if err != nil {
		return result, err
	}
	told.Rows, told.Columns = s.Rows, s.Columns
	if s.Log == nil {
		s.Log = io.Discard
	}
	w := wiring{terminal: s.Terminal}
	if !s.Terminal {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return result, err
		}
		defer null.Close()
		w.out, w.err = null, null
		if s.Stdout != nil {
			w.out = s.Stdout
		}
		if s.Stderr != nil {
			w.err = s.Stderr
		}
	}
	for result.Boots < boots {
		result.Boots++
		err = once(ctx, o, told, attempt{w, s.Log, &result})
		if !errors.Is(err, errNoStart) {
			return result, err
		}
		fmt.Fprintf(s.Log, "vm: boot %d of at most %d: %v\n", result.Boots, boots, err)
	}
	return result, nil
}

// attempt is what one boot needs beside its options.
type attempt struct {
	wiring wiring
	log    io.Writer
	result *Result
}

func once(ctx context.Context, o Options, told spec.Run, a attempt) error {
	began := time.Now()
	m, err := startMachine(o, told, a.wiring)
	if err != nil {
		return err
	}
	defer m.remove()
	complain := func(what string) {
		fmt.Fprintf(a.log, "vm: kernel %s: %s; the last lines of its console:\n%s\n", o.Kernel, what, m.console())
	}
	if err := m.awaitStart(ctx.Done()); err != nil {
		complain(err.Error())
		return err
	}
	a.result.Start = time.Since(began)
	var limit <-chan time.Time
	if told.Mode == spec.Command {
		limit = time.After(o.Timeout + spec.Grace + endLimit)
	}
	select {
	case <-m.ended:
	case <-limit:
		m.kill()
		complain("it hangs")
	case <-ctx.Done():
		m.kill()
		return ctx.Err()
	}
	a.result.Whole = time.Since(began)
	switch said := m.said(); {
	case said.timeout:
		fmt.Fprintf(a.log, "vm: kernel %s: the command took more than %s\n", o.Kernel, o.Timeout)
		a.result.Exit = ExitTimeout
	case said.exited:
		a.result.Exit = said.exit
	default:
		complain("it ended while the command ran")
	}
	return nil
}
