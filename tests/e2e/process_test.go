//go:build linux

package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cmpPrefix lets cmp compare addresses, whose fields it cannot see.
func cmpPrefix() cmp.Option {
	return cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
}

// pidsOf are the living processes of this host that run a program of that name.
func pidsOf(t *testing.T, name string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since
		}
		// "42 (comm) S …"; a comm may hold brackets itself.
		text := string(data)
		begin, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
		if text[begin+1:end] != name || strings.HasPrefix(text[end+1:], " Z") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// kill9 kills every process of this host with that name. It sees no process of the machine.
func kill9(t *testing.T, name string) {
	t.Helper()
	pids := pidsOf(t, name)
	if len(pids) == 0 {
		t.Fatalf("no process %s to kill", name)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("kill %s: %v", name, err)
		}
	}
}

// private says whether this is the private host: there PID 1 is this very program.
func private() bool {
	first, err := os.Stat("/proc/1/exe")
	if err != nil {
		return false
	}
	self, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(first, self)
}
