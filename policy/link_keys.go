package policy

// linkSchema are the keys about what a link of a network hangs on.
func linkSchema() []field[networkDraft] {
	onParent := []Driver{Macvlan, IPVLAN, VLAN}
	return []field[networkDraft]{
		{
			name: "driver", typ: "string", required: true, doc: "`macvlan`, `bridge`, `ipvlan`, `vlan` or `host-device`",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, driverNames(), laterDrivers(), &n.Driver) },
		},
		{
			name: "mode", typ: "string", def: "`bridge`; for ipvlan `l2`", drivers: []Driver{Macvlan, IPVLAN},
			doc: "of macvlan `bridge`, `private`, `vepa`, `passthru` or `source`, of ipvlan `l2`, `l3` or `l3s`, as in ip-link(8)",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, modeNames(), nil, &n.Mode) },
		},
		{
			name: "flag", typ: "string", def: "`bridge`", drivers: []Driver{IPVLAN},
			doc: "which containers of one parent reach each other: `bridge` all of them, `private` none, `vepa` those that the " +
				"switch sends back to the parent",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, flagNames(), nil, &n.Flag) },
		},
		{
			name: "parent", typ: "string or table", drivers: onParent,
			doc: "the host's link that children hang on, required: a name, or `{ mac = \"…\" }`, `{ altname = \"…\" }` or " +
				"`{ default-route = true }`. `eth0.50` is VLAN 50 of eth0, made when it is missing",
			set: func(d *decoder, n *networkDraft, v value) { d.parent(&n.Parent, v) },
		},
		{
			name: "parent-wait", typ: "string", def: "`\"5s\"`, and a parent may be down", drivers: onParent,
			doc: "how long an attach waits for the parent to appear and be up, a time from `\"0s\"` to `\"15s\"`; where it is said, a parent " +
				"that is down then is refused, see [below](#parents)",
			set: func(d *decoder, n *networkDraft, v value) { d.wait(&n.ParentWait, v, maxParentWait) },
		},
		{
			name: "vlan", typ: "integer or list of two", drivers: []Driver{Macvlan, Bridge, IPVLAN, VLAN},
			doc: "the VLAN of the parent, 1 to 4094, or `[OUTER, INNER]`: its sub-interface is made when it is missing, and " +
				"removed with its last container. For vlan required. For bridge the VLAN of a container's port, where its frames have no tag",
			set: func(d *decoder, n *networkDraft, v value) { n.tags = d.vlan(v) },
		},
		{
			name: "vlan-protocol", typ: "string", def: "`802.1q`, with two tags `802.1ad`", drivers: onParent,
			doc: "the kind of the only or outer tag: `802.1q` or `802.1ad`. An inner one is always of 802.1Q",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, vlanProtocolNames(), nil, &n.protocol) },
		},
		{
			name: "device", typ: "string or table", drivers: []Driver{HostDevice},
			doc: "the host's device that is moved into the container, required: a name, or `{ mac = \"…\" }` or `{ pci = \"…\" }`. " +
				"One container has it at a time",
			set: func(d *decoder, n *networkDraft, v value) { d.device(&n.Device, v) },
		},
	}
}

// bridgeSchema are the keys about a bridge, and about a container's port of it.
func bridgeSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "bridge", typ: "string", def: "`lh-NAME`", drivers: []Driver{Bridge},
			doc: "the bridge's name on the host, at most 15 bytes; made when it is missing, used as it is otherwise",
			set: func(d *decoder, n *networkDraft, v value) {
				if s, ok := v.str(d); ok && d.ifName(v, s) {
					n.Bridge = s
				}
			},
		},
		{
			name: "uplink", typ: "string or table", def: "none", drivers: []Driver{Bridge},
			doc: "the host's link that becomes a port of the bridge, and so connects the containers to a LAN: as `parent`. " +
				"With `vlan` or `trunk` it carries these VLANs with their tags",
			set: func(d *decoder, n *networkDraft, v value) { d.parent(&n.Uplink, v) },
		},
		{
			name: "trunk", typ: "list of integers and strings", def: "none", drivers: []Driver{Bridge},
			doc: "the VLANs that a container sends and receives with tags: ids, and ranges such as `\"20-29\"`",
			set: func(d *decoder, n *networkDraft, v value) { n.Trunk = d.vlanRanges(v) },
		},
		{
			name: "default-vlan", typ: "boolean", def: "`false`", drivers: []Driver{Bridge},
			doc: "with `vlan` or `trunk`: leaves VLAN 1, which the kernel gives to every port, on the ports of containers and on the uplink",
			set: func(d *decoder, n *networkDraft, v value) { v.into(d, &n.DefaultVLAN) },
		},
		{
			name: "vrf", typ: "string", def: "none", drivers: []Driver{Bridge},
			doc: "the VRF that a bridge of lanhook's is put into; it has to be there",
			set: func(d *decoder, n *networkDraft, v value) {
				if s, ok := v.str(d); ok && d.ifName(v, s) {
					n.VRF = s
				}
			},
		},
	}
}

// interfaceSchema are the keys about the container's end of a link.
func interfaceSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "mtu", typ: "integer", def: "the parent's or device's; for a bridge that of the host's default route",
			doc: "in bytes, 68 to 65535, with an IPv6 subnet 1280 at least",
			set: func(d *decoder, n *networkDraft, v value) { n.MTU = v.integer(d, minMTU, maxMTU) },
		},
		{
			name: "mac", typ: "string", def: "`stable`; for vlan and host-device `keep`",
			drivers: []Driver{Macvlan, Bridge, VLAN, HostDevice},
			doc: "where a MAC address comes from that the container does not ask for: `stable` (from host id, network and " +
				"workload name), `random`, `from-ip` (02:42 and the IPv4 address), or, for vlan and host-device, `keep` (the parent's or " +
				"the device's own)",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, macPolicyNames(), nil, &n.MAC) },
		},
		{
			name: "source", typ: "list of MAC addresses", drivers: []Driver{Macvlan},
			doc: "the senders that a child hears; mode `source` only, and required there",
			set: func(d *decoder, n *networkDraft, v value) { n.Sources = d.macs(v) },
		},
		{
			name: "source-routing", typ: "boolean", def: "`true`",
			doc: "where a container has several interfaces, it answers by the one that was asked, see [below](#several-interfaces)",
			set: func(d *decoder, n *networkDraft, v value) { v.into(d, &n.SourceRouting) },
		},
	}
}
