//go:build linux

package kernel_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
	"github.com/lanhook/lanhook/tests/nettest"
)

// A link tells its neighbours of its address when it comes up, if that is asked for: with the setting as it is sent in a
// message, and as it is written.
func TestAnnounce(t *testing.T) {
	nettest.Need(t, nettest.Macvlan)
	const key = "net.ipv4.conf.IFNAME.arp_notify"
	for name, c := range map[string]struct {
		key, value, setting string
		want                bool
	}{
		"on":            {key, "1", "1", true},
		"off":           {key, "0", "0", false},
		"written as on": {key, "2", "2", true},
	} {
		t.Run(name, func(t *testing.T) {
			n := nettest.New(t)
			container := n.Namespace(t, "container")
			h := openHost(t, n)
			ns, _ := openNamespace(t, h, container)
			p := parent(t, h)
			wire := -1
			n.Neighbour.Do(t, func() { wire = arpSocket(t) })
			defer unix.Close(wire)
			steps := macvlan(p, policy.ModeBridge)
			run(t, h.Kernel(ns), steps[0],
				plan.SetSysctls{If: own, Values: []request.Sysctl{{Key: c.key, Value: c.value}}},
				plan.AddAddress{If: own, Address: prefix("10.77.0.9/24")},
				plan.SetLink{From: own, Name: "eth0", Alias: "a"})
			if got := announced(t, wire, addr("10.77.0.9").AsSlice(), mac(1)); got != c.want {
				t.Errorf("announced is %v, want %v", got, c.want)
			}
			container.Do(t, func() { sysctlIs(t, "ipv4/conf/eth0/arp_notify", c.setting) })
		})
	}
}

// arpSocket receives what comes for ARP in the calling thread's namespace.
func arpSocket(t *testing.T) int {
	t.Helper()
	protocol := unix.ETH_P_ARP<<8 | unix.ETH_P_ARP>>8 // in network byte order, for which this has both bytes
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocol&0xffff)
	if err != nil {
		t.Fatal(err)
	}
	wait := unix.NsecToTimeval((20 * time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		t.Fatal(err)
	}
	return fd
}

// announced waits a little for a gratuitous ARP request or answer: sender and target address are the same (RFC 5227,
// section 3).
func announced(t *testing.T, fd int, ip, mac []byte) bool {
	t.Helper()
	buf := make([]byte, 128)
	for deadline := time.Now().Add(400 * time.Millisecond); time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		// Hardware and protocol, their sizes and the operation are 8 bytes; MAC and address of sender and target follow.
		if n >= 28 && bytes.Equal(buf[8:14], mac) && bytes.Equal(buf[14:18], ip) && bytes.Equal(buf[24:28], ip) {
			return true
		}
	}
	return false
}

func sysctlIs(t *testing.T, name, want string) {
	t.Helper()
	raw, err := os.ReadFile("/proc/sys/net/" + name)
	if got := strings.TrimSpace(string(raw)); err != nil || got != want {
		t.Errorf("%s is %q (%v), want %q", name, got, err, want)
	}
}
