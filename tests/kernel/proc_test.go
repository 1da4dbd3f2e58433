//go:build linux

package kernel_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// Settings that are written by a /proc of our own are those of the same namespace, and nobody sees that it is there.
func TestOwnProc(t *testing.T) {
	n := nettest.New(t)
	c := n.Namespace(t, "container")
	c.Remember(t)
	h := openHost(t, n)
	ns, _ := openNamespace(t, h, c)
	before := mounts(t)
	h.OwnProc()
	h.OwnProc() // a second one is not made
	if got := ownProcs(t); got != 1 {
		t.Errorf("%d of our own are open, want 1", got)
	}
	if after := mounts(t); after != before {
		t.Errorf("mounts were\n%s\nand are\n%s", before, after)
	}
	k := h.Kernel(ns)
	run(t, k, bridge(), veth(1), plan.SetSysctls{If: veth(1).Peer, Values: []request.Sysctl{
		{Key: "net.ipv4.conf.IFNAME.rp_filter", Value: "2"},
	}})
	if s := c.Snapshot(t); !strings.Contains(s, "setting ipv4/conf/"+veth(1).Peer+"/rp_filter 2") {
		t.Errorf("rp_filter is not 2 in the container:\n%s", s)
	}
	if s := n.Host.Snapshot(t); !strings.Contains(s, "setting ipv6/conf/"+veth(1).Name+"/disable_ipv6 1") {
		t.Errorf("disable_ipv6 is not 1 on the host:\n%s", s)
	}
	err := k.Apply(t.Context(), plan.SetSysctls{If: veth(1).Peer, Values: []request.Sysctl{
		{Key: "net.ipv4.conf.IFNAME.no_such", Value: "1"},
	}})
	want := "set net.ipv4.conf." + veth(1).Peer + `.no_such to "1": the kernel has no such setting`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	run(t, k, plan.DelLink{Side: plan.Host, Name: veth(1).Name, Kind: "veth", MAC: veth(1).MAC},
		plan.ReleaseBridge{Name: bridge().Name})
}

func mounts(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// ownProcs counts the open descriptors of a /proc that is not the usual one.
func ownProcs(t *testing.T) int {
	t.Helper()
	var usual unix.Stat_t
	if err := unix.Stat("/proc", &usual); err != nil {
		t.Fatal(err)
	}
	count := 0
	for fd := range 1024 {
		var fs unix.Statfs_t
		var st unix.Stat_t
		if unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC && unix.Fstat(fd, &st) == nil && st.Dev != usual.Dev {
			count++
		}
	}
	return count
}
