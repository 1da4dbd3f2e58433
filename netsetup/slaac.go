package netsetup

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/lanhook/lanhook/netsetup/kernel"
	"github.com/lanhook/lanhook/netsetup/plan"
	"github.com/lanhook/lanhook/policy"
)

// NoRouterError says that an interface takes its IPv6 addresses from routers and had none by the end of the attach. It may get
// one later.
type NoRouterError struct{ IfName string }

func (e *NoRouterError) Error() string {
	return e.IfName + ": no router has given an IPv6 address yet"
}

// Hint says what would help.
func (e *NoRouterError) Hint() string {
	return "see whether a router of the LAN advertises a prefix of 64 bits for autoconfiguration, or wait longer with slaac-wait"
}

// DoubtedError says that an interface has no IPv6 address of a router's by the end of the attach since somebody else on the LAN has
// that or its link-local one, or since the kernel still asks for it.
type DoubtedError struct {
	IfName string
	kernel.Doubted
}

func (e *DoubtedError) Error() string {
	if !e.Duplicate {
		return fmt.Sprintf("%s: the kernel still asks the LAN whether somebody has %s: there is no IPv6 before it knows", e.IfName, e.Addr)
	}
	who := "somebody else"
	if e.MAC != nil {
		who = e.MAC.String()
	}
	if e.Addr.IsLinkLocalUnicast() {
		return fmt.Sprintf("%s: %s on the LAN has %s, which follows from its MAC address, so that it asks no router", e.IfName, who, e.Addr)
	}
	return fmt.Sprintf("%s: %s on the LAN has %s, which follows from a router's prefix and its MAC address: it has no such IPv6 address",
		e.IfName, who, e.Addr)
}

// Hint says what would help.
func (e *DoubtedError) Hint() string {
	if e.Duplicate {
		return "find who has it, or start the container with another MAC address"
	}
	return "wait longer with slaac-wait"
}

// waited is what became of a link that was waited for, see [kernel.Kernel.Learned] and [kernel.Kernel.Doubted].
type waited func(ifName string) ([]netip.Prefix, kernel.Doubted)

// withLearned are interfaces with the addresses that routers gave them, and the warning that some were waited for in vain.
func withLearned(all []plan.Interface, steps plan.Steps, became waited) ([]plan.Interface, error) {
	var warnings []error
	for _, step := range steps {
		s, ok := step.(plan.AwaitAddresses)
		if !ok {
			continue
		}
		all = slices.Clone(all)
		for _, l := range s.Links {
			found, doubted := became(l.If)
			switch {
			case len(found) > 0:
			case doubted.Addr.IsValid():
				warnings = append(warnings, &DoubtedError{l.If, doubted})
			default:
				warnings = append(warnings, &NoRouterError{l.If})
			}
			for i := range all {
				if all[i].Name == l.If {
					all[i].Learned = found
				}
			}
		}
	}
	return all, errors.Join(warnings...)
}

// otherIPv6 says in what the IPv6 of an interface is not what a container asks for itself, "" for nothing.
func otherIPv6(i plan.Interface, want string) string {
	has := cmp.Or(i.IPv6, policy.IPv6Static).String()
	if want == "" || has == want {
		return ""
	}
	return fmt.Sprintf("its IPv6 is %s, not %s", has, want)
}
