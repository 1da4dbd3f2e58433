package plan

import (
	"slices"

	"github.com/lanhook/lanhook/policy"
	"github.com/lanhook/lanhook/policy/request"
)

// Child is a link of a container that hangs on one of the host, and ends with it.
type Child struct {
	// Own is the name under which the link is made, IfName the one that it has.
	Own, IfName string
	// Parent is the link that it hangs on, ParentIndex 0 where it was not known when the step was planned.
	Parent      string
	ParentIndex int
	// Index is its own in the container.
	Index int
}

// Children are the children that steps make.
func Children(steps Steps) []Child {
	var all []Child
	add := func(c Child) {
		if set, ok := linkOf(steps, c.Own); ok {
			c.IfName = set.Name
			all = append(all, c)
		}
	}
	for _, step := range steps {
		switch s := step.(type) {
		case AddMacvlan:
			add(Child{Own: s.Name, Parent: s.Parent, ParentIndex: s.ParentIndex, Index: s.Index})
		case AddIPVLAN:
			add(Child{Own: s.Name, Parent: s.Parent, ParentIndex: s.ParentIndex, Index: s.Index})
		case AddVLAN:
			add(Child{Own: s.Name, Parent: s.Parent, ParentIndex: s.ParentIndex, Index: s.Index})
		default:
		}
	}
	return all
}

// OnParent are steps in which a child hangs on another parent of an index and a MAC address, and has another index itself, 0 where
// that is not known yet. A child that has its parent's MAC address has that one's.
func OnParent(steps Steps, own string, parent int, mac MAC, index int) Steps {
	list, inherits := slices.Clone(steps), Inherits(steps, own)
	for i, step := range list {
		switch s := step.(type) {
		case AddMacvlan:
			if s.Name == own {
				s.ParentIndex, s.Index = parent, index
				if inherits {
					s.MAC = mac
				}
				list[i] = s
			}
		case AddIPVLAN:
			if s.Name == own {
				s.ParentIndex, s.Index = parent, index
				list[i] = s
			}
		case AddVLAN:
			if s.Name == own {
				s.ParentIndex, s.Index = parent, index
				list[i] = s
			}
		case AddGuard:
			if inherits && s.Table == own && s.Spoof {
				s.MAC = mac
				list[i] = s
			}
		default:
		}
	}
	return list
}

// Base is the link below those sub-interfaces which steps have made from there up to a child's parent. below are the tags of these, the
// outermost first, own is that of a child that is one itself.
func Base(steps Steps, c Child) (name string, below, own []policy.Tag) {
	name = c.Parent
	for _, step := range steps {
		if v, ok := step.(AddVLAN); ok && v.Name == c.Own {
			own = append(own, v.Tag)
		}
	}
	for _, v := range subsBelow(steps, c) {
		name, below = v.Parent, append([]policy.Tag{v.Tag}, below...)
	}
	return name, below, own
}

// subsBelow are the sub-interfaces that steps have made for a child's parent to be there, that parent first.
func subsBelow(steps Steps, c Child) []EnsureVLAN {
	var all []EnsureVLAN
	for name := c.Parent; len(all) < len(steps); { // names of links make no circle, but what is read from a record may
		i := slices.IndexFunc(steps, func(step Step) bool {
			v, ok := step.(EnsureVLAN)
			return ok && v.Name == name
		})
		if i < 0 {
			break
		}
		if v, ok := steps[i].(EnsureVLAN); ok {
			name, all = v.Parent, append(all, v)
		}
	}
	return all
}

// Rebase says that for a child a link of the host took the place of another: what hung on From is to hang on To, and the sub-interfaces
// below the child are others. Its addresses are of another scope then, see [policy.Network.Scope], and the host's link beside it has
// another name, see [HostLinkName].
type Rebase struct {
	Child
	From, To string
	// Subs are the sub-interfaces from To up to what the child is to hang on, the lowest first, as many as there were.
	Subs               []Sub
	FromScope, ToScope string
	FromHost, ToHost   string
}

