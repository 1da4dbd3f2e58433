//go:build linux

package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// found is what the kernel has of one table. The library's own listing of sets stops at the first type that it does not
// know, and the administrator may use any.
type found struct {
	tableFlags
	chains map[string]foundChain
	sets   map[string]foundSet
}

// foundChain is a chain as the kernel has it; hook is nil for one that others jump to.
type foundChain struct {
	hook   *hook
	policy uint32
}

// foundSet is a set's types, as numbers.
type foundSet struct {
	anonymous                          bool
	keyType, keySize, valueType, value uint32
	// isMap is true when there is a value at all.
	isMap bool
}

// like is true for a set that can take the place of s.
func (f foundSet) like(s set) bool {
	key := typeOf(s.key)
	want := foundSet{keyType: key.GetNFTMagic(), keySize: key.Bytes, isMap: s.isMap()}
	if s.isMap() {
		value := typeOf(s.data)
		want.valueType, want.value = value.GetNFTMagic(), value.Bytes
	}
	if s.verdicts() {
		// A verdict's size is the kernel's business.
		want.valueType, want.value = unix.NFT_DATA_VERDICT, f.value
	}
	return f == want
}

// admins is true for names of what the administrator owns in lanhook's tables.
func admins(name string) bool { return strings.HasPrefix(name, chainAdmin) }

// look reads which chains and sets a table has, nil when there is no such table.
func (c *Conn) look(t table) (*found, error) {
	flags, there, err := c.flagsOf(t)
	if err != nil || !there {
		return nil, err
	}
	f := &found{tableFlags: flags, chains: map[string]foundChain{}, sets: map[string]foundSet{}}
	all, err := c.nft.ListChainsOfTableFamily(t.family)
	if err != nil {
		return nil, fmt.Errorf("list the chains of %s: %w", t, first(err))
	}
	for _, listed := range all {
		if listed.Table.Name == t.name {
			f.chains[listed.Name] = chainFound(listed)
		}
	}
	messages, err := c.dump(unix.NFT_MSG_GETSET, t.family, attribute(unix.NFTA_SET_TABLE, t.name))
	if err != nil {
		return nil, fmt.Errorf("list the sets of %s: %w", t, err)
	}
	for _, m := range messages {
		name, s, err := setFound(m)
		if err != nil {
			return nil, fmt.Errorf("list the sets of %s: %w", t, err)
		}
		f.sets[name] = s
	}
	return f, nil
}

// String is the table as nft(8) names it.
func (t table) String() string {
	families := map[nftables.TableFamily]string{
		nftables.TableFamilyINet: "inet", nftables.TableFamilyBridge: "bridge", nftables.TableFamilyNetdev: "netdev",
	}
	return "table " + families[t.family] + " " + t.name
}

// tableFlags are what somebody may have made of a table as a whole.
type tableFlags struct {
	// dormant is true when no packet goes through its chains.
	dormant bool
	// owner is the netlink port of the one program that may change it, 0 for a table that is everybody's.
	owner uint32
}

// From enum nft_table_flags and nft_table_attributes in linux/netfilter/nf_tables.h.
const (
	tableDormant = 1 << 0 // NFT_TABLE_F_DORMANT
	tableOwner   = 7      // NFTA_TABLE_OWNER, only with NFT_TABLE_F_OWNER
)

// flagsOf looks for a table.
func (c *Conn) flagsOf(t table) (f tableFlags, there bool, err error) {
	messages, err := c.ask(unix.NFT_MSG_GETTABLE, 0, t.family, attribute(unix.NFTA_TABLE_NAME, t.name))
	if errors.Is(err, unix.ENOENT) {
		return f, false, nil
	}
	if err != nil {
		return f, false, fmt.Errorf("look for %s: %w", t, err)
	}
	for _, m := range messages {
		list, err := decoder(m)
		if err != nil {
			return f, false, fmt.Errorf("look for %s: %w", t, err)
		}
		for list.Next() {
			switch list.Type() {
			case unix.NFTA_TABLE_FLAGS:
				f.dormant = list.Uint32()&tableDormant != 0
			case tableOwner:
				f.owner = list.Uint32()
			}
		}
		if err := list.Err(); err != nil {
			return f, false, fmt.Errorf("look for %s: %w", t, err)
		}
	}
	return f, true, nil
}

