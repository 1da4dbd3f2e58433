//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lanhook/lanhook/netsetup/plan"
)

// restore makes a device on the host what it was.
func (h *Host) restore(l State, s plan.ReturnLink) error {
	d := s.Device
	if l.Up && (l.Name != d.Name || l.MAC.String() != d.MAC.String()) {
		// Somebody on the host has brought it up. Before Linux 6.2 it gets no other name so, and some cards take no address.
		down := indexMessage(l.Index)
		down.Change = unix.IFF_UP
		if err := h.conn.change(unix.RTM_SETLINK, 0, down); err != nil {
			return failed(err, "bring device %s down", l.Name)
		}
	}
	if err := h.restoreLink(l, s); err != nil {
		return err
	}
	if err := h.conn.dropNames(l, d); err != nil {
		return err
	}
	// Addresses come after the name: with a link's name the kernel changes the labels of its addresses.
	altered, err := h.rename(l, d)
	if err != nil {
		return err
	}
	refused, err := h.restoreAddresses(l, d)
	if err != nil {
		return err
	}
	last := upMessage(l.Index)
	if !d.Up {
		last.Flags = 0
	}
	err = h.conn.change(unix.RTM_SETLINK, 0, last, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(d.Alias)))
	if err != nil {
		return failed(err, "bring device %s up or down as it was", d.Name)
	}
	return errors.Join(altered, refused)
}

// restoreLink gives a device what the container may have changed of it.
func (h *Host) restoreLink(l State, s plan.ReturnLink) error {
	d := s.Device
	header := indexMessage(l.Index)
	for flag, set := range map[uint32]bool{
		unix.IFF_PROMISC: d.Promiscuous, unix.IFF_ALLMULTI: d.AllMulti, unix.IFF_NOARP: d.NoARP, unix.IFF_MULTICAST: !d.NoMulticast,
	} {
		header.Change |= flag
		if set {
			header.Flags |= flag
		}
	}
	parts := []nl.NetlinkRequestData{
		header, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(s.Alias)), number(unix.IFLA_GROUP, d.Group),
	}
	if len(d.MAC) > 0 && l.MAC.String() != d.MAC.String() {
		parts = append(parts, nl.NewRtAttr(unix.IFLA_ADDRESS, d.MAC))
	}
	if l.MTU != d.MTU {
		parts = append(parts, number(unix.IFLA_MTU, d.MTU))
	}
	if l.TxQueueLen != d.TxQueueLen {
		parts = append(parts, number(unix.IFLA_TXQLEN, d.TxQueueLen))
	}
	if err := h.conn.change(unix.RTM_SETLINK, 0, parts...); err != nil {
		return failed(err, "give device %s its MAC address %s and MTU %d again", d.Name, d.MAC, d.MTU)
	}
	if !d.NoIPv6 {
		return nil
	}
	err := h.set("net.ipv6.conf."+ifName+".disable_ipv6", l.Name, "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// restoreAddresses gives a device the addresses and alternative names that it lacks. refused is what cannot be had any more.
func (h *Host) restoreAddresses(l State, d plan.Device) (refused, err error) {
	for _, name := range d.AltNames {
		if slices.Contains(l.AltNames, name) {
			continue
		}
		// Another link may have it by now; udev(7) gives them anew.
		if err := h.conn.changeAltName(unix.RTM_NEWLINKPROP, l.Index, name); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, failed(err, "give device %s the name %s again", d.Name, name)
		}
	}
	for _, a := range d.Addresses {
		err := h.conn.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, deviceAddressParts(l.Index, a)...)
		switch {
		case err == nil, errors.Is(err, unix.EEXIST):
		case errors.Is(err, unix.EACCES):
			refused = &AlteredError{
				Name: d.Name, What: fmt.Sprintf("without its address %s: IPv6 is disabled on it", a.Address),
				hint: fmt.Sprintf("sysctl net.ipv6.conf.%[1]s.disable_ipv6=0; ip address add %[2]s dev %[1]s", d.Name, a.Address),
			}
		default:
			return nil, failed(err, "give device %s the address %s again", d.Name, a.Address)
		}
	}
	return refused, nil
}

// spareName is what the kernel calls a device that it gives back when its name is taken; it fills in a number.
const spareName = "dev%d"

// rename gives a device its name. When another link of the host has that by now, it gets one that is free, and altered says so.
func (h *Host) rename(l State, d plan.Device) (altered, err error) {
	call := func(name string) error {
		return h.conn.change(unix.RTM_SETLINK, 0, indexMessage(l.Index), text(unix.IFLA_IFNAME, name))
	}
	if err = call(d.Name); !errors.Is(err, unix.EEXIST) {
		return nil, failed(err, "give device %s its name again", d.Name)
	}
	if !isSpare(l.Name) {
		if err = call(spareName); err != nil {
			return nil, failed(err, "give device %s a name that is free, since its own is taken", d.Name)
		}
	}
	now, _, err := h.conn.link(by{index: l.Index})
	if err != nil {
		return nil, err
	}
	return &AlteredError{
		Name: d.Name, What: fmt.Sprintf("called %s: the host has another link of its name", now.Name),
		hint: fmt.Sprintf("give it its name when that is free: ip link set %s down name %s", now.Name, d.Name),
	}, nil
}

func isSpare(name string) bool {
	number, ok := strings.CutPrefix(name, "dev")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// changeAltName adds an alternative name or takes it away.
func (c *conn) changeAltName(kind, index int, name string) error {
	flags := 0
	if kind == unix.RTM_NEWLINKPROP {
		flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	return c.change(kind, flags, indexMessage(index), nest(unix.IFLA_PROP_LIST, text(unix.IFLA_ALT_IFNAME, name)))
}
