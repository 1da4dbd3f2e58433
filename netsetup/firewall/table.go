//go:build linux

package firewall

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// tableName is that of the tables on the host.
const tableName = "lanhook"

// table is one of lanhook's: what packets go through, and where what containers bring is kept.
type table struct {
	family nftables.TableFamily
	name   string
	sets   []set
	chains []chain
}

// tables are those on the host, in the order in which they are made. The second is only there while a record has something
// in it.
func tables() []table { return []table{inetTable(), bridgeTable()} }

// tableNames are those of tables without what is in them.
func tableNames() []table {
	return []table{
		{family: nftables.TableFamilyINet, name: tableName}, {family: nftables.TableFamilyBridge, name: tableName},
	}
}

// ref is how messages name the table.
func (t table) ref() *nftables.Table { return &nftables.Table{Family: t.family, Name: t.name} }

// set is a set or a map. Hash tables, all of them: no ranges and no prefixes, which need a tree.
type set struct {
	name string
	// key has one type, or several in a row.
	key []nftables.SetDatatype
	// data is empty for a set.
	data []nftables.SetDatatype
	// comment is for who lists it.
	comment string
}

// isMap is true when elements have a value.
func (s set) isMap() bool { return len(s.data) > 0 }

// verdicts is true when the value is a verdict.
func (s set) verdicts() bool {
	return s.isMap() && s.data[0].GetNFTMagic() == nftables.TypeVerdict.GetNFTMagic()
}

// chain is a list of rules.
type chain struct {
	name string
	// hook is nil for one that others jump to.
	hook  *hook
	rules []rule
}

// hook is where in the kernel a chain stands.
type hook struct {
	kind     nftables.ChainType
	at       nftables.ChainHook
	priority nftables.ChainPriority
	// device is for chains of the family netdev.
	device string
}

// rule is a list of expressions, which end with the first that does not match.
type rule struct{ exprs []expr.Any }

// chainRef is how messages name a chain and say what it is.
func (t table) chainRef(c chain) *nftables.Chain {
	ref := &nftables.Chain{Table: t.ref(), Name: c.name}
	if c.hook != nil {
		policy := nftables.ChainPolicyAccept
		ref.Type, ref.Hooknum, ref.Priority, ref.Device = c.hook.kind, &c.hook.at, &c.hook.priority, c.hook.device
		ref.Policy = &policy
	}
	return ref
}

// setRef is how messages name a set and say what it is.
func (t table) setRef(s set) *nftables.Set {
	// An id that is set is not counted up in a variable of the library's. By it sets without a name are found; ours have one.
	const anyID = 1
	ref := &nftables.Set{Table: t.ref(), ID: anyID, Name: s.name, Comment: s.comment, IsMap: s.isMap()}
	ref.KeyType = typeOf(s.key)
	if len(s.key) == 1 && s.key[0] == nftables.TypeIFName {
		// nft(8) shows an empty name otherwise.
		ref.KeyByteOrder = binaryutil.NativeEndian
	}
	if s.isMap() {
		ref.DataType = typeOf(s.data)
	}
	return ref
}
