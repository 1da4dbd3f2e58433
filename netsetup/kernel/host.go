//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/firewall"
)

// Identity names a network namespace. The inode is what /proc shows and is used again after the namespace's end; the
// cookie never is while the machine is up.
type Identity struct {
	Inode uint64 `json:"inode"`
	// Cookie is 0 before Linux 5.14.
	Cookie uint64 `json:"cookie,omitempty"`
}

// Host is the namespace in which the process is and where the parents and bridges are. Its methods may be called from
// several goroutines.
type Host struct {
	home *home
	conn *conn
	id   Identity
	proc proc

	// rules is a socket to nftables, and conntrack one for connections; the first step that needs one opens it.
	rules     lazy[*firewall.Conn]
	conntrack lazy[*conn]
}

// Open opens the network namespace of the calling thread as the host's.
func Open() (*Host, error) {
	file, c, err := dialHere()
	if err != nil {
		return nil, err
	}
	h := &Host{home: &home{file: file}, conn: c}
	if h.id, err = identify(file, c); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.home.inode = h.id.Inode
	c.home = h.home
	return h, nil
}

// Close gives the host's file and socket back. It may be called once.
func (h *Host) Close() error {
	list := slices.Concat(h.rules.descriptor((*firewall.Conn).Descriptor), h.conntrack.descriptor((*conn).descriptor))
	if len(list) > 0 {
		linger(list...) //nolint:errcheck // then closing waits, which is all there is to it
	}
	return errors.Join(
		h.rules.end((*firewall.Conn).Close), h.conntrack.end((*conn).close),
		h.proc.close(), h.conn.close(), h.home.file.close(),
	)
}

// lazy is something that is made when it is first needed.
type lazy[T any] struct {
	mu   sync.Mutex
	made bool
	v    T
}

// get makes the value if there is none yet. What could not be made is tried again the next time.
func (l *lazy[T]) get(dial func() (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made {
		return l.v, nil
	}
	v, err := dial()
	if err == nil {
		l.v, l.made = v, true
	}
	return v, err
}

// descriptor is the value's file descriptor, none when it was not made or has none.
func (l *lazy[T]) descriptor(of func(T) (int, error)) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.made {
		return nil
	}
	fd, err := of(l.v)
	if err != nil {
		return nil
	}
	return []int{fd}
}

// end closes the value if it was made.
func (l *lazy[T]) end(shut func(T) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.made {
		return nil
	}
	l.made = false
	return shut(l.v)
}

// do runs fn with the host's /proc/sys/net in view.
func (h *Host) do(fn func() error) error { return h.home.visit(h.home.file, h.id.Inode, fn) }

// Identity is that of the host's namespace.
func (h *Host) Identity() Identity { return h.id }

func identify(file nsFile, c *conn) (Identity, error) {
	inode, err := file.inode()
	if err != nil {
		return Identity{}, err
	}
	cookie, err := c.cookie()
	return Identity{Inode: inode, Cookie: cookie}, err
}

// Namespace is a container's network namespace, held open.
type Namespace struct {
	host *Host
	file nsFile
	conn *conn
	id   Identity

	// use is held for reading while somebody is inside, and for writing to close the file.
	use    sync.RWMutex
	closed bool

	nsidOnce sync.Once
	nsid     nsid
	nsidErr  error
}

// Namespace opens the network namespace that path holds: /proc/PID/ns/net, or a file on which one is mounted. A file
// that holds none is an [Error], the host's own namespace a [HostNamespaceError].
func (h *Host) Namespace(path string) (*Namespace, error) {
	file, err := openNamespace(path)
	if err != nil {
		return nil, err
	}
	n := &Namespace{host: h, file: file, nsid: here}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if n.id == h.id {
		return nil, errors.Join(&HostNamespaceError{Path: path}, n.Close())
	}
	return n, nil
}

func (n *Namespace) open() error {
	inode, err := n.file.inode()
	if err != nil {
		return err
	}
	err = n.host.home.visit(n.file, inode, func() error {
		n.conn, err = dial()
		return err
	})
	if err != nil {
		return err
	}
	n.conn.home = n.host.home
	cookie, err := n.conn.cookie()
	n.id = Identity{Inode: inode, Cookie: cookie}
	return err
}

