package store

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// Foreign is an address that somebody else on a LAN was found to have.
type Foreign struct {
	// Scope is that of the leases which the address would have been among.
	Scope string
	// Addr is an IP address. An IPv4 address has its four-byte form.
	Addr netip.Addr
	// MAC is who answered.
	MAC plan.MAC
	// Seen is when, to the second.
	Seen time.Time
}

func (f *Foreign) key() []byte { return append([]byte(f.Scope+"\x00"), f.Addr.AsSlice()...) }

func (f *Foreign) validate() error {
	if err := checkName("scope", f.Scope); err != nil {
		return fmt.Errorf("foreign address: %w", err)
	}
	if !f.Addr.IsValid() || f.Addr.Zone() != "" || f.Addr.Is4In6() || len(f.MAC) != 6 {
		return fmt.Errorf("foreign address in %s: %q of %q is not an address of a MAC address", f.Scope, f.Addr, f.MAC)
	}
	return nil
}

// value visits a foreign address as the database has it, see [plan.Codec].
func (f *Foreign) value(c *plan.Codec) {
	v := Version
	version(c, &v)
	c.Text(&f.Scope)
	c.Addr(&f.Addr)
	c.MAC(&f.MAC)
	seen := int(f.Seen.Unix())
	c.Int(&seen)
	f.Seen = time.Unix(int64(seen), 0).UTC()
}

// PutForeign keeps the addresses that others were found to have, and forgets those of their scopes that were seen before a time, or
// that another version of lanhook wrote.
func (t *Tx) PutForeign(list []Foreign, before time.Time) error {
	for i := range list {
		f := &list[i]
		if err := f.validate(); err != nil {
			return err
		}
		if err := t.forget(f.Scope+"\x00", before); err != nil {
			return err
		}
		value, err := plan.Encode(f.value)
		if err != nil {
			return fmt.Errorf("encode foreign address %s: %w", f.Addr, err)
		}
		if err := t.put(foreign, f.key(), value); err != nil {
			return err
		}
	}
	return nil
}

// ForgetForeign forgets the addresses of all scopes that others were found to have before a time, or that another version of
// lanhook wrote.
func (t *Tx) ForgetForeign(before time.Time) error { return t.forget("", before) }

// forget is ForgetForeign for those whose keys begin with prefix.
func (t *Tx) forget(prefix string, before time.Time) error {
	for key, err := range t.oldForeign(prefix, before) {
		if err == nil {
			err = t.remove(foreign, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// HasOldForeign says whether [Tx.ForgetForeign] would forget any.
func (t *Tx) HasOldForeign(before time.Time) (bool, error) {
	for _, err := range t.oldForeign("", before) {
		return err == nil, err
	}
	return false, nil
}

// oldForeign are the keys with a prefix of what is to be forgotten.
func (t *Tx) oldForeign(prefix string, before time.Time) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for e, err := range t.scan(foreign, []byte(prefix)) {
			var old Foreign
			if err == nil {
				old, err = t.decodeForeign(e.key, e.value)
			}
			if err == nil && !old.Seen.Before(before) {
				continue
			}
			if isOtherVersion(err) {
				err = nil
			}
			if !yield(e.key, err) || err != nil {
				return
			}
		}
	}
}

// Foreign is who on the LAN was found to have an address, false when nobody was. It is one look-up. What another version of lanhook
// has written is not known: no container's end would take it away, and the LAN can be asked again.
func (t *Tx) Foreign(scope string, addr netip.Addr) (Foreign, bool, error) {
	key := (&Foreign{Scope: scope, Addr: addr}).key()
	value, ok, err := t.get(foreign, key)
	if !ok || err != nil {
		return Foreign{}, false, err
	}
	f, err := t.decodeForeign(key, value)
	if isOtherVersion(err) {
		return Foreign{}, false, nil
	}
	return f, err == nil, err
}

func isOtherVersion(err error) bool {
	_, other := errors.AsType[*VersionError](err)
	return other
}

func (t *Tx) decodeForeign(key, value []byte) (Foreign, error) {
	var f Foreign
	err := plan.Decode(value, f.value)
	if isOtherVersion(err) {
		return Foreign{}, err
	}
	if err == nil {
		err = f.validate()
	}
	if err == nil && string(f.key()) != string(key) {
		err = errors.New("foreign address and key differ")
	}
	if err != nil {
		return Foreign{}, t.damaged(foreign, key, err)
	}
	return f, nil
}
