//go:build linux

package nettest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Reach sends ICMP echo requests from the namespace until one is answered, and says why none was in the time given. An
// IPv6 link-local address has its zone: the name of the link.
func (s *Space) Reach(t testing.TB, to netip.Addr, within time.Duration) error {
	t.Helper()
	var err error
	s.Do(t, func() { err = ping(to, within) })
	return err
}

// Ping fails the test unless an address answers within three seconds.
func (s *Space) Ping(t testing.TB, to netip.Addr) {
	t.Helper()
	if err := s.Reach(t, to, 3*time.Second); err != nil {
		t.Errorf("%s does not reach %s: %v", s.Name, to, err)
	}
}

// NoPing fails the test when an address answers within a third of a second.
func (s *Space) NoPing(t testing.TB, to netip.Addr) {
	t.Helper()
	if s.Reach(t, to, 300*time.Millisecond) == nil {
		t.Errorf("%s reaches %s", s.Name, to)
	}
}

// ping uses a datagram socket for ICMP (icmp(7)): the kernel fills in identifier and checksum, and hands out only the
// answers.
func ping(to netip.Addr, within time.Duration) error {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	request := []byte{8, 0, 0, 0, 0, 0, 0, 1}
	if to.Is6() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
		request[0] = 128
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	wait := unix.NsecToTimeval((50 * time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return fmt.Errorf("set a time limit: %w", err)
	}
	addr, err := sockaddr(to)
	if err != nil {
		return err
	}
	err = os.ErrDeadlineExceeded
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		if sent := unix.Sendto(fd, request, 0, addr); sent != nil {
			err = fmt.Errorf("send: %w", sent)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		_, from, got := unix.Recvfrom(fd, make([]byte, 64), 0)
		if got == nil && same(from, to) {
			return nil
		}
		if got != nil && !errors.Is(got, unix.EAGAIN) {
			err = fmt.Errorf("receive: %w", got)
		}
	}
	return err
}

func sockaddr(to netip.Addr) (unix.Sockaddr, error) {
	if to.Is4() {
		return &unix.SockaddrInet4{Addr: to.As4()}, nil
	}
	sa := &unix.SockaddrInet6{Addr: to.As16()}
	if to.Zone() != "" {
		link, err := net.InterfaceByName(to.Zone())
		if err != nil {
			return nil, err
		}
		sa.ZoneId = uint32(link.Index)
	}
	return sa, nil
}

func same(from unix.Sockaddr, to netip.Addr) bool {
	switch sa := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr) == to
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr) == to.WithZone("")
	default:
		return false
	}
}
