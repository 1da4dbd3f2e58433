package policy

import (
	"slices"

	"github.com/lanhook/lanhook/policy/request"
)

// WithoutIPv6 says whether the settings that were asked for turn IPv6 off on the interface.
func (a Attachment) WithoutIPv6() bool {
	return slices.ContainsFunc(a.Sysctls, func(s request.Sysctl) bool {
		return s.Key == "net.ipv6.conf.IFNAME.disable_ipv6" && s.Value != "0"
	})
}
