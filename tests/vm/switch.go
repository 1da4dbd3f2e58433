//go:build linux

package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Switch is an Ethernet switch in this process. Network cards of guests are connected to its ports, by a pair of sockets
// each; who has the switch sees every frame and may hold frames back, or send some of its own. As a switch does, it learns
// behind which port an address is, per VLAN.
type Switch struct {
	// mu guards all below.
	mu     sync.Mutex
	ports  []*Port
	places map[place]*Port
	filter func(Frame) bool
	taps   map[*Tap]bool
}

// place is where an address is looked for.
type place struct {
	vlan uint16
	mac  [6]byte
}

// NewSwitch makes a switch without ports.
func NewSwitch() *Switch { return &Switch{places: map[place]*Port{}, taps: map[*Tap]bool{}} }

// Close ends the switch. Guests that are still connected have no carrier problem: nobody answers them.
func (s *Switch) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		_ = p.near.Close()
		_ = p.far.Close()
		close(p.queue)
	}
	s.ports = nil
}

// PortOptions say what a port is for. The zero value is a trunk that carries every frame as it is, with or without a tag.
type PortOptions struct {
	// Access is the VLAN of an access port: its frames have no tag on the wire, and ones with a tag are dropped.
	Access uint16
	// VLANs are those of a trunk; none is all. VLAN 0 is the frames without a tag.
	VLANs []uint16
	// MAC is the address of the network card; empty is a random one.
	MAC net.HardwareAddr
}

// Port is a port of a switch, and the cable from it.
type Port struct {
	// Name is for frames and messages.
	Name    string
	options PortOptions
	owner   *Switch
	mac     net.HardwareAddr
	// near is the switch's end of the cable, far the guest's.
	near, far *os.File
	// queue are frames on their way out; when it is full, more are lost, as on a wire.
	queue chan []byte
}

// queueLength is how many frames may wait at a port.
const queueLength = 1024

// maxFrame is more than any frame has.
const maxFrame = 1 << 16

// Port adds a port. Its name is for frames and messages.
func (s *Switch) Port(name string, o PortOptions) (*Port, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("port %s: make sockets: %w", name, err)
	}
	p := &Port{Name: name, options: o, owner: s, mac: o.MAC, queue: make(chan []byte, queueLength)}
	for _, fd := range pair {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("port %s: %w", name, err)
		}
	}
	p.near, p.far = os.NewFile(uintptr(pair[0]), name), os.NewFile(uintptr(pair[1]), name)
	if p.mac == nil {
		if p.mac, err = newMAC(); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = append(s.ports, p)
	go p.receive()
	go p.transmit()
	return p, nil
}

// MAC is the address of the network card at the port.
func (p *Port) MAC() net.HardwareAddr { return slices.Clone(p.mac) }

// Send hands the switch a frame as if it had come in by the port.
func (p *Port) Send(raw []byte) { p.owner.forward(p, slices.Clone(raw)) }

// Deliver sends a frame out of the port, as it is and to nobody else.
func (p *Port) Deliver(raw []byte) {
	p.owner.mu.Lock()
	defer p.owner.mu.Unlock()
	p.put(slices.Clone(raw))
}

// Receive gives the next frame that goes out of a port to which no guest is connected.
func (p *Port) Receive(until time.Time) ([]byte, error) {
	buffer := make([]byte, maxFrame)
	if err := p.far.SetReadDeadline(until); err != nil {
		return nil, fmt.Errorf("port %s: %w", p.Name, err)
	}
	n, err := p.far.Read(buffer)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", p.Name, err)
	}
	return buffer[:n], nil
}

// put is called under the switch's lock.
func (p *Port) put(raw []byte) {
	if !slices.Contains(p.owner.ports, p) {
		return // The switch has been closed.
	}
	select {
	case p.queue <- raw:
	default:
	}
}

func (p *Port) receive() {
	buffer := make([]byte, maxFrame)
	for {
		n, err := p.near.Read(buffer)
		if err != nil {
			if errors.Is(err, unix.ECONNREFUSED) {
				continue
			}
			return
		}
		p.owner.forward(p, slices.Clone(buffer[:n]))
	}
}

func (p *Port) transmit() {
	for raw := range p.queue {
		if _, err := p.near.Write(raw); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}

// forward passes on a frame that has come in by a port.
func (s *Switch) forward(from *Port, raw []byte) {
	f, ok := from.ingress(raw)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.taps {
		t.put(f)
	}
	if s.filter != nil && !s.filter(f) {
		return
	}
	source := place{f.VLAN, [6]byte(f.Source())}
	if !f.group(f.Source()) {
		s.places[source] = from
	}
	if to, known := s.places[place{f.VLAN, [6]byte(f.Destination())}]; known && !f.group(f.Destination()) {
		if to != from {
			to.egress(f)
		}
		return
	}
	for _, p := range s.ports {
		if p != from {
			p.egress(f)
		}
	}
}

// Filter has fn decide which frames are passed on; nil passes on all. It is called for one frame at a time, and must not
// call the switch.
func (s *Switch) Filter(fn func(Frame) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter = fn
}

// Tap sees all frames that the switch is given, also those that its filter drops.
type Tap struct {
	owner *Switch
	mu    sync.Mutex
	seen  []Frame
	// more is closed, and made anew, with each frame.
	more chan struct{}
}

// Tap begins to record frames. It ends with Close.
func (s *Switch) Tap() *Tap {
	t := &Tap{owner: s, more: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taps[t] = true
	return t
}

// Close ends the recording.
func (t *Tap) Close() {
	t.owner.mu.Lock()
	defer t.owner.mu.Unlock()
	delete(t.owner.taps, t)
}

func (t *Tap) put(f Frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, f)
	close(t.more)
	t.more = make(chan struct{})
}

// Frames are those that have been seen so far.
func (t *Tap) Frames() []Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.seen)
}

// Await gives the first frame, of those that have been seen and those to come, that fn finds right.
func (t *Tap) Await(ctx context.Context, fn func(Frame) bool) (Frame, error) {
	began := time.Now()
	for next := 0; ; {
		t.mu.Lock()
		seen, more := t.seen, t.more
		t.mu.Unlock()
		for ; next < len(seen); next++ {
			if fn(seen[next]) {
				return seen[next], nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Frame{}, fmt.Errorf("none of %d frames in %.1f s was the one awaited: %w", next,
				time.Since(began).Seconds(), ctx.Err())
		}
	}
}
