package policy

import "slices"

// networkSchema is the table [network.NAME].
func networkSchema() []field[networkDraft] {
	return slices.Concat(linkSchema(), addressSchema(), firewallSchema(), nameSchema(), limitSchema(), tuningSchema())
}

// linkSchema are the keys about the link itself.
func linkSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "driver", typ: "string", required: true, doc: "`macvlan` or `bridge`",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, driverNames(), laterDrivers(), &n.Driver) },
		},
		{
			name: "mode", typ: "string", def: "`bridge`", drivers: []Driver{Macvlan},
			doc: "`bridge`, `private`, `vepa`, `passthru` or `source`, as in ip-link(8)",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, modeNames(), nil, &n.Mode) },
		},
		{
			name: "parent", typ: "string or table", drivers: []Driver{Macvlan},
			doc: "the host's link that children hang on, required: a name, or `{ mac = \"…\" }`, `{ altname = \"…\" }` or " +
				"`{ default-route = true }`",
			set: func(d *decoder, n *networkDraft, v value) { d.parent(&n.Parent, v) },
		},
		{
			name: "parent-wait", typ: "string", def: "`\"5s\"`", drivers: []Driver{Macvlan},
			doc: "how long an attach waits for the parent to appear and be up, a time from `\"0s\"` to `\"15s\"`",
			set: func(d *decoder, n *networkDraft, v value) { d.parentWait(&n.ParentWait, v) },
		},
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
			name: "mtu", typ: "integer", def: "the parent's; for a bridge that of the host's default route",
			doc: "in bytes, 68 to 65535, with an IPv6 subnet 1280 at least",
			set: func(d *decoder, n *networkDraft, v value) { n.MTU = v.integer(d, minMTU, maxMTU) },
		},
		{
			name: "mac", typ: "string", def: "`stable`",
			doc: "where a MAC address comes from that the container does not ask for: `stable` (from host id, network and " +
				"workload name), `random`, or `from-ip` (02:42 and the IPv4 address)",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, macPolicyNames(), nil, &n.MAC) },
		},
		{
			name: "source", typ: "list of MAC addresses", drivers: []Driver{Macvlan},
			doc: "the senders that a child hears; mode `source` only, and required there",
			set: func(d *decoder, n *networkDraft, v value) { n.Sources = d.macs(v) },
		},
	}
}

// addressSchema are the keys about addresses and routes.
func addressSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "ipam", typ: "string", def: "`local` with subnets, `none` without",
			doc: "`local` picks free addresses, `static` gives only those that are asked for, `none` gives none",
			set: func(d *decoder, n *networkDraft, v value) { word(d, v, ipamNames(), laterIPAM(), &n.IPAM) },
		},
		{
			name: "subnet", typ: "list of tables", doc: "the subnets, one `[[network.NAME.subnet]]` each",
			set: func(d *decoder, n *networkDraft, v value) { n.subnets = d.subnets(n, v) },
		},
		{
			name: "internal", typ: "boolean", def: "`false`", doc: "no default route is ever given; on a bridge, containers reach each other and the host, and nothing else",
			set: func(d *decoder, n *networkDraft, v value) { n.Internal, _ = v.boolean(d) },
		},
		{
			name: "default-route", typ: "boolean", def: "`true`, `false` when internal",
			doc: "whether a container may get its default route here",
			set: func(d *decoder, n *networkDraft, v value) { n.DefaultRoute, _ = v.boolean(d) },
		},
		{
			name: "metric", typ: "integer", def: "the kernel's", doc: "the metric of the default routes, 0 to 2147483647",
			set: func(d *decoder, n *networkDraft, v value) { n.Metric = v.integer(d, 0, maxMetric) },
		},
		{
			name: "route", typ: "list of strings",
			doc: "static routes, each `[blackhole|unreachable|prohibit] CIDR [via GATEWAY] [metric N] [table N] [scope N] " +
				"[src IP] [onlink]`",
			set: func(d *decoder, n *networkDraft, v value) { d.routes(n, v) },
		},
	}
}

// nameSchema are the keys about names. What they give is in files that a shim mounts into the container.
func nameSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "names", typ: "boolean", def: "`false`",
			doc: "containers of this network find each other by name, through their hosts files",
			set: func(d *decoder, n *networkDraft, v value) { n.Names, _ = v.boolean(d) },
		},
		{
			name: "dns", typ: "list of addresses", def: "the host's",
			doc: "the name servers in the resolv.conf of a container that asks for none, at most 3",
			set: func(d *decoder, n *networkDraft, v value) { n.DNS = d.nameServers(v) },
		},
		{
			name: "dns-search", typ: "list of strings", def: "the host's",
			doc: "the search list in the resolv.conf of a container that asks for none, at most 6 domains; `\".\"` for none",
			set: func(d *decoder, n *networkDraft, v value) { n.DNSSearch = d.searchList(v) },
		},
	}
}

// tuningSchema are the keys that few need.
func tuningSchema() []field[networkDraft] {
	return []field[networkDraft]{
		{
			name: "sysctl", typ: "list of strings",
			doc: "settings of the container's interface, each `KEY=VALUE` with the word IFNAME for the interface's name, such " +
				"as `net.ipv4.conf.IFNAME.rp_filter=2`",
			set: func(d *decoder, n *networkDraft, v value) { d.sysctls(n, v) },
		},
		{
			name: "bcqueuelen", typ: "integer", def: "the kernel's", drivers: []Driver{Macvlan},
			doc: "how many broadcast frames the parent keeps for its children",
			set: func(d *decoder, n *networkDraft, v value) { n.BroadcastQueue = v.integer(d, 1, maxQueue) },
		},
		{
			name: "txqueuelen", typ: "integer", def: "the kernel's", doc: "the interface's transmit queue, in packets",
			set: func(d *decoder, n *networkDraft, v value) { n.TxQueueLen = v.integer(d, 1, maxQueue) },
		},
		{
			name: "promiscuous", typ: "boolean", def: "`false`", doc: "the interface takes every frame",
			set: func(d *decoder, n *networkDraft, v value) { n.Promiscuous, _ = v.boolean(d) },
		},
		{
			name: "allmulti", typ: "boolean", def: "`false`", doc: "the interface takes every multicast frame",
			set: func(d *decoder, n *networkDraft, v value) { n.AllMulti, _ = v.boolean(d) },
		},
		{
			name: "hairpin", typ: "boolean", def: "`false`", drivers: []Driver{Bridge},
			doc: "the bridge port sends frames back where they came from",
			set: func(d *decoder, n *networkDraft, v value) { n.Hairpin, _ = v.boolean(d) },
		},
	}
}
