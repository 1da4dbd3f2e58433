//go:build linux

package nettest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Chunks of SCTP (RFC 9260, section 3.3).
const (
	sctpInit    = 1
	sctpInitAck = 2
)

// sctpTag is the tag that both sides of [Space.SCTP] choose.
const sctpTag = 0x11223344

// SCTP begins an association with an address, as a kernel without SCTP cannot: it sends INIT to a port, has another
// namespace take it at a port of its own and answer with INIT ACK, and gives the address that the other one saw. What
// arrives on either side with another port or a wrong checksum is an error.
func (s *Space) SCTP(t testing.TB, to netip.AddrPort, other *Space, port uint16) (netip.Addr, error) {
	t.Helper()
	const from = 5000
	asker, server := s.rawSCTP(t, to.Addr()), other.rawSCTP(t, to.Addr())
	defer unix.Close(asker)
	defer unix.Close(server)
	if err := sendSCTP(asker, to.Addr(), sctpPacket(from, to.Port(), 0, sctpInit)); err != nil {
		return netip.Addr{}, fmt.Errorf("send INIT: %w", err)
	}
	saw, packet, err := receiveSCTP(server, to.Addr(), port, sctpInit)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("receive INIT: %w", err)
	}
	back := binary.BigEndian.Uint16(packet)
	if err := sendSCTP(server, saw, sctpPacket(port, back, sctpTag, sctpInitAck)); err != nil {
		return netip.Addr{}, fmt.Errorf("send INIT ACK: %w", err)
	}
	whom, packet, err := receiveSCTP(asker, to.Addr(), from, sctpInitAck)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("receive INIT ACK: %w", err)
	case whom != to.Addr(), binary.BigEndian.Uint16(packet) != to.Port():
		return netip.Addr{}, fmt.Errorf("INIT ACK came from %s and port %d", whom, binary.BigEndian.Uint16(packet))
	}
	return saw, nil
}

func (s *Space) rawSCTP(t testing.TB, like netip.Addr) int {
	t.Helper()
	fd := -1
	s.Do(t, func() {
		family := unix.AF_INET
		if like.Is6() {
			family = unix.AF_INET6
		}
		var err error
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		check(t, "open a raw socket in "+s.Name, err)
		wait := unix.NsecToTimeval((50 * time.Millisecond).Nanoseconds())
		check(t, "set a time limit", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait))
	})
	return fd
}

// sctpPacket is a common header and one chunk, INIT or INIT ACK, without parameters (RFC 9260, sections 3.1 and 3.3.2).
func sctpPacket(from, to uint16, tag uint32, chunk byte) []byte {
	p := make([]byte, 32)
	binary.BigEndian.PutUint16(p, from)
	binary.BigEndian.PutUint16(p[2:], to)
	binary.BigEndian.PutUint32(p[4:], tag)
	p[12] = chunk
	binary.BigEndian.PutUint16(p[14:], 20)
	binary.BigEndian.PutUint32(p[16:], sctpTag)
	binary.BigEndian.PutUint32(p[20:], 1<<16-1) // the window
	binary.BigEndian.PutUint16(p[24:], 1)       // streams out
	binary.BigEndian.PutUint16(p[26:], 1)       // streams in
	binary.BigEndian.PutUint32(p[28:], 1)       // the first number
	binary.LittleEndian.PutUint32(p[8:], sctpSum(p))
	return p
}

// sctpSum is the checksum, for which the place of the sum itself counts as zero (RFC 9260, appendix A).
func sctpSum(p []byte) uint32 {
	c := append([]byte(nil), p...)
	clear(c[8:12])
	return crc32.Checksum(c, crc32.MakeTable(crc32.Castagnoli))
}

func sendSCTP(fd int, to netip.Addr, p []byte) error {
	addr, err := sockaddr(to)
	if err != nil {
		return err
	}
	return unix.Sendto(fd, p, 0, addr)
}

// receiveSCTP waits for a chunk to a port. A raw socket sees all of the namespace's packets.
func receiveSCTP(fd int, like netip.Addr, port uint16, chunk byte) (netip.Addr, []byte, error) {
	buffer := make([]byte, 256)
	for deadline := time.Now().Add(impatience * 5); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return netip.Addr{}, nil, err
		}
		p := buffer[:n]
		if like.Is4() {
			p = p[min(n, int(p[0]&15)*4):] // the header of IPv4 comes along
		}
		if len(p) < 32 || p[12] != chunk {
			continue
		}
		switch {
		case binary.BigEndian.Uint16(p[2:]) != port:
			return netip.Addr{}, nil, fmt.Errorf("it came to port %d, want %d", binary.BigEndian.Uint16(p[2:]), port)
		case binary.LittleEndian.Uint32(p[8:]) != sctpSum(p):
			return netip.Addr{}, nil, errors.New("it came with a wrong checksum")
		}
		return address(from), p, nil
	}
	return netip.Addr{}, nil, unix.EAGAIN
}

func address(from unix.Sockaddr) netip.Addr {
	switch sa := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.Addr{}
}