// Close gives file and socket back, when nobody is inside any more. A second call does nothing.
func (n *Namespace) Close() error {
	n.use.Lock()
	defer n.use.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	var err error
	if n.conn != nil {
		err = n.conn.close()
	}
	return errors.Join(err, n.file.close())
}

// Identity is that of the namespace.
func (n *Namespace) Identity() Identity { return n.id }

// Do runs fn with the calling thread inside the namespace. fn must neither start goroutines that count on being inside
// nor call Close. When the thread cannot leave again, fn's work is done, but the error says so and nothing more is done
// with this host: its goroutine must end, and the thread with it.
func (n *Namespace) Do(fn func() error) error {
	n.use.RLock()
	defer n.use.RUnlock()
	if n.closed {
		return errClosed
	}
	return n.host.home.visit(n.file, n.id.Inode, fn)
}

// nsid is the number by which one namespace knows another, see ip-netns(8). It is signed 32 bits in the kernel.
type nsid int32

// here stands for the socket's own namespace where a nsid is asked for.
const here nsid = -1

// NSID is the number by which the host's namespace knows this one, given to it now when it has none. The kernel takes
// it back as soon as nobody holds the namespace, before it removes the namespace's links; see [Host.Alive].
//
// The kernel would choose the lowest free number, so that soon another container had the number of one that is gone.
// The number is therefore made from the namespace's cookie, which repeats after 2^30 namespaces only. A namespace that
// somebody else gave a number to before keeps that one.
func (n *Namespace) NSID() (int, error) {
	n.nsidOnce.Do(func() { n.nsid, n.nsidErr = n.host.identifyPeer(n.file, n.id.Cookie) })
	return int(n.nsid), n.nsidErr
}

// nsidBase keeps the numbers made here apart from those that the kernel chooses, which begin at 0.
const nsidBase = 1 << 30

func (h *Host) identifyPeer(file nsFile, cookie uint64) (nsid, error) {
	want := here
	if cookie != 0 {
		want = nsid(nsidBase | cookie&(nsidBase-1)) //nolint:gosec // G115: below 2^31 by the mask
	}
	fd := number(unix.NETNSA_FD, file.fd)
	err := h.conn.change(unix.RTM_NEWNSID, 0, nl.NewRtGenMsg(), fd, number(unix.NETNSA_NSID, want))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return here, failed(err, "give network namespace %s a number", file.path)
	}
	msg, err := h.conn.get(unix.RTM_GETNSID, nl.NewRtGenMsg(), fd)
	if err != nil {
		return here, failed(err, "read the number of network namespace %s", file.path)
	}
	id, err := parseNSID(msg)
	if err == nil && id < 0 {
		err = fmt.Errorf("give network namespace %s a number: the kernel gave none", file.path)
	}
	return id, err
}

func parseNSID(msg []byte) (nsid, error) {
	attrs, err := attributes(msg, nl.NewRtGenMsg().Len())
	if err != nil {
		return here, err
	}
	for _, a := range attrs {
		if a.kind == unix.NETNSA_NSID && len(a.value) == 4 {
			return nsid(binary.NativeEndian.Uint32(a.value)), nil //nolint:gosec // G115: signed in the kernel
		}
	}
	return here, nil
}

// OwnNSID says whether a number is one that [Namespace.NSID] chose, which no other namespace has after the end of the
// first. A number that somebody else gave may be another namespace's by now.
func OwnNSID(id int) bool { return id >= nsidBase }

// Alive says whether the host's namespace still knows another by this number. false is proof: the kernel takes the
// number back when nobody holds the namespace any more (net/core/net_namespace.c, get_net_ns_by_id). true is proof
// only of a number of which [OwnNSID] is true; then it holds however hidden the holder is, an open file for instance,
// which [Host.Scan] cannot find.
func (h *Host) Alive(id int) (bool, error) {
	if id < 0 {
		return false, nil
	}
	_, err := h.conn.get(unix.RTM_GETNSID, nl.NewRtGenMsg(), number(unix.NETNSA_NSID, id))
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, failed(err, "ask for the network namespace with number %d", id)
	}
	return true, nil
}
