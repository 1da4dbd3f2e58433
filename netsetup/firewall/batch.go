//go:build linux

package firewall

import (
	"sort"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// batch is a transaction in the making.
type batch struct {
	nft *nftables.Conn
	// err is the first message that could not be made. Then nothing is sent.
	err error
}

func (b *batch) note(err error) {
	if b.err == nil {
		b.err = err
	}
}

// maxElements is how many bytes of elements go into one message. An attribute of netlink holds 64 KiB, its length being
// 16 bits, and the library does not look.
const maxElements = 48 << 10

// table makes a table unless it is there.
func (b *batch) table(t table) { b.nft.AddTable(t.ref()) }

// chain makes a chain unless it is there, and empties it. A base chain that is there on another hook is EEXIST or
// EOPNOTSUPP.
func (b *batch) chain(t table, c chain) {
	ref := t.chainRef(c)
	b.nft.AddChain(ref)
	b.nft.FlushChain(ref)
}

// rules adds a chain's rules to what is in it.
func (b *batch) rules(t table, c chain) {
	for _, r := range c.rules {
		b.nft.AddRule(&nftables.Rule{Table: t.ref(), Chain: t.chainRef(c), Exprs: r.exprs})
	}
}

// set makes a set unless it is there. One that is there with other types is EEXIST since Linux 6.1.
func (b *batch) set(t table, s set) {
	b.note(b.nft.AddSet(t.setRef(s), nil))
}

// add adds elements, in messages for each set. Elements that are there with the same value stay as they are; with another
// value it is EEXIST.
func (b *batch) add(elements []element) {
	for _, some := range messages(elements) {
		b.note(b.nft.SetAddElements(some[0].ref(), wire(some)))
	}
}

// remove deletes elements. One that is not there is ENOENT.
func (b *batch) remove(elements []element) {
	for _, some := range messages(elements) {
		b.note(b.nft.SetDeleteElements(some[0].ref(), wire(some)))
	}
}

// discard sees to it that elements are not there, whether they are or not: what has just been added can be deleted. With
// another value it is EEXIST, and then they are somebody else's.
func (b *batch) discard(elements []element) {
	b.add(elements)
	b.remove(elements)
}

// messages parts elements, sorted by set, into what goes into one message each.
func messages(elements []element) [][]element {
	var parts [][]element
	size := 0
	from := 0
	for i, e := range elements {
		if i > from && (!e.sameSet(elements[from]) || size+e.size() > maxElements) {
			parts = append(parts, elements[from:i])
			from, size = i, 0
		}
		size += e.size()
	}
	if from < len(elements) {
		parts = append(parts, elements[from:])
	}
	return parts
}

// wire is how the library takes elements.
func wire(elements []element) []nftables.SetElement {
	list := make([]nftables.SetElement, 0, len(elements))
	for _, e := range elements {
		w := nftables.SetElement{Key: []byte(e.key), Val: []byte(e.value), Comment: e.record}
		if e.chain != "" {
			w.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.chain}
		}
		list = append(list, w)
	}
	return list
}

// grouped sorts elements for messages.
func grouped(elements []element) []element {
	sort.Slice(elements, func(i, j int) bool { return compare(elements[i], elements[j]) < 0 })
	return elements
}
