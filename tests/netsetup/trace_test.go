//go:build linux && (amd64 || arm64)

package netsetup_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tracer runs a program and counts its deeds: the system calls, of all its threads together, by which it changes
// something outside of itself. strace(1) counts by thread, so that with it a program of several threads cannot be
// stopped at each of them. It is this test program, started again, since whoever traces has to wait for all children
// of the process.

// orders are what a tracer does to the program.
type orders struct {
	// Kill sends SIGKILL to the program instead of its deed of this number, from 1; 0 never.
	Kill int
	// Fail lets the deed of this number fail with Errno, and the later ones too when On is set; 0 none.
	Fail  int
	Errno int
	On    bool
	// Before is the number of a deed, from 1, before which the program is held while Meanwhile is run, a program with its
	// arguments; 0 for none.
	Before    int
	Meanwhile []string
	// Kinds are the first words of the deeds that count; all when empty. "read" counts questions to the kernel as well.
	Kinds []string
	// Log is the file into which the deeds are written, one a line.
	Log string
}

// traced runs the program on the host under a tracer, and gives the deeds that were counted, up to the one at which it
// was killed.
func (w *world) traced(t *testing.T, o orders, stdin string, args ...string) (output, []string) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "deeds")
	if err != nil {
		t.Fatal(err)
	}
	o.Log = file.Name()
	if o.Before > 0 {
		o.Meanwhile = w.commandLine(o.Meanwhile)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	// With the race detector, a program sleeps for a second before it ends, unless it is told otherwise.
	out := w.execute(t, stdin, append([]string{"/proc/self/exe"}, w.commandLine(args)...),
		tracerVar+"="+string(data), "GORACE=atexit_sleep_ms=0")
	raw, err := os.ReadFile(o.Log)
	if err != nil {
		t.Fatal(err)
	}
	deeds := strings.Split(string(raw), "\n")
	deeds = deeds[:len(deeds)-1]
	if out.code == tracerFailed {
		t.Fatalf("the tracer failed: %s", out.stderr)
	}
	return out, deeds
}

// Exit codes of the tracer that no program has: it could not trace, and the program was killed.
const (
	tracerFailed  = 120
	programKilled = 137
)

// tracer is the main function of the tracer.
func tracer() int {
	var t trace
	err := json.Unmarshal([]byte(os.Getenv(tracerVar)), &t.orders)
	if err == nil {
		err = os.Unsetenv(tracerVar)
	}
	code := 0
	if err == nil {
		code, err = t.run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return tracerFailed
	}
	return code
}

type trace struct {
	orders
	pid   int
	log   *os.File
	count int
	// threads are those that have been seen, and whether the call that each is in is to fail.
	threads map[int]bool
}

func (t *trace) run(line []string) (int, error) {
	// Only the thread that started the program may trace it.
	runtime.LockOSThread()
	var err error
	if t.log, err = os.OpenFile(t.Log, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return 0, err
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	t.pid = cmd.Process.Pid
	t.threads = map[int]bool{t.pid: false}
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &status, unix.WALL, nil); err != nil {
		return 0, fmt.Errorf("wait for the program to start: %w", err)
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return 0, fmt.Errorf("set options of the trace: %w", err)
	}
	if err := unix.PtraceSyscall(t.pid, 0); err != nil {
		return 0, fmt.Errorf("start the program: %w", err)
	}
	return t.loop()
}

func (t *trace) loop() (int, error) {
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for the program: %w", err)
		}
		switch {
		case status.Exited() && tid == t.pid:
			return status.ExitStatus(), nil
		case status.Signaled() && tid == t.pid:
			return 128 + int(status.Signal()), nil
		case !status.Stopped():
			continue // Another thread has ended.
		}
		signal, err := t.stopped(tid, status)
		if err == nil {
			err = unix.PtraceSyscall(tid, signal)
		}
		// ESRCH is a thread that was killed meanwhile.
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("trace thread %d: %w", tid, err)
		}
	}
}

// stopped looks at why a thread has stopped, and gives the signal that it is to go on with.
func (t *trace) stopped(tid int, status unix.WaitStatus) (int, error) {
	_, known := t.threads[tid]
	if !known {
		t.threads[tid] = false
	}
	switch signal := status.StopSignal(); {
	case signal == unix.SIGTRAP|0x80:
		return 0, t.call(tid)
	case signal == unix.SIGTRAP, !known && signal == unix.SIGSTOP:
		return 0, nil // The stops of a clone: of the thread that made it, and of the new one.
	default:
		return int(signal), nil
	}
}

// callInfo is struct ptrace_syscall_info of linux/ptrace.h, as far as it is used.
type callInfo struct {
	Op     uint8
	_      [3]uint8
	Arch   uint32
	_      [2]uint64
	Number uint64
	Args   [6]uint64
}

// Requests and answers of ptrace(2).
const (
	ptraceGetSyscallInfo = 0x420e
	syscallEntry         = 1
)

