//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// errInterrupted says that a list changed while it was read, so that it may lack something or have it twice.
var errInterrupted = errors.New("the list changed while it was read")

// Kinds of attributes behind an error, and a flag of it, from linux/netlink.h.
const (
	errorText   = 1                   // NLMSGERR_ATTR_MSG
	errorCapped = unix.NLM_F_CAPPED   // the request follows with its header only
	errorHasTLV = unix.NLM_F_ACK_TLVS // attributes follow
)

// answer collects what answers one request: a single message, a list that ends with NLMSG_DONE, or an error, which is
// 0 for an acknowledgement.
//
//	header  length u32, kind u16, flags u16, sequence number u32, port u32; messages begin at multiples of four
//	error   minus errno i32, then the request it is about, header first, then attributes
//	done    minus errno i32, then attributes; nothing of it need be there
type answer struct {
	seq uint32
	// bodies are the messages without their headers.
	bodies      [][]byte
	interrupted bool
}

// add reads one datagram; done is true when it has the end of the answer. Messages that answer another request are what
// an earlier one left unread.
func (a *answer) add(datagram []byte) (done bool, err error) {
	const align = unix.NLMSG_ALIGNTO - 1
	for b := datagram; len(b) > 0; {
		size := 0
		if len(b) >= unix.SizeofNlMsghdr {
			size = int(binary.NativeEndian.Uint32(b))
		}
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false, fmt.Errorf("netlink message of %d bytes where %d are left", size, len(b))
		}
		msg := b[:size]
		b = b[min((size+align)&^align, len(b)):]
		if binary.NativeEndian.Uint32(msg[8:]) != a.seq {
			continue
		}
		if done, err = a.message(msg); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

func (a *answer) message(msg []byte) (done bool, err error) {
	kind, flags := binary.NativeEndian.Uint16(msg[4:]), binary.NativeEndian.Uint16(msg[6:])
	body := msg[unix.SizeofNlMsghdr:]
	if flags&unix.NLM_F_DUMP_INTR != 0 {
		a.interrupted = true
	}
	switch kind {
	case unix.NLMSG_ERROR:
		return true, errorOf(body, flags, true)
	case unix.NLMSG_DONE:
		if len(body) >= 4 {
			err = errorOf(body, flags, false)
		}
		if err == nil && a.interrupted {
			err = errInterrupted
		}
		return true, err
	}
	// The datagram's buffer is used again for the next one.
	a.bodies = append(a.bodies, slices.Clone(body))
	return flags&unix.NLM_F_MULTI == 0, nil
}

// errorOf is the error of an NLMSG_ERROR, behind whose number the request stands, or of an NLMSG_DONE. It has the text
// that the kernel gives to some errors.
func errorOf(body []byte, flags uint16, request bool) error {
	if len(body) < 4 {
		return errors.New("netlink error without a number")
	}
	number := unix.Errno(-int32(binary.NativeEndian.Uint32(body))) //nolint:gosec // G115: signed in the kernel
	if number == 0 {
		return nil
	}
	rest := body[4:]
	if request && len(rest) >= unix.SizeofNlMsghdr {
		skip := unix.SizeofNlMsghdr
		if flags&errorCapped == 0 {
			const align = unix.NLMSG_ALIGNTO - 1
			skip = (int(binary.NativeEndian.Uint32(rest)) + align) &^ align
		}
		rest = rest[max(0, min(skip, len(rest))):]
	}
	if flags&errorHasTLV == 0 {
		return number
	}
	attrs, err := attributes(rest, 0)
	if err != nil {
		return number // The number is what matters.
	}
	for _, a := range attrs {
		if a.kind == errorText {
			return fmt.Errorf("%w: %s", number, a.text())
		}
	}
	return number
}