// has says whether a table is there.
func (c *Conn) has(t table) (there bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = aside(func() (err error) {
		if err = c.socket.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
			return err
		}
		_, there, err = c.flagsOf(t)
		return err
	})
	return there, err
}

func chainFound(listed *nftables.Chain) foundChain {
	f := foundChain{}
	// Without a hook these are not there, or both zero.
	if listed.Type != "" && listed.Hooknum != nil && listed.Priority != nil {
		f.hook = &hook{kind: listed.Type, at: *listed.Hooknum, priority: *listed.Priority}
	}
	if listed.Policy != nil {
		f.policy = uint32(*listed.Policy)
	}
	return f
}

// like is true for a chain that is where c is to be and lets pass what none of its rules decides on.
func (f foundChain) like(c chain) bool {
	if c.hook == nil || f.hook == nil {
		return c.hook == nil && f.hook == nil
	}
	return c.hook.kind == f.hook.kind && c.hook.at == f.hook.at && c.hook.priority == f.hook.priority &&
		f.policy == uint32(nftables.ChainPolicyAccept)
}

func setFound(m netlink.Message) (name string, s foundSet, err error) {
	list, err := decoder(m)
	if err != nil {
		return "", s, err
	}
	for list.Next() {
		switch list.Type() {
		case unix.NFTA_SET_NAME:
			name = list.String()
		case unix.NFTA_SET_FLAGS:
			s.anonymous = list.Uint32()&unix.NFT_SET_ANONYMOUS != 0
		case unix.NFTA_SET_KEY_TYPE:
			s.keyType = list.Uint32()
		case unix.NFTA_SET_KEY_LEN:
			s.keySize = list.Uint32()
		case unix.NFTA_SET_DATA_TYPE:
			s.valueType, s.isMap = list.Uint32(), true
		case unix.NFTA_SET_DATA_LEN:
			s.value = list.Uint32()
		}
	}
	return name, s, list.Err()
}

// decoder reads the attributes of an nftables message, whose numbers are big endian.
func decoder(m netlink.Message) (*netlink.AttributeDecoder, error) {
	if len(m.Data) < headerSize {
		return nil, fmt.Errorf("message of %d bytes is too short", len(m.Data))
	}
	list, err := netlink.NewAttributeDecoder(m.Data[headerSize:])
	if err != nil {
		return nil, err
	}
	list.ByteOrder = binary.BigEndian
	return list, nil
}

// headerSize is that of struct nfgenmsg.
const headerSize = 4

func attribute(kind uint16, name string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(name), 0)}
}

// dump asks for a list.
func (c *Conn) dump(kind netlink.HeaderType, family nftables.TableFamily, filter ...netlink.Attribute) ([]netlink.Message, error) {
	return c.ask(kind, netlink.Dump, family, filter...)
}

func (c *Conn) ask(
	kind netlink.HeaderType, flags netlink.HeaderFlags, family nftables.TableFamily, filter ...netlink.Attribute,
) ([]netlink.Message, error) {
	data, err := netlink.MarshalAttributes(filter)
	if err != nil {
		return nil, err
	}
	messages, err := c.socket.Execute(netlink.Message{
		Header: netlink.Header{
			Type: unix.NFNL_SUBSYS_NFTABLES<<8 | kind, Flags: netlink.Request | flags,
		},
		Data: append([]byte{byte(family), unix.NFNETLINK_V0, 0, 0}, data...),
	})
	return messages, first(err)
}

