//go:build linux

package nettest

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// BurstSize is how many bytes of payload [Space.Burst] sends, in datagrams of [BurstPayload] bytes.
const (
	BurstSize    = 2 << 20
	BurstPayload = 1024
)

// Burst sends UDP datagrams to an address as fast as the kernel takes them. What a full queue refuses is not sent again.
func (s *Space) Burst(t testing.TB, to netip.AddrPort) {
	t.Helper()
	s.Do(t, func() {
		family := unix.AF_INET
		if to.Addr().Is6() {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		check(t, "open a socket", err)
		defer unix.Close(fd)
		// More than a queue holds, so that it is the queue that refuses.
		check(t, "set the size of a socket's buffer", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4*BurstSize))
		addr, err := sockaddr(to.Addr())
		check(t, "send to "+to.String(), err)
		switch a := addr.(type) {
		case *unix.SockaddrInet4:
			a.Port = int(to.Port())
		case *unix.SockaddrInet6:
			a.Port = int(to.Port())
		}
		for range BurstSize / BurstPayload {
			err := unix.Sendto(fd, make([]byte, BurstPayload), unix.MSG_DONTWAIT, addr)
			if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EPERM) {
				t.Fatalf("send to %s: %v", to, err)
			}
		}
	})
}

// Received is how many bytes a link of the namespace has received, headers included.
func (s *Space) Received(t testing.TB, link string) uint64 {
	t.Helper()
	var n uint64
	s.Do(t, func() { n = must(t, linkByName(link)).Attrs().Statistics.RxBytes })
	return n
}

// transferLimit is how long a transfer may stand still, in seconds.
const transferLimit = 5

// Transfer sends n bytes by TCP from the namespace to an address of another one, IPv4, and fails the test when they do not
// arrive.
func (s *Space) Transfer(t testing.TB, other *Space, to netip.AddrPort, n int) {
	t.Helper()
	server, client := -1, -1
	addr := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	open := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(t, "open a socket", err)
		for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
			check(t, "set a time limit", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &unix.Timeval{Sec: transferLimit}))
		}
		return fd
	}
	other.Do(t, func() {
		server = open()
		check(t, "listen on "+to.String(), errors.Join(unix.Bind(server, addr), unix.Listen(server, 1)))
	})
	defer unix.Close(server)
	s.Do(t, func() {
		client = open()
		check(t, "connect to "+to.String(), unix.Connect(client, addr))
	})
	accepted, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
	check(t, "accept a connection", err)
	defer unix.Close(accepted)
	check(t, "set a time limit", unix.SetsockoptTimeval(accepted, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
		&unix.Timeval{Sec: transferLimit}))
	sent := make(chan error, 1)
	go func() {
		var err error
		for left := n; left > 0 && err == nil; {
			var written int
			if written, err = unix.Write(client, make([]byte, min(left, 64<<10))); errors.Is(err, unix.EINTR) {
				err = nil
			}
			left -= max(written, 0)
		}
		sent <- errors.Join(err, unix.Close(client))
	}()
	received := 0
	for buffer := make([]byte, 64<<10); ; {
		got, err := unix.Read(accepted, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		check(t, "receive", err)
		if got == 0 {
			break
		}
		received += got
	}
	check(t, "send", <-sent)
	if received != n {
		t.Errorf("%d bytes of %d arrived by TCP", received, n)
	}
}
