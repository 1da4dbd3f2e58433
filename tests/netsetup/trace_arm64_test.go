//go:build linux

package netsetup_test

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ntSystemCall (NT_ARM_SYSTEM_CALL of linux/elf.h) is the register set that has the number of the call.
const ntSystemCall = 0x404

// skipCall keeps a thread that has stopped at the entry of a call from making it.
func skipCall(tid int) error {
	number := int32(-1)
	//nolint:gosec // G103: the kernel reads number
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&number)), Len: uint64(unsafe.Sizeof(number))}
	//nolint:gosec // G103: the kernel reads iov
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SETREGSET, uintptr(tid), ntSystemCall,
		uintptr(unsafe.Pointer(&iov)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("write the number of a call: %w", errno)
	}
	return nil
}

// setResult gives a thread that has stopped at the exit of a call its result.
func setResult(tid, result int) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &r); err != nil {
		return fmt.Errorf("read registers: %w", err)
	}
	r.Regs[0] = uint64(result)
	if err := unix.PtraceSetRegs(tid, &r); err != nil {
		return fmt.Errorf("write registers: %w", err)
	}
	return nil
}

func isRename(number uint64) bool { return number == unix.SYS_RENAMEAT || number == unix.SYS_RENAMEAT2 }