// generation is the kernel's count of transactions in this namespace, anybody's.
func (c *Conn) generation() (uint32, error) {
	messages, err := c.ask(unix.NFT_MSG_GETGEN, 0, nftables.TableFamilyUnspecified)
	if err != nil {
		return 0, fmt.Errorf("ask for the rules' generation: %w", err)
	}
	for _, m := range messages {
		list, err := decoder(m)
		if err != nil {
			return 0, err
		}
		for list.Next() {
			if list.Type() == unix.NFTA_GEN_ID {
				return list.Uint32(), list.Err()
			}
		}
	}
	return 0, errors.New("ask for the rules' generation: no answer")
}

// read runs fn, which lists things, until nothing changed meanwhile: the library takes a list that was interrupted for the
// whole.
func (c *Conn) read(fn func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return aside(func() error { return c.undisturbed(fn) })
}

func (c *Conn) undisturbed(fn func() error) error {
	if err := c.socket.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	for range maxTries {
		before, err := c.generation()
		if err != nil {
			return err
		}
		if err = fn(); err != nil {
			_, drainErr := c.drain() // Of a list that was not read to its end.
			err = errors.Join(err, drainErr)
		}
		after, generationErr := c.generation()
		if before == after || generationErr != nil {
			return errors.Join(err, generationErr)
		}
	}
	return fmt.Errorf("the rules changed each of %d times they were read", maxTries)
}

// ruleCount is how many rules a chain has. The administrator's may be of any kind, so they are not looked into.
func (c *Conn) ruleCount(t table, name string) (int, error) {
	list, err := c.dump(unix.NFT_MSG_GETRULE, t.family,
		attribute(unix.NFTA_RULE_TABLE, t.name), attribute(unix.NFTA_RULE_CHAIN, name))
	if err != nil {
		return 0, fmt.Errorf("list the rules of chain %s of %s: %w", name, t, err)
	}
	return len(list), nil
}

// rulesOf are the rules of a chain of lanhook's, in a form that can be compared.
func (c *Conn) rulesOf(t table, name string) ([]string, error) {
	list, err := c.nft.GetRules(t.ref(), &nftables.Chain{Name: name})
	if err != nil {
		return nil, fmt.Errorf("list the rules of chain %s of %s: %w", name, t, first(err))
	}
	var rules []string
	for _, r := range list {
		text, err := canonical(t, r.Exprs)
		if err != nil {
			return nil, fmt.Errorf("read the rules of chain %s of %s: %w", name, t, err)
		}
		rules = append(rules, text)
	}
	return rules, nil
}

// canonical is a rule's expressions as bytes.
func canonical(t table, exprs []expr.Any) (string, error) {
	var all []byte
	for _, e := range exprs {
		b, err := expr.Marshal(byte(t.family), e)
		if err != nil {
			return "", err
		}
		all = append(all, b...)
	}
	return string(all), nil
}

// elementsOf are the elements of a set of lanhook's.
func (c *Conn) elementsOf(t table, s set) ([]element, error) {
	list, err := c.nft.GetSetElements(&nftables.Set{Table: t.ref(), Name: s.name})
	if err != nil {
		return nil, fmt.Errorf("list the elements of %s of %s: %w", s.name, t, first(err))
	}
	var elements []element
	for _, l := range list {
		e := element{family: t.family, set: s.name, key: string(l.Key), record: l.Comment}
		if s.verdicts() {
			e.chain = verdictChain(l.Val)
		} else {
			e.value = string(l.Val)
		}
		elements = append(elements, e)
	}
	return elements, nil
}

// verdictChain is where a verdict of a map goes; of another than goto it is the number, which is no chain's name.
func verdictChain(raw []byte) string {
	list, err := netlink.NewAttributeDecoder(raw)
	if err != nil {
		return "?"
	}
	list.ByteOrder = binary.BigEndian
	kind, name := uint32(0), ""
	for list.Next() {
		switch list.Type() {
		case unix.NFTA_VERDICT_CODE:
			kind = list.Uint32()
		case unix.NFTA_VERDICT_CHAIN:
			name = list.String()
		}
	}
	if list.Err() != nil || int32(kind) != int32(expr.VerdictGoto) {
		return fmt.Sprintf("verdict %d", kind)
	}
	return name
}
