package plan_test

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// visitor is a test's value with what visits it.
type visitor interface {
	visit(c *plan.Codec)
	// fresh is a zero value of the same kind.
	fresh() visitor
	// text is the value as cases tell it.
	text() string
}

type value[T any] struct {
	v  T
	by func(*plan.Codec, *T)
}

func (v *value[T]) visit(c *plan.Codec) { v.by(c, &v.v) }

func (v *value[T]) fresh() visitor { return &value[T]{by: v.by} }

func (v *value[T]) text() string { return fmt.Sprintf("%v", v.v) }

func texts(c *plan.Codec, v *[]string) { plan.List(c, v, (*plan.Codec).Text) }

func mode(c *plan.Codec, v *policy.Mode) { plan.Enum(c, v, policy.ModeSource) }

// TestCodecForms holds the form of each kind of value: a change of one is a new version of records.
func TestCodecForms(t *testing.T) {
	number := func(n uint64) visitor { return &value[uint64]{n, (*plan.Codec).Uint} }
	signed := func(n int) visitor { return &value[int]{n, (*plan.Codec).Int} }
	flag := func(b bool) visitor { return &value[bool]{b, (*plan.Codec).Flag} }
	word := func(s string) visitor { return &value[string]{s, (*plan.Codec).Text} }
	mac := func(m plan.MAC) visitor { return &value[plan.MAC]{m, (*plan.Codec).MAC} }
	addr := func(s string) visitor { return &value[netip.Addr]{netip.MustParseAddr(s), (*plan.Codec).Addr} }
	prefix := func(s string) visitor { return &value[netip.Prefix]{netip.MustParsePrefix(s), (*plan.Codec).Prefix} }
	when := func(unix int64) visitor { return &value[time.Time]{time.Unix(unix, 0).UTC(), (*plan.Codec).Time} }
	tests := []struct {
		form  string
		value visitor
	}{
		{"00", number(0)},
		{"7f", number(127)},
		{"8001", number(128)},
		{"ffffffffffffffffff01", number(1<<64 - 1)},
		{"dc0b", signed(1500)},
		{"ffffffffffffffffff01", signed(-1)},
		{"00", flag(false)},
		{"01", flag(true)},
		{"05", &value[policy.Mode]{policy.ModeSource, mode}},
		{"00", word("")},
		{"0465746830", word("eth0")},
		{"02ff00", word("\xff\x00")},
		{"00", mac(nil)},
		{"06024200000001", mac(plan.MAC{2, 0x42, 0, 0, 0, 1})},
		{"00", &value[netip.Addr]{by: (*plan.Codec).Addr}},
		{"04c0000201", addr("192.0.2.1")},
		{"10fd000000000000000000000000000001", addr("fd00::1")},
		{"1000000000000000000000ffffc0000201", addr("::ffff:192.0.2.1")},
		{"12fe8000000000000000000000000000017030", addr("fe80::1%p0")},
		{"00", &value[netip.Prefix]{by: (*plan.Codec).Prefix}},
		{"040000000000", prefix("0.0.0.0/0")},
		{"04c000020918", prefix("192.0.2.9/24")},
		{"10fd00000000000000000000000000000140", prefix("fd00::1/64")},
		{"00", when(0)},
		{"80dc9aca06", when(1_766_239_744)},
		{"8092b8c398feffffff01", when(-62135596800)},
		{"00", &value[[]string]{by: texts}},
		{"0201610162", &value[[]string]{[]string{"a", "b"}, texts}},
	}
	for _, test := range tests {
		t.Run(test.value.text(), func(t *testing.T) {
			data, err := plan.Encode(test.value.visit)
			if err != nil || hex.EncodeToString(data) != test.form {
				t.Fatalf("written as %x, %v; want %s", data, err, test.form)
			}
			read := test.value.fresh()
			if err := plan.Decode(data, read.visit); err != nil || read.text() != test.value.text() {
				t.Errorf("read back as %s, %v", read.text(), err)
			}
			for n := range data {
				if err := plan.Decode(data[:n], test.value.fresh().visit); err == nil {
					t.Errorf("the first %d bytes alone can be read", n)
				}
			}
		})
	}
}

