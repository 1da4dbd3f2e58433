// Package probe finds out whether somebody on a link has an address before it is used, and tells others when it is: by ARP
// (RFC 826, RFC 5227) and by neighbour discovery (RFC 4861, RFC 4862).
//
// Nothing here opens a socket or knows a network namespace: frames go through a [Wire].
package probe

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

// The numbers of the protocols.
const (
	etherARP  = 0x0806
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	arpEthernet = 1
	arpRequest  = 1
	arpReply    = 2

	nextICMPv6 = 58
	hopLimit   = 255 // RFC 4861 7.1.1: what has passed a router has less
	icmpNS     = 135
	icmpNA     = 136
	naOverride = 1 << 5
	optTarget  = 2 // target link-layer address, RFC 4861 4.6.1
)

// The sizes of what frames consist of, in bytes.
const (
	macLen   = 6
	etherLen = 14
	arpLen   = 28
	ipv6Len  = 40
	ndLen    = 24 // type, code, checksum, flags, target
	optLen   = 8
)

// minLen is the least length of an Ethernet frame without its checksum (IEEE 802.3): some drivers do not fill shorter ones.
const minLen = 60

// question asks who has an address, from nobody's: an ARP probe (RFC 5227 2.1.1), or the solicitation of duplicate address
// detection (RFC 4862 5.4.2).
func question(mac net.HardwareAddr, addr netip.Addr) []byte {
	if addr.Is4() {
		return arp(mac, arpRequest, netip.IPv4Unspecified(), addr)
	}
	group := solicited(addr)
	body := make([]byte, ndLen)
	body[0] = icmpNS
	copy(body[8:], addr.AsSlice())
	return icmp(mac, netip.IPv6Unspecified(), group, body)
}

// announcement says that an address is here: an ARP announcement (RFC 5227 2.3), or an unsolicited neighbour advertisement
// that overrides what neighbours know (RFC 4861 7.2.6).
func announcement(mac net.HardwareAddr, addr netip.Addr) []byte {
	if addr.Is4() {
		return arp(mac, arpRequest, addr, addr)
	}
	body := make([]byte, ndLen+optLen)
	body[0], body[4] = icmpNA, naOverride
	copy(body[8:], addr.AsSlice())
	body[ndLen], body[ndLen+1] = optTarget, 1 // in units of eight bytes
	copy(body[ndLen+2:], mac)
	return icmp(mac, addr, netip.IPv6LinkLocalAllNodes(), body)
}

// ether is the header of a frame, with room for what follows.
func ether(dst, src net.HardwareAddr, protocol uint16, length int) []byte {
	frame := make([]byte, 0, max(minLen, etherLen+length))
	frame = append(append(frame, dst...), src...)
	return binary.BigEndian.AppendUint16(frame, protocol)
}

// padded is a frame of at least the least length.
func padded(frame []byte) []byte {
	return append(frame, make([]byte, max(0, minLen-len(frame)))...)
}

func arp(mac net.HardwareAddr, op uint16, sender, target netip.Addr) []byte {
	frame := ether(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, etherARP, arpLen)
	frame = binary.BigEndian.AppendUint16(frame, arpEthernet)
	frame = binary.BigEndian.AppendUint16(frame, etherIPv4)
	frame = append(frame, macLen, net.IPv4len)
	frame = binary.BigEndian.AppendUint16(frame, op)
	frame = append(append(frame, mac...), sender.AsSlice()...)
	frame = append(append(frame, make([]byte, macLen)...), target.AsSlice()...)
	return padded(frame)
}

// icmp is a message to a group of the link.
func icmp(mac net.HardwareAddr, src, dst netip.Addr, body []byte) []byte {
	binary.BigEndian.PutUint16(body[2:], 0)
	binary.BigEndian.PutUint16(body[2:], ^checksum(src, dst, body))
	frame := ether(groupMAC(dst), mac, etherIPv6, ipv6Len+len(body))
	frame = append(frame, 6<<4, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(body))) //nolint:gosec // G115: 32 at most
	frame = append(frame, nextICMPv6, hopLimit)
	frame = append(append(frame, src.AsSlice()...), dst.AsSlice()...)
	return padded(append(frame, body...))
}

