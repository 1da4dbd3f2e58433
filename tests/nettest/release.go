//go:build linux

package nettest

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Before says whether the kernel is older than a release, for what older ones do otherwise and cannot be asked about.
func Before(t testing.TB, major, minor int) bool {
	t.Helper()
	var name unix.Utsname
	check(t, "ask for the kernel's release", unix.Uname(&name))
	release := unix.ByteSliceToString(name.Release[:])
	var m, n int
	_, err := fmt.Sscanf(release, "%d.%d", &m, &n)
	check(t, "read the kernel's release "+release, err)
	return m < major || m == major && n < minor
}
