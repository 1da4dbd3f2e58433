//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// maxDumps is how often a dump is begun again that the kernel says was changed under the reader (NLM_F_DUMP_INTR).
// Half a listing would be taken for the truth otherwise. Each try is well below a millisecond.
const maxDumps = 32

// replyTimeout bounds the wait for an answer in seconds. The kernel has put it into the socket before sendto(2)
// returns, so that it can only be missing, never late.
const replyTimeout = 10

// bufferSize is more than any datagram of the kernel's: a dump comes in pieces of 32 KiB at most, and a link with all
// its names is smaller.
const bufferSize = 64 << 10

// conn is a netlink socket, of NETLINK_ROUTE if nothing else is said. It belongs to the namespace in which it was opened,
// whichever thread uses it.
//
// The socket is a blocking one that the runtime's poller does not know: the kernel has answered before write(2) returns,
// so there is never anything to wait for.
type conn struct {
	// home is whose threads use it.
	home *home

	mu     sync.Mutex
	fd     int
	buffer []byte
}

// dial opens a socket in the namespace of the calling thread. The kernel gives it a port when it first sends.
func dial() (*conn, error) { return dialFamily(unix.NETLINK_ROUTE) }

// dialFamily is dial for one of the families of netlink(7).
func dialFamily(family int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	c := &conn{fd: fd, buffer: make([]byte, bufferSize)}
	for _, option := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1)
		}
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: replyTimeout})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set options of a netlink socket: %w", err), c.close())
	}
	return c, nil
}

// close waits until nobody uses the socket.
func (c *conn) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fd := c.fd
	c.fd = -1 // What is asked later is an error, and goes to no other file that has the number by then.
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close a netlink socket: %w", err)
	}
	return nil
}

// descriptor is the socket's.
func (c *conn) descriptor() (int, error) { return c.fd, nil }

// cookie is the kernel's number of the socket's namespace, never used twice while the machine is up; 0 before Linux
// 5.14, which has none (SO_NETNS_COOKIE, net/core/sock.c).
func (c *conn) cookie() (uint64, error) {
	v, err := unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the cookie of a network namespace: %w", err)
	}
	return v, nil
}

// change sends one message that changes something, and waits until the kernel has done it.
func (c *conn) change(kind, flags int, parts ...nl.NetlinkRequestData) error {
	_, err := c.exchange(kind, unix.NLM_F_ACK|flags, parts)
	return err
}

// get asks for one thing. Its answer has no acknowledgement of its own.
func (c *conn) get(kind int, parts ...nl.NetlinkRequestData) ([]byte, error) {
	msgs, err := c.exchange(kind, 0, parts)
	if err != nil {
		return nil, err
	}
	if len(msgs) != 1 {
		return nil, fmt.Errorf("%d answers to one netlink request", len(msgs))
	}
	return msgs[0], nil
}

// dump asks for a whole list, again when it changed while it was read.
func (c *conn) dump(kind int, parts ...nl.NetlinkRequestData) ([][]byte, error) {
	for range maxDumps {
		msgs, err := c.exchange(kind, unix.NLM_F_DUMP, parts)
		if !errors.Is(err, errInterrupted) {
			return msgs, err
		}
	}
	return nil, fmt.Errorf("the list changed each of %d times it was read", maxDumps)
}

// exchange sends a request and reads what answers it.
func (c *conn) exchange(kind, flags int, parts []nl.NetlinkRequestData) ([][]byte, error) {
	if c.home.lost.Load() {
		return nil, errLost
	}
	request := nl.NewNetlinkRequest(kind, flags)
	request.Data = parts
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := unix.Write(c.fd, request.Serialize()); err != nil {
		return nil, err
	}
	a := answer{seq: request.Seq}
	for {
		datagram, err := c.receive()
		if err != nil {
			return nil, err
		}
		done, err := a.add(datagram)
		if done || err != nil {
			return a.bodies, err
		}
	}
}

// receive reads what the kernel sends next. It is valid until the next call.
func (c *conn) receive() ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buffer, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			// A timeout keeps the kernel from going on by itself after a signal, see signal(7); the runtime sends some.
		case errors.Is(err, unix.EAGAIN):
			return nil, fmt.Errorf("no answer from the kernel within %d s", replyTimeout)
		case err != nil:
			return nil, err
		case n > len(c.buffer):
			return nil, fmt.Errorf("netlink datagram of %d bytes is too long", n)
		default:
			if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == 0 {
				return c.buffer[:n], nil
			}
			// Another process sent it, see netlink(7).
		}
	}
}

// attribute is one netlink attribute as it was read.
type attribute struct {
	kind  uint16
	value []byte
}

// attributes reads what follows a fixed header of the given size: each attribute has its length and kind in 16 bits
// each, a value, and padding to a multiple of four.
func attributes(msg []byte, header int) ([]attribute, error) {
	if len(msg) < header {
		return nil, fmt.Errorf("netlink message of %d bytes is too short", len(msg))
	}
	var list []attribute
	for b := msg[header:]; len(b) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return nil, fmt.Errorf("netlink attribute of %d bytes where %d are left", size, len(b))
		}
		// The upper two bits say that an attribute is nested or in network byte order, see linux/netlink.h.
		kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		list = append(list, attribute{kind, b[unix.SizeofRtAttr:size]})
		const align = unix.RTA_ALIGNTO - 1
		b = b[min((size+align)&^align, len(b)):]
	}
	return list, nil
}

// number is a 32 bit value, 0 for one of another size.
func (a attribute) number() uint32 {
	if len(a.value) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(a.value)
}

// short is a number of 16 bits, 0 for what is none.
func (a attribute) short() uint16 {
	if len(a.value) != 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(a.value)
}

// text is a string, which has a trailing zero byte or not.
func (a attribute) text() string { return unix.ByteSliceToString(a.value) }

func number[T ~int | ~int32 | ~uint32](kind int, v T) *nl.RtAttr {
	return nl.NewRtAttr(kind, nl.Uint32Attr(uint32(v)))
}

func text(kind int, s string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(s)) }

func nest(kind int, children ...nl.NetlinkRequestData) *nl.RtAttr {
	a := nl.NewRtAttr(unix.NLA_F_NESTED|kind, nil)
	for _, c := range children {
		a.AddChild(c)
	}
	return a
}
