//go:build linux

package kernel

import (
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// proc is where settings are written: the usual /proc, or one of our own.
type proc struct {
	// own is the descriptor of a mounted /proc, 0 for the usual one.
	own atomic.Int32
}

// OwnProc makes settings be written by a /proc of our own, which nobody else sees and which ends with [Host.Close]. It
// is for hosts with hundreds of network namespaces: the folders below /proc/sys/net of all of them are in one list of
// the kernel's (fs/proc/proc_sysctl.c, proc_sys_compare), which belongs to the mounted /proc, and among a thousand it
// takes 0.3 ms to find that of a new one. A /proc of our own has empty lists, and takes 0.1 ms to make and to remove.
//
// Where there can be none, the usual one does the same: before Linux 5.8 all of a PID namespace are one and the same,
// before 5.2 there is no such call, and a security module may forbid it.
func (h *Host) OwnProc() {
	if h.proc.own.Load() != 0 {
		return
	}
	fd, err := newProc()
	if err == nil && !h.proc.own.CompareAndSwap(0, int32(fd)) { //nolint:gosec // G115: a descriptor is small
		unix.Close(fd) //nolint:errcheck // another goroutine was faster
	}
}

// newProc mounts a /proc nowhere: it is reached by the descriptor alone.
func newProc() (int, error) {
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs) //nolint:errcheck // what was made of it has a descriptor of its own
	if err = unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// open opens a folder by its usual name, such as /proc/sys/net.
func (p *proc) open(folder string) (int, error) {
	if own := int(p.own.Load()); own != 0 {
		return openAt(own, strings.TrimPrefix(folder, "/proc/"), unix.O_PATH|unix.O_DIRECTORY)
	}
	return openRetry(folder, unix.O_PATH|unix.O_DIRECTORY)
}

func (p *proc) close() error {
	own := int(p.own.Swap(0))
	if own == 0 {
		return nil
	}
	if err := unix.Close(own); err != nil {
		return fmt.Errorf("close /proc: %w", err)
	}
	return nil
}
