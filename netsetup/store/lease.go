package store

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Lease is one address that belongs to one interface of a record: an IP address or a MAC address, never both.
type Lease struct {
	// Scope is what the address is unique in, such as the network's name: equal addresses in two scopes are two things.
	Scope string
	// Addr is the zero Addr in a lease of a MAC address. An IPv4 address has its four-byte form.
	Addr netip.Addr
	MAC  plan.MAC
	// Record is the id of the record, Container its container.
	Record    string
	Container string
	IfName    string
}

// Ref names the record that holds the lease.
func (l *Lease) Ref() Ref { return Ref{Container: l.Container, ID: l.Record} }

// what is the leased thing, for messages.
func (l *Lease) what() string {
	if l.Addr.IsValid() {
		return fmt.Sprintf("address %s on %s", l.Addr, place(l.Scope))
	}
	return fmt.Sprintf("MAC address %s on %s", l.MAC, place(l.Scope))
}

// place is a scope in words: "lan:eth0" is eth0 and "bridge:br0:7" is bridge br0 in VLAN 7. Any other is itself.
func place(scope string) string {
	if wire, isLAN := strings.CutPrefix(scope, "lan:"); isLAN {
		return wire
	}
	if bridge, isBridge := strings.CutPrefix(scope, "bridge:"); isBridge {
		return "bridge " + strings.Replace(bridge, ":", " in VLAN ", 1)
	}
	return scope
}

func (l *Lease) key() []byte {
	if l.Addr.IsValid() {
		return addrKey(l.Scope, l.Addr)
	}
	return macKey(l.Scope, l.MAC)
}

func (l *Lease) validate() error {
	if err := checkName("scope", l.Scope); err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	if err := errors.Join(checkName("container id", l.Container), checkName("interface", l.IfName)); err != nil {
		return fmt.Errorf("lease in %s: %w", l.Scope, err)
	}
	switch {
	case !validID(l.Record):
		return fmt.Errorf("lease in %s: record %q is not the id of one", l.Scope, l.Record)
	case l.Addr.IsValid() == (len(l.MAC) != 0):
		return fmt.Errorf("lease in %s: it is not of one IP address or one MAC address", l.Scope)
	case len(l.MAC) != 0 && len(l.MAC) != 6:
		return fmt.Errorf("lease in %s: MAC address %s does not have six bytes", l.Scope, l.MAC)
	case l.Addr.Zone() != "" || l.Addr.Is4In6():
		return fmt.Errorf("lease in %s: address %s has a zone or is IPv4 written as IPv6", l.Scope, l.Addr)
	}
	return nil
}

// value visits the lease as it stands alone in the database, see [plan.Codec].
func (l *Lease) value(c *plan.Codec) {
	v := Version
	version(c, &v)
	l.fields(c)
}

func (l *Lease) fields(c *plan.Codec) {
	c.Text(&l.Scope)
	c.Addr(&l.Addr)
	c.MAC(&l.MAC)
	c.Text(&l.Record)
	c.Text(&l.Container)
	c.Text(&l.IfName)
}

// The byte behind the scope tells the kinds of leases apart, and their lengths the families.
const (
	addrKind = "a"
	macKind  = "m"
)

func addrKey(scope string, addr netip.Addr) []byte {
	return append([]byte(scope+"\x00"+addrKind), addr.AsSlice()...)
}

func macKey(scope string, mac plan.MAC) []byte {
	return append([]byte(scope+"\x00"+macKind), mac...)
}

// Holder is the lease of an address, false when nobody has it. It is one look-up, whatever the number of leases.
func (t *Tx) Holder(scope string, addr netip.Addr) (Lease, bool, error) {
	return t.holder(addrKey(scope, addr))
}

// HolderMAC is the lease of a MAC address, false when nobody has it.
func (t *Tx) HolderMAC(scope string, mac plan.MAC) (Lease, bool, error) {
	return t.holder(macKey(scope, mac))
}

func (t *Tx) holder(key []byte) (Lease, bool, error) {
	value, ok, err := t.get(leases, key)
	if !ok || err != nil {
		return Lease{}, false, err
	}
	lease, err := t.decodeLease(key, value)
	return lease, err == nil, err
}

func (t *Tx) decodeLease(key, value []byte) (Lease, error) {
	var lease Lease
	err := plan.Decode(value, lease.value)
	if other, ok := errors.AsType[*VersionError](err); ok {
		other.File, other.Key = t.file, readable(leases, key)
		return Lease{}, other
	}
	if err == nil {
		err = lease.validate()
	}
	if err == nil && string(lease.key()) != string(key) {
		err = errors.New("lease and key differ")
	}
	if err != nil {
		return Lease{}, t.damaged(leases, key, err)
	}
	return lease, nil
}

// Take takes an address for a record that is put within the same transaction: that its Leases have it there is checked
// at the commit. It is needed only by who chooses several addresses one after the other, for [Tx.Put] takes what is
// not taken. The error is an [*InUseError] when another record has it.
func (t *Tx) Take(lease Lease) error {
	if err := lease.validate(); err != nil {
		return fmt.Errorf("take %w", err)
	}
	key := lease.key()
	if err := t.free(&lease); err != nil {
		return err
	}
	if err := t.putLease(key, &lease); err != nil {
		return err
	}
	if t.taken == nil {
		t.taken = map[string]Lease{}
	}
	t.taken[string(key)] = lease
	return nil
}

// free returns an error when the lease is another record's.
func (t *Tx) free(lease *Lease) error {
	holder, ok, err := t.holder(lease.key())
	if err != nil {
		return err
	}
	if ok && holder.Ref() != lease.Ref() {
		return t.InUse(lease.what(), holder)
	}
	return nil
}

// InUse is the [*InUseError] about a thing that a lease stands against, with the name of its holder. People know their
// containers by name, and what engines make up as an id by sight only.
func (t *Tx) InUse(what string, holder Lease) error {
	e := &InUseError{What: what, Holder: holder.Ref(), IfName: holder.IfName}
	rec, ok, err := t.Record(holder.Ref())
	if err != nil {
		return err
	}
	if ok && rec.Workload != rec.Container {
		e.Name = rec.Workload
	}
	return e
}

func (t *Tx) putLease(key []byte, lease *Lease) error {
	value, err := plan.Encode(lease.value)
	if err != nil {
		return fmt.Errorf("encode lease of %s: %w", lease.what(), err)
	}
	return t.put(leases, key, value)
}

// Leases are all leases of one scope: IP addresses, IPv4 and IPv6 mixed, in the order of their bytes, then MAC
// addresses. Its cost grows with the scope's leases: it is for people and for a pool that is full.
func (t *Tx) Leases(scope string) iter.Seq2[Lease, error] {
	return func(yield func(Lease, error) bool) {
		for e, err := range t.scan(leases, []byte(scope+"\x00")) {
			var lease Lease
			if err == nil {
				lease, err = t.decodeLease(e.key, e.value)
			}
			if !yield(lease, err) {
				return
			}
		}
	}
}

// settled returns an error when an address was taken for a record that was not put with it: nothing would ever give
// it back.
func (t *Tx) settled() error {
	for _, lease := range t.taken {
		return fmt.Errorf("commit: %s was taken for record %s, which was not put with it", lease.what(), lease.Ref())
	}
	return nil
}

// Free says whether a lease could be taken: nil, or the [*InUseError] that [Tx.Take] would give.
func (t *Tx) Free(lease Lease) error {
	if err := lease.validate(); err != nil {
		return err
	}
	return t.free(&lease)
}
