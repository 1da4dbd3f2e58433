//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

// agent runs commands, several at a time, for a host that asks for them.
type agent struct {
	told spec.Run

	// out guards the port, so that replies do not mix.
	out  sync.Mutex
	port *os.File

	// mu guards what is below. It is held from before a process is started until it is in the map: whatever ends is
	// looked up after that.
	mu      sync.Mutex
	running map[int]*job // by PID
}

type job struct {
	id int
	// streams are standard output and error, and output what has come of them.
	streams [2]*stream
	output  [2]bytes.Buffer
}

// serve answers requests until the host ends the guest, or hangs up.
func (p ports) serve(told spec.Run) error {
	a := &agent{told: told, port: p.agent, running: map[int]*job{}}
	if err := p.say(spec.WordStart); err != nil {
		return err
	}
	go a.reap()
	a.reply(spec.Reply{})
	requests := bufio.NewReader(a.port)
	for {
		line, err := requests.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		var r spec.Request
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		if r.Signal != 0 {
			a.signal(r)
			continue
		}
		if err := a.start(r); err != nil {
			a.reply(spec.Reply{ID: r.ID, Exit: exitOf(err), Error: err.Error()})
		}
	}
}

// reply has no error: a host that does not read has gone.
func (a *agent) reply(r spec.Reply) {
	line, err := json.Marshal(r)
	if err != nil {
		fmt.Fprintln(os.Stderr, "init: reply:", err)
		return
	}
	a.out.Lock()
	defer a.out.Unlock()
	if _, err := a.port.Write(append(line, '\n')); err != nil {
		fmt.Fprintln(os.Stderr, "init: reply:", err)
	}
}

func (a *agent) signal(r spec.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for pid, j := range a.running {
		if j.id == r.ID {
			signal(pid, unix.Signal(r.Signal))
		}
	}
}

// start starts a command. What it leaves running in the background may go on writing.
func (a *agent) start(r spec.Request) error {
	if len(r.Args) == 0 {
		return errors.New("no command")
	}
	stdin, err := scratch(r.Stdin)
	if err != nil {
		return err
	}
	defer stdin.Close()
	j := &job{id: r.ID}
	files := []uintptr{stdin.Fd()}
	for i := range j.streams {
		if j.streams[i], err = newStream(&j.output[i]); err != nil {
			return err
		}
		defer j.streams[i].write.Close()
		files = append(files, j.streams[i].write.Fd())
	}
	dir := a.told.Dir
	if r.Dir != "" {
		dir = r.Dir
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	pid, err := start(r.Args, &syscall.ProcAttr{
		Dir: dir, Env: slices.Concat(a.told.Env, r.Env), Sys: &syscall.SysProcAttr{Setsid: true}, Files: files,
	})
	if err != nil {
		return err
	}
	a.running[pid] = j
	return nil
}

// scratch is a file without a name, to be read from its beginning.
func scratch(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("scratch", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file: %w", err)
	}
	file := os.NewFile(uintptr(fd), "scratch")
	if _, err := file.WriteAt(content, 0); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// reap waits for all processes, those of requests and those that have lost their parent.
func (a *agent) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err != nil {
			if errors.Is(err, unix.ECHILD) {
				time.Sleep(5 * time.Millisecond) // There is none yet.
			}
			continue
		}
		a.mu.Lock()
		j := a.running[pid]
		delete(a.running, pid)
		a.mu.Unlock()
		if j != nil {
			go a.finish(j, status)
		}
	}
}

func (a *agent) finish(j *job, status unix.WaitStatus) {
	for _, s := range j.streams {
		s.finish()
	}
	a.reply(spec.Reply{
		ID: j.id, Exit: exitStatus(status), Stdout: j.output[0].Bytes(), Stderr: j.output[1].Bytes(),
	})
}
