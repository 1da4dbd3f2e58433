//go:build linux

package vm

import "runtime"

// lockThread keeps the goroutine on its thread.
func lockThread() { runtime.LockOSThread() }
