//go:build linux

package kernel

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/policy"
)

// Probed is whether the kernel can make links of one kind.
type Probed struct {
	// Kind is as ip-link(8) calls it, Module what brings it, as modprobe(8) does.
	Kind, Module string
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
	all, err := tryOut(c)
	return all, errors.Join(err, c.close())
}

func tryOut(c *conn) ([]Probed, error) {
	var all []Probed
	parent := 0
	for _, kind := range []string{kindVeth, kindBridge, kindVLAN, kindMacvlan, kindIPVLAN} {
		name, child := "lh-"+kind, kind != kindVeth && kind != kindBridge
		err := c.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, probeParts(kind, name, parent)...)
		module, _ := moduleOf(kind)
		all = append(all, Probed{Kind: kind, Module: module, Err: err})
		if err != nil {
			continue
		}
		switch {
		case child: // goes at once: a link cannot have macvlan and ipvlan children
			err = c.change(unix.RTM_DELLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), text(unix.IFLA_IFNAME, name))
		case parent == 0: // the first that there is: a kernel without veth may have the bridge
			var link State
			link, _, err = c.link(by{name: name})
			parent = link.Index
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// probeParts describe a link of the kind, on the parent where it is a child.
func probeParts(kind, name string, parent int) []nl.NetlinkRequestData {
	switch kind {
	case kindVLAN:
		return vlanParts(name, parent, policy.Tag{ID: 1, Protocol: policy.Dot1Q})
	case kindMacvlan, kindIPVLAN:
		return []nl.NetlinkRequestData{
			nl.NewIfInfomsg(unix.AF_UNSPEC), text(unix.IFLA_IFNAME, name), number(unix.IFLA_LINK, parent),
			nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kind)),
		}
	}
	return []nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC), text(unix.IFLA_IFNAME, name), nest(unix.IFLA_LINKINFO, text(unix.IFLA_INFO_KIND, kind)),
	}
}
