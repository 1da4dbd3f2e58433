package netsetup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
)

// The firewall's rules are a function of the records. An attach adds its own to what is there. Where somebody has taken
// the tables away, or their chains, it has all of them written anew from the records instead, which repair does too.

// sharing is the lock on what containers share, as an attach holds it.
type sharing struct {
	store   *store.Store
	release func()
}

func (u *sharing) begin(ctx context.Context) (err error) {
	u.release, err = u.store.LockShared(ctx)
	return err
}

// beginAlone takes the lock for the attach alone.
func (u *sharing) beginAlone(ctx context.Context) (err error) {
	u.release, err = u.store.LockExclusive(ctx)
	return err
}

// end gives the lock up, if it is held.
func (u *sharing) end() {
	if u.release != nil {
		u.release()
		u.release = nil
	}
}

// renewFor writes all rules anew for an attach that could not add its own. It needs the lock alone for that, and keeps it
// so until the attach gives it up. In between it had no lock, so the record may be gone, by a detach that waited for it.
func (s *Setup) renewFor(ctx context.Context, rec store.Record, use *sharing) error {
	use.end()
	if err := use.beginAlone(ctx); err != nil {
		return err
	}
	var (
		there bool
		all   uint64
	)
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		if _, there, err = tx.Record(rec.Ref()); err == nil {
			all, err = tx.Len()
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("container %s was detached while it was being attached", rec.Container)
	case all == 1:
		return s.Host.RenewRules(rulesOf([]store.Record{rec}))
	case s.addRules(ctx, rec) == nil:
		return nil // Many attaches may have found the tables gone, and one of them has been here.
	}
	records, err := s.ruled(ctx)
	if err != nil {
		return err
	}
	records = newest(records, rec.Ref())
	if err = s.agree(ctx, records); err != nil {
		return err
	}
	return s.Host.RenewRules(rulesOf(records))
}

// agree has all records say of a bridge what the newest one says: the policy has changed since they were written. When the
// newest one's container ends, its network stays what it is by then; one that is closed must not open again. The records
// come in the order of [Setup.ruled].
//
// The caller has the lock on what is shared alone. So the rules of a record change only while nobody undoes any; whoever
// writes a record that he has read before takes over the rules that it has by now, see [withRules].
func (s *Setup) agree(ctx context.Context, records []store.Record) error {
	said := newestWords(records)
	var differ []store.Ref
	for i, rec := range records {
		if steps, changed := following(rec.Steps, said); changed {
			records[i].Steps = steps
			differ = append(differ, rec.Ref())
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return s.Store.Update(ctx, func(tx *store.Tx) error {
		for _, ref := range differ {
			now, ok, err := tx.Record(ref)
			if err != nil {
				return err
			}
			if !ok {
				continue // It has no rules any more that anybody could make.
			}
			now.Steps, _ = following(now.Steps, said)
			if err := tx.Put(now); err != nil {
				return err
			}
		}
		return nil
	})
}

// saying is what a record says of a bridge.
type saying struct {
	rules plan.Rules
	// bridge is nil where all records only use the bridge that they find.
	bridge *plan.EnsureBridge
}

// newestWords are what the last of some records that speak of a bridge say of it, by its name.
func newestWords(records []store.Record) map[string]saying {
	said := map[string]saying{}
	for _, rec := range records {
		for _, rules := range rulesOf([]store.Record{rec}) {
			for _, r := range rules.Of {
				if r.Gate != plan.Open {
					said[r.Bridge] = saying{rules: r, bridge: said[r.Bridge].bridge}
				}
			}
		}
		for _, step := range rec.Steps {
			if b, ok := step.(plan.EnsureBridge); ok && !b.AsIs {
				if of, ok := said[b.Name]; ok {
					of.bridge = &b
					said[b.Name] = of
				}
			}
		}
	}
	return said
}

// following are steps that say of each bridge as a whole what others have said, and whether that is something new.
func following(steps plan.Steps, said map[string]saying) (list plan.Steps, changed bool) {
	list = slices.Clone(steps)
	for i, step := range steps {
		switch st := step.(type) {
		case plan.AddRules:
			st.Of = slices.Clone(st.Of)
			for j, r := range st.Of {
				other, ok := said[r.Bridge]
				if !ok || r.Gate == plan.Open {
					continue
				}
				o := other.rules
				changed = changed || r.Gate != o.Gate || r.ICC != o.ICC || r.Isolate != o.Isolate
				st.Of[j].Gate, st.Of[j].ICC, st.Of[j].Isolate = o.Gate, o.ICC, o.Isolate
			}
			list[i] = st
		case plan.EnsureBridge:
			o := said[st.Name].bridge
			if o == nil || st.AsIs {
				continue
			}
			changed = changed || st.Forward != o.Forward || !slices.Equal(st.Addresses, o.Addresses) ||
				!slices.Equal(st.Without, o.Without)
			st.Addresses, st.Without, st.Forward = o.Addresses, o.Without, o.Forward
			list[i] = st
		default:
		}
	}
	return list, changed
}

// withRules are steps with what the record says of bridges by now, see [Setup.agree].
func withRules(steps, now plan.Steps) plan.Steps {
	list := slices.Clone(steps)
	for i, step := range list {
		for _, stored := range now {
			if sameShare(step, stored) {
				list[i] = stored
			}
		}
	}
	return list
}

// sameShare is true for two versions of a record's rules, or of its word on one bridge.
func sameShare(a, b plan.Step) bool {
	switch a := a.(type) {
	case plan.AddRules:
		_, ok := b.(plan.AddRules)
		return ok
	case plan.EnsureBridge:
		b, ok := b.(plan.EnsureBridge)
		return ok && a.Name == b.Name
	default:
		return false
	}
}

// addRules adds the rules of one record to what is there.
func (s *Setup) addRules(ctx context.Context, rec store.Record) error {
	k := s.Host.KernelByID(-1, nil)
	for _, step := range rec.Steps {
		if _, ok := step.(plan.AddRules); !ok {
			continue
		}
		if err := k.Apply(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// withoutOthers runs fn while nobody attaches, undoes, or removes what is shared.
func (s *Setup) withoutOthers(ctx context.Context, fn func() error) error {
	release, err := s.Store.LockExclusive(ctx)
	if err != nil {
		return err
	}
	defer release()
	return fn()
}

// ruled are the records whose host's side is here, the oldest first: where the rules of two differ about what they share,
// the newer one's policy is.
func (s *Setup) ruled(ctx context.Context) ([]store.Record, error) {
	var all []store.Record
	err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
		all, err = s.all(tx)
		return err
	})
	all = slices.DeleteFunc(all, func(r store.Record) bool { return !s.isHere(r) })
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Container, b.Container), cmp.Compare(a.ID, b.ID)) < 0
	})
	return all, err
}

// newest puts one record last.
func newest(records []store.Record, ref store.Ref) []store.Record {
	i := slices.IndexFunc(records, func(r store.Record) bool { return r.Ref() == ref })
	if i < 0 {
		return records
	}
	rec := records[i]
	return append(slices.Delete(records, i, i+1), rec)
}

// rulesOf are the rules of records, in their order.
func rulesOf(records []store.Record) []plan.AddRules {
	var all []plan.AddRules
	for _, rec := range records {
		for _, step := range rec.Steps {
			if rules, ok := step.(plan.AddRules); ok {
				all = append(all, rules)
			}
		}
	}
	return all
}
