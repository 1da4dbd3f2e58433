//go:build linux

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

const (
	// bootLimit is how long a guest may take until its command starts: three seconds, or far more on a busy machine.
	bootLimit = 2 * time.Minute
	// boots is how often a guest is booted whose command has not started.
	boots = 3
	// endLimit is how long a guest may take to end beyond the time that its command has.
	endLimit = 30 * time.Second
)

// machine is a QEMU that runs.
type machine struct {
	// dir is the folder of the run:
	//
	//	spec.json   what the guest is told
	//	ctl         what it says of how it goes
	//	console     what its kernel says
	dir     string
	command *exec.Cmd
	// ended is closed when QEMU has ended.
	ended chan struct{}
}

// wiring is what a machine is connected to.
type wiring struct {
	out, err *os.File
	// agent is one end of a pair of sockets.
	agent *os.File
	// terminal says that the guest's terminal is the standard input and output of this process.
	terminal bool
}

// startMachine starts QEMU. It is ended with the process that started it, however that ends.
func startMachine(o Options, told spec.Run, w wiring) (*machine, error) {
	// Where the guest sees it from its first root, and no file system in memory is.
	dir, err := os.MkdirTemp("/var/tmp", "lanhook-vm-")
	if err != nil {
		return nil, err
	}
	m := &machine{dir: dir, ended: make(chan struct{})}
	text, err := json.Marshal(told)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, spec.File), text, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	m.command = exec.Command("qemu-system-x86_64")
	m.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if !w.terminal {
		// Ctrl-C is for who started the guest, who ends it.
		m.command.SysProcAttr.Setpgid = true
	}
	var complaint bytes.Buffer
	m.command.Stderr = &complaint
	m.arguments(o, w)
	if err := startForGood(m.command); err != nil {
		return nil, errors.Join(fmt.Errorf("start QEMU: %w", err), os.RemoveAll(dir))
	}
	go func() {
		_ = m.command.Wait()
		if complaint.Len() > 0 {
			m.note("QEMU: " + complaint.String())
		}
		close(m.ended)
	}()
	return m, nil
}

// startForGood starts a command on a thread that lasts as long as the process: the kernel ends a child with a death
// signal when the thread that made it ends, and one of Go's may at any time.
func startForGood(command *exec.Cmd) error {
	result := make(chan error)
	go func() {
		lockThread()
		result <- command.Start()
		if command.Process != nil {
			// Ends with the child, whose number is not used again before somebody has waited for it.
			var info unix.Siginfo
			for unix.Waitid(unix.P_PID, command.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
			}
		}
	}()
	return <-result
}

// note adds a line to what the console has said.
func (m *machine) note(text string) {
	file, err := os.OpenFile(filepath.Join(m.dir, "console"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	fmt.Fprintln(file, text)
	_ = file.Close()
}

// arguments gives QEMU its arguments and files. One processor is as fast as two for what is tested, and far faster when
// the host is busy: processors of a guest wait for each other, and here one of them may not even run.
func (m *machine) arguments(o Options, w wiring) {
	image := filepath.Join(o.Images, o.Kernel)
	args := []string{
		"-M", "q35", "-accel", "tcg,tb-size=256", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(o.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", image + "/vmlinux", "-initrd", image + "/initrd",
		// Every panic ends QEMU, and every oops is a panic. A busy host makes the kernel doubt its timer.
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off no_timer_check cryptomgr.notests " +
			spec.Parameter + m.dir,
		"-chardev", "file,id=con,path=" + m.dir + "/console", "-serial", "chardev:con",
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci,max_ports=8",
		"-chardev", "file,id=ctl,path=" + m.dir + "/ctl", "-device", "virtserialport,chardev=ctl,name=" + spec.PortControl,
		"-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
	}
	pass := func(file *os.File) int {
		m.command.ExtraFiles = append(m.command.ExtraFiles, file)
		return 2 + len(m.command.ExtraFiles)
	}
	for i, stream := range []struct {
		name string
		file *os.File
	}{{spec.PortOut, w.out}, {spec.PortErr, w.err}} {
		if stream.file == nil {
			continue
		}
		// A descriptor, not /dev/stdout: a file that it leads to would lose what it holds, and a socket cannot be opened.
		id := fmt.Sprintf("stream%d", i)
		args = append(args,
			"-add-fd", fmt.Sprintf("fd=%d,set=%d", pass(stream.file), i+1),
			"-chardev", fmt.Sprintf("file,id=%s,path=/dev/fdset/%d,append=on", id, i+1),
			"-device", "virtserialport,chardev="+id+",name="+stream.name)
	}
	if w.agent != nil {
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=agent,fd=%d", pass(w.agent)),
			"-device", "virtserialport,chardev=agent,name="+spec.PortAgent)
	}
	if w.terminal {
		m.command.Stdin, m.command.Stdout = os.Stdin, os.Stdout
		args = append(args, "-chardev", "stdio,id=terminal,signal=off", "-device", "virtconsole,chardev=terminal")
	}
	for i, dir := range o.Shares {
		args = append(args,
			"-fsdev", fmt.Sprintf("local,id=rw%d,path=%s,security_model=none,multidevs=remap", i, dir),
			"-device", fmt.Sprintf("virtio-9p-pci,fsdev=rw%d,mount_tag=rw%d", i, i))
	}
	for i, port := range o.NICs {
		args = append(args,
			"-netdev", fmt.Sprintf("dgram,id=n%d,local.type=fd,local.str=%d", i, pass(port.far)),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,mac=%s", i, port.mac))
	}
	m.command.Args = slices.Concat([]string{m.command.Path}, args)
}

// said is what the guest has said of how it goes.
type said struct {
	started, timeout, exited bool
	exit                     int
}

func (m *machine) said() said {
	var s said
	text, err := os.ReadFile(filepath.Join(m.dir, "ctl"))
	if err != nil {
		return s
	}
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case spec.WordStart:
			s.started = true
		case spec.WordTimeout:
			s.timeout = true
		case spec.WordExit:
			code, err := strconv.Atoi(rest)
			s.exit, s.exited = code, err == nil
		}
	}
	return s
}

// awaitStart waits until the command has started. [errNoStart] means that it has not and never will.
func (m *machine) awaitStart(done <-chan struct{}) error {
	limit := time.NewTimer(bootLimit)
	defer limit.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !m.said().started {
		select {
		case <-look.C:
		case <-m.ended:
			if m.said().started {
				return nil
			}
			return errNoStart
		case <-limit.C:
			m.kill()
			if m.said().started {
				return errors.New("the guest started at the end of its time")
			}
			return fmt.Errorf("%w within %s", errNoStart, bootLimit)
		case <-done:
			m.kill()
			return context.Canceled
		}
	}
	return nil
}

// kill ends QEMU and waits for its end.
func (m *machine) kill() {
	if err := m.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.note("vm: kill QEMU: " + err.Error())
	}
	<-m.ended
}

// console is the end of what the guest's kernel has said.
func (m *machine) console() string {
	const last = 60
	text, err := os.ReadFile(filepath.Join(m.dir, "console"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(text), "\r", "")), "\n")
	return strings.Join(lines[max(0, len(lines)-last):], "\n")
}

// remove forgets the run. The machine must have ended.
func (m *machine) remove() error { return os.RemoveAll(m.dir) }
