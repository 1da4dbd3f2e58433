//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/process"
	"github.com/lanhook/lanhook/policy/request"
)

// Taken says whether somebody has a port of the host, for a search among many ports: who it is only [Host.Facts] finds
// out. The port of another engine's translation rules is free in this sense. addr is the unspecified address for all of
// its family's.
func (h *Host) Taken(protocol request.Protocol, addr netip.Addr, port uint16) (bool, error) {
	var taken bool
	s := socket{protocol, addr, port}
	err := h.do(func() error {
		var err error
		if taken, err = s.inUse(); err == nil && taken {
			_, taken, err = s.holder()
		}
		return err
	})
	return taken, err
}

// socket is a port as a process would bind it.
type socket struct {
	protocol request.Protocol
	addr     netip.Addr
	port     uint16
}

func (s socket) String() string {
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(s.addr, s.port), s.protocol)
}

// listeners finds out who has which of some ports. Those that nobody has are left out.
func (h *Host) listeners(all []socket) ([]plan.Listener, error) {
	var found []plan.Listener
	var inodes []uint32
	err := h.do(func() error {
		for _, s := range all {
			taken, err := s.inUse()
			if err != nil {
				return err
			}
			if !taken {
				continue
			}
			by, taken, err := s.holder()
			if err != nil {
				return err
			}
			if taken {
				found = append(found, plan.Listener{Protocol: s.protocol, Addr: by.addr, Port: s.port})
				inodes = append(inodes, by.inode)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	name(found, inodes)
	return found, nil
}

// name finds the processes that have sockets.
func name(found []plan.Listener, inodes []uint32) {
	if len(found) == 0 {
		return
	}
	owners := ownersOf(inodes)
	for i := range found {
		if pid := owners[inodes[i]]; pid != 0 {
			found[i].PID, found[i].Name = pid, nameOf(pid)
		}
	}
}

// inUse tries to have the port. TCP is asked with SO_REUSEADDR, as servers do, or what is left of a connection
// (TIME_WAIT) would hold the port for a minute; UDP without, since it would share the port with everybody then.
func (s socket) inUse() (bool, error) {
	domain, kind, number, ok := s.parts()
	if !ok {
		return false, nil
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, number)
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ESOCKTNOSUPPORT):
		return false, nil // Then nobody has one.
	case err != nil:
		return false, failed(err, "see whether port %s is free", s)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	if s.protocol != request.UDP {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: int(s.port), Addr: as4(s.addr)}
	if domain == unix.AF_INET6 {
		to = &unix.SockaddrInet6{Port: int(s.port), Addr: s.addr.As16()}
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		}
	}
	if err == nil {
		err = unix.Bind(fd, to)
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return true, nil
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return false, nil // The host has no such address.
	}
	return false, failed(err, "see whether port %s is free", s)
}

// parts are what socket(2) is told; false where asking would load a module that nobody uses.
func (s socket) parts() (domain, kind, number int, ok bool) {
	domain = unix.AF_INET
	if s.addr.Is6() {
		domain = unix.AF_INET6
	}
	switch s.protocol {
	case request.TCP:
		return domain, unix.SOCK_STREAM, unix.IPPROTO_TCP, true
	case request.UDP:
		return domain, unix.SOCK_DGRAM, unix.IPPROTO_UDP, true
	case request.SCTP:
		return domain, unix.SOCK_STREAM, unix.IPPROTO_SCTP, unix.Access("/proc/thread-self/net/sctp", unix.F_OK) == nil
	}
	return 0, 0, 0, false
}

// as4 is 0.0.0.0 for an address of IPv6.
func as4(a netip.Addr) [4]byte {
	if a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}

// held is a socket of somebody, as the kernel lists it.
type held struct {
	addr  netip.Addr
	inode uint32
	state uint8
}

// holder finds the socket that keeps the port from being had. It is false when there is nothing but what is left of
// connections that have ended, of which a server that does not set SO_REUSEADDR leaves some. Where the kernel lists no
// socket at all, the port is taken by something that is not known.
func (s socket) holder() (held, bool, error) {
	c, err := dialFamily(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return held{}, false, err
	}
	c.home = &home{}
	h, taken, err := s.find(c)
	return h, taken, errors.Join(failed(err, "look for the socket that has port %s", s), c.close())
}

const (
	tcpListen   = 10 // TCP_LISTEN
	tcpTimeWait = 6  // TCP_TIME_WAIT
)

func (s socket) find(c *conn) (held, bool, error) {
	_, _, number, _ := s.parts()
	over := false
	// All states are in a table that may have a million places, those that listen are few.
	for _, states := range []uint32{1 << tcpListen, ^uint32(1 << tcpListen)} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if family == unix.AF_INET && s.addr.Is6() {
				continue
			}
			msgs, err := c.dump(sockDiagByFamily, diagRequest{family, uint8(number), states, s.port}) //nolint:gosec // G115: 132 at most
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
				continue // The kernel cannot list these.
			}
			if err != nil {
				return held{}, false, err
			}
			for _, msg := range msgs {
				h, ok := s.match(msg)
				if ok && h.state != tcpTimeWait {
					return h, true, nil
				}
				over = over || ok
			}
		}
	}
	return held{addr: s.addr}, !over, nil
}

const sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY

// diagRequest is struct inet_diag_req_v2: it lists sockets of a family and protocol that have a port.
type diagRequest struct {
	family, protocol uint8
	states           uint32
	port             uint16
}

const diagRequestSize = 56

func (r diagRequest) Len() int { return diagRequestSize }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, diagRequestSize)
	b[0], b[1] = r.family, r.protocol
	binary.NativeEndian.PutUint32(b[4:], r.states)
	binary.BigEndian.PutUint16(b[8:], r.port)
	return b
}

// Where things are in struct inet_diag_msg.
const (
	diagState  = 1
	diagPort   = 4
	diagSource = 8
	diagInode  = 68
	diagSize   = 72

	diagOnlyIPv6 = 11 // INET_DIAG_SKV6ONLY
)

// listening reads a socket of TCP, and says whether it is at an address, and no other.
func listening(msg []byte, at netip.Addr) (plan.Listener, uint32, bool) {
	if len(msg) < diagSize {
		return plan.Listener{}, 0, false
	}
	l := plan.Listener{Protocol: request.TCP, Addr: at, Port: binary.BigEndian.Uint16(msg[diagPort:])}
	h, ok := socket{request.TCP, at, l.Port}.match(msg)
	return l, h.inode, ok && h.addr == at
}

// match reads a socket, and says whether it is in the way. One of IPv6 has the port of IPv4 too, unless it was told not
// to.
func (s socket) match(msg []byte) (held, bool) {
	attrs, err := attributes(msg, diagSize)
	if err != nil {
		return held{}, false
	}
	h := held{state: msg[diagState], inode: binary.NativeEndian.Uint32(msg[diagInode:])}
	if msg[0] == unix.AF_INET {
		h.addr, _ = netip.AddrFromSlice(msg[diagSource : diagSource+4])
	} else {
		h.addr, _ = netip.AddrFromSlice(msg[diagSource : diagSource+16])
		h.addr = h.addr.Unmap()
	}
	if h.addr.Is6() && s.addr.Is4() {
		for _, a := range attrs {
			if a.kind == diagOnlyIPv6 && len(a.value) > 0 && a.value[0] != 0 {
				return held{}, false
			}
		}
		if !h.addr.IsUnspecified() {
			return held{}, false
		}
		h.addr = netip.IPv4Unspecified()
	}
	return h, h.addr == s.addr.WithZone("") || h.addr.IsUnspecified() || s.addr.IsUnspecified()
}

// searchTime bounds the search for a process among all open files of the machine. It only serves a message.
const searchTime = 200 * time.Millisecond

// ownersOf finds a process for each socket, the one with the lowest number, as a rule the first of a family. A socket
// of the kernel's own has none.
func ownersOf(inodes []uint32) map[uint32]int {
	wanted := map[string]uint32{}
	for _, i := range inodes {
		if i != 0 {
			wanted[fmt.Sprintf("socket:[%d]", i)] = i
		}
	}
	owners := map[uint32]int{}
	deadline := time.Now().Add(searchTime)
	for _, pid := range processes() {
		if len(owners) == len(wanted) || time.Now().After(deadline) {
			break
		}
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		files, _ := os.ReadDir(dir) //nolint:errcheck // a process may end at any time
		for _, f := range files {
			target, err := os.Readlink(filepath.Join(dir, f.Name()))
			if inode, ok := wanted[target]; err == nil && ok && owners[inode] == 0 {
				owners[inode] = pid
			}
		}
	}
	return owners
}

// processes are the numbers of all, in order.
func processes() []int {
	entries, _ := os.ReadDir("/proc") //nolint:errcheck // without /proc nothing is found
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// nameOf is a process's name, at most 15 bytes, which the process may have chosen itself: what would disturb a line of
// text is taken out.
func nameOf(pid int) string {
	raw, err := process.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(raw))
}
