//go:build linux

package firewall_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/tests/nettest"
)

// Numbers of protocols and of ICMPv6 messages, from IANA's lists.
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeVLAN = 0x8100
	typeIPv6 = 0x86dd

	protoHopByHop = 0
	protoUDP      = 17
	protoFragment = 44
	protoICMP6    = 58
	protoDest     = 60

	echoRequest  = 128
	mldReport    = 131
	mldDone      = 132
	routerAsk    = 133
	routerTell   = 134
	neighbourAsk = 135
	neighbourTel = 136
	redirect     = 137
	mld2Report   = 143
)

// cable is the place from which frames are sent as they are, and one where what arrives is seen.
type cable struct {
	out, in int
	// to is the receiver's MAC address.
	to plan.MAC
	// index is the sending link's.
	index int
	// claim says that the sender has to say of what protocol a frame is: in old kernels a macvlan cannot find that out,
	// and frames that are of none do not pass a guard.
	claim bool
}

// newCable opens a packet socket (packet(7)) on a container's eth0 to send, and on a link of another namespace to receive.
func newCable(t *testing.T, from, at *nettest.Space, atLink string) *cable {
	t.Helper()
	c := &cable{claim: nettest.Before(t, 6, 12)}
	open := func(s *nettest.Space, name string) int {
		fd := -1
		s.Do(t, func() {
			l, err := net.InterfaceByName(name)
			if err != nil {
				t.Fatal(err)
			}
			c.to = plan.MAC(l.HardwareAddr)
			if s == from {
				c.index = l.Index
			}
			// The protocol in network byte order: all of them.
			all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
			if err == nil {
				err = errors.Join(
					unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index}),
					unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}),
				)
			}
			if err != nil {
				t.Fatalf("open a packet socket on %s: %v", name, err)
			}
		})
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	c.out, c.in = open(from, "eth0"), open(at, atLink)
	return c
}

// passes sends a frame, and behind it a marker that always passes. Frames keep their order, so what has not come before
// the marker never will.
func (c *cable) passes(t *testing.T, frame, marker []byte) bool {
	t.Helper()
	return c.passesBy(t, c.send, frame, marker)
}

// passesBy sends the frame in another way.
func (c *cable) passesBy(t *testing.T, send func(t *testing.T, frame []byte), frame, marker []byte) bool {
	t.Helper()
	send(t, frame)
	c.send(t, marker)
	seen := false
	for buffer := make([]byte, 2048); ; {
		n, from, err := unix.Recvfrom(c.in, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("receive a frame: %v (not even the marker came)", err)
		}
		if sender, ok := from.(*unix.SockaddrLinklayer); ok && sender.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		switch got := buffer[:n]; {
		case bytes.Contains(got, mark("marker")):
			return seen
		case isFrame(got, frame):
			seen = true
		}
	}
}

// isFrame says whether a frame that was received is the one that was sent: a tag is taken off it by then, and what stands
// behind the length of its IP packet.
func isFrame(got, sent []byte) bool {
	return bytes.Contains(got, mark("frame")) || len(got) >= 28 && (bytes.HasPrefix(sent, got) || bytes.HasPrefix(got, sent))
}

func (c *cable) send(t *testing.T, frame []byte) {
	t.Helper()
	if c.claim {
		c.sendAs(t, frame, binary.BigEndian.Uint16(frame[12:]))
		return
	}
	_, err := unix.Write(c.out, frame)
	refused(t, err)
}

// sendAs sends a frame and says of what protocol it is, whatever it is.
func (c *cable) sendAs(t *testing.T, frame []byte, protocol uint16) {
	t.Helper()
	inOrder := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	refused(t, unix.Sendto(c.out, frame, 0, &unix.SockaddrLinklayer{Protocol: inOrder, Ifindex: c.index, Halen: 6}))
}

// refused passes over the errors by which the sender of a frame hears that a hook has dropped it.
func refused(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("send a frame: %v", err)
	}
}

// mark is what frames of a test are known by at the other end, where the kernel's own come by as well.
func mark(what string) []byte { return []byte("lanhook " + what) }

// ethernet is a frame, filled up to the least length, its mark behind the payload as padding is.
func ethernet(to, from plan.MAC, kind uint16, payload []byte) []byte {
	f := slices.Concat(to, from, binary.BigEndian.AppendUint16(nil, kind), payload)
	return append(f, make([]byte, max(0, 60-len(f)))...)
}

// arp is a packet of RFC 826.
func arp(operation uint16, mac plan.MAC, ip netip.Addr, target netip.Addr) []byte {
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4}, binary.BigEndian.AppendUint16(nil, operation),
		mac, ip.AsSlice(), make([]byte, 6), target.AsSlice(), mark("frame"))
}

// ip4 is a packet of RFC 791 with a datagram.
func ip4(from, to netip.Addr, payload []byte) []byte {
	h := make([]byte, 12, 20+len(payload))
	h[0], h[8], h[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	h = slices.Concat(h, from.AsSlice(), to.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, payload...)
}

// ip6 is a packet of RFC 8200; next is the kind of what follows.
func ip6(from, to netip.Addr, next byte, payload []byte) []byte {
	h := []byte{0x60, 0, 0, 0, 0, 0, next, 255}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	return slices.Concat(h, from.AsSlice(), to.AsSlice(), payload)
}

// icmp6 is a message of RFC 4443 without its IPv6 header, whose addresses its checksum counts.
func icmp6(from, to netip.Addr, kind byte, body []byte) []byte {
	m := append([]byte{kind, 0, 0, 0}, body...)
	pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), binary.BigEndian.AppendUint32(nil, uint32(len(m))), []byte{0, 0, 0, protoICMP6})
	binary.BigEndian.PutUint16(m[2:], checksum(slices.Concat(pseudo, m)))
	return m
}

// udp is a datagram of RFC 768 without a checksum.
func udp(from, to uint16, payload []byte) []byte {
	h := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
	h = binary.BigEndian.AppendUint16(h, uint16(8+len(payload)))
	return slices.Concat(h, []byte{0, 0}, payload)
}

// options is an extension header of IPv6 with padding only.
func options(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }

// fragment is the fragment header of IPv6; offset in bytes.
func fragment(next byte, offset uint16, more bool) []byte {
	field := offset
	if more {
		field |= 1
	}
	return slices.Concat([]byte{next, 0}, binary.BigEndian.AppendUint16(nil, field), []byte{0, 0, 0, 7})
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