func (t *trace) call(tid int) error {
	var info callInfo
	//nolint:gosec // G103: the kernel writes into info, which golang.org/x/sys has no function for
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("ask for a system call: %w", errno)
	}
	if info.Op != syscallEntry {
		if t.threads[tid] {
			t.threads[tid] = false
			return setResult(tid, -t.Errno)
		}
		return nil
	}
	what := t.deed(tid, &info)
	kind, _, _ := strings.Cut(what, " ")
	if what == "" || len(t.Kinds) > 0 && !slices.Contains(t.Kinds, kind) || len(t.Kinds) == 0 && kind == "read" {
		return nil
	}
	t.count++
	if _, err := fmt.Fprintln(t.log, what); err != nil {
		return err
	}
	switch {
	case t.count == t.Before:
		// The tracer sees no other thread meanwhile: each is held at its next call.
		if out, err := exec.Command(t.Meanwhile[0], t.Meanwhile[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", t.Meanwhile, err, out)
		}
	case t.count == t.Kill:
		// At the entry, a fatal signal keeps the call from being made (ptrace_report_syscall_entry).
		return unix.Kill(t.pid, unix.SIGKILL)
	case t.count == t.Fail, t.On && t.Fail > 0 && t.count > t.Fail:
		t.threads[tid] = true
		return skipCall(tid)
	}
	return nil
}

// deed is what a call does, in words, "" for what changes nothing but the program itself.
func (t *trace) deed(tid int, info *callInfo) string {
	fd := func() string {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(info.Args[0])))
		if err != nil {
			return ""
		}
		return target
	}
	switch info.Number {
	case unix.SYS_SENDTO:
		return netlinkDeed(t.memory(tid, info.Args[1], unix.SizeofNlMsghdr))
	case unix.SYS_SENDMSG:
		// The sixth word of struct msghdr is the length of what goes along, such as descriptors: no message to the kernel has any.
		if t.word(tid, info.Args[1]+40) > 0 {
			return ""
		}
		// The third word of struct msghdr leads to the first iovec, whose first word leads to the message.
		vector := t.word(tid, info.Args[1]+16)
		return netlinkDeed(t.memory(tid, t.word(tid, vector), unix.SizeofNlMsghdr))
	case unix.SYS_WRITE:
		path := fd()
		switch {
		case strings.HasPrefix(path, "socket:"):
			return netlinkDeed(t.memory(tid, info.Args[1], unix.SizeofNlMsghdr))
		case strings.HasPrefix(path, "/proc/sys/"):
			return "set " + path
		case strings.HasPrefix(path, "/"):
			return "write " + path
		}
		return ""
	case unix.SYS_PWRITE64:
		return "pwrite " + fd()
	case unix.SYS_FDATASYNC, unix.SYS_FSYNC:
		return "sync " + fd()
	case unix.SYS_FTRUNCATE:
		return "truncate " + fd()
	case unix.SYS_FLOCK:
		return "lock " + fd()
	case unix.SYS_MKDIRAT:
		return "make " + t.text(tid, info.Args[1])
	case unix.SYS_UNLINKAT:
		return "remove " + t.text(tid, info.Args[1])
	case unix.SYS_OPENAT:
		if info.Args[2]&unix.O_CREAT != 0 {
			return "create " + t.text(tid, info.Args[1])
		}
		return ""
	}
	if isRename(info.Number) {
		return "rename"
	}
	return ""
}

func netlinkDeed(header []byte) string {
	if len(header) < unix.SizeofNlMsghdr {
		return "send"
	}
	kind := binary.NativeEndian.Uint16(header[4:])
	flags := binary.NativeEndian.Uint16(header[6:])
	if isQuestion(kind, flags) {
		return fmt.Sprintf("read %d", kind)
	}
	return fmt.Sprintf("netlink %d", kind)
}

// isQuestion says whether a message only asks.
func isQuestion(kind, flags uint16) bool {
	const conntrackDelete, sockDiag = 2, 20
	switch subsystem := kind >> 8; {
	case subsystem == unix.NFNL_SUBSYS_NFTABLES:
		return true // Changes come in batches.
	case subsystem == unix.NFNL_SUBSYS_CTNETLINK:
		return kind&0xff != conntrackDelete
	case kind == sockDiag:
		return flags&unix.NLM_F_ACK == 0 // With it, it is RTM_NEWADDR, which has the same number.
	}
	// The messages of rtnetlink come in fours: new, delete, get, set (linux/rtnetlink.h). A batch of nftables begins with
	// one of type 16.
	return kind&3 == 2
}

// memory reads some of the program's memory, less than asked for where it ends.
func (t *trace) memory(tid int, at uint64, size int) []byte {
	file, err := os.Open(fmt.Sprintf("/proc/%d/mem", tid))
	if err != nil {
		return nil
	}
	defer file.Close()
	b := make([]byte, size)
	n, _ := file.ReadAt(b, int64(at)) //nolint:errcheck // what could be read is given
	return b[:n]
}

// word reads a pointer of the program's, 0 where there is none.
func (t *trace) word(tid int, at uint64) uint64 {
	b := t.memory(tid, at, 8)
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}

func (t *trace) text(tid int, at uint64) string {
	return unix.ByteSliceToString(t.memory(tid, at, 256))
}
