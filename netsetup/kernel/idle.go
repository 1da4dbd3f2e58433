//go:build linux

package kernel

import (
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// IdleBridges are the names of the host's bridges that bear [plan.Group] and have no port. The kernel lists bridges
// only, but all of them: it is for the collector.
func (h *Host) IdleBridges() ([]string, error) {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kindBridge))
	all, err := h.conn.links(info)
	if err != nil {
		return nil, failed(err, "list bridges")
	}
	var names []string
	for _, s := range all {
		if s.Kind != kindBridge || s.Group != plan.Group {
			continue
		}
		ports, err := h.conn.links(number(unix.IFLA_MASTER, s.Index))
		if err != nil {
			return nil, failed(err, "list ports of bridge %s", s.Name)
		}
		if len(ports) == 0 {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
