package plan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Codec writes values behind each other, or reads them back. A type has one method that visits its fields with a Codec,
// in order, and serves both: what is written and what is read cannot differ. There is one form for each value, and none
// other is read:
//
//	number          as in [binary.AppendUvarint], never longer than needed; a signed one in two's complement of 64 bits
//	flag            the number 0 or 1
//	time            number: Unix seconds, of the years 1 to 9999
//	text, MAC       number of bytes, then the bytes; a MAC address has none or six
//	address         the same: no bytes for none, 4, 16, or 16 with the zone behind them
//	prefix          address, then, where there is one, the number of bits
//	list            number of elements, then the elements, each of at least one byte
//
// Reading believes nothing: it takes no more memory than a small multiple of what there is to read. After the first
// error a Codec reads zero values; [Encode] and [Decode] return that error.
type Codec struct {
	// data is what has been written, or what is to be read.
	data []byte
	// text is data as a string, when reading. Texts are pieces of it: one copy in place of one for each.
	text string
	// at is how much of data has been read.
	at      int
	reading bool
	err     error
}

// maxList bounds a list, far above what 16 interfaces with all the addresses and routes of a policy need.
const maxList = 1 << 16

// The first and the last second that RFC 3339 can write, and with it JSON.
const (
	minTime = -62135596800
	maxTime = 253402300799
)

// Encode is what visit writes. The error is that one of the values has no form.
func Encode(visit func(*Codec)) ([]byte, error) {
	// Most records need one kilobyte; a list that grows while it is written would be copied.
	c := Codec{data: make([]byte, 0, 1<<10)}
	visit(&c)
	return c.data, c.err
}

// Decode lets visit read data, all of it. The error says near which byte data is not what Encode writes. What was read
// is to be thrown away then.
func Decode(data []byte, visit func(*Codec)) error {
	c := Codec{data: data, text: string(data), reading: true}
	visit(&c)
	if left := len(c.data) - c.at; left > 0 {
		c.Fail(fmt.Errorf("%d bytes stand behind the end", left))
	}
	return c.err
}

// Fail ends writing or reading with an error, unless there is one already.
func (c *Codec) Fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	if c.reading {
		c.err = fmt.Errorf("near byte %d: %w", c.at, err)
		c.data = c.data[:c.at] // nothing is left
	}
}

// Uint visits a number.
func (c *Codec) Uint(v *uint64) {
	if !c.reading {
		c.data = binary.AppendUvarint(c.data, *v)
		return
	}
	n, size := binary.Uvarint(c.data[c.at:])
	if size <= 0 || size > 1 && c.data[c.at+size-1] == 0 {
		c.Fail(errors.New("a number is cut short or too long"))
		return
	}
	*v = n
	c.at += size
}

// Int visits a number that may be negative.
func (c *Codec) Int(v *int) {
	n := int64(*v)
	c.signed(&n)
	if int64(int(n)) != n {
		c.Fail(fmt.Errorf("number %d does not fit", n))
		return
	}
	if c.reading {
		*v = int(n)
	}
}

func (c *Codec) signed(v *int64) {
	n := uint64(*v) //nolint:gosec // two's complement, undone below
	c.Uint(&n)
	if c.reading {
		*v = int64(n) //nolint:gosec // two's complement
	}
}

// Enum visits one of the numbers 0 to last.
func Enum[T ~uint8](c *Codec, v *T, last T) {
	n := uint64(*v)
	c.Uint(&n)
	if n > uint64(last) {
		c.Fail(fmt.Errorf("number %d is above %d, the last of its kind", n, last))
		return
	}
	if c.reading {
		*v = T(n)
	}
}

// Flag visits a flag.
func (c *Codec) Flag(v *bool) {
	var n uint8
	if *v {
		n = 1
	}
	Enum(c, &n, 1)
	if c.reading {
		*v = n == 1
	}
}

// Time visits a point in time. What is below a second is lost, and UTC is read.
func (c *Codec) Time(v *time.Time) {
	n := v.Unix()
	c.signed(&n)
	if n < minTime || n > maxTime {
		c.Fail(fmt.Errorf("time %d is not within the years 1 to 9999", n))
		return
	}
	if c.reading {
		*v = time.Unix(n, 0).UTC()
	}
}

// length visits the number of bytes or elements that follow. What is read is no more than the bytes that are left, and
// 0 after an error.
func (c *Codec) length(n int) int {
	c.Int(&n)
	if left := len(c.data) - c.at; n < 0 || c.reading && n > left {
		c.Fail(fmt.Errorf("%d bytes or elements should follow, and %d bytes are left", n, left))
		return 0
	}
	return n
}

// take reads n bytes, of which [Codec.length] has said that they are there.
func (c *Codec) take(n int) []byte {
	c.at += n
	return c.data[c.at-n : c.at]
}

// Text visits any bytes.
func (c *Codec) Text(v *string) {
	n := c.length(len(*v))
	if c.reading {
		*v = c.text[c.at : c.at+n]
		c.at += n
	} else {
		c.data = append(c.data, *v...)
	}
}

// MAC visits an address of six bytes, or none.
func (c *Codec) MAC(v *MAC) {
	n := c.length(len(*v))
	switch {
	case n != 0 && n != 6:
		c.Fail(fmt.Errorf("MAC address of %d bytes, not of six", n))
	case c.reading:
		*v = append(MAC(nil), c.take(n)...)
	default:
		c.data = append(c.data, *v...)
	}
}

// Addr visits an address, or none.
func (c *Codec) Addr(v *netip.Addr) {
	n := c.length(v.BitLen()/8 + len(v.Zone()))
	var err error
	if c.reading {
		err = v.UnmarshalBinary(c.take(n))
	} else {
		c.data, err = v.AppendBinary(c.data)
	}
	if err != nil {
		c.Fail(fmt.Errorf("address of %d bytes: %w", n, err))
	}
}

// Prefix visits a prefix, whose address may have host bits, or none.
func (c *Codec) Prefix(v *netip.Prefix) {
	addr, bits := v.Addr(), v.Bits()
	c.Addr(&addr)
	if addr.IsValid() {
		c.Int(&bits)
	}
	p := netip.PrefixFrom(addr, bits)
	if p.IsValid() != addr.IsValid() || p.Addr() != addr {
		c.Fail(fmt.Errorf("address %s and %d bits are no prefix", addr, bits))
		return
	}
	if c.reading {
		*v = p
	}
}

// List visits a list, each element of it with visit, which writes or reads at least one byte. An empty list is read as
// nil.
func List[T any](c *Codec, v *[]T, visit func(*Codec, *T)) {
	n := c.length(len(*v))
	if n > maxList {
		c.Fail(fmt.Errorf("list of %d elements, more than %d", n, maxList))
		return
	}
	if c.reading {
		*v = nil
		if n > 0 {
			*v = make([]T, n)
		}
	}
	for i := 0; i < n && c.err == nil; i++ {
		visit(c, &(*v)[i])
	}
}