func TestCodecRefuses(t *testing.T) {
	number := &value[uint64]{by: (*plan.Codec).Uint}
	signed := &value[int]{by: (*plan.Codec).Int}
	flag := &value[bool]{by: (*plan.Codec).Flag}
	word := &value[string]{by: (*plan.Codec).Text}
	mac := &value[plan.MAC]{by: (*plan.Codec).MAC}
	addr := &value[netip.Addr]{by: (*plan.Codec).Addr}
	prefix := &value[netip.Prefix]{by: (*plan.Codec).Prefix}
	when := &value[time.Time]{by: (*plan.Codec).Time}
	list := &value[[]string]{by: texts}
	many := &value[[]plan.Interface]{by: func(c *plan.Codec, v *[]plan.Interface) {
		plan.List(c, v, (*plan.Codec).Interface)
	}}
	tests := []struct {
		name, data string
		value      visitor
		want       string
	}{
		{"number that is not there", "", number, "near byte 0: a number is cut short or too long"},
		{"number without an end", "ffffffffffffffffffff", number, "cut short or too long"},
		{"number of 65 bits", "ffffffffffffffffff02", number, "cut short or too long"},
		{"number longer than needed", "8000", number, "cut short or too long"},
		{"signed number longer than needed", "8000", signed, "cut short or too long"},
		{"bytes behind the end", "0000", number, "near byte 1: 1 bytes stand behind the end"},
		{"flag", "02", flag, "number 2 is above 1"},
		{"mode", "06", &value[policy.Mode]{by: mode}, "number 6 is above 5"},
		{"mode of two bytes", "8102", &value[policy.Mode]{by: mode}, "number 257 is above 5"},
		{"text cut short", "0461", word, "near byte 1: 4 bytes or elements should follow, and 1 bytes are left"},
		{"text of all there is", "ffffffffffffffff7f61", word, "9223372036854775807 bytes or elements should follow"},
		{"text of negative length", "ffffffffffffffffff0161", word, "-1 bytes or elements should follow"},
		{"MAC address of five bytes", "050102030405", mac, "MAC address of 5 bytes"},
		{"address of five bytes", "050102030405", addr, "address of 5 bytes: "},
		{"prefix with too many bits", "04c000020121", prefix, "address 192.0.2.1 and 33 bits are no prefix"},
		{"prefix with a zone", "12fe800000000000000000000000000001703040", prefix, "fe80::1%p0 and 64 bits are no prefix"},
		{"prefix without bits", "04c0000201", prefix, "cut short"},
		{"year 0", "ff91b8c398feffffff01", when, "not within the years"},
		{"year 10000", "8083d1ffaf07", when, "not within the years"},
		{"list longer than what is left", "03000000", many, "cut short"},
		{"list of negative length", "ffffffffffffffffff01", list, "-1 bytes or elements"},
		{"list that is too long", "818004" + strings.Repeat("00", 1<<16+1), list, "list of 65537 elements, more than 65536"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data, err := hex.DecodeString(test.data)
			if err != nil {
				t.Fatal(err)
			}
			err = plan.Decode(data, test.value.visit)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want one line with %q", err, test.want)
			}
		})
	}
}

func TestCodecCannotWrite(t *testing.T) {
	for name, v := range map[string]visitor{
		"MAC address of 20 bytes": &value[plan.MAC]{make(plan.MAC, 20), (*plan.Codec).MAC},
		"mode that there is not":  &value[policy.Mode]{policy.ModeSource + 1, mode},
		"prefix of too many bits": &value[netip.Prefix]{netip.PrefixFrom(netip.IPv4Unspecified(), 33), (*plan.Codec).Prefix},
		"year 10000":              &value[time.Time]{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), (*plan.Codec).Time},
		"list that is too long":   &value[[]string]{make([]string, 1<<16+1), texts},
		"step that is none":       &value[plan.Steps]{plan.Steps{nil}, (*plan.Codec).Steps},
		"step of a wrong side": &value[plan.Steps]{
			plan.Steps{plan.DelLink{Side: plan.Container + 1}}, (*plan.Codec).Steps,
		},
		"rules of a wrong gate": &value[plan.Steps]{
			plan.Steps{plan.AddRules{Of: []plan.Rules{{Gate: plan.Closed + 1}}}}, (*plan.Codec).Steps,
		},
		"port of a wrong protocol": &value[plan.Steps]{
			plan.Steps{plan.DelRules{Of: []plan.Rules{{Publish: []plan.Publish{{Protocol: request.SCTP + 1}}}}}},
			(*plan.Codec).Steps,
		},
		"route of a wrong type": &value[plan.Steps]{
			plan.Steps{plan.DelRoute{Route: request.Route{Type: request.Prohibit + 1}}}, (*plan.Codec).Steps,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if data, err := plan.Encode(v.visit); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("written as %x, %v; want an error of one line", data, err)
			}
		})
	}
}