// solicited is the group that whoever has an address listens to (RFC 4291 2.7.1).
func solicited(addr netip.Addr) netip.Addr {
	group := [16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff}
	raw := addr.As16()
	copy(group[13:], raw[13:])
	return netip.AddrFrom16(group)
}

// groupMAC is the MAC address of a group of IPv6 (RFC 2464 7).
func groupMAC(group netip.Addr) net.HardwareAddr {
	raw := group.As16()
	return net.HardwareAddr{0x33, 0x33, raw[12], raw[13], raw[14], raw[15]}
}

// checksum is the sum over a message and its pseudo-header (RFC 8200 8.1); over one with the right checksum in it, 0xffff.
func checksum(src, dst netip.Addr, body []byte) uint16 {
	sum := uint64(len(body)) + nextICMPv6
	for _, part := range [][]byte{src.AsSlice(), dst.AsSlice(), body} {
		for i, b := range part {
			if i%2 == 0 {
				sum += uint64(b) << 8
			} else {
				sum += uint64(b)
			}
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// seen is what a frame says of an address.
type seen struct {
	addr netip.Addr
	mac  net.HardwareAddr
	// asks is true when its sender is about to use the address, as we are, and false when it has it.
	asks bool
}

// read gives what a frame says of the addresses that are somebody's or are about to be; ok is false when it says nothing.
// What is malformed says nothing.
func read(frame []byte) (s seen, ok bool) {
	if len(frame) < etherLen {
		return seen{}, false
	}
	src, body := net.HardwareAddr(bytes.Clone(frame[macLen:2*macLen])), frame[etherLen:]
	switch binary.BigEndian.Uint16(frame[2*macLen:]) {
	case etherARP:
		return readARP(body)
	case etherIPv6:
		return readND(src, body)
	}
	return seen{}, false
}

func readARP(body []byte) (seen, bool) {
	if len(body) < arpLen || binary.BigEndian.Uint16(body) != arpEthernet || binary.BigEndian.Uint16(body[2:]) != etherIPv4 ||
		body[4] != macLen || body[5] != net.IPv4len {
		return seen{}, false
	}
	op := binary.BigEndian.Uint16(body[6:])
	if op != arpRequest && op != arpReply {
		return seen{}, false
	}
	s := seen{mac: bytes.Clone(body[8:14]), addr: netip.AddrFrom4([4]byte(body[14:18]))}
	if s.addr.IsUnspecified() {
		s.addr, s.asks = netip.AddrFrom4([4]byte(body[24:28])), true
	}
	return s, !s.asks || op == arpRequest
}

func readND(mac net.HardwareAddr, body []byte) (seen, bool) {
	if len(body) < ipv6Len+ndLen || body[0]>>4 != 6 || body[6] != nextICMPv6 || body[7] != hopLimit {
		return seen{}, false
	}
	src, dst := netip.AddrFrom16([16]byte(body[8:24])), netip.AddrFrom16([16]byte(body[24:40]))
	length := int(binary.BigEndian.Uint16(body[4:]))
	if length < ndLen || length > len(body)-ipv6Len {
		return seen{}, false
	}
	message := body[ipv6Len : ipv6Len+length]
	if message[1] != 0 || checksum(src, dst, message) != 0xffff {
		return seen{}, false
	}
	target := netip.AddrFrom16([16]byte(message[8:24]))
	switch {
	case message[0] == icmpNA:
		return seen{addr: target, mac: mac}, true
	case message[0] == icmpNS && src.IsUnspecified():
		return seen{addr: target, mac: mac, asks: true}, true
	case message[0] == icmpNS:
		return seen{addr: src, mac: mac}, true
	}
	return seen{}, false
}
