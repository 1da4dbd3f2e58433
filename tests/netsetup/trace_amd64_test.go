//go:build linux

package netsetup_test

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// skipCall keeps a thread that has stopped at the entry of a call from making it.
func skipCall(tid int) error {
	return changeRegisters(tid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) })
}

// setResult gives a thread that has stopped at the exit of a call its result.
func setResult(tid, result int) error {
	return changeRegisters(tid, func(r *unix.PtraceRegs) { r.Rax = uint64(result) })
}

func changeRegisters(tid int, change func(*unix.PtraceRegs)) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &r); err != nil {
		return fmt.Errorf("read registers: %w", err)
	}
	change(&r)
	if err := unix.PtraceSetRegs(tid, &r); err != nil {
		return fmt.Errorf("write registers: %w", err)
	}
	return nil
}

func isRename(number uint64) bool {
	return number == unix.SYS_RENAME || number == unix.SYS_RENAMEAT || number == unix.SYS_RENAMEAT2
}
