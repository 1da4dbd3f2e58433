package request

// What Parse takes at most. Annotations are hostile input, and everything behind Parse is done as root.
const (
	// MaxAnnotations is the number of annotations under [Prefix].
	MaxAnnotations = 64
	// MaxValue is the length of an annotation's value in bytes.
	MaxValue = 8192
	// MaxAttachments is the number of attachments of a container.
	MaxAttachments = 16
	// MaxAddresses is the number of addresses of an attachment.
	MaxAddresses = 16
	// MaxRoutes is the number of routes of an attachment.
	MaxRoutes = 32
	// MaxSysctls is the number of sysctls of an attachment.
	MaxSysctls = 32
	// MaxPublish is the number of entries of the publish list.
	MaxPublish = 64
	// MaxPorts is the number of ports of the publish list, which the policy holds against it.
	MaxPorts = 1024
	// MaxList is the number of entries of the lists that go to a shim: dns, dns-search, dns-option, add-host.
	MaxList = 16
	// MaxErrors is the number of mistakes that one error of Parse tells.
	MaxErrors = 16
)

// The annotation keys. All others under [Prefix] are errors.
const (
	keyNetwork   = Prefix + "network"
	keyPublish   = Prefix + "publish"
	keyName      = Prefix + "name"
	keyNetNS     = Prefix + "netns"
	keyHostname  = Prefix + "hostname"
	keyDNS       = Prefix + "dns"
	keyDNSSearch = Prefix + "dns-search"
	keyDNSOption = Prefix + "dns-option"
	keyAddHost   = Prefix + "add-host"
)

// placeholder stands for the interface's name, in keys of annotations and of sysctls.
const placeholder = "IFNAME"

// Key is one annotation that a container may carry.
type Key struct {
	// Name is the whole key; IFNAME in it stands for the name of an interface.
	Name string
	// Form is what the value looks like.
	Form string
	// Meaning is what the annotation asks for.
	Meaning string
	// UsedBy is the part of lanhook that gives it.
	UsedBy string
}

// Keys are all annotations that there are, in the order of the reference in docs/annotations.md.
func Keys() []Key {
	const shim = "a shim; the hook refuses it where none took part"
	return []Key{
		{
			keyNetwork, "an attachment",
			"one attachment, as interface `" + DefaultIfName + "`; with Docker as `" + DockerIfName + "`", "the hook",
		},
		{
			keyNetwork + "." + placeholder, "an attachment",
			"one attachment, as interface IFNAME; as many of these as wanted", "the hook",
		},
		{
			keyPublish, "`[[ADDRESS:][PORT]:]PORT[/tcp|udp|sctp]`, comma separated; each PORT may be a range `FROM-TO`",
			"ports of the host that go to ports of the container, on a bridge network", "the hook",
		},
		{
			keyName, "1 to 128 of letters, digits and `. _ - / :`",
			"the workload's stable name, from which its stable MAC and IP addresses come; default: the name that the " +
				"engine left in its own annotations, else the container id", "the hook",
		},
		{
			keyNetNS, "`host`, `none` or `container:ID`",
			"the network namespace: the host's, an empty one, or that of another container; never a path", shim,
		},
		{keyHostname, "a host name of at most 64 bytes", "the container's host name", shim},
		{keyDNS, "IP addresses, comma separated", "the name servers in the container's resolv.conf", shim},
		{keyDNSSearch, "domains, comma separated; `.` for none", "the search list in the container's resolv.conf", shim},
		{keyDNSOption, "`NAME` or `NAME:VALUE`, comma separated", "the options in the container's resolv.conf", shim},
		{
			keyAddHost, "`NAME:ADDRESS`, comma separated; the address may be `host-gateway`",
			"lines in the container's hosts file", shim,
		},
	}
}

// Field is one field of an attachment.
type Field struct {
	Name string
	// Form is what the value looks like.
	Form string
	// Meaning is what the field asks for.
	Meaning string
	// Repeat is true when the field may be given several times, which is a list in JSON.
	Repeat bool
	// SpellOut is true when the field belongs to an attachment that is spelled out with driver=….
	SpellOut bool
}

