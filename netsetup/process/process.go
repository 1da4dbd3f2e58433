//go:build linux

// Package process tells processes, and boots, from those that come after them: a number of a process comes in, and what
// names it beyond its end goes out.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process names a process beyond its end: another one may get its PID, but none with the same start.
type Process struct {
	PID int `json:"pid"`
	// Start is when it began, in clock ticks since the boot; see proc_pid_stat(5), field 22.
	Start uint64 `json:"start"`
}

// Find reads who has a PID now. An error says fs.ErrNotExist when nobody has.
func Find(pid int) (Process, error) {
	p, _, err := readProcess(pid)
	return p, err
}

// Alive says whether the process still runs: a zombie does not, it has given its namespaces back.
func (p Process) Alive() bool {
	now, state, err := readProcess(p.PID)
	return err == nil && now == p && state != "Z" && state != "X" && state != "x"
}

// readProcess reads a process and the letter of its state.
func readProcess(pid int) (Process, string, error) {
	raw, err := ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return Process{}, "", goneError(pid)
	}
	if err != nil {
		return Process{}, "", fmt.Errorf("look at process %d: %w", pid, err)
	}
	p, state, err := parseStat(pid, raw)
	if err != nil {
		return Process{}, "", fmt.Errorf("look at process %d: %w", pid, err)
	}
	return p, state, nil
}

// goneError is a number that no process has: an fs.ErrNotExist.
type goneError int

func (e goneError) Error() string { return fmt.Sprintf("there is no process %d", int(e)) }

func (e goneError) Is(target error) bool { return target == fs.ErrNotExist }

// parseStat reads what stands in /proc/PID/stat after the command, which is in parentheses and may have any character
// in it: the last parenthesis ends it. Next to it is field 3.
func parseStat(pid int, raw []byte) (Process, string, error) {
	end := bytes.LastIndexByte(raw, ')')
	fields := strings.Fields(string(raw[end+1:]))
	const state, start = 0, 22 - 3
	if end < 0 || len(fields) <= start {
		return Process{}, "", errors.New("its stat file has too few fields")
	}
	ticks, err := strconv.ParseUint(fields[start], 10, 64)
	if err != nil {
		return Process{}, "", fmt.Errorf("read its start: %w", err)
	}
	return Process{PID: pid, Start: ticks}, fields[state], nil
}

// BootID is the kernel's number of this boot, a UUID; see random(4).
func BootID() (string, error) {
	raw, err := ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the number of this boot: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// The kernel writes less than smallFile into most files that [ReadFile] is for, and never largeFile.
const (
	smallFile = 4 << 10
	largeFile = 64 << 10
)

// ReadFile reads a small file, which comes with one read(2), without os.File: that asks up to five times what kind of file
// it has, and sets the runtime's poller up, whose thread then wakes up to find nothing.
func ReadFile(path string) ([]byte, error) {
	fd, err := open(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // a file that was only read
	for size := smallFile; size <= largeFile; size *= 4 {
		buf := make([]byte, size)
		n, err := unix.Pread(fd, buf, 0)
		if err != nil {
			return nil, err
		}
		if n < size {
			return buf[:n], nil
		}
	}
	return nil, fmt.Errorf("it has more than %d bytes", largeFile-1)
}

// open opens a file again when a signal came in between; the runtime sends some.
func open(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
