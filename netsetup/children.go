package netsetup

import (
	"fmt"
	"maps"

	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/netsetup/store"
	"github.com/lanhook/lanhook/policy"
)

// Who has a child on a parent stands in [store.Record.Shared] as "child/PARENT/KIND". The kernel has the children of a link all
// macvlan or all ipvlan, and an ipvlan's mode and flag are the parent's: a new child with others changes those of all its
// siblings, which the host cannot see in their namespaces. Such a name stands for nothing that would have to be removed.
const sharedChild = "child/"

// A child's kind is "macvlan", or "ipvlan" with mode and flag.
func childName(parent string, driver policy.Driver, mode policy.Mode, flag policy.Flag) string {
	name := sharedChild + parent + "/" + driver.String()
	if driver == policy.IPVLAN {
		name += "-" + mode.String() + "-" + flag.String()
	}
	return name
}

// otherKind is a kind of children that cannot be beside those of an attachment.
type otherKind struct {
	// shared is the name under which records say that they have one.
	shared string
	// words are for the message.
	words string
}

// otherKinds are those that cannot be on a parent beside the children of a network.
func otherKinds(parent string, n *policy.Network) []otherKind {
	own := childName(parent, n.Driver, n.Mode, n.Flag)
	var all []otherKind
	add := func(shared, words string) {
		if shared != own {
			all = append(all, otherKind{shared, words})
		}
	}
	add(childName(parent, policy.Macvlan, 0, 0), "a macvlan child on it")
	for mode := policy.ModeL2; mode <= policy.ModeL3S; mode++ {
		for flag := policy.FlagBridge; flag <= policy.FlagVEPA; flag++ {
			add(childName(parent, policy.IPVLAN, mode, flag), fmt.Sprintf("an ipvlan child on it in mode %s %s", mode, flag))
		}
	}
	return all
}

// hasChild says whether a network hangs a child on a parent that it shares with others.
func hasChild(n *policy.Network) bool { return n.Driver == policy.Macvlan || n.Driver == policy.IPVLAN }

// parentUsedError says that a record has a child of another kind on a parent. Whether its container lives has not been asked.
type parentUsedError struct {
	ref  store.Ref
	what string
}

func (e *parentUsedError) Error() string {
	return fmt.Sprintf("container %s has %s", e.ref.Container, e.what)
}

// users completes the facts by those containers that have a child of another kind on a parent. The error is a
// [*parentUsedError] about one that may be dead.
func (d *draft) users(tx *store.Tx) (plan.Facts, error) {
	facts := d.facts
	facts.Users = maps.Clone(facts.Users)
	if facts.Users == nil {
		facts.Users = map[string]string{}
	}
	for i, a := range d.own {
		parent, ok := facts.Uplink[a.IfName].Name, hasChild(a.Network)
		if a.Network.Driver == policy.HostDevice {
			// It cannot be moved under any child.
			parent, ok = facts.Device[a.IfName].Name, true
		}
		if !ok || parent == "" {
			continue
		}
		for _, other := range otherKinds(parent, a.Network) {
			who, err := d.user(tx, other)
			if err != nil {
				return plan.Facts{}, err
			}
			if who == "" {
				who = d.sibling(i, other)
			}
			if who != "" {
				facts.Users[a.IfName] = who
			}
		}
	}
	return facts, nil
}

// user names a container with a child of a kind, "" for none.
func (d *draft) user(tx *store.Tx, other otherKind) (string, error) {
	for ref, err := range tx.Users(other.shared) {
		if err != nil {
			return "", err
		}
		rec, ok, err := tx.Record(ref)
		if err != nil {
			return "", err
		}
		if !ok || ref == d.rec.Ref() || rec.BootID == d.BootID && rec.Host != d.hostNetNS() {
			continue // of another host's namespace, whose links are others
		}
		used := &parentUsedError{ref, other.words}
		if !d.asked[ref] && !d.dry {
			return "", used
		}
		return used.Error(), nil
	}
	return "", nil
}

// sibling names the attachment before attachment i that is to be a child of a kind, "" for none.
func (d *draft) sibling(i int, other otherKind) string {
	for _, a := range d.own[:i] {
		n := a.Network
		if hasChild(n) && other.shared == childName(d.facts.Uplink[a.IfName].Name, n.Driver, n.Mode, n.Flag) {
			return fmt.Sprintf("%s of the same container is to be %s", a.IfName, other.words)
		}
	}
	return ""
}
