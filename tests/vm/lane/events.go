//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// event is one line of go test -json, see "go doc test2json".
type event struct {
	Time    time.Time `json:",omitzero"`
	Action  string
	Package string  `json:",omitempty"`
	Test    string  `json:",omitempty"`
	Elapsed float64 `json:",omitempty"`
	Output  string  `json:",omitempty"`
}

// events writes lines of several writers, each as a whole.
type events struct {
	mu  sync.Mutex
	out io.Writer
}

// Write passes on what go test -json writes. It gets whole lines, because nobody else writes meanwhile.
func (e *events) Write(text []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.out.Write(text)
}

func (e *events) put(v event) {
	line, err := json.Marshal(v)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lane:", err)
		return
	}
	if _, err := e.Write(append(line, '\n')); err != nil {
		fmt.Fprintln(os.Stderr, "lane:", err)
	}
}

// text is output of a package.
func (e *events) text(name, text string) {
	for line := range strings.Lines(text) {
		e.put(event{Action: "output", Package: name, Output: line})
	}
}

// converter turns the output of a test program into events, by go tool test2json.
type converter struct {
	command *exec.Cmd
	// mu guards in: what a program writes to its two outputs comes from two sides.
	mu   sync.Mutex
	in   io.WriteCloser
	done chan error
	// seen are the results by the names of tests and subtests.
	seen map[string]string
}

func convert(ctx context.Context, name string, out *events) (*converter, error) {
	c := &converter{
		command: exec.CommandContext(ctx, "go", "tool", "test2json", "-t", "-p", name), done: make(chan error, 1),
		seen: map[string]string{},
	}
	var err error
	if c.in, err = c.command.StdinPipe(); err != nil {
		return nil, err
	}
	from, err := c.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.command.Stderr = os.Stderr
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("start test2json: %w", err)
	}
	go func() { c.done <- c.pass(from, out) }()
	return c, nil
}

// pass passes events on, but for what test2json makes of the end: whether the package passed is decided later.
func (c *converter) pass(from io.Reader, out *events) error {
	decoder := json.NewDecoder(from)
	for {
		var v event
		err := decoder.Decode(&v)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what test2json writes: %w", err)
		}
		switch v.Action {
		case "pass", "fail", "skip":
			if v.Test == "" {
				continue
			}
			c.seen[v.Test] = v.Action
		}
		out.put(v)
	}
}

// Write takes output of the test program.
func (c *converter) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A part of a line from one side could end in the middle of one from the other: both are rare, and both are readable.
	return c.in.Write(bytes.ReplaceAll(text, []byte{'\r'}, nil))
}

// end waits for all events and gives the tests' results.
func (c *converter) end() (map[string]string, error) {
	err := c.in.Close()
	err = errors.Join(err, <-c.done)
	return c.seen, errors.Join(err, c.command.Wait())
}
