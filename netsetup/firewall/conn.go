//go:build linux

package firewall

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// maxTries is how often a transaction, or a listing, is begun again that the kernel says was disturbed.
	maxTries = 32
	// replyTimeout bounds a transaction, and the wait for answers that do not come: without nftables, or without memory, the
	// kernel answers a batch as a whole, where the library waits for an answer to each message.
	replyTimeout = 10 * time.Second
	// sendBuffer takes a transaction of some 100,000 elements, which is one message to the kernel, receiveBuffer the
	// acknowledgements of its parts. They are limits, not memory.
	sendBuffer    = 32 << 20
	receiveBuffer = 4 << 20
)

// Conn is a socket to nftables. It belongs to the namespace in which it was opened, whichever thread uses it.
type Conn struct {
	mu  sync.Mutex
	nft *nftables.Conn
	// socket is nft's own.
	socket *netlink.Conn
	// broken is set when a message could not be made. The library has no way to forget those before it.
	broken error
}

// Dial opens a socket to nftables in the calling thread's network namespace.
func Dial() (*Conn, error) {
	c := &Conn{}
	var err error
	c.nft, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(c.prepare))
	if err != nil {
		if c.socket != nil {
			err = errors.Join(err, c.socket.Close())
		}
		return nil, fmt.Errorf("open a socket to nftables: %w", err)
	}
	return c, nil
}

// prepare sets the options of a new socket: errors come with the kernel's words. (They come with the whole message that
// they answer, too; to be spared that, CapAcknowledge, is what the library cannot read together with the words.)
func (c *Conn) prepare(socket *netlink.Conn) error {
	c.socket = socket
	if err := socket.SetOption(netlink.ExtendedAcknowledge, true); err != nil {
		return fmt.Errorf("ask for the kernel's words: %w", err)
	}
	if err := socket.SetWriteBuffer(sendBuffer); err != nil {
		return fmt.Errorf("set the size of the socket: %w", err)
	}
	if err := socket.SetReadBuffer(receiveBuffer); err != nil {
		return fmt.Errorf("set the size of the socket: %w", err)
	}
	return nil
}

// Close closes the socket.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.nft.CloseLasting(); err != nil {
		return fmt.Errorf("close a socket to nftables: %w", err)
	}
	return nil
}

// Descriptor is the socket's file descriptor, good until it is closed.
func (c *Conn) Descriptor() (int, error) {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("find the descriptor of a socket to nftables: %w", err)
	}
	n := -1
	if err := raw.Control(func(fd uintptr) { n = int(fd) }); err != nil {
		return 0, fmt.Errorf("find the descriptor of a socket to nftables: %w", err)
	}
	return n, nil
}

// commit makes one transaction of what build puts into a batch: the kernel does all of it or nothing. build may be called
// again, when the kernel was disturbed or did not say what became of it; so what it adds must bear to be added twice. An
// empty batch is no transaction. what says what is being done, for errors.
func (c *Conn) commit(what string, build func(b *batch)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.broken
	for range maxTries {
		if err != nil && !again(err) {
			break
		}
		b := &batch{nft: c.nft}
		if build(b); b.err != nil {
			c.broken = b.err
			return failed(b.err, "%s", what)
		}
		if err = aside(c.flush); err == nil {
			return nil
		}
	}
	return c.explain(failed(err, "%s", what))
}

// explain says of a refusal for want of rights whether somebody else has a table for himself: being root does not help
// then.
func (c *Conn) explain(err error) error {
	var e *Error
	if !errors.Is(err, unix.EPERM) || !errors.As(err, &e) {
		return err
	}
	for _, t := range tableNames() {
		var f tableFlags
		lookErr := aside(func() (err error) {
			if err = c.socket.SetReadDeadline(time.Now().Add(replyTimeout)); err == nil {
				f, _, err = c.flagsOf(t)
			}
			return err
		})
		if lookErr == nil && f.owner != 0 {
			e.hint = fmt.Sprintf("another program (netlink port %d, as a rule its pid) has %s for itself, by the flag owner: end it, "+
				"or have it take another name for its table", f.owner, t)
		}
	}
	return err
}

// aside runs fn, which uses the socket, in a goroutine of its own, and waits for it. The library starts one for each call of
// the kernel's and waits for its end, which costs a goroutine that is bound to its thread, as those in another namespace are,
// a change of threads each time: several times what the kernel needs. The socket knows its namespace by itself.
func aside(fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return <-done
}

// flush sends what is in the batch, and leaves nothing behind in the socket: the library counts answers, it does not look
// which they are. It reads as many as there are messages, but the kernel sends one more when the transaction as a whole
// is refused at its end (nfnetlink_rcv_batch in net/netfilter/nfnetlink.c).
func (c *Conn) flush() error {
	if err := c.socket.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	err := c.nft.Flush()
	if err == nil {
		return nil
	}
	some, drainErr := c.drain()
	if some && errors.Is(err, os.ErrDeadlineExceeded) {
		// The kernel loads modules while it takes a transaction, within the call that sends it, which took all the time there is.
		// The answers are there, unread.
		err = errLate
	}
	return errors.Join(err, drainErr)
}

// errLate says that a transaction took its time, and that how it ended was not read.
var errLate = errors.New("the kernel took too long")

// drain reads what is still in the socket, and says whether there was anything. It never waits.
func (c *Conn) drain() (some bool, err error) {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return false, err
	}
	var buffer [1]byte
	err = raw.Control(func(fd uintptr) {
		for {
			_, _, end := unix.Recvfrom(int(fd), buffer[:], unix.MSG_DONTWAIT)
			// ENOBUFS tells once that something was lost.
			if end != nil && !errors.Is(end, unix.EINTR) && !errors.Is(end, unix.ENOBUFS) {
				return
			}
			some = some || end == nil
		}
	})
	if err != nil {
		return some, fmt.Errorf("empty the socket: %w", err)
	}
	return some, nil
}

// again tells errors after which a transaction is tried once more: a signal came, the rules changed while they were
// looked at, a module was being loaded, or the answer was lost, or not read.
func again(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ERESTART) ||
		errors.Is(err, unix.ENOBUFS) || errors.Is(err, errLate)
}