// set sets each field of v, and those of what it holds, to something that is neither zero nor what another field has.
func set(t *testing.T, v reflect.Value, next *int) {
	t.Helper()
	*next++
	n := byte(*next)
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = netip.AddrFrom4([4]byte{192, 0, 2, n})
		return
	case *netip.Prefix:
		*p = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 24)
		return
	case *netip.AddrPort:
		*p = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 8000+uint16(n))
		return
	case *plan.MAC:
		*p = plan.MAC{2, 0, 0, 0, 0, n}
		return
	case *net.HardwareAddr:
		*p = net.HardwareAddr{2, 0, 0, 0, 0, n}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*next))
	case reflect.Uint8: // an enumeration: 1 is one of each
		v.SetUint(1)
	case reflect.Uint16, reflect.Uint64:
		v.SetUint(uint64(*next))
	case reflect.String:
		v.SetString(fmt.Sprint("text", *next))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		set(t, v.Index(0), next)
		set(t, v.Index(1), next)
	case reflect.Struct:
		for _, field := range v.Fields() {
			set(t, field, next)
		}
	default:
		t.Fatalf("%s has a field of type %s, which this test does not know", t.Name(), v.Type())
	}
}

// TestJournalIsWhole sets every field of each step and of an interface: a field that is forgotten where they are
// written is read back as zero. The steps stand here in the order of their numbers, which begin with 1 and stay what they are:
// records of containers that run have them.
func TestJournalIsWhole(t *testing.T) {
	same := cmp.Options{cmp.Comparer(samePrefix), cmp.Comparer(sameAddr), cmp.Comparer(sameAddrPort)}
	for i, zero := range []plan.Step{
		plan.EnsureBridge{},
		plan.AddVeth{},
		plan.AddMacvlan{},
		plan.SetSysctls{},
		plan.AddAddress{},
		plan.SetLink{},
		plan.AddRoute{},
		plan.DelLink{},
		plan.DelRoute{},
		plan.ReleaseBridge{},
		plan.EnsureForwarding{},
		plan.AddRules{},
		plan.ReservePorts{},
		plan.SetRate{},
		plan.AddGuard{},
		plan.DelRules{},
		plan.ReleaseRules{},
		plan.ReleasePorts{},
		plan.DelGuard{},
		plan.AddIPVLAN{},
		plan.EnsureVLAN{},
		plan.AddVLAN{},
		plan.MoveLink{},
		plan.EnsureUplink{},
		plan.AddRouteRule{},
		plan.ReleaseVLAN{},
		plan.ReturnLink{},
		plan.ReleaseUplink{},
		plan.DelRouteRule{},
		plan.ProbeLinks{},
		plan.AnnounceLinks{},
		plan.EnsureHostLink{},
		plan.AddHostRoute{},
		plan.ReleaseHostLink{},
		plan.DelHostRoute{},
		plan.AwaitAddresses{},
		plan.AddHostAddresses{},
	} {
		t.Run(reflect.TypeOf(zero).Name(), func(t *testing.T) {
			v, n := reflect.New(reflect.TypeOf(zero)).Elem(), 0
			set(t, v, &n)
			step, ok := reflect.TypeAssert[plan.Step](v)
			if !ok {
				t.Fatalf("%T is no step", v.Interface())
			}
			if data, err := (plan.Steps{zero}).MarshalBinary(); err != nil || len(data) < 2 || data[1] != byte(i+1) {
				t.Errorf("written as %x (%v), want one step of the kind %d", data, err, i+1)
			}
			for _, steps := range []plan.Steps{{zero}, {step}, {step, zero, step}} {
				if diff := cmp.Diff(steps, journal(t, steps), same); diff != "" {
					t.Errorf("(-written +read)\n%s", diff)
				}
			}
		})
	}
	t.Run("Interface", func(t *testing.T) {
		var written, read plan.Interface
		n := 0
		set(t, reflect.ValueOf(&written).Elem(), &n)
		data, err := plan.Encode(func(c *plan.Codec) { c.Interface(&written) })
		if err == nil {
			err = plan.Decode(data, func(c *plan.Codec) { c.Interface(&read) })
		}
		if diff := cmp.Diff(written, read, same); err != nil || diff != "" {
			t.Errorf("%v (-written +read)\n%s", err, diff)
		}
	})
}

// journal writes steps and reads them back.
func journal(t *testing.T, steps plan.Steps) plan.Steps {
	t.Helper()
	data, err := steps.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var read plan.Steps
	if err := read.UnmarshalBinary(data); err != nil {
		t.Fatalf("%v\n%s", err, hex.Dump(data))
	}
	return read
}
