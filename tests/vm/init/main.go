//go:build linux

// Command init is the first process of a guest of the test machine. It loads the modules that reach the host, mounts the
// host's files below a layer of the guest's own, runs what it is told and switches the guest off. In order:
//
//	/proc /sys /dev        the kernel's
//	/mod                   modules of the initial archive
//	/lower                 the host's /, by 9p, read-only
//	/rw                    tmpfs: what the guest writes
//	/newroot               overlay of both, which becomes /
//
// Whatever fails before the command has started ends the guest, without the word that it has: then the host boots it again.
package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/lanhook/lanhook/tests/vm/spec"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: only for the first process of a test machine")
		os.Exit(1)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
	}
	syscall.Sync()
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "init: switch off:", err)
	}
	// The end of the first process is a panic, which ends the machine too.
}

func run() error {
	if err := mountKernel(); err != nil {
		return err
	}
	if err := loadModules("/mod"); err != nil {
		return err
	}
	told, err := mountRoot()
	if err != nil {
		return err
	}
	if err := settle(told); err != nil {
		return err
	}
	ports, err := openPorts(told.Mode)
	if err != nil {
		return err
	}
	switch told.Mode {
	case spec.Agent:
		return ports.serve(told)
	case spec.Command, spec.Shell:
		return ports.command(told)
	}
	return fmt.Errorf("there is no mode %q", told.Mode)
}
