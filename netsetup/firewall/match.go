//go:build linux

package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// These write rules down. A rule is made of parts, each of which loads something and compares it, or ends the rule; they
// are in the form in which the kernel gives them back, so that Drift can compare.

// say puts parts together to a rule.
func say(parts ...[]expr.Any) rule {
	var r rule
	for _, p := range parts {
		r.exprs = append(r.exprs, p...)
	}
	return r
}

// register is the number of the 32 bit word of the register file, as the kernel names it: four words are one register of
// 16 bytes, numbered from 1, and a word that begins none is numbered from 8.
func register(word uint32) uint32 {
	if word%4 == 0 {
		return unix.NFT_REG_1 + word/4
	}
	return unix.NFT_REG32_00 + word
}

// load is something of a packet that goes into a register.
type load struct {
	// expr makes the expression for a register.
	expr func(register uint32) expr.Any
	// words is how many words it takes.
	words uint32
}

// fields loads into registers in a row.
func fields(loads ...load) []expr.Any {
	var list []expr.Any
	word := uint32(0)
	for _, l := range loads {
		list = append(list, l.expr(register(word)))
		word += l.words
	}
	return list
}

func meta(key expr.MetaKey, words uint32) load {
	return load{func(r uint32) expr.Any { return &expr.Meta{Key: key, Register: r} }, words}
}

func payload(base expr.PayloadBase, offset, size uint32) load {
	return load{func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: base, Offset: offset, Len: size}
	}, (size + align - 1) / align}
}

func iifname() load { return meta(expr.MetaKeyIIFNAME, nameSize/align) }

func oifname() load { return meta(expr.MetaKeyOIFNAME, nameSize/align) }

func l4proto() load { return meta(expr.MetaKeyL4PROTO, 1) }

// dport is where TCP, UDP and SCTP all have the destination's port.
func dport() load { return payload(expr.PayloadBaseTransportHeader, 2, 2) }

// version is an IP version: where its header has which address.
type version struct {
	number, nfproto byte
	saddrAt         uint32
	size            uint32
}

func ipv4() version { return version{4, unix.NFPROTO_IPV4, 12, 4} }

func ipv6() version { return version{6, unix.NFPROTO_IPV6, 8, 16} }

func (v version) saddr() load {
	return payload(expr.PayloadBaseNetworkHeader, v.saddrAt, v.size)
}

func (v version) daddr() load {
	return payload(expr.PayloadBaseNetworkHeader, v.saddrAt+v.size, v.size)
}

// set is the name of the version's own set.
func (v version) set(name string) string { return name + string('0'+rune(v.number)) }

// only matches packets of the version.
func (v version) only() []expr.Any {
	return append(fields(meta(expr.MetaKeyNFPROTO, 1)), equal(v.nfproto))
}

func equal(value ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: value}
}

// within matches packets whose source (destination) is in a prefix.
func (v version) within(prefix string, what load) []expr.Any {
	p := netip.MustParsePrefix(prefix)
	address := p.Masked().Addr().AsSlice()
	mask := make([]byte, v.size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(v.only(), what.expr(register(0)), and(mask), equal(address...))
}

// is matches packets with one address.
func (v version) is(addr string, what load) []expr.Any {
	return append(v.only(), what.expr(register(0)), equal(netip.MustParseAddr(addr).AsSlice()...))
}

func and(mask []byte) expr.Any {
	return &expr.Bitwise{
		SourceRegister: register(0), DestRegister: register(0), Len: uint32(len(mask)), //nolint:gosec // G115: an address at most
		Mask: mask, Xor: make([]byte, len(mask)),
	}
}

// in matches what is in a set.
func in(set string, loads ...load) []expr.Any {
	return append(fields(loads...), &expr.Lookup{SourceRegister: register(0), SetName: set})
}

// vmap does what a verdict map says, if anything.
func vmap(name string, loads ...load) []expr.Any {
	return append(fields(loads...), &expr.Lookup{
		SourceRegister: register(0), DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: name,
	})
}

// dnatTo translates the destination to what a map says, ports being its second field where there are any.
func (v version) dnatTo(name string, ports bool, loads ...load) []expr.Any {
	nat := &expr.NAT{Type: expr.NATTypeDestNAT}
	if ports {
		nat.RegProtoMin = register(v.size / align)
		nat.RegProtoMax, nat.Specified = nat.RegProtoMin, true
	}
	return v.nat(nat, name, loads)
}

// snatTo translates the source to what a map says.
func (v version) snatTo(name string) []expr.Any {
	return v.nat(&expr.NAT{Type: expr.NATTypeSourceNAT}, name, []load{v.saddr()})
}

func (v version) nat(nat *expr.NAT, name string, loads []load) []expr.Any {
	nat.Family = uint32(v.nfproto)
	nat.RegAddrMin, nat.RegAddrMax = register(0), register(0)
	list := append(v.only(), fields(loads...)...)
	lookup := &expr.Lookup{SourceRegister: register(0), DestRegister: register(0), IsDestRegSet: true, SetName: name}
	return append(list, lookup, nat)
}

// ctState matches connections in any of these states.
func ctState(bits uint32) []expr.Any { return conntrack(expr.CtKeySTATE, bits) }

// translated matches connections whose destination was translated.
func translated() []expr.Any { return conntrack(expr.CtKeySTATUS, statusDNAT) }

func conntrack(key expr.CtKey, bits uint32) []expr.Any {
	mask := binary.NativeEndian.AppendUint32(nil, bits)
	return []expr.Any{
		&expr.Ct{Key: key, Register: register(0)}, and(mask),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: make([]byte, len(mask))},
	}
}

// proto matches one protocol above IP.
func proto(number byte) []expr.Any { return append(fields(l4proto()), equal(number)) }

// notProto matches all protocols above IP but one.
func notProto(number byte) []expr.Any {
	return append(fields(l4proto()), &expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: []byte{number}})
}

// toLocal matches what goes to an address of the host's.
func toLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: register(0), ResultADDRTYPE: true, FlagDADDR: true},
		equal(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)...),
	}
}

func accept() []expr.Any { return verdict(expr.VerdictAccept, "") }

func drop() []expr.Any { return verdict(expr.VerdictDrop, "") }

func back() []expr.Any { return verdict(expr.VerdictReturn, "") }

func jump(chain string) []expr.Any { return verdict(expr.VerdictJump, chain) }

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }
