//go:build linux

package nettest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Advertise has the namespace be a router on one of its links until the end of the test: ten times a second it tells everybody
// there of a prefix of 64 bits for autoconfiguration, and that it has a way out (RFC 4861 section 4.2).
func (s *Space) Advertise(t testing.TB, link string, prefix netip.Prefix) {
	t.Helper()
	tap := s.Tap(t, link)
	var mac net.HardwareAddr
	s.Do(t, func() {
		l, err := net.InterfaceByName(link)
		check(t, "find "+link, err)
		mac = l.HardwareAddr
	})
	frame := advertisement(mac, prefix)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			unix.Write(tap.fd, frame) //nolint:errcheck // whoever waits for an advertisement says that none has come
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}

// advertisement is a router advertisement to all nodes, whole with its Ethernet and IPv6 headers.
func advertisement(mac net.HardwareAddr, prefix netip.Prefix) []byte {
	from := netip.AddrFrom16([16]byte{
		0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5],
	})
	to := netip.MustParseAddr("ff02::1")
	const lifetime = 600
	message := []byte{134, 0, 0, 0, 64, 0} // type, code, checksum, hop limit, no DHCP
	message = binary.BigEndian.AppendUint16(message, lifetime)
	message = append(message, make([]byte, 8)...)              // reachable and retransmission times: what hosts have
	message = append(message, 3, 4, byte(prefix.Bits()), 0xc0) // prefix information: on the link, for autoconfiguration
	message = binary.BigEndian.AppendUint32(message, lifetime)
	message = binary.BigEndian.AppendUint32(message, lifetime)
	message = append(message, 0, 0, 0, 0)
	message = append(message, prefix.Addr().AsSlice()...)
	message = append(message, 1, 1) // the router's own MAC address
	message = append(message, mac...)
	pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), binary.BigEndian.AppendUint32(nil, uint32(len(message))), []byte{0, 0, 0, unix.IPPROTO_ICMPV6}, message)
	binary.BigEndian.PutUint16(message[2:], onesComplement(pseudo))
	header := []byte{0x60, 0, 0, 0}
	header = binary.BigEndian.AppendUint16(header, uint16(len(message)))
	header = append(header, unix.IPPROTO_ICMPV6, 255)
	return slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1}, mac, []byte{0x86, 0xdd}, header, from.AsSlice(), to.AsSlice(), message)
}

// onesComplement is the checksum of RFC 1071 over an even number of bytes.
func onesComplement(data []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
