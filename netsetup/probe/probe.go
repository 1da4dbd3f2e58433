package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Wire is a link on which frames are sent and received, whole Ethernet frames without their checksum.
type Wire interface {
	Send(frame []byte) error
	// Receive waits for a frame until a time, and gives [os.ErrDeadlineExceeded] when none came. What this end has sent
	// itself may be among them. A frame longer than the buffer is cut off.
	Receive(frame []byte, until time.Time) (int, error)
}

// Timing is when questions are sent, from the beginning on, and when the answer is taken for no.
type Timing struct {
	Questions []time.Duration
	End       time.Duration
}

// Fast is for a LAN whose hosts answer within milliseconds: whoever takes longer than 15 ms for all three questions is missed.
func Fast() Timing {
	return Timing{Questions: []time.Duration{0, 15 * time.Millisecond, 35 * time.Millisecond}, End: 50 * time.Millisecond}
}

// RFC is the timing of RFC 5227 section 1.1, four to seven seconds in all, which is longer than RFC 4862 asks for.
func RFC() Timing {
	const (
		wait     = time.Second // PROBE_WAIT
		number   = 3           // PROBE_NUM
		shortest = time.Second // PROBE_MIN
		longest  = 2 * time.Second
		announce = 2 * time.Second // ANNOUNCE_WAIT
	)
	at := rand.N(wait) //nolint:gosec // G404: so that hosts which start at once do not ask at once
	t := Timing{Questions: []time.Duration{at}}
	for len(t.Questions) < number {
		at += shortest + rand.N(longest-shortest) //nolint:gosec // G404: as above
		t.Questions = append(t.Questions, at)
	}
	t.End = at + announce
	return t
}

// Conflict is an address that somebody else on the link has.
type Conflict struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
	// Asks says that the other one is about to use it, and asks at the same time.
	Asks bool
}

// ConflictError are the addresses that others have, in the order in which they were asked for. There is at least one.
type ConflictError struct{ Conflicts []Conflict }

func (e *ConflictError) Error() string {
	texts := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		texts[i] = c.String()
	}
	return strings.Join(texts, "; ")
}

// String says who has the address.
func (c Conflict) String() string {
	if c.Asks {
		return fmt.Sprintf("%s is about to take address %s, too", c.MAC, c.Addr)
	}
	return fmt.Sprintf("address %s is in use on the LAN, by %s", c.Addr, c.MAC)
}

// Run asks for all addresses at once and says which of them somebody else has, by a [*ConflictError]. mac is the link's own;
// frames that it has sent, which some switches give back, say nothing. It takes as long as the timing says unless each
// address has been found before, or ctx ends, whose cause it gives then. Addresses are not mapped and have no zone.
func Run(ctx context.Context, w Wire, mac net.HardwareAddr, addrs []netip.Addr, timing Timing) error {
	p := probe{wire: w, mac: mac, found: map[netip.Addr]Conflict{}, addrs: addrs}
	if err := p.run(ctx, timing); err != nil {
		return err
	}
	return p.result()
}

// Owners asks as [Run] does, with the fast timing, and gives the MAC address of who has each address, of several the first one's.
// Whoever asks for one at the same time has it not, and may be another link of this host that is asked on as well.
func Owners(ctx context.Context, w Wire, mac net.HardwareAddr, addrs []netip.Addr) (map[netip.Addr]net.HardwareAddr, error) {
	p := probe{wire: w, mac: mac, found: map[netip.Addr]Conflict{}, addrs: addrs, ownersOnly: true}
	if err := p.run(ctx, Fast()); err != nil {
		return nil, err
	}
	owners := map[netip.Addr]net.HardwareAddr{}
	for a, c := range p.found {
		owners[a] = c.MAC
	}
	return owners, nil
}

// run asks and listens.
func (p *probe) run(ctx context.Context, timing Timing) error {
	// What lies between two questions does not get less where this process has to wait for a processor.
	last, at := time.Now(), time.Duration(0)
	for _, next := range timing.Questions {
		if err := p.listen(ctx, last.Add(next-at)); err != nil {
			return err
		}
		for _, a := range p.addrs {
			if _, known := p.found[a]; known {
				continue
			}
			if err := p.wire.Send(question(p.mac, a)); err != nil {
				return fmt.Errorf("ask the LAN for %s: %w", a, err)
			}
		}
		last, at = time.Now(), next
	}
	if err := p.listen(ctx, last.Add(timing.End-at)); err != nil {
		return err
	}
	return p.drain()
}

// maxLate is how many frames are looked at that are there already: as many as a socket's buffer holds, or more.
const maxLate = 4096

// Late says who has claimed one of the addresses, or asked for it, since [Run] has ended, by a [*ConflictError]. It does not wait.
// Between the end of the questions and the moment from which on the kernel answers for an address, nobody else would say so.
func Late(w Wire, mac net.HardwareAddr, addrs []netip.Addr) error {
	p := probe{wire: w, mac: mac, found: map[netip.Addr]Conflict{}, addrs: addrs}
	if err := p.drain(); err != nil {
		return err
	}
	return p.result()
}

// drain takes the frames that are there by now.
func (p *probe) drain() error {
	var buf [maxFrame]byte
	for range maxLate {
		n, err := p.wire.Receive(buf[:], time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listen to what the LAN says of addresses: %w", err)
		}
		p.hear(buf[:n])
	}
	return nil
}

// Announce tells the link that the addresses are here.
func Announce(w Wire, mac net.HardwareAddr, addrs []netip.Addr) error {
	for _, a := range addrs {
		if err := w.Send(announcement(mac, a)); err != nil {
			return fmt.Errorf("announce address %s: %w", a, err)
		}
	}
	return nil
}

type probe struct {
	wire  Wire
	mac   net.HardwareAddr
	addrs []netip.Addr
	found map[netip.Addr]Conflict
	// ownersOnly says that who asks for an address counts for nothing.
	ownersOnly bool
}

// patience is how long a wait lasts before it is looked whether the time is over.
const patience = 20 * time.Millisecond

// maxFrame is longer than any frame that says something of an address: with a signature (RFC 3971) it is some hundreds of bytes.
const maxFrame = 2048

// listen takes frames until a time, or until all is known.
func (p *probe) listen(ctx context.Context, until time.Time) error {
	var buf [maxFrame]byte
	for len(p.found) < len(p.addrs) {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("cut off while asking the LAN for addresses: %w", err)
		}
		now := time.Now()
		if !now.Before(until) {
			return nil
		}
		next := now.Add(patience)
		if next.After(until) {
			next = until
		}
		n, err := p.wire.Receive(buf[:], next)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return fmt.Errorf("listen to what the LAN says of addresses: %w", err)
		}
		p.hear(buf[:n])
	}
	return nil
}

// hear keeps what a frame says of one of the addresses. That somebody has it weighs more than that somebody asks for it.
func (p *probe) hear(frame []byte) {
	s, ok := read(frame)
	if !ok || !slices.Contains(p.addrs, s.addr) || slices.Equal(s.mac, p.mac) || s.asks && p.ownersOnly {
		return
	}
	if before, known := p.found[s.addr]; !known || before.Asks {
		p.found[s.addr] = Conflict{Addr: s.addr, MAC: s.mac, Asks: s.asks}
	}
}

func (p *probe) result() error {
	var e ConflictError
	for _, a := range p.addrs {
		if c, found := p.found[a]; found {
			e.Conflicts = append(e.Conflicts, c)
		}
	}
	if len(e.Conflicts) == 0 {
		return nil
	}
	return &e
}
