//go:build linux

package vm

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
)

const (
	headerLength = 14 // two addresses and a type
	tagLength    = 4
	typeAt       = 12
	// The types of a frame with a tag: 802.1Q and 802.1ad.
	typeVLAN    = 0x8100
	typeService = 0x88a8
	vlanMask    = 0xfff
)

// Frame is an Ethernet frame that came to a switch.
type Frame struct {
	// Port is the name of the port by which it came in.
	Port string
	// VLAN is the one that it belongs to within the switch: that of its outermost tag, or of the access port, else 0.
	VLAN uint16
	// Raw is the frame as within the switch: with a tag also when it came from an access port.
	Raw []byte
}

// Destination is the address that the frame goes to.
func (f Frame) Destination() net.HardwareAddr { return net.HardwareAddr(f.Raw[:6]) }

// Source is the address that the frame comes from.
func (f Frame) Source() net.HardwareAddr { return net.HardwareAddr(f.Raw[6:12]) }

// Tags are the VLANs of the frame's tags, the outermost first.
func (f Frame) Tags() []uint16 {
	tags, _ := f.parse()
	return tags
}

// Type is what the frame carries, such as 0x0806 for ARP, whatever tags are before it.
func (f Frame) Type() uint16 {
	_, at := f.parse()
	return binary.BigEndian.Uint16(f.Raw[at:])
}

// Payload is what the frame carries.
func (f Frame) Payload() []byte {
	_, at := f.parse()
	return f.Raw[at+2:]
}

// String is for messages.
func (f Frame) String() string {
	return fmt.Sprintf("%s: %s > %s, type %#04x, tags %v, %d bytes", f.Port, f.Source(), f.Destination(), f.Type(), f.Tags(),
		len(f.Raw))
}

// parse gives the tags and where the type stands.
func (f Frame) parse() (tags []uint16, at int) {
	at = typeAt
	for len(f.Raw) >= at+tagLength+2 {
		kind := binary.BigEndian.Uint16(f.Raw[at:])
		if kind != typeVLAN && kind != typeService {
			break
		}
		tags = append(tags, binary.BigEndian.Uint16(f.Raw[at+2:])&vlanMask)
		at += tagLength
	}
	return tags, at
}

// group says whether an address is one of several: multicast, broadcast.
func (Frame) group(mac net.HardwareAddr) bool { return mac[0]&1 != 0 }

// ingress takes a frame as it came in by the port, or refuses it.
func (p *Port) ingress(raw []byte) (Frame, bool) {
	if len(raw) < headerLength {
		return Frame{}, false
	}
	f := Frame{Port: p.Name, Raw: raw}
	tags := f.Tags()
	if len(tags) > 0 {
		f.VLAN = tags[0]
	}
	if p.options.Access == 0 {
		return f, p.carries(f.VLAN)
	}
	if len(tags) > 0 {
		return Frame{}, false
	}
	f.VLAN = p.options.Access
	tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, typeVLAN), f.VLAN)
	f.Raw = slices.Concat(raw[:typeAt], tag, raw[typeAt:])
	return f, true
}

// carries says whether a VLAN is one of a trunk's.
func (p *Port) carries(vlan uint16) bool {
	return len(p.options.VLANs) == 0 || slices.Contains(p.options.VLANs, vlan)
}

// egress sends a frame out of the port when it belongs there. It is called under the switch's lock.
func (p *Port) egress(f Frame) {
	switch {
	case p.options.Access == 0 && p.carries(f.VLAN):
		p.put(f.Raw)
	case p.options.Access != 0 && p.options.Access == f.VLAN:
		p.put(slices.Concat(f.Raw[:typeAt], f.Raw[typeAt+tagLength:]))
	}
}
