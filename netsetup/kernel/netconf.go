//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From linux/netconf.h.
const (
	netconfIndex      = 1 // NETCONFA_IFINDEX
	netconfForwarding = 2 // NETCONFA_FORWARDING
)

// netconfHeader is struct netconfmsg: the family in one byte, with padding behind it.
type netconfHeader struct{ family uint8 }

func (h netconfHeader) Len() int { return unix.NLMSG_ALIGNTO }

func (h netconfHeader) Serialize() []byte { return []byte{h.family, 0, 0, 0} }

// forwards says whether the kernel forwards what comes in by a link. It tells the same as the setting's file, which is
// the slower to find the more containers there are, see [Host.OwnProc].
func (c *conn) forwards(family uint8, index int) (bool, error) {
	msg, err := c.get(unix.RTM_GETNETCONF, netconfHeader{family}, number(netconfIndex, index))
	if err != nil {
		return false, fmt.Errorf("read the settings of link %d: %w", index, err)
	}
	attrs, err := attributes(msg, unix.NLMSG_ALIGNTO)
	if err != nil {
		return false, err
	}
	for _, a := range attrs {
		if a.kind == netconfForwarding && len(a.value) == 4 {
			return binary.NativeEndian.Uint32(a.value) != 0, nil
		}
	}
	return false, errors.New("the kernel does not tell whether a link forwards")
}

var _ nl.NetlinkRequestData = netconfHeader{}
