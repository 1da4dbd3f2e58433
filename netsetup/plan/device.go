package plan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lanhook/lanhook/policy"
)

// Device is a device of the host as it was before it was moved. The kernel takes from it what belongs to a namespace
// (net/core/dev.c, __dev_change_net_namespace): addresses, routes, settings, queues, and that it is up. The rest stays with
// it, so that the container may have changed it.
type Device struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
	// Kind is rtnetlink's, "" for a card. The kernel gives back what has none when the namespace ends, and deletes the others.
	Kind string `json:"kind,omitempty"`
	MAC  MAC    `json:"mac,omitempty"`
	// Permanent is the MAC address that the hardware has, nil where it has none.
	Permanent MAC `json:"permanent,omitempty"`
	// Path is its place below /sys, which no rename changes, "" where it has none: "/devices/pci0000:00/0000:00:03.0/virtio0".
	Path string `json:"path,omitempty"`
	MTU  int    `json:"mtu"`
	Up   bool   `json:"up"`
	// NoIPv6 says that it has none (disable_ipv6).
	NoIPv6      bool `json:"no_ipv6,omitempty"`
	Promiscuous bool `json:"promiscuous,omitempty"`
	AllMulti    bool `json:"all_multi,omitempty"`
	// NoARP and NoMulticast say that it does without these (IFF_NOARP, no IFF_MULTICAST).
	NoARP       bool `json:"no_arp,omitempty"`
	NoMulticast bool `json:"no_multicast,omitempty"`
	TxQueueLen  int  `json:"tx_queue_len,omitempty"`
	// Group is the group of links that it is in. A container could otherwise send it back with [Group], as if it were lanhook's.
	Group int `json:"group,omitempty"`
	// Parent is the index of the host's link on which it hangs, such as a VLAN's, 0 for none. A container could otherwise send
	// back another link of the kind, behind which is itself.
	Parent   int      `json:"parent,omitempty"`
	Alias    string   `json:"alias,omitempty"`
	AltNames []string `json:"alt_names,omitempty"`
	// Addresses are those that last. What a DHCP client or a router gave for a time is theirs to give again.
	Addresses []DeviceAddress `json:"addresses,omitempty"`
}

// DeviceAddress is an address of a device as ip-address(8) shows it.
type DeviceAddress struct {
	// Address has the subnet's length, or where there is a Peer that one's.
	Address netip.Prefix `json:"address"`
	// Peer and Broadcast are the zero Addr for none.
	Peer      netip.Addr `json:"peer,omitzero"`
	Broadcast netip.Addr `json:"broadcast,omitzero"`
	Label     string     `json:"label,omitempty"`
	// Scope, Flags and Metric are the kernel's (rtnetlink(7)): of the flags those that somebody set.
	Scope  int `json:"scope,omitempty"`
	Flags  int `json:"flags,omitempty"`
	Metric int `json:"metric,omitempty"`
}

// FoundDevice is a device of the host that is to be moved.
type FoundDevice struct {
	Device
	// Link is what is known of it as a link.
	Link Link `json:"link"`
	// Bound are reasons why the host needs it, in words: "it has the host's default route", "it is a port of bridge br0".
	Bound []string `json:"bound,omitempty"`
}

// Same says whether another look found the same piece of hardware, whatever its name is by now. Cards with several ports
// have one path for all of them, so that the permanent address tells which one it is; the other one anybody can give to a link.
func (d Device) Same(other Device) bool {
	return d.isHardware() && d.Path == other.Path && slices.Equal(d.Permanent, other.Permanent)
}

func (d Device) isHardware() bool { return d.Path != "" || len(d.Permanent) > 0 }

// Stays says whether the device outlives a namespace that it is in when that ends (net/core/dev.c, default_device_exit_net).
// Of those that have a kind only CAN's do.
func (d Device) Stays() bool { return d.isHardware() && (d.Kind == "" || d.Kind == "can") }

// PCI is the address of the function that the device belongs to, "" for none. Where bridges are in its path, the last one is
// its own; those of virtio are below the function.
func (d Device) PCI() string {
	for _, part := range slices.Backward(strings.Split(d.Path, "/")) {
		if policy.ValidPCI(part) {
			return part
		}
	}
	return ""
}

// moveOf moves the device that facts have found.
func moveOf(l link) MoveLink {
	s := MoveLink{Name: l.own, Alias: alias(l.record, l.Network.Name), Device: l.device.Device, MAC: l.choice.MAC}
	if l.mtu != s.Device.MTU {
		s.MTU = l.mtu
	}
	return s
}

func checkDevice(in Input, l link, fail failFunc) error {
	d := l.device
	first := slices.IndexFunc(in.Attachments, func(a policy.Attachment) bool {
		other, ok := in.Facts.Device[a.IfName]
		return ok && other.Index == d.Index && a.Network.Driver == policy.HostDevice
	})
	switch {
	case !l.exists:
		return fail("see which links there are with: ip link; one that is in another network namespace is not among them",
			"device %s does not exist", l.Network.Device)
	case first < l.index:
		return fail("ask for it once", "device %s is asked for twice, as %s too", d.Name, in.Attachments[first].IfName)
	case d.Link.Loopback:
		return fail("name a network card in the policy", "device %s is the loopback interface", d.Name)
	case d.Link.Group == Group:
		return fail("name a network card in the policy", "device %s is lanhook's, and shared by containers", d.Name)
	case in.Facts.Users[l.IfName] != "":
		return fail("give the network a device that nobody uses", "device %s stays with the host: %s", d.Name, in.Facts.Users[l.IfName])
	case len(d.Bound) > 0:
		return fail("give the network a device that the host does without", "device %s stays with the host: %s",
			d.Name, strings.Join(d.Bound, ", "))
	case slices.Contains(d.AltNames, l.IfName):
		return fail("ask for an interface of another name",
			"device %s has the alternative name %s, so that it cannot be called so", d.Name, l.IfName)
	}
	return nil
}
