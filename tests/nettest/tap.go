//go:build linux

package nettest

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Tap sends and sees frames of one link as they are on the wire, with the tag that the kernel keeps apart.
type Tap struct{ fd int }

// Tap opens a packet socket (packet(7)) on a link of the namespace until the test ends.
func (s *Space) Tap(t testing.TB, link string) *Tap {
	t.Helper()
	tap := &Tap{fd: -1}
	s.Do(t, func() {
		l, err := net.InterfaceByName(link)
		check(t, "find "+link, err)
		// The protocol in network byte order: all of them.
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
		tap.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
		check(t, "open a packet socket on "+link, err)
		check(t, "set up a packet socket on "+link, errors.Join(
			unix.Bind(tap.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index}),
			unix.SetsockoptInt(tap.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptInt(tap.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		))
	})
	t.Cleanup(func() { _ = unix.Close(tap.fd) })
	return tap
}

// Send sends a frame. That a hook of the sender's kernel drops it is no error.
func (tap *Tap) Send(t testing.TB, frame []byte) {
	t.Helper()
	if _, err := unix.Write(tap.fd, frame); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("send a frame: %v", err)
	}
}

// Until gives the frames that arrive, up to and without the first of which last is true. It fails the test when none does
// within five seconds.
func (tap *Tap) Until(t testing.TB, last func(frame []byte) bool) [][]byte {
	t.Helper()
	var frames [][]byte
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		frame, err := tap.next()
		switch {
		case errors.Is(err, unix.EAGAIN):
			time.Sleep(time.Millisecond)
		case err != nil && !errors.Is(err, unix.EINTR):
			t.Fatalf("receive a frame: %v", err)
		case err == nil && last(frame):
			return frames
		case err == nil:
			frames = append(frames, frame)
		}
	}
	t.Fatalf("the frame did not arrive; %d others did", len(frames))
	return nil
}

func (tap *Tap) next() ([]byte, error) {
	buffer, extra := make([]byte, 4096), make([]byte, 256)
	n, m, _, _, err := unix.Recvmsg(tap.fd, buffer, extra, unix.MSG_DONTWAIT)
	if err != nil {
		return nil, err
	}
	frame := buffer[:n]
	messages, err := unix.ParseSocketControlMessage(extra[:m])
	if err != nil {
		return nil, err
	}
	for _, c := range messages {
		// A struct tpacket_auxdata: status, lengths, offsets, then the tag's number and EtherType (linux/if_packet.h).
		if c.Header.Level != unix.SOL_PACKET || c.Header.Type != unix.PACKET_AUXDATA || len(c.Data) < 20 || n < 12 {
			continue
		}
		if binary.NativeEndian.Uint32(c.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
			tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(c.Data[18:]))
			tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(c.Data[16:]))
			frame = slices.Concat(frame[:12], tag, frame[12:])
		}
	}
	return frame, nil
}

// TestFrame is a frame of no protocol that anybody knows, with VLAN tags, the outer one first, and a word by which
// [FrameWord] knows it.
func TestFrame(to, from net.HardwareAddr, word string, tags ...FrameTag) []byte {
	frame := slices.Concat(to, from)
	for _, tag := range tags {
		frame = binary.BigEndian.AppendUint16(frame, tag.Type)
		frame = binary.BigEndian.AppendUint16(frame, tag.ID)
	}
	frame = binary.BigEndian.AppendUint16(frame, 0x88b5) // for local experiments (IEEE 802)
	frame = append(frame, byte(len(word)))
	frame = append(frame, word...)
	return append(frame, make([]byte, max(0, 60-len(frame)))...)
}

// FrameTag is a VLAN tag of a frame.
type FrameTag struct{ Type, ID uint16 }

// Dot1Q is a tag of 802.1Q, Dot1AD one of 802.1ad.
func Dot1Q(id uint16) FrameTag { return FrameTag{unix.ETH_P_8021Q, id} }

// Dot1AD is a tag of 802.1ad.
func Dot1AD(id uint16) FrameTag { return FrameTag{unix.ETH_P_8021AD, id} }

// FrameWord reads a frame of [TestFrame]: its word and its tags; false for any other frame.
func FrameWord(frame []byte) (word string, tags []FrameTag, ok bool) {
	for at := 12; at+4 <= len(frame); at += 4 {
		switch kind := binary.BigEndian.Uint16(frame[at:]); kind {
		case unix.ETH_P_8021Q, unix.ETH_P_8021AD:
			tags = append(tags, FrameTag{kind, binary.BigEndian.Uint16(frame[at+2:]) & 0xfff})
		case 0x88b5:
			n := int(frame[at+2])
			if at+3+n > len(frame) {
				return "", nil, false
			}
			return string(frame[at+3 : at+3+n]), tags, true
		default:
			return "", nil, false
		}
	}
	return "", nil, false
}
