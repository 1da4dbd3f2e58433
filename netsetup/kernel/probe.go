//go:build linux

package kernel

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Probed is whether the kernel can make links of one kind.
type Probed struct {
	// Kind is as ip-link(8) calls it.
	Kind string
	// Err is the kernel's answer, nil when it can.
	Err error
}

// Probe makes a link of each kind that the drivers need, in a network namespace of its own that ends with it. No link,
// setting or module list of the host is looked at; the kernel may load modules. The error says that there was no
// namespace to try it in.
func Probe() ([]Probed, error) {
	c, err := dialAlone()
	if err != nil {
		return nil, err
	}
	all, err := probe(c)
	return all, errors.Join(err, c.close())
}

func probe(c *conn) ([]Probed, error) {
	var all []Probed
	parent := 0
	for _, kind := range []string{kindVeth, kindBridge, kindMacvlan} {
		name := "lh-" + kind
		parts := append([]nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC)}, linkParts(name, nil, 0)...)
		if kind == kindMacvlan && parent != 0 {
			parts = append(parts, number(unix.IFLA_LINK, parent))
		}
		parts = append(parts, nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kind)))
		err := c.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, parts...)
		all = append(all, Probed{Kind: kind, Err: err})
		if err != nil || parent != 0 {
			continue
		}
		// The first that there is carries the macvlan: a kernel without veth may have the bridge.
		link, _, err := c.link(by{name: name})
		if err != nil {
			return all, err
		}
		parent = link.Index
	}
	return all, nil
}
