package netsetup

import (
	"fmt"
	"maps"
	"strings"

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

// childWords are the words for what a name of childName says.
func childWords(name string) string {
	kind := name[strings.LastIndexByte(name, '/')+1:]
	if mode, ok := strings.CutPrefix(kind, policy.IPVLAN.String()+"-"); ok {
		return "an ipvlan child on it in mode " + strings.Replace(mode, "-", " ", 1)
	}
	return "a macvlan child on it"
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
		who, err := d.otherUser(tx, d.own[:i], parent, childName(parent, a.Network.Driver, a.Network.Mode, a.Network.Flag))
		if err != nil {
			return plan.Facts{}, err
		}
		if who != "" {
			facts.Users[a.IfName] = who
		}
	}
	return facts, nil
}

// otherUser says who has, or is to have by one of the attachments before, children of another kind than own on a parent, "" for
// nobody.
func (d *draft) otherUser(tx *store.Tx, before []policy.Attachment, parent, own string) (string, error) {
	names, err := tx.SharedNames(sharedChild + parent + "/")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if name == own {
			continue
		}
		if who, err := d.user(tx, name); err != nil || who != "" {
			return who, err
		}
	}
	for _, a := range before {
		n, there := a.Network, d.facts.Uplink[a.IfName].Name
		if name := childName(there, n.Driver, n.Mode, n.Flag); hasChild(n) && there == parent && name != own {
			return fmt.Sprintf("%s of the same container is to be %s", a.IfName, childWords(name)), nil
		}
	}
	return "", nil
}

// user names a container with a child of a kind, "" for none.
func (d *draft) user(tx *store.Tx, name string) (string, error) {
	for ref, err := range tx.Users(name) {
		if err != nil {
			return "", err
		}
		rec, ok, err := tx.Record(ref)
		if err != nil {
			return "", err
		}
		if !ok || ref == d.rec.Ref() || d.isElsewhere(rec) {
			continue
		}
		used := &parentUsedError{ref, childWords(name)}
		if !d.asked[ref] && !d.dry {
			return "", used
		}
		return used.Error(), nil
	}
	return "", nil
}
