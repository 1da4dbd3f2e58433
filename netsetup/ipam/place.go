package ipam

import (
	"encoding/binary"
	"hash/fnv"
	"net"
	"net/netip"
)

// Place is where [Pick] starts for one workload: a number that depends on nothing but the parts, in their order. The
// parts are the host's id, the network and the workload's name: so a workload keeps its address when it is made anew,
// and hosts that share a subnet rarely begin at the same place.
//
// It is FNV-1a in 64 bits over "place" and the parts, each behind its length as eight bytes, big endian, so that
// ("a", "bc") and ("ab", "c") differ, and then the finalizer of SplitMix64. This never changes: workloads would move.
func Place(parts ...string) uint64 {
	return digest("place", parts)
}

// MAC is an address that depends on nothing but the parts, as [Place] does: the first six bytes, big endian, of the same
// hash over "mac" and the parts.
//
// Its first byte ends in the digit 2: unicast, locally administered, and in the quadrant that IEEE 802c leaves to the
// administrator (RFC 9542 section 2.1, which took the place of RFC 7042). 44 bits are left: among a thousand of them two
// are equal once in 35 million cases.
func MAC(parts ...string) net.HardwareAddr {
	h := binary.BigEndian.AppendUint64(nil, digest("mac", parts))
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

// digest hashes the parts for one purpose, which keeps the values for different purposes independent. It is no
// cryptographic hash, and need not be: a workload that may choose its name may get the place of another one, and be told
// that it is taken. crypto/sha256 would add a thirtieth to the program.
func digest(purpose string, parts []string) uint64 {
	h := fnv.New64a()
	for _, p := range append([]string{purpose}, parts...) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		h.Write([]byte(p))
	}
	// The last bytes of FNV hardly reach the upper bits. Each step can be undone, so nothing becomes equal by it (G. Steele,
	// D. Lea, C. Flood: Fast splittable pseudorandom number generators, 2014, mix64variant13).
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
