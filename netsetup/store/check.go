package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// The format of a bbolt file, from go.etcd.io/bbolt, internal/common. All numbers are in the byte order of the
// machine.
//
//	page      id u64, flags u16, count u16, overflow u32, then the content; overflow counts the pages that follow it
//	meta      pages 0 and 1: magic u32, version u32, page size u32, flags u32, root bucket, free list's page u64,
//	          end of the pages in use u64, transaction u64, FNV-1a over all before it u64
//	branch    count × (position of the key from here u32, its length u32, child u64), then the keys
//	leaf      count × (flags u32, position of the key from here u32, its length u32, that of the value u32),
//	          then each key followed by its value
//	bucket    root page u64, sequence u64; where the root is 0 the only page, a leaf, follows at once
//	free list count × page u64; a count of 65535 means that the first of them is the count
const (
	headerLen   = 16
	elementLen  = 16
	bucketLen   = 16
	metaSumAt   = 56
	metaLen     = 64
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	longList    = 0xFFFF

	branchFlag = 0x01
	leafFlag   = 0x02
	freeFlag   = 0x10
	// bucketFlag marks a leaf element whose value is a bucket.
	bucketFlag = 0x01
)

// page is one page of the file with those that follow it as its overflow.
type page struct {
	data  []byte
	flags uint16
	count uint16
}

// checker walks through a database file. It reads only within it, goes to each page once, and believes nothing.
type checker struct {
	data     []byte
	pageSize uint64
	// end is the first page that is not in use.
	end uint64
	// seen are the pages that something uses.
	seen []bool
}

// check returns an error unless data is a whole bbolt file in which every key and value is one that lanhook wrote, and
// none is missing.
func check(data []byte, pageSize int) error {
	c := checker{data: data, pageSize: uint64(pageSize)} //nolint:gosec // no machine has pages of negative size
	meta, err := c.meta()
	if err != nil {
		return err
	}
	root, sequence, free := u64(meta[16:]), u64(meta[24:]), u64(meta[32:])
	c.end = u64(meta[40:])
	if c.end > uint64(len(data))/c.pageSize || c.end < 4 {
		return fmt.Errorf("it has %d bytes, which are not the %d pages it should have", len(data), c.end)
	}
	c.seen = make([]bool, c.end)
	if sequence != 0 {
		return errors.New("the root has a sequence number")
	}
	if err := c.buckets(root); err != nil {
		return err
	}
	return c.freeList(free)
}

// meta is the newer of the two meta pages. bbolt makes do with one that is whole and goes back to the transaction
// before. But no write leaves half a meta page, for its content is within one sector, so one that is not whole was
// damaged.
func (c *checker) meta() ([]byte, error) {
	if uint64(len(c.data)) < 2*c.pageSize {
		return nil, fmt.Errorf("it has only %d bytes", len(c.data))
	}
	var metas [2][]byte
	for i := range metas {
		m := c.data[uint64(i)*c.pageSize+headerLen:][:metaLen]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:metaSumAt]) // a hash never fails
		switch {
		case u32(m) != boltMagic || u32(m[4:]) != boltVersion:
			return nil, fmt.Errorf("meta page %d is not one of bbolt", i)
		case u64(m[metaSumAt:]) != sum.Sum64():
			return nil, fmt.Errorf("checksum of meta page %d does not match", i)
		case uint64(u32(m[8:])) != c.pageSize:
			return nil, fmt.Errorf("meta page %d has pages of %d bytes, not of %d", i, u32(m[8:]), c.pageSize)
		}
		metas[i] = m
	}
	switch first, second := u64(metas[0][48:]), u64(metas[1][48:]); {
	case second == first+1:
		return metas[1], nil
	case first == second+1:
		return metas[0], nil
	}
	return nil, errors.New("the meta pages are not of two transactions in a row")
}

// use is the page id, which is marked as used.
func (c *checker) use(id uint64) (page, error) {
	if id < 2 || id >= c.end {
		return page{}, fmt.Errorf("page %d is not among the %d in use", id, c.end)
	}
	head := c.data[id*c.pageSize:]
	if u64(head) != id {
		return page{}, fmt.Errorf("page %d says that it is page %d", id, u64(head))
	}
	last := id + uint64(u32(head[12:]))
	if last >= c.end {
		return page{}, fmt.Errorf("page %d ends behind the last", id)
	}
	for i := id; i <= last; i++ {
		if c.seen[i] {
			return page{}, fmt.Errorf("page %d is used twice", i)
		}
		c.seen[i] = true
	}
	data := head[:(last-id+1)*c.pageSize]
	return page{data: data, flags: u16(head[8:]), count: u16(head[10:])}, nil
}

// element is one element of a branch or a leaf.
type element struct {
	flags      uint32
	key, value []byte
	child      uint64
}

