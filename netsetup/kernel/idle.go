//go:build linux

package kernel

import (
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// IdleBridges are the names of the host's bridges that bear [plan.Group] and have no port but their uplink. The kernel lists bridges
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
		used, err := h.hasPorts(s)
		if err != nil {
			return nil, err
		}
		if !used {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
