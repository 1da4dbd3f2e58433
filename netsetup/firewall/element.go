//go:build linux

package firewall

import (
	"cmp"

	"github.com/google/nftables"
)

// element is one entry of a set or a map. Two are the same when all fields are equal.
type element struct {
	family nftables.TableFamily
	set    string
	// key and value are fields in a row, see concat; value is "" in a set.
	key   string
	value string
	// chain is where the verdict of a verdict map goes.
	chain string
	// record is the comment: whose the element is, "" for one that all containers of a bridge share.
	record string
}

// place is where an element is: nothing else can have the same place.
type place struct {
	family   nftables.TableFamily
	set, key string
}

func (e element) place() place { return place{e.family, e.set, e.key} }

func (e element) sameSet(o element) bool { return e.family == o.family && e.set == o.set }

// ref is how messages name the element's set.
func (e element) ref() *nftables.Set {
	return &nftables.Set{Table: &nftables.Table{Family: e.family, Name: tableName}, Name: e.set, IsMap: e.value != "" || e.chain != ""}
}

// size is at least how many bytes the element has in a message: it, its key, its data and its comment are attributes with
// headers of four bytes and padding.
func (e element) size() int {
	const headers = 12 * 4
	return headers + len(e.key) + len(e.value) + len(e.chain) + len(e.record) + 2*align
}

func compare(a, b element) int {
	return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.set, b.set), cmp.Compare(a.key, b.key))
}
