package ipam

import (
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"
)

// Place is where [Pick] starts for one workload: a number that depends on nothing but the parts, in their order. The
// parts are the host's id, the network and the workload's name: so a workload keeps its address when it is made anew,
// and hosts that share a subnet rarely begin at the same place.
//
// It is the first eight bytes, big endian, of SHA-256 over "place" and the parts, each behind its length as eight bytes,
// big endian, so that ("a", "bc") and ("ab", "c") differ. This never changes: workloads would move.
func Place(parts ...string) uint64 {
	h := digest("place", parts)
	return binary.BigEndian.Uint64(h[:8])
}

// MAC is an address that depends on nothing but the parts, as [Place] does: the first six bytes of the same hash over
// "mac" and the parts.
//
// Its first byte ends in the digit 2: unicast, locally administered, and in the quadrant that IEEE 802c leaves to the
// administrator (RFC 9542 section 2.1, which took the place of RFC 7042). 44 bits are left: among a thousand of them two
// are equal once in 35 million cases.
func MAC(parts ...string) net.HardwareAddr {
	h := digest("mac", parts)
	h[0] = h[0]&0xf0 | 0x02
	return h[:6:6]
}

// MACFromIP is 02:42 and the four bytes of an IPv4 address, as Docker made them up to version 27. It is nil for IPv6.
func MACFromIP(a netip.Addr) net.HardwareAddr {
	a = a.Unmap()
	if !a.Is4() {
		return nil
	}
	b := a.As4()
	return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}
}

// digest hashes the parts for one purpose, which keeps the values for different purposes independent.
func digest(purpose string, parts []string) []byte {
	var b []byte
	for _, p := range append([]string{purpose}, parts...) {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}