// Fields are all fields of an attachment that there are, in the order of the reference in docs/annotations.md.
func Fields() []Field {
	return []Field{
		{Name: "name", Form: "a network's name", Meaning: "the network of the policy; the first field may be the bare name"},
		{
			Name: "ip", Form: "`ADDRESS` or `ADDRESS/BITS`", Repeat: true,
			Meaning: "an address to have, IPv4 or IPv6; with `driver` the prefix length must be there",
		},
		{Name: "mac", Form: "six bytes, `02:42:c0:a8:01:e6`", Meaning: "the MAC address to have; unicast and not zero"},
		{
			Name: "gateway", Form: "`ADDRESS`", Repeat: true,
			Meaning: "the gateway to use in place of the network's, at most one per family",
		},
		{
			Name: "default-route", Form: "`true`, `false` or a priority from 1 on",
			Meaning: "whether this attachment owns the default route, and with which metric",
		},
		{
			Name: "route", Repeat: true,
			Form: "`[blackhole|unreachable|prohibit] CIDR [via ADDRESS] [metric N] [table N] [scope N] [src ADDRESS] " +
				"[onlink]`",
			Meaning: "a static route, in the words of ip-route(8)",
		},
		{Name: "mtu", Form: "68 to 65535", Meaning: "the MTU in bytes; at least 1280 with an IPv6 address"},
		{
			Name: "ipv6", Form: "`static`, `slaac` or `off`",
			Meaning: "where IPv6 addresses come from: the network, routers, or nowhere; `off` may always be asked for",
		},
		{
			Name: "dnat", Form: "`ADDRESS`", Repeat: true,
			Meaning: "an address of the host of which everything goes to the container, at most one per family; the policy lists " +
				"them",
		},
		{
			Name: "sysctl", Form: "`net.….IFNAME.…=VALUE`", Repeat: true,
			Meaning: "a setting of this interface; the word IFNAME stands for its name",
		},
		{
			Name: "driver", Form: "`macvlan`, `bridge`, `ipvlan` or `vlan`", SpellOut: true,
			Meaning: "spells the attachment out, without `name`",
		},
		{
			Name: "mode", Form: "`bridge`, `private`, `vepa`, `passthru`, `source`, `l2`, `l3` or `l3s`", SpellOut: true,
			Meaning: "the mode of a macvlan, default `bridge`, or of an ipvlan: `l2`, `l3` or `l3s`, default `l2`",
		},
		{
			Name: "flag", Form: "`bridge`, `private` or `vepa`", SpellOut: true,
			Meaning: "which containers on the parent of an ipvlan reach each other; default `bridge`",
		},
		{
			Name: "parent", Form: "an interface of the host", SpellOut: true,
			Meaning: "the link that a macvlan or ipvlan hangs on, and that the VLAN is of; `eth0.50` is VLAN 50 of eth0",
		},
		{
			Name: "vlan", Form: "`ID` or `OUTER.INNER`, each 1 to 4094", SpellOut: true,
			Meaning: "the VLAN of the parent; on a bridge the VLAN of the port, where frames have no tag",
		},
		{Name: "bridge", Form: "an interface of the host", SpellOut: true, Meaning: "the bridge to be a port of"},
	}
}

// drivers are the ones that can be spelled out.
func drivers() []string { return []string{"macvlan", "bridge", "ipvlan", "vlan"} }

// laterDrivers are known by name only, so that the message can say that they are missing rather than misspelt.
func laterDrivers() []string { return []string{"vxlan"} }

// modes are those of a driver, as in ip-link(8); none for most.
func modes(driver string) []string {
	switch driver {
	case "macvlan":
		return []string{"bridge", "private", "vepa", "passthru", "source"}
	case "ipvlan":
		return []string{"l2", "l3", "l3s"}
	}
	return nil
}

// ipv6Modes are what an attachment may say of IPv6.
func ipv6Modes() []string { return []string{"static", "slaac", "off"} }

// flags are those of ipvlan.
func flags() []string { return []string{"bridge", "private", "vepa"} }

// options are the fields that a driver has of those that spell an attachment out, with the one that it needs in front.
func options(driver string) []string {
	switch driver {
	case "bridge":
		return []string{"bridge", "vlan"}
	case "ipvlan":
		return []string{"parent", "mode", "flag", "vlan"}
	case "vlan":
		return []string{"parent", "vlan"}
	}
	return []string{"parent", "mode", "vlan"}
}
