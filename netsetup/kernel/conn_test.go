//go:build linux

package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// message is a header of zeros with attributes behind it, as the kernel sends it.
func message(header int, attrs ...*nl.RtAttr) []byte {
	msg := make([]byte, header)
	for _, a := range attrs {
		msg = append(msg, a.Serialize()...)
	}
	return msg
}

func TestParseLink(t *testing.T) {
	msg := message(unix.SizeofIfInfomsg,
		text(unix.IFLA_IFNAME, "eth0"), number(unix.IFLA_MTU, 1450), number(unix.IFLA_LINK, 7),
		nl.NewRtAttr(unix.IFLA_IFALIAS, []byte("no zero at its end")),
		nest(unix.IFLA_PROP_LIST, text(unix.IFLA_ALT_IFNAME, "one"), text(unix.IFLA_ALT_IFNAME, "two")),
		nest(unix.IFLA_LINKINFO,
			text(unix.IFLA_INFO_KIND, kindMacvlan), nest(unix.IFLA_INFO_DATA, number(unix.IFLA_MACVLAN_MODE, uint32(4))),
			text(unix.IFLA_INFO_SLAVE_KIND, kindBridge)))
	got, err := parseLink(msg)
	want := State{
		Name: "eth0", Kind: kindMacvlan, MTU: 1450, Parent: 7, Alias: "no zero at its end", AltNames: []string{"one", "two"},
		MasterKind: kindBridge, Mode: 1, BondMode: noBond,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestParseKinds(t *testing.T) {
	short := func(kind int, v uint16) *nl.RtAttr { return nl.NewRtAttr(kind, nl.Uint16Attr(v)) }
	for name, c := range map[string]struct {
		kind string
		data []*nl.RtAttr
		want State
	}{
		"macvlan":                     {kindMacvlan, []*nl.RtAttr{number(unix.IFLA_MACVLAN_MODE, 16)}, State{Mode: policy.ModeSource, BondMode: noBond}},
		"ipvlan l2":                   {kindIPVLAN, []*nl.RtAttr{short(1, 0), short(2, 0)}, State{Mode: policy.ModeL2, Flag: policy.FlagBridge, BondMode: noBond}},
		"ipvlan l3 private":           {kindIPVLAN, []*nl.RtAttr{short(1, 1), short(2, 1)}, State{Mode: policy.ModeL3, Flag: policy.FlagPrivate, BondMode: noBond}},
		"ipvlan l3s vepa":             {kindIPVLAN, []*nl.RtAttr{short(1, 2), short(2, 2)}, State{Mode: policy.ModeL3S, Flag: policy.FlagVEPA, BondMode: noBond}},
		"an ipvlan mode to come":      {kindIPVLAN, []*nl.RtAttr{short(1, 3), short(2, 3)}, State{BondMode: noBond}},
		"the same numbers of another": {"ipvtap", []*nl.RtAttr{short(1, 1), short(2, 1)}, State{BondMode: noBond}},
		"bond in mode balance-rr":     {kindBond, []*nl.RtAttr{nl.NewRtAttr(unix.IFLA_BOND_MODE, []byte{0})}, State{}},
		"bond in mode balance-alb":    {kindBond, []*nl.RtAttr{nl.NewRtAttr(unix.IFLA_BOND_MODE, []byte{6})}, State{BondMode: 6}},
		"no bond":                     {kindVeth, []*nl.RtAttr{nl.NewRtAttr(unix.IFLA_BOND_MODE, []byte{6})}, State{BondMode: noBond}},
	} {
		t.Run(name, func(t *testing.T) {
			data := make([]nl.NetlinkRequestData, len(c.data))
			for i, a := range c.data {
				data[i] = a
			}
			got, err := parseLink(message(unix.SizeofIfInfomsg,
				nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, c.kind), nest(unix.IFLA_INFO_DATA, data...))))
			c.want.Kind = c.kind
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	attr := func(size, kind uint16, rest ...byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, size)
		return append(binary.NativeEndian.AppendUint16(b, kind), rest...)
	}
	for name, c := range map[string]struct {
		msg  []byte
		want int
		bad  bool
	}{
		"none":                    {nil, 0, false},
		"no padding at the end":   {attr(5, 1, 'x'), 1, false},
		"padding":                 {append(attr(5, 1, 'x', 0, 0, 0), attr(4, 2)...), 2, false},
		"less than an attribute":  {[]byte{1, 2, 3}, 0, false},
		"length below its header": {attr(3, 1, 0), 0, true},
		"length of zero":          {attr(0, 1, 0), 0, true},
		"length above the rest":   {attr(9, 1, 0), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := attributes(c.msg, 0)
			if len(got) != c.want || (err != nil) != c.bad {
				t.Errorf("%d attributes (%v), want %d and an error: %v", len(got), err, c.want, c.bad)
			}
		})
	}
	if _, err := attributes(make([]byte, 3), 4); err == nil {
		t.Error("a message shorter than its header is accepted")
	}
}

// What is read must have been in the message, whatever the message.
func FuzzParse(f *testing.F) {
	f.Add(message(unix.SizeofIfInfomsg, text(unix.IFLA_IFNAME, "eth0"), nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, "veth"))))
	f.Add(message(unix.SizeofRtMsg, number(unix.RTA_OIF, 3), nl.NewRtAttr(unix.RTA_MULTIPATH, make([]byte, 8))))
	f.Add(message(unix.SizeofRtMsg, nl.NewRtAttr(unix.RTA_MULTIPATH, make([]byte, 3))))
	f.Add(message(nfHeaderSize,
		nest(ctOriginal, nest(ctTupleIP, nl.NewRtAttr(2, []byte{10, 0, 0, 1})), nest(ctTupleProto, nl.NewRtAttr(ctProtoTo, []byte{0, 80})))))
	f.Add(message(diagSize, nl.NewRtAttr(diagOnlyIPv6, nl.Uint8Attr(1))))
	f.Add(message(0, nest(unix.IFLA_AF_SPEC, nest(unix.AF_INET, nl.NewRtAttr(inetConf, make([]byte, 128))))))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if s, err := parseLink(msg); err == nil && !bytes.Contains(msg, []byte(s.Name)) {
			t.Errorf("name %q is not in the message", s.Name)
		}
		if r, _, err := parseRoute(msg); err == nil && r.Via.IsValid() && !bytes.Contains(msg, r.Via.AsSlice()) {
			t.Errorf("gateway %s is not in the message", r.Via)
		}
		if e, err := parseEntry(msg); err == nil && e.to.IsValid() && !bytes.Contains(msg, e.to.AsSlice()) {
			t.Errorf("address %s is not in the message", e.to)
		}
		s := socket{request.TCP, netip.IPv4Unspecified(), 80}
		if h, ok := s.match(msg); ok && !bytes.Contains(msg, h.addr.AsSlice()) {
			t.Errorf("address %s is not in the message", h.addr)
		}
		if c, err := parseConf(msg, unix.IFLA_AF_SPEC, unix.AF_INET, inetConf); err == nil && !bytes.Contains(msg, c) {
			t.Errorf("settings %x are not in the message", c)
		}
		if _, err := parseNSID(msg); err == nil && len(msg) < 4 {
			t.Error("a message without a header is accepted")
		}
	})
}
