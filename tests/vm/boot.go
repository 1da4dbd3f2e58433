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

// Streams are where a command's output goes; nil is nowhere.
type Streams struct {
	Stdout, Stderr io.Writer
	// Log is told of boots that are tried again, and of how a guest ended that did not end well; nil is nowhere.
	Log io.Writer
	// Terminal connects the command to this process's terminal instead.
	Terminal bool
	// Rows and Columns are the terminal's size.
	Rows, Columns uint16
}

// Report is how the guest of [Boot] did.
type Report struct {
	// Exit is the command's exit status, or one of those above.
	Exit int
	// Boots is how often the guest was booted: 1, or more when the command had not started.
	Boots int
	// Start is how long the last of them took until the command started, Whole how long the guest lived in all.
	Start, Whole time.Duration
}

// Boot runs one command in a guest of its own. What it gives back is the result of the command as far as there is one; an
// error is one of the host's. A guest whose command has not started is booted again, one whose command has is not.
func Boot(ctx context.Context, o Options, s Streams, args ...string) (Report, error) {
	result := Report{Exit: ExitGuest}
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
	for result.Boots < boots {
		result.Boots++
		err = once(ctx, o, told, attempt{s, &result})
		if !errors.Is(err, errNoStart) {
			return result, err
		}
		fmt.Fprintf(s.Log, "vm: boot %d of at most %d: %v\n", result.Boots, boots, err)
	}
	return result, nil
}

// attempt is what one boot needs beside its options.
type attempt struct {
	streams Streams
	result  *Report
}

func once(ctx context.Context, o Options, told spec.Run, a attempt) (err error) {
	began := time.Now()
	w := wiring{terminal: a.streams.Terminal}
	if !w.terminal {
		out, err := newOutput(a.streams.Stdout)
		if err != nil {
			return err
		}
		// After the guest has ended: then all has been written.
		defer out.wait()
		complaint, err := newOutput(a.streams.Stderr)
		if err != nil {
			return err
		}
		defer complaint.wait()
		w.out, w.err = out.write, complaint.write
	}
	m, err := startMachine(o, told, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.remove()) }()
	for _, file := range []*os.File{w.out, w.err} {
		_ = file.Close()
	}
	complain := func(what string) {
		fmt.Fprintf(a.streams.Log, "vm: kernel %s: %s; the last lines of its console:\n%s\n", o.Kernel, what, m.console())
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
		fmt.Fprintf(a.streams.Log, "vm: kernel %s: the command took more than %s\n", o.Kernel, o.Timeout)
		a.result.Exit = ExitTimeout
	case said.exited:
		a.result.Exit = said.exit
	default:
		complain("it ended while the command ran")
	}
	return nil
}

// output is a pipe from the guest. QEMU takes only what is open for nothing but writing, which a terminal is not.
type output struct {
	write *os.File
	done  chan struct{}
}

func newOutput(to io.Writer) (*output, error) {
	if to == nil {
		to = io.Discard
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	o := &output{write: write, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		defer read.Close()
		if _, err := io.Copy(to, read); err != nil {
			// Nobody reads any more, and the guest must not wait for it.
			if _, err := io.Copy(io.Discard, read); err != nil {
				return
			}
		}
	}()
	return o, nil
}

// wait waits for all that has been written.
func (o *output) wait() {
	_ = o.write.Close()
	<-o.done
}
