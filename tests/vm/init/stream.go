//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// idle is how long a stream of a command that has ended may be silent until it counts as read, and late how long it
	// is read at most: what the command has left running may have it too.
	idle = 50 * time.Millisecond
	late = time.Second
)

// stream is a pipe that a command writes to. Other than a port it can be opened again, as /dev/stderr.
type stream struct {
	read, write *os.File
	// ended is closed when the command has.
	ended chan struct{}
	// done is closed when all that the command has written has gone to where it is copied to, and no more will.
	done chan struct{}
}

func newStream(to io.Writer) (*stream, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	s := &stream{
		read: os.NewFile(uintptr(fds[0]), "pipe"), write: os.NewFile(uintptr(fds[1]), "pipe"),
		ended: make(chan struct{}), done: make(chan struct{}),
	}
	go s.copy(to)
	return s, nil
}

// finish says that the command has ended, and waits for what it has written.
func (s *stream) finish() {
	close(s.ended)
	<-s.done
}

// copy reads until nobody can write any more, also long after done: a program that writes where nobody reads is killed.
func (s *stream) copy(to io.Writer) {
	defer s.read.Close()
	buffer := make([]byte, 64<<10)
	ended, done, began := false, false, time.Time{}
	for {
		if !ended {
			select {
			case <-s.ended:
				ended, began = true, time.Now()
			default:
			}
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(s.read.Fd()), Events: unix.POLLIN}}, int(idle.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if ended && !done && (ready == 0 || time.Since(began) > late) {
			close(s.done)
			to, done = io.Discard, true
		}
		if ready == 0 {
			continue
		}
		n, err := s.read.Read(buffer)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				fmt.Fprintln(os.Stderr, "init: pass on what a command writes:", err)
				to = io.Discard
			}
		}
		if err != nil {
			if !done {
				close(s.done)
			}
			return
		}
	}
}
