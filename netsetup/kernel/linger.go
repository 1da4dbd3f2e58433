//go:build linux

package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// linger leaves it to the kernel to close descriptors, some time after this process has closed its own.
//
// Whoever closes a socket of netfilter's after elements, rules or tables were deleted waits until the kernel has let go of
// them, which takes it as long as all its processors need to pass a quiet point, some 10 ms (nft_rcv_nl_event in
// net/netfilter/nf_tables_api.c); and so does a process that ends with such a socket open, and whoever else closes one
// meanwhile. Neither a detach nor the next attach has anything to wait for: what was deleted is out of use.
//
// So the descriptors are sent by a pair of sockets of which one, sent along, is only to be had from its own queue. Once both
// are closed nobody can ever receive that message, and the kernel's collector of such messages (net/unix/garbage.c) closes
// what is in it, since Linux 6.10 by a thread of its own. An older kernel does it within the close, and nothing is won or
// lost.
func linger(fds ...int) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a pair of sockets: %w", err)
	}
	rights := unix.UnixRights(append(fds, pair[1])...)
	err = unix.Sendmsg(pair[0], []byte{0}, rights, nil, unix.MSG_DONTWAIT)
	return errors.Join(err, unix.Close(pair[1]), unix.Close(pair[0]))
}
