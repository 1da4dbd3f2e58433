//go:build linux

package nettest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Space is a network namespace with a process in it that does nothing.
type Space struct {
	// Name is for messages.
	Name string
	// PID is the process's.
	PID int

	cmd   *exec.Cmd
	stdin io.Closer
	once  sync.Once
	// remembered is nil until Remember is called.
	remembered *string
	rules      rules
}

// newSpace starts a process that reads until its standard input is closed: it ends with the test's process, however
// that ends.
func newSpace(t testing.TB, name string) *Space {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	check(t, "make a pipe for "+name, err)
	check(t, "start a process for "+name, cmd.Start())
	s := &Space{Name: name, PID: cmd.Process.Pid, cmd: cmd, stdin: stdin}
	t.Cleanup(s.End)
	s.Do(t, func() {
		// Any group may send ICMP echo requests (icmp(7)), and addresses are used at once.
		WriteSysctl(t, "ipv4/ping_group_range", "0 2147483647")
		// Each refusal of a port is to be heard, not one a second.
		WriteSysctl(t, "ipv4/icmp_ratelimit", "0")
		if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
			WriteSysctl(t, "ipv6/icmp/ratelimit", "0")
			WriteSysctl(t, "ipv6/conf/default/accept_dad", "0")
			WriteSysctl(t, "ipv6/conf/default/router_solicitations", "0")
		}
	})
	return s
}

// Path is the file by which the namespace is opened, as a runtime gives it.
func (s *Space) Path() string { return fmt.Sprintf("/proc/%d/ns/net", s.PID) }

// End ends the process, and with it the namespace when nobody else holds it. It may be called more than once.
func (s *Space) End() {
	s.once.Do(func() {
		_ = s.stdin.Close()
		_ = s.cmd.Wait()
	})
}

func (s *Space) open(t testing.TB) *os.File {
	t.Helper()
	file, err := os.Open(s.Path())
	check(t, "open the namespace of "+s.Name, err)
	return file
}

// Do runs fn on a thread inside the namespace and waits for it. The thread ends with fn. What fn starts in another
// goroutine is not inside. fn may end the test with t.Fatal.
func (s *Space) Do(t testing.TB, fn func()) {
	t.Helper()
	file := s.open(t)
	var err error
	returned := false
	onThread(func() {
		var home *os.File
		if home, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return
		}
		if err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			_ = home.Close()
			return
		}
		defer func() {
			// The end of the thread comes a little later, and the namespace's end may be awaited.
			_ = unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
			_ = home.Close()
		}()
		_ = file.Close() // Whoever keeps it open keeps the namespace from ending.
		fn()
		returned = true
	})
	_ = file.Close()
	check(t, "enter the namespace of "+s.Name, err)
	switch {
	case t.Skipped():
		t.SkipNow()
	case !returned:
		t.FailNow()
	}
}

// onThread runs fn on a thread that ends afterwards, which is never the main one: /proc/PID/ns/net is that one's, and
// the runtime cannot end it.
func onThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThread(fn)
			runtime.UnlockOSThread()
			return
		}
		fn()
	}()
	<-done
}

// WriteSysctl writes a setting below /proc/sys/net of the thread's namespace. It is for use within [Space.Do].
func WriteSysctl(t testing.TB, name, value string) {
	t.Helper()
	file, err := os.OpenFile("/proc/sys/net/"+name, os.O_WRONLY, 0)
	check(t, "open setting "+name, err)
	_, err = file.WriteString(value)
	check(t, "write setting "+name, err)
	check(t, "close setting "+name, file.Close())
}
