package request

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// parseAddress reads "ADDRESS" or "ADDRESS/BITS". The address is one that an interface can have: no zone, not
// unspecified, not multicast, and with a prefix length not the IPv4 network's own or its broadcast address. An IPv4
// address that is written in IPv6 is taken as the IPv4 address.
func parseAddress(s string) (Address, *Error) {
	host, length, hasBits := strings.Cut(s, "/")
	addr, why := parseIP(host)
	if why != "" {
		return Address{}, &Error{Field: "ip", Value: s, Reason: why}
	}
	if !hasBits {
		return Address{Addr: addr, Bits: -1}, nil
	}
	bits, why := parseBits(host, length, addr, 1)
	if why != "" {
		return Address{}, &Error{Field: "ip", Value: s, Reason: why}
	}
	if addr.Is4() && bits < 31 {
		// RFC 3021: a /31 has neither network nor broadcast address.
		switch prefix := netip.PrefixFrom(addr, bits).Masked(); addr {
		case prefix.Addr():
			return Address{}, &Error{Field: "ip", Value: s, Reason: "this is the address of the network itself"}
		case lastOf(prefix):
			return Address{}, &Error{Field: "ip", Value: s, Reason: "this is the broadcast address of " + prefix.String()}
		}
	}
	return Address{Addr: addr, Bits: bits}, nil
}

// lastOf is the last address of an IPv4 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	ones := ^uint32(0) >> p.Bits()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|ones)
	return netip.AddrFrom4(b)
}

// parseIP reads the address of one interface, without a prefix length; why is "" when it is one.
func parseIP(s string) (addr netip.Addr, why string) {
	addr, why = parseAnyIP(s)
	switch {
	case why != "":
		return netip.Addr{}, why
	case addr.IsUnspecified():
		return netip.Addr{}, "the unspecified address belongs to nobody"
	case addr.IsMulticast():
		return netip.Addr{}, "a multicast address belongs to nobody"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, "the broadcast address belongs to nobody"
	}
	return addr, ""
}

// parseAnyIP reads any address without a zone; why is "" when it is one.
func parseAnyIP(s string) (addr netip.Addr, why string) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		return netip.Addr{}, "an address stands alone here, without a prefix length"
	case err != nil:
		return netip.Addr{}, "this is not an IP address"
	case addr.Zone() != "":
		return netip.Addr{}, "an address has no zone here"
	}
	return addr.Unmap(), ""
}

// parseBits reads the prefix length behind an address: host as it was written, addr as it was understood.
func parseBits(host, length string, addr netip.Addr, least int) (bits int, why string) {
	// ::ffff:192.0.2.1/120 is 192.0.2.1/24.
	shift := 0
	if addr.Is4() && strings.Contains(host, ":") {
		shift = 96
	}
	bits, ok := number(length, shift+least, shift+addr.BitLen())
	if !ok {
		return 0, fmt.Sprintf("the prefix length is a number from %d to %d", shift+least, shift+addr.BitLen())
	}
	return bits - shift, ""
}

// String is the address with its prefix length, where there is one.
func (a Address) String() string {
	if a.Bits < 0 {
		return a.Addr.String()
	}
	return a.Addr.String() + "/" + strconv.Itoa(a.Bits)
}

// ParseMAC reads a MAC address that an interface can have: six bytes in a form of [net.ParseMAC], unicast and not zero,
// as the kernel wants it (is_valid_ether_addr). The error is an [*Error].
func ParseMAC(s string) (net.HardwareAddr, error) {
	mac, e := parseMAC(s)
	if e != nil {
		return nil, e
	}
	return mac, nil
}

func parseMAC(s string) (net.HardwareAddr, *Error) {
	mac, err := net.ParseMAC(s)
	var why string
	switch {
	case err != nil || len(mac) != 6:
		why = "a MAC address is six bytes in hexadecimal, such as 02:42:c0:a8:01:e6"
	case mac[0]&1 != 0:
		why = "this is a multicast MAC address: the last bit of its first byte is set"
	case [6]byte(mac) == [6]byte{}:
		why = "the MAC address is zero"
	}
	if why != "" {
		return nil, &Error{Field: "mac", Value: s, Reason: why}
	}
	return mac, nil
}
