//go:build linux

package firewall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// What keys and values are made of, with the types that nft(8) shows. All but the interface name are in network byte order.
// Each field begins at a multiple of four bytes: that is how the kernel compares registers.
const (
	align    = 4
	nameSize = unix.IFNAMSIZ
)

func padded(b []byte) []byte {
	for len(b)%align != 0 {
		b = append(b, 0)
	}
	return b
}

// concat puts fields one after the other, as the key or value of an element.
func concat(fields ...[]byte) string {
	var all []byte
	for _, f := range fields {
		all = append(all, padded(f)...)
	}
	return string(all)
}

// address is a field of 4 or 16 bytes.
func address(a netip.Addr) []byte { return a.AsSlice() }

// port is a field of inet_service.
func port(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// ifname is a field of 16 bytes, filled up with zeros.
func ifname(name string) []byte {
	b := make([]byte, nameSize)
	copy(b, name)
	return b
}

// typeOf is the type of a key or a value with these fields.
func typeOf(fields []nftables.SetDatatype) nftables.SetDatatype {
	if len(fields) == 1 {
		return fields[0]
	}
	t, err := nftables.ConcatSetType(fields...)
	if err != nil {
		// More than five fields: there is no such set, and the kernel refuses one of no size.
		return nftables.TypeInvalid
	}
	return t
}

// text is a key or a value as nft(8) shows it: "192.0.2.1 . tcp . 8080".
func text(fields []nftables.SetDatatype, value string) string {
	var words []string
	for _, f := range fields {
		size := int(f.Bytes)
		if len(value) < size {
			return strings.Join(append(words, fmt.Sprintf("%x", value)), " . ")
		}
		words = append(words, word(f, []byte(value[:size])))
		value = value[min((size+align-1)/align*align, len(value)):]
	}
	return strings.Join(words, " . ")
}

func word(f nftables.SetDatatype, b []byte) string {
	switch f.GetNFTMagic() {
	case nftables.TypeIPAddr.GetNFTMagic(), nftables.TypeIP6Addr.GetNFTMagic():
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case nftables.TypeInetProto.GetNFTMagic():
		return protocolName(b[0])
	case nftables.TypeInetService.GetNFTMagic():
		return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
	case nftables.TypeIFName.GetNFTMagic():
		return string(bytes.TrimRight(b, "\x00"))
	case nftables.TypeEtherAddr.GetNFTMagic():
		var words []string
		for _, octet := range b {
			words = append(words, fmt.Sprintf("%02x", octet))
		}
		return strings.Join(words, ":")
	}
	return fmt.Sprintf("%x", b)
}

func protocolName(number byte) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(number))
}
