package netsetup

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

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

// withLearned are interfaces with the addresses that routers gave them, and the warning that some were waited for in vain.
func withLearned(all []plan.Interface, steps plan.Steps, learned func(ifName string) []netip.Prefix) ([]plan.Interface, error) {
	var warnings []error
	for _, step := range steps {
		s, ok := step.(plan.AwaitAddresses)
		if !ok {
			continue
		}
		all = slices.Clone(all)
		for _, l := range s.Links {
			found := learned(l.If)
			if len(found) == 0 {
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
