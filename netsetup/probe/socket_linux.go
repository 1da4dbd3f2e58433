package probe

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is a packet socket (packet(7)) on one link: a [Wire].
type Socket struct{ fd int }

// Dial opens a socket on a link of the calling thread's network namespace, in which it stays. It receives ARP, and neighbour
// discovery about the addresses, of no other VLAN, and nothing else.
func Dial(index int, addrs []netip.Addr) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// It receives nothing before it is bound: no frame gets past the filter.
	program := filter()
	err = os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})) //nolint:gosec // G115: some ten instructions
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}))
	}
	for _, group := range groups(addrs) {
		if err == nil {
			// A link without the addresses has not joined them.
			m := &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_MULTICAST, Alen: macLen} //nolint:gosec // G115: an index is 31 bits
			copy(m.Address[:], groupMAC(group))
			err = os.NewSyscallError("setsockopt", unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, m))
		}
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &Socket{fd}, nil
}

// groups are those to which others say that they have the addresses, or ask for them.
func groups(addrs []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range addrs {
		if a.Is6() && !slices.Contains(list, solicited(a)) {
			list = append(list, solicited(a))
		}
	}
	if len(list) > 0 {
		list = append(list, netip.IPv6LinkLocalAllNodes())
	}
	return list
}

// Close closes the socket.
func (s *Socket) Close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

// Send sends a frame. When the link's queue is full, or the link is down, the frame is lost, as on the wire.
func (s *Socket) Send(frame []byte) error {
	_, err := unix.Write(s.fd, frame)
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENETDOWN) {
		return nil
	}
	return os.NewSyscallError("write", err)
}

// Receive is as [Wire] has it.
func (s *Socket) Receive(frame []byte, until time.Time) (int, error) {
	for {
		n, err := unix.Read(s.fd, frame)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN): // the latter once, when the link goes down
			continue
		case !errors.Is(err, unix.EAGAIN):
			return 0, os.NewSyscallError("read", err)
		}
		left := time.Until(until)
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		wait := unix.NsecToTimespec(int64(left))
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}} //nolint:gosec // G115: descriptors are small
		if _, err = unix.Ppoll(fds, &wait, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, os.NewSyscallError("ppoll", err)
		}
	}
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// The extensions of the classic filter (linux/filter.h).
const (
	skfAdOff   = 0xfffff000
	skfVLAN    = 44 // SKF_AD_VLAN_TAG
	skfVLANTag = 48 // SKF_AD_VLAN_TAG_PRESENT
	vlanID     = 0xfff
	acceptAll  = 0xffffffff
	offType    = 12
	offNext    = etherLen + 6
	offICMP    = etherLen + ipv6Len
)

// filter lets ARP, solicitations and advertisements pass that are of no VLAN: a link receives those that hang on it, too. A tag with
// the number 0 gives a priority and no VLAN (IEEE 802.1Q), and some hosts and switches send everything with one.
func filter() []unix.SockFilter {
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: at}
	}
	equal := func(to uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: yes, Jf: no, K: to}
	}
	end := func(length uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: length}
	}
	return []unix.SockFilter{
		load(unix.BPF_W, skfAdOff+skfVLANTag),
		equal(0, 3, 0),
		load(unix.BPF_W, skfAdOff+skfVLAN),
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: vlanID},
		equal(0, 0, 9),
		load(unix.BPF_H, offType),
		equal(etherARP, 6, 0),
		equal(etherIPv6, 0, 6),
		load(unix.BPF_B, offNext),
		equal(nextICMPv6, 0, 4),
		load(unix.BPF_B, offICMP),
		equal(icmpNS, 1, 0),
		equal(icmpNA, 0, 1),
		end(acceptAll),
		end(0),
	}
}