// NewParent is what the child is to hang on.
func (r Rebase) NewParent() string {
	if n := len(r.Subs); n > 0 {
		return r.Subs[n-1].Name
	}
	return r.To
}

// Rebased are steps after some rebases, each of which concerns its child alone, with what that hangs on, and the host's link beside it.
// What was made by an index is still of that index.
func Rebased(steps Steps, all []Rebase) Steps {
	list := slices.Clone(steps)
	for _, r := range all {
		subs := subsBelow(steps, r.Child)
		for i, step := range steps {
			// Not what list has by now: two links may have changed their names.
			if now := r.of(step, subs); now != nil {
				list[i] = now
			}
		}
	}
	return list
}

// of is a step after the rebase, nil for one that it does not concern. subs are the sub-interfaces that there were, the highest first.
func (r Rebase) of(step Step, subs []EnsureVLAN) Step {
	switch s := step.(type) {
	case EnsureVLAN:
		if i := slices.Index(subs, s); i >= 0 && len(subs) == len(r.Subs) {
			return EnsureVLAN(r.Subs[len(subs)-1-i])
		}
	case AddMacvlan:
		if s.Name == r.Own {
			s.Parent = r.NewParent()
			return s
		}
	case AddIPVLAN:
		if s.Name == r.Own {
			s.Parent = r.NewParent()
			return s
		}
	case AddVLAN:
		if s.Name == r.Own {
			s.Parent = r.NewParent()
			return s
		}
	case EnsureHostLink:
		if s.Name == r.FromHost {
			s.Name, s.Parent, s.Scope = r.ToHost, r.NewParent(), r.ToScope
			return s
		}
	case AddHostAddresses:
		if s.Link == r.FromHost {
			s.Link = r.ToHost
			return s
		}
	case AddHostRoute:
		if s.Link == r.FromHost {
			s.Link = r.ToHost
			return s
		}
	default:
	}
	return nil
}

// Inherits says whether a child has its parent's MAC address.
func Inherits(steps Steps, own string) bool {
	return slices.ContainsFunc(steps, func(step Step) bool {
		switch s := step.(type) {
		case AddMacvlan:
			return s.Name == own && s.Mode == policy.ModePassthru
		case AddIPVLAN:
			return s.Name == own
		case AddVLAN:
			return s.Name == own && s.MAC == nil
		default:
			return false
		}
	})
}

// Remade are those of the steps that make a child and all that ended with it, in order. What lies on no link is still there,
// and so are rules of routing; who waits for a router has waited once.
func Remade(steps Steps, c Child) Steps {
	return slices.DeleteFunc(slices.Clone(steps), func(step Step) bool {
		switch s := step.(type) {
		case AddMacvlan:
			return s.Name != c.Own
		case AddIPVLAN:
			return s.Name != c.Own
		case AddVLAN:
			return s.Name != c.Own
		case SetLink:
			return s.From != c.Own
		case SetRate:
			return s.If != c.Own
		default:
			return !endsWith(step, c)
		}
	})
}

// endsWith says whether what a step has done ended with a child that has its name already, or is to get it.
func endsWith(step Step, c Child) bool {
	is := func(name string) bool { return name != "" && (name == c.Own || name == c.IfName) }
	switch s := step.(type) {
	case SetSysctls:
		return is(s.If)
	case AddAddress:
		return is(s.If)
	case AddRoute:
		return is(s.If)
	case AddGuard:
		return is(s.If)
	default:
		return false
	}
}

// RemadeBeside are the steps of another record of the namespace that end with a child too: its settings and routes on the child,
// and routes that lie on whatever link reaches their gateway.
func RemadeBeside(steps Steps, c Child) Steps {
	return slices.DeleteFunc(slices.Clone(steps), func(step Step) bool {
		return !endsWith(step, Child{IfName: c.IfName}) && !Loose(step)
	})
}

// Loose says whether a step adds a route that lies on a link which the step does not name.
func Loose(step Step) bool {
	s, ok := step.(AddRoute)
	return ok && s.If == "" && s.Route.Type == request.Unicast
}