// element is the i-th element of a branch or leaf page.
func (p page) element(i uint16) (element, error) {
	at := headerLen + int(i)*elementLen
	if at+elementLen > len(p.data) {
		return element{}, fmt.Errorf("element %d is outside of its page", i)
	}
	raw := p.data[at:]
	var e element
	var pos, keyLen, valueLen uint64
	if p.flags == branchFlag {
		pos, keyLen, e.child = uint64(u32(raw)), uint64(u32(raw[4:])), u64(raw[8:])
	} else {
		e.flags = u32(raw)
		pos, keyLen, valueLen = uint64(u32(raw[4:])), uint64(u32(raw[8:])), uint64(u32(raw[12:]))
	}
	// Each is below 2³², so the sum does not overflow.
	if keyLen == 0 || pos < elementLen || pos+keyLen+valueLen > uint64(len(raw)) {
		return element{}, fmt.Errorf("element %d has a key or value outside of its page", i)
	}
	e.key, e.value = raw[pos:pos+keyLen], raw[pos+keyLen:pos+keyLen+valueLen]
	return e, nil
}

// span is what the keys of a page must lie in: from (or nil) up to, but not including, to (or nil).
type span struct{ from, to []byte }

func (s span) holds(key []byte) bool {
	return bytes.Compare(key, s.from) >= 0 && (s.to == nil || bytes.Compare(key, s.to) < 0)
}

// tree calls leaf with each element of the tree below page id, in order. It ends, for it takes no page twice.
func (c *checker) tree(id uint64, keys span, leaf func(element) error) error {
	p, err := c.use(id)
	if err != nil {
		return err
	}
	if p.flags != branchFlag {
		return p.leaves(keys, leaf)
	}
	var elements []element
	for i := range p.count {
		e, err := p.element(i)
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		elements = append(elements, e)
	}
	if len(elements) == 0 {
		return fmt.Errorf("page %d is a branch without children", id)
	}
	for i, e := range elements {
		below := span{from: e.key, to: keys.to}
		if i == 0 {
			below.from = keys.from // a search for a lower key goes to the first child too
		}
		if i+1 < len(elements) {
			below.to = elements[i+1].key
		}
		if i > 0 && !keys.holds(e.key) || below.to != nil && bytes.Compare(e.key, below.to) >= 0 {
			return fmt.Errorf("page %d: its keys are not in order", id)
		}
		if err := c.tree(e.child, below, leaf); err != nil {
			return err
		}
	}
	return nil
}

// leaves calls leaf with each element of a leaf page, in order.
func (p page) leaves(keys span, leaf func(element) error) error {
	if p.flags != leafFlag {
		return fmt.Errorf("page of kind %#x in a tree", p.flags)
	}
	var previous []byte
	for i := range p.count {
		e, err := p.element(i)
		if err != nil {
			return err
		}
		if !keys.holds(e.key) || bytes.Compare(previous, e.key) >= 0 {
			return fmt.Errorf("key %q is not in order", e.key)
		}
		previous = e.key
		if err := leaf(e); err != nil {
			return err
		}
	}
	return nil
}

// buckets walks through the root, which holds our buckets and nothing else.
func (c *checker) buckets(root uint64) error {
	missing := map[string]bool{}
	for _, name := range bucketNames() {
		missing[name] = true
	}
	err := c.tree(root, span{}, func(e element) error {
		if !missing[string(e.key)] || e.flags != bucketFlag || len(e.value) < bucketLen {
			return fmt.Errorf("%q is not a bucket of lanhook", e.key)
		}
		delete(missing, string(e.key))
		return c.bucket(string(e.key), e.value)
	})
	if err != nil {
		return err
	}
	for name := range missing {
		return fmt.Errorf("bucket %s is missing", name)
	}
	return nil
}

func (c *checker) bucket(name string, value []byte) error {
	root, want := u64(value), u64(value[8:])
	var got uint64
	entry := func(e element) error {
		got++
		if e.flags != 0 || len(e.value) < checksumLen ||
			!bytes.Equal(e.value[:checksumLen], checksum(e.key, e.value[checksumLen:])) {
			return fmt.Errorf("checksum of %s does not match", readable(name, e.key))
		}
		return nil
	}
	var err error
	if root != 0 {
		err = c.tree(root, span{}, entry)
	} else {
		err = inline(value[bucketLen:], entry)
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	if got != want {
		return fmt.Errorf("bucket %s has %d keys instead of %d", name, got, want)
	}
	return nil
}

// inline walks through the page of a bucket that is small enough to stand in its parent.
func inline(data []byte, entry func(element) error) error {
	if len(data) < headerLen {
		return errors.New("its page is cut short")
	}
	p := page{data: data, flags: u16(data[8:]), count: u16(data[10:])}
	return p.leaves(span{}, entry)
}

// freeList checks that each page is used or free, and not both.
func (c *checker) freeList(id uint64) error {
	p, err := c.use(id)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	if p.flags != freeFlag {
		return fmt.Errorf("free list: page of kind %#x", p.flags)
	}
	list, count := p.data[headerLen:], uint64(p.count)
	if count == longList {
		count, list = u64(list), list[8:]
	}
	if count > uint64(len(list))/8 {
		return fmt.Errorf("free list: %d entries do not fit", count)
	}
	for i := range count {
		free := u64(list[8*i:])
		if free < 2 || free >= c.end || c.seen[free] {
			return fmt.Errorf("free list: page %d is not free", free)
		}
		c.seen[free] = true
	}
	for i, seen := range c.seen[2:] {
		if !seen {
			return fmt.Errorf("page %d is neither used nor free", i+2)
		}
	}
	return nil
}

func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
